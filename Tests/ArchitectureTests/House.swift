import Foundation

/// A text file of the project.
struct SourceFile {
  /// From the top of the project: `Sources/Rules/Model.swift`.
  let path: String
  let text: String
  let swift: SwiftText

  init(_ path: String, _ text: String) {
    self.path = path
    self.text = text
    swift = SwiftText(path.hasSuffix(".swift") ? text : "")
  }

  var isGenerated: Bool { path.contains("/Generated/") }

  /// The target that it belongs to, if it is a Swift source of one.
  var room: String? {
    let parts = path.split(separator: "/")
    guard parts.count > 2, parts[0] == "Sources", path.hasSuffix(".swift") else { return nil }
    return String(parts[1])
  }
}

/// The project as the rules see it: its description and its files.
struct House {
  let manifest: Manifest
  let files: [SourceFile]
  /// What stands at the top of the project.
  let topLevel: Set<String>

  init(manifest: Manifest, files: [SourceFile], topLevel: Set<String> = []) {
    self.manifest = manifest
    self.files = files
    self.topLevel = topLevel
  }

  /// This project, read once.
  static let here = Result { try House(directory: root) }

  /// The top of this project; the real one where Tests is reached through a link.
  private static let root = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

  private init(directory: URL) throws {
    let read = { (path: String) in try String(contentsOf: directory.appendingPathComponent(path), encoding: .utf8) }
    manifest = Manifest(try read("Package.swift"))
    topLevel = Set(try FileManager.default.contentsOfDirectory(atPath: directory.path))
    var paths = ["Package.swift", "Makefile", "README.md", ".ci/run"]
    for folder in ["Sources", "Tests", "bpf", "systemd", "config"] {
      let names = FileManager.default.enumerator(atPath: directory.appendingPathComponent(folder).path)
      while let name = names?.nextObject() as? String { paths.append("\(folder)/\(name)") }
    }
    let textKinds: Set = ["swift", "h", "c", "sh", "py", "proto", "yaml", "service", "conf", "md", "modulemap"]
    let isText = { (path: String) in
      textKinds.contains(URL(fileURLWithPath: path).pathExtension) || path == "Makefile" || path == ".ci/run"
    }
    // A colleague's editor may take a file away between the listing and the reading.
    files = paths.filter(isText).sorted().compactMap { path in (try? read(path)).map { SourceFile(path, $0) } }
  }

  /// The modules that the Swift files of a room import.
  func imports(of room: String) -> Set<String> {
    files.filter { $0.room == room }.reduce(into: []) { $0.formUnion($1.swift.imports) }
  }

  /// Everything that a room can see: what it and its dependencies declare or import, and theirs. Without itself.
  func reach(of room: String) -> Set<String> {
    var reached: Set<String> = []
    var open = [room]
    while let next = open.popLast() {
      let direct = imports(of: next).union(manifest.targets[next]?.dependencies ?? [])
      open += direct.subtracting(reached)
      reached.formUnion(direct)
    }
    return reached.subtracting([room])
  }
}

/// The rules of the house. Each gives what breaks it, in words for who broke it; nothing if nobody did.
enum Rule {
  /// Modules that give neither I/O beyond system calls nor a runtime of their own.
  private static let packetSideModules: Set = ["Glibc", "Synchronization", "Swift", "CLinuxShims", "CXDP", "CSluiceABI"]
  private static let concurrencyWords: Set = [
    "async", "await", "Task", "TaskGroup", "actor", "AsyncStream", "AsyncSequence", "MainActor",
  ]

  /// Invariant 1: what `DataPlane` reaches contains no Foundation, NIO, logging, or async.
  static func packetPathIsBare(_ house: House) -> [String] {
    let reach = house.reach(of: "DataPlane")
    let rooms = reach.union(["DataPlane"]).filter { house.manifest.targets[$0]?.kind == "target" }
    let foreign = reach.subtracting(packetSideModules).subtracting(rooms).sorted().map { "DataPlane reaches \($0)" }
    let waiting = house.files.filter { rooms.contains($0.room ?? "") }.flatMap { file in
      file.swift.words.filter { concurrencyWords.contains($0.text) }.map { "\(file.path):\($0.line): \($0.text)" }
    }
    return foreign + waiting
  }

  /// What each pure room may reach outside the package. Foundation in Identity: the dates that JWTKit's claims are
  /// made of, and Base64; in Audit: what Crypto hashes; its words for files are refused below. Synchronization in Identity:
  /// the keys in use, which a rotation replaces.
  private static let pureRooms: [String: Set<String>] = [
    "Packets": ["Swift"],
    "Rules": ["Swift", "JSONValues", "Packets"],
    "Traffic": ["Swift", "Packets"],
    "Flows": ["Swift", "Packets"],
    "RuleCompiler": ["Swift", "JSONValues", "Packets", "Rules", "CSluiceABI"],
    "JSONValues": ["Swift"],
    "Audit": ["Swift", "JSONValues", "Crypto", "Foundation"],
    "Identity": ["Swift", "CSodium", "Crypto", "JWTKit", "Foundation", "FoundationEssentials", "Synchronization"],
  ]
  private static let inputOutputWords: Set = [
    "FileManager", "FileHandle", "URLSession", "Process", "Bundle", "Pipe", "InputStream", "OutputStream", "Thread",
    "contentsOf", "contentsOfFile", "contentsOfDirectory", "print", "debugPrint", "readLine", "fopen", "fputs",
    "fwrite", "getenv", "NSLog", "UserDefaults", "Host",
  ]
  /// Labels that file APIs share with `Array.append(contentsOf:)`.
  private static let harmlessBefore: Set = ["append", "insert", "formUnion"]

  /// Invariant 2: `Packets`, `Rules`, `RuleCompiler`, `Identity` do no I/O.
  static func pureRoomsDoNoIO(_ house: House) -> [String] {
    pureRooms.sorted { $0.key < $1.key }.flatMap { room, allowed in
      let foreign = house.reach(of: room).subtracting(allowed).sorted().map { "\(room) reaches \($0)" }
      return foreign + house.files.filter { $0.room == room }.flatMap(inputOutput)
    }
  }

  private static func inputOutput(in file: SourceFile) -> [String] {
    let words = file.swift.words
    let previous: [String?] = [nil] + words.map { $0.text }
    let pairs = zip(previous, words)
    // A function that the file itself calls `print` is not the standard library's.
    let own = Set(pairs.filter { $0.0 == "func" }.map { $0.1.text })
    return pairs.compactMap { previous, word in
      guard inputOutputWords.contains(word.text), !own.contains(word.text) else { return nil }
      if word.text == "contentsOf", let previous, harmlessBefore.contains(previous) { return nil }
      return "\(file.path):\(word.line): \(word.text)"
    }
  }

  /// Invariant 3: the API process cannot touch a packet.
  static func apiSeesNoPackets(_ house: House) -> [String] {
    let forbidden: Set = ["DataPlane", "XSK", "XDPPrograms", "CXDP", "Control", "ControlService"]
    return ["RESTAPI", "sluice-api"].flatMap { room in
      house.reach(of: room).intersection(forbidden).sorted().map { "\(room) reaches \($0)" }
    }
  }

  static let roomsWithUnsafeCode: Set = ["LinuxSystem", "XSK", "XDPPrograms", "Packets"]

  /// Invariant 4: everything unsafe is in the rooms for it. Exceptions by file, with a reason each; one that is no
  /// longer needed breaks the rule too.
  static func unsafeCodeIsFenced(_ house: House, exceptions: [String: String]) -> [String] {
    var unused = Set(exceptions.keys)
    var broken: [String] = []
    for file in house.files {
      guard let room = file.room, !roomsWithUnsafeCode.contains(room), !file.isGenerated else { continue }
      guard let first = file.swift.words.first(where: { isUnsafe($0.text) }) else { continue }
      if unused.remove(file.path) == nil { broken.append("\(file.path):\(first.line): \(first.text)") }
    }
    return broken + unused.sorted().map { "\($0): an exception for nothing unsafe, take it from the list" }
  }

  private static func isUnsafe(_ word: String) -> Bool {
    (word.hasPrefix("Unsafe") && word.hasSuffix("Pointer")) || word.hasPrefix("withUnsafe")
      || ["unsafeBitCast", "unsafeDowncast", "OpaquePointer", "Unmanaged", "withMemoryRebound", "assumingMemoryBound",
        "bindMemory",
      ].contains(word)
  }

  /// The top level is fixed.
  static func topLevelIsFixed(_ house: House) -> [String] {
    let required: Set = [
      "Package.swift", "Sources", "Tests", "bpf", "systemd", "config", "Makefile", "README.md", ".ci",
    ]
    // What git, SwiftPM and the Makefile make; none of it is in the project's history but .gitignore.
    let local: Set = [".git", ".gitignore", ".demo", ".bench", "Package.resolved", ".swiftpm"]
    let missing = required.subtracting(house.topLevel).sorted().map { "\($0) is missing at the top" }
    let foreign = house.topLevel.subtracting(required).subtracting(local)
      .filter { !($0 == ".build" || $0.hasPrefix(".build-") || $0.hasPrefix(".build_")) }
    return missing + foreign.sorted().map { "\($0) does not belong at the top" }
  }

  static let lineCountMax = 400

  /// Files of one concern.
  static func filesAreShort(_ house: House) -> [String] {
    house.files.filter { !$0.isGenerated && $0.path != "README.md" && $0.path != "Makefile" }.compactMap { file in
      let count = file.text.utf8.count { $0 == UInt8(ascii: "\n") }
      return count > lineCountMax ? "\(file.path) has \(count) lines, more than \(lineCountMax)" : nil
    }
  }

  /// Nothing is promised for later, and nothing knows the machine it was written on.
  static func nothingIsLeftLying(_ house: House) -> [String] {
    // Put together here, so that this file does not break its own rule.
    let words = ["TO" + "DO", "FIX" + "ME", "/wo" + "rk/", "/tmp/h" + "-", "/ro" + "ot/"]
    return house.files.filter { !$0.isGenerated }.flatMap { file in
      file.text.split(separator: "\n", omittingEmptySubsequences: false).enumerated().compactMap { index, line in
        words.first { line.contains($0) }.map { "\(file.path):\(index + 1): \($0)" }
      }
    }
  }

  static let rooms = [
    "CLinuxShims", "CXDP", "CMariaDB", "CPostgres", "CSluiceABI", "LinuxSystem", "Packets", "Rules", "RuleCompiler",
    "Traffic", "Flows", "XSK", "XDPPrograms", "DataPlane", "Bench", "Control", "ControlProtocol", "Telemetry",
    "JSONValues", "Audit", "Storage", "Identity", "RESTAPI", "sluiced", "sluice-api", "sluice",
  ]

  /// Every room stands, and a room with Swift in it is not empty.
  static func roomsExist(_ house: House) -> [String] {
    rooms.compactMap { room in
      guard let target = house.manifest.targets[room] else { return "\(room) is not in Package.swift" }
      if target.kind == "systemLibrary" || room == "CLinuxShims" { return nil }
      return house.files.contains { $0.room == room } ? nil : "\(room) has no Swift file"
    }
  }

  /// SwiftPM lets a target import what only its dependencies depend on; then the picture in Package.swift lies.
  static func importsAreDeclared(_ house: House) -> [String] {
    house.manifest.targets.values.filter { $0.kind != "testTarget" }.sorted { $0.name < $1.name }.flatMap { target in
      house.imports(of: target.name).filter { house.manifest.targets[$0] != nil }
        .subtracting(target.dependencies).subtracting([target.name]).sorted()
        .map { "\(target.name) imports \($0), which Package.swift doesn't say" }
    }
  }
}

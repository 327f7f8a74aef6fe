import Testing

@Suite("Each rule can be broken, and says by whom")
struct RuleTests {
  private static let manifest = Manifest(
    """
    let crypto = Target.Dependency.product(name: "Crypto", package: "swift-crypto")
    .target(name: "CLinuxShims"), .systemLibrary(name: "CXDP"), .systemLibrary(name: "CSluiceABI"),
    .target(name: "LinuxSystem", dependencies: ["CLinuxShims"]), .target(name: "Packets"),
    .target(name: "Rules", dependencies: ["Packets"]),
    .target(name: "RuleCompiler", dependencies: ["Rules", "CSluiceABI"]),
    .target(name: "XSK", dependencies: ["LinuxSystem"]),
    .target(name: "XDPPrograms", dependencies: ["CXDP"]),
    .target(name: "DataPlane", dependencies: ["Packets", "XSK"]), .target(name: "Helper", dependencies: ["XSK"]),
    .target(name: "Identity", dependencies: [crypto]), .target(name: "RESTAPI", dependencies: ["Identity"]),
    .executableTarget(name: "sluice-api", dependencies: ["RESTAPI"]),
    """)

  private func house(_ files: [(String, String)]) -> House {
    House(manifest: Self.manifest, files: files.map { SourceFile($0.0, $0.1) })
  }

  @Test(
    "The packet path notices what does not belong there, directly or below",
    arguments: [
      ("Sources/DataPlane/A.swift", "import Foundation", "DataPlane reaches Foundation"),
      ("Sources/XSK/A.swift", "import NIOCore", "DataPlane reaches NIOCore"),
      ("Sources/LinuxSystem/A.swift", "public import Logging", "DataPlane reaches Logging"),
      ("Sources/Packets/A.swift", "import Identity", "DataPlane reaches Crypto"),
      ("Sources/DataPlane/A.swift", "\nfunc a() async {}", "Sources/DataPlane/A.swift:2: async"),
      ("Sources/XSK/A.swift", "let a = Task { 1 }", "Sources/XSK/A.swift:1: Task"),
      ("Sources/Packets/A.swift", "let a = \"\\(await b())\"", "Sources/Packets/A.swift:1: await"),
    ])
  func packetPath(path: String, text: String, complaint: String) {
    #expect(Rule.packetPathIsBare(house([(path, text)])).contains(complaint))
  }

  @Test("The packet path may have Glibc, atomics, and the word async in a comment")
  func barePacketPath() {
    #expect(Rule.packetPathIsBare(house([
      ("Sources/DataPlane/A.swift", "import Glibc\nimport XSK\nimport Synchronization\n// never async"),
      ("Sources/RESTAPI/A.swift", "import Foundation\nfunc a() async {}"),
    ])) == [])
  }

  @Test(
    "A pure room that can do I/O is noticed",
    arguments: [
      ("Sources/Packets/A.swift", "import Glibc", "Packets reaches Glibc"),
      ("Sources/Packets/A.swift", "import Foundation", "RuleCompiler reaches Foundation"),
      ("Sources/Rules/A.swift", "import LinuxSystem", "Rules reaches LinuxSystem"),
      ("Sources/Identity/A.swift", "import NIOPosix", "Identity reaches NIOPosix"),
      ("Sources/Identity/A.swift", "let a = FileManager.default", "Sources/Identity/A.swift:1: FileManager"),
      ("Sources/Identity/A.swift", "try Data(contentsOf: url)", "Sources/Identity/A.swift:1: contentsOf"),
      ("Sources/Rules/A.swift", "print(1)", "Sources/Rules/A.swift:1: print"),
    ])
  func pureRooms(path: String, text: String, complaint: String) {
    #expect(Rule.pureRoomsDoNoIO(house([(path, text)])).contains(complaint))
  }

  @Test(
    "What only shares a name with I/O is left alone",
    arguments: ["a.append(contentsOf: b)", "func print(_ a: Int) {}\nprint(1)", "// print(1)"])
  func harmlessNames(text: String) {
    #expect(Rule.pureRoomsDoNoIO(house([("Sources/Rules/A.swift", text)])) == [])
  }

  @Test(
    "The API is noticed when it can see packets, however long the way",
    arguments: [
      ("Sources/RESTAPI/A.swift", "import DataPlane", "RESTAPI reaches DataPlane"),
      ("Sources/sluice-api/A.swift", "import XDPPrograms", "sluice-api reaches CXDP"),
      ("Sources/Identity/A.swift", "import Helper", "sluice-api reaches XSK"),
    ])
  func api(path: String, text: String, complaint: String) {
    #expect(Rule.apiSeesNoPackets(house([(path, text)])).contains(complaint))
    #expect(Rule.apiSeesNoPackets(house([])) == [])
  }

  @Test(
    "Unsafe code outside the fence is noticed",
    arguments: [
      "let a: UnsafePointer<UInt8>", "var a: UnsafeMutableRawBufferPointer?", "a.withUnsafeBytes { $0 }",
      "withUnsafePointer(to: &a) {}", "unsafeBitCast(a, to: B.self)", "let a: OpaquePointer",
      "Unmanaged.passRetained(a)", "a.assumingMemoryBound(to: B.self)",
    ])
  func unsafeCode(text: String) {
    let outside = house([("Sources/Rules/A.swift", "\n" + text)])
    #expect(Rule.unsafeCodeIsFenced(outside, exceptions: [:]).first?.hasPrefix("Sources/Rules/A.swift:2: ") == true)
    #expect(Rule.unsafeCodeIsFenced(outside, exceptions: ["Sources/Rules/A.swift": "why"]) == [])
    #expect(Rule.unsafeCodeIsFenced(house([("Sources/XSK/A.swift", text)]), exceptions: [:]) == [])
    #expect(Rule.unsafeCodeIsFenced(house([("Sources/Rules/A.swift", "// \(text)")]), exceptions: [:]) == [])
  }

  @Test("An exception that nothing needs is noticed")
  func needlessException() {
    #expect(Rule.unsafeCodeIsFenced(house([]), exceptions: ["Sources/Rules/A.swift": "why"]).count == 1)
  }

  @Test("A missing and a foreign entry at the top are noticed, what builds leave behind is not")
  func topLevel() {
    let right: Set = ["Package.swift", "Sources", "Tests", "bpf", "systemd", "config", "Makefile", "README.md", ".ci"]
    func complaints(_ entries: Set<String>) -> [String] {
      Rule.topLevelIsFixed(House(manifest: Self.manifest, files: [], topLevel: entries))
    }
    #expect(complaints(right.union([".git", ".gitignore", ".build", ".build-x", ".demo", "Package.resolved"])) == [])
    #expect(complaints(right.subtracting(["bpf"])) == ["bpf is missing at the top"])
    #expect(complaints(right.union(["docs", ".buildx"])).count == 2)
  }

  @Test("A file is too long from 401 lines on, unless it is generated", arguments: [(400, 0), (401, 1)])
  func longFiles(lineCount: Int, complaintCount: Int) {
    let text = String(repeating: "\n", count: lineCount)
    #expect(Rule.filesAreShort(house([("Sources/Rules/A.swift", text)])).count == complaintCount)
    #expect(Rule.filesAreShort(house([("Tests/RulesTests/A.swift", text)])).count == complaintCount)
    #expect(Rule.filesAreShort(house([("Sources/ControlProtocol/Generated/a.swift", text)])) == [])
  }

  @Test(
    "Promises and machine paths are noticed with their line",
    arguments: ["TO" + "DO", "/wo" + "rk/x", "/tmp/h" + "-a"])
  func leftovers(text: String) {
    #expect(Rule.nothingIsLeftLying(house([("bpf/a.h", "\n// \(text)")])).first?.hasPrefix("bpf/a.h:2: ") == true)
  }

  @Test("A room that is gone or empty is noticed")
  func rooms() {
    let complaints = Rule.roomsExist(house([("Sources/Rules/A.swift", "")]))
    #expect(complaints.contains("Telemetry is not in Package.swift"))
    #expect(complaints.contains("Packets has no Swift file"))
    #expect(!complaints.contains { $0.hasPrefix("Rules ") || $0.hasPrefix("CXDP ") })
  }

  @Test("An import that Package.swift does not declare is noticed")
  func undeclared() {
    #expect(Rule.importsAreDeclared(house([("Sources/Rules/A.swift", "import Packets\nimport XSK\nimport Glibc")])) == [
      "Rules imports XSK, which Package.swift doesn't say"
    ])
  }
}

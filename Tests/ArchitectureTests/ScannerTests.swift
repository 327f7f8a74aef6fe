import Testing

@Suite("The scanner sees what the compiler sees")
struct ScannerTests {
  @Test(
    "Imports are found however they are written",
    arguments: [
      ("import Foundation", ["Foundation"]),
      ("  @testable import Rules", ["Rules"]),
      ("public import Logging // why", ["Logging"]),
      ("@_spi(Private) internal import GRPCCore", ["GRPCCore"]),
      ("import struct Foundation.Data", ["Foundation"]),
      ("import Dispatch.queue;import Glibc", ["Dispatch", "Glibc"]),
      ("#if canImport(Foundation)\nimport FoundationEssentials\n#endif", ["FoundationEssentials"]),
      ("@preconcurrency import NIOCore\n/* import A */ // import B\nlet a = \"import C\"", ["NIOCore"]),
      ("let text = \"\"\"\n  import D\n  \"\"\"", []),
      ("func importThem() { important() }", []),
      ("", []),
    ])
  func imports(text: String, modules: [String]) {
    #expect(SwiftText(text).imports == Set(modules))
  }

  @Test(
    "Words in comments and strings are not code, interpolated ones are",
    arguments: [
      ("a // b", ["a"]),
      ("a /* b /* c */ d */ e", ["a", "e"]),
      (#"a("b // c") d"#, ["a", "d"]),
      (#"a("b\(c("d \(e)"))f") g"#, ["a", "c", "e", "g"]),
      (##"a(#"b " \(c) \#(d)"#) e"##, ["a", "d", "e"]),
      (#"a("\"b\\") c"#, ["a", "c"]),
      ("a(\"\"\"\n b \"c\" \\(d)\n \"\"\") e", ["a", "d", "e"]),
      ("a \"unterminated b\nc", ["a", "c"]),
      ("/* never closed", []),
      ("\"never closed", []),
      ("a(\"\\(", ["a"]),
    ])
  func words(text: String, words: [String]) {
    #expect(SwiftText(text).words.map(\.text) == words)
  }

  @Test("Lines keep their numbers behind comments and long strings")
  func lines() {
    let text = "/*\n\n*/\nlet a = \"\"\"\n  x\n  \"\"\"\nb"
    #expect(SwiftText(text).words.last == .init(text: "b", line: 7))
  }

  @Test("Targets, kinds and dependencies are read from a manifest")
  func manifest() {
    let manifest = Manifest(
      """
      let log = Target.Dependency.product(name: "Logging", package: "swift-log")
      let package = Package(name: "p", targets: [
        // .target(name: "Gone"),
        .systemLibrary(name: "CX", pkgConfig: "x", providers: [.apt(["libx-dev"])]),
        .target(name: "A"),
        .target(
          name: "B",
          dependencies: [
            "A", log,
            .product(name: "Crypto", package: "swift-crypto"),
          ],
          resources: [.embedInCode("o/x.o")]),
        .executableTarget(name: "c", dependencies: ["B"]),
        .testTarget(name: "BTests", dependencies: ["B", "A"]),
      ])
      """)
    #expect(Set(manifest.targets.keys) == ["CX", "A", "B", "c", "BTests"])
    #expect(manifest.targets["B"]?.dependencies == ["A", "Logging", "Crypto"])
    #expect(manifest.targets["c"]?.kind == "executableTarget")
    #expect(manifest.targets["CX"]?.dependencies == [])
  }
}

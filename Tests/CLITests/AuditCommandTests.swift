import Audit
import Foundation
import JSONValues
import Testing

@testable import sluice

/// The exit statuses are part of the contract: monitoring calls `sluice audit verify`.
@Suite("sluice audit, on exported files", .timeLimit(.minutes(1)))
struct AuditCommandTests {
  private static let lines: [String] = {
    var previous = AuditChain.start
    return (1...6).map { number in
      let record = AuditRecord(
        at: "2026-01-31T12:00:0\(number).000Z", actor: .system, address: "", requestID: "", operation: "step\(number)")
      let sealed = AuditChain.seal(record, sequence: UInt64(number), previousHash: previous)
      previous = sealed.hash
      return String(sealed.text.dropLast()) + ",\"hash\":\"\(sealed.hash)\"}"
    }
  }()

  private func verify(_ content: String, _ arguments: [String] = []) async throws -> Run {
    try await withFolder { folder in
      let file = folder.appending(path: "audit.jsonl")
      try Data(content.utf8).write(to: file)
      return try await sluice(["audit", "verify", "--file", file.path] + arguments, home: folder)
    }
  }

  private func head() throws -> String {
    let record = try JSONValue(parsing: Array(Self.lines[5].utf8))
    return "6:\(try #require(record["hash"].string))"
  }

  @Test("A whole log: status 0 and its head")
  func whole() async throws {
    for content in [Self.lines.joined(separator: "\n"), Self.lines.joined(separator: "\n") + "\n"] {
      let run = try await verify(content)
      let head = try head()
      #expect(run.status == 0 && run.output.contains("6 records") && run.output.contains("head: \(head)"))
    }
    let json = try await verify(Self.lines.joined(separator: "\n"), ["--json", "--anchor", try head()])
    #expect(json.status == 0 && json.output.contains(#""records" : 6"#))
    #expect(try await verify("").status == 0)
  }

  @Test("A broken log: status 1, and the first broken record by its number")
  func broken() async throws {
    var lines = Self.lines
    lines[3] = lines[3].replacing("step4", with: "stepX")
    let changed = try await verify(lines.joined(separator: "\n"))
    #expect(changed.status == 1 && changed.errors.contains("record 4 was changed"))
    lines = Self.lines
    lines.remove(at: 2)
    let missing = try await verify(lines.joined(separator: "\n"), ["--json"])
    #expect(missing.status == 1 && missing.errors.contains("chain_broken") && missing.errors.contains(#""record" : 4"#))
    let cut = try await verify(Self.lines.prefix(4).joined(separator: "\n"), ["--anchor", try head()])
    #expect(cut.status == 1 && cut.errors.contains("should go on to record 6"))
    let start = try await verify(Self.lines.dropFirst(2).joined(separator: "\n"))
    #expect(start.status == 1 && start.errors.contains("no checkpoint covers"))
    let rewritten = try await verify(
      Self.lines.joined(separator: "\n"), ["--anchor", "6:" + String(repeating: "0", count: 64)])
    #expect(rewritten.status == 1 && rewritten.errors.contains("rewritten"))
  }

  @Test(
    "What is no log is broken, not a crash",
    arguments: [
      "x", "{}", "null\n", "[1]", "\u{0}", "{\"sequence\":1}", String(repeating: "[", count: 5000),
      "\n\n", String(repeating: "a", count: 3 << 20),
    ])
  func hostile(_ content: String) async throws {
    let run = try await verify(content)
    #expect(run.status == 1 && run.errors.contains("error:"), "\(run.errors)")
  }

  @Test("Wrong usage: status 2; not signed in: status 3")
  func usage() async throws {
    try await withFolder { home in
      #expect(try await sluice(["audit", "verify", "--anchor", "1:x"], home: home).status == 2)
      #expect(try await sluice(["audit", "verify", "--file", home.path + "/nothing"], home: home).status == 2)
      #expect(try await sluice(["audit", "list", "--limit", "0"], home: home).status == 2)
      #expect(try await sluice(["audit", "verify"], home: home).status == 3)
      let help = try await sluice(["audit", "verify", "--help"], home: home)
      #expect(help.status == 0 && help.output.contains("EXIT STATUS"))
    }
  }
}

import DatabaseSupport
import Foundation
import Testing

@Suite("sluice-api backup and restore")
struct BackupCommandTests {
  @Test("A running API is backed up; the file goes into another database, and nothing is replaced without --force")
  func commands() async throws {
    let directory = try TestDatabase.directory()
    defer { try? FileManager.default.removeItem(atPath: directory) }
    func command(_ arguments: String..., in database: String) async throws -> (status: Int32?, text: String) {
      let run = try ExecutableTests.Run(in: directory, ["DB_PATH": "\(directory)/\(database)"], arguments)
      return (try await run.status(), run.text)
    }
    let api = try ExecutableTests.Run(in: directory, ["DB_PATH": "\(directory)/one.db"])
    _ = try await api.port()
    let file = "\(directory)/backup.jsonl"
    let made = try await command("backup", file, in: "one.db")
    #expect(made.status == 0, "\(made.text)")
    #expect(made.text.contains("1 users") && made.text.contains("holds together"))
    #expect(try await command("backup", file, in: "one.db").text.contains("--force"))
    #expect(try await command("backup", "--force", file, in: "one.db").status == 0)
    let restored = try await command("restore", file, "--json", in: "two.db")
    #expect(restored.status == 0, "\(restored.text)")
    struct Report: Decodable {
      let rows: Int
      let audit_head: String
    }
    #expect(restored.text.hasPrefix("database: SQLite \(directory)/two.db\n"), "on standard error, beside the JSON")
    #expect(try JSONDecoder().decode(Report.self, from: Data(restored.text.drop { $0 != "{" }.utf8)).rows > 3)
    let refused = try await command("restore", file, in: "two.db")
    #expect(refused.status == 1 && refused.text.contains("--force"))
    #expect(try await command("restore", "--force", file, in: "two.db").status == 0)
    #expect(try await command("restore", "\(directory)/sluice.yaml", in: "three.db").text.contains("no whole backup"))
    #expect(try await command("backup", "\(directory)/nowhere/file", in: "one.db").status == 1)
    #expect(try await command("backup", "\(directory)/four", in: "four.db").text.contains("there is no database"))
    #expect(!FileManager.default.fileExists(atPath: "\(directory)/four.db"))
    api.terminate()
    #expect(try await api.status() == 0)
    let copy = try ExecutableTests.Run(in: directory, ["DB_PATH": "\(directory)/two.db"])
    _ = try await copy.port()
    #expect(!copy.text.contains("first start"), "it is the same installation")
    copy.terminate()
    #expect(try await copy.status() == 0)
  }
}

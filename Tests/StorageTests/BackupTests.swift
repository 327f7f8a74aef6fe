import Audit
import DatabaseSupport
import Foundation
import Identity
import JSONValues
import Rules
import Testing

@testable import Storage

@Suite(.serialized) struct BackupTests {
  private func withDirectory(_ body: (String) async throws -> Void) async throws {
    let directory = try TestDatabase.directory()
    defer { try? FileManager.default.removeItem(atPath: directory) }
    try await body(directory)
  }

  /// Something in most tables, hostile texts, and an audit log whose start was removed.
  private func fill(_ store: SQLStore) async throws {
    _ = try await store.seed(adminPasswordHash: "$argon2id$seed")
    for (n, text) in hostileTexts.enumerated() {
      try await store.setSetting("k\(n)", to: text)
      let user = try await store.createUser(.sample("u\(n)@x.org"))
      _ = try await store.insertRefreshToken(digest: "d\(n)", userID: user.id, limits: .init())
    }
    // More than a page.
    for n in 0..<40 {
      _ = try await store.createRuleSet(.sample("s\(n)", rules: ["a", "b"]), description: "", editor)
      _ = try await store.updateRuleSet(named: "s\(n)", editor) { $0.content.rules[0].comment = "edited" }
    }
    _ = try await store.createAttachment(NewAttachment(node: "local", interface: "eth0", ruleSet: "s0"))
    let webhook = try await store.createWebhook(.sample("pager"))
    try await store.recordTest(.sample(.delivered), ofWebhook: webhook.id)
    #expect(try await store.removeAuditLog(before: Date(timeIntervalSinceNow: 1)) != nil)
    try await store.setSetting("last", to: "one")
  }

  /// All rows of all tables.
  private func content(_ database: any Storage.Database) async throws -> [String: [[SQLValue]]] {
    let tables = try SchemaShape.tables(after: Schema.migrations)
    return try await database.read { session in
      var content: [String: [[SQLValue]]] = [:]
      for table in tables {
        content[table.name] = try session.rows(
          "SELECT \(SQLInsert.quoted(table.columns)) FROM \(table.name) "
            + "ORDER BY \(SQLInsert.quoted(table.key))", [])
      }
      return content
    }
  }

  private func settings(_ test: TestDatabase) throws -> DatabaseSettings {
    try DatabaseSettings(environment: test.environment)
  }

  private func failure(_ body: () async throws -> some Any) async -> BackupError? {
    do {
      _ = try await body()
      return nil
    } catch { return error as? BackupError }
  }

  @Test("What was written comes back, to the row, in either database", arguments: TestBackend.allCases, TestBackend.allCases)
  func roundTrip(_ from: TestBackend, _ to: TestBackend) async throws {
    try await withDirectory { directory in
      let path = "\(directory)/backup"
      let target = try to.make()
      defer { target.remove() }
      try await withStore(from) { store in
        try await fill(store)
        let before = try await content(store.database)
        let written = try await Backup.write(store.database, to: path, overwrites: false, now: Date())
        #expect(written.auditFault == nil)
        #expect(written.auditHead == (try await store.auditHead()))
        #expect(written.rows == before.values.reduce(0) { $0 + $1.count })
        #expect(try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int == 0o600)
        let restored = try await Backup.restore(from: path, into: settings(target))
        #expect(restored.rows == written.rows && restored.auditHead == written.auditHead && restored.auditFault == nil)
        let database = try open(target)
        #expect(try await content(database) == before)
        // And it is a database to work with: its guards stand, and its chain goes on.
        let copy = SQLStore(database)
        try await copy.setSetting("after", to: "restore")
        var verifier = AuditVerifier()
        for record in try await copy.auditLog(AuditFilter(isAscending: true), Page(limit: Page.limitMax)).items {
          try verifier.check(record)
        }
        try verifier.finish(end: try await copy.auditHead())
        _ = await storageError { try await database.write { try $0.execute("DELETE FROM audit_log", []) } }
        let fake: [SQLValue] = [.integer(1 << 40), .text("0"), .integer(0)]
        let checkpoint = "INSERT INTO audit_checkpoints (through_sequence, hash, removed_at) VALUES ($1, $2, $3)"
        _ = await storageError { try await database.write { try $0.execute(checkpoint, fake) } }
        _ = await storageError { try await copy.createUser(.sample("u0@x.org")) }
        await database.close()
      }
    }
  }

  @Test("A backup is one moment, whatever is written meanwhile", arguments: TestBackend.allCases)
  func snapshot(_ backend: TestBackend) async throws {
    try await withDirectory { directory in
      try await withStore(backend) { store in
        _ = try await store.createRuleSet(.sample("edge"), description: "", editor)
        let writer = Task {
          var n = 0
          while !Task.isCancelled {
            n += 1
            _ = try? await store.updateRuleSet(named: "edge", editor) { [n] draft in
              draft.content.rules = [Rule(name: "r\(n)", action: .drop)]
            }
          }
        }
        for n in 0..<5 {
          let path = "\(directory)/\(n)"
          let report = try await Backup.write(store.database, to: path, overwrites: false, now: Date())
          #expect(report.auditFault == nil)
          // Each revision has its record in the same moment.
          #expect(report.tables["rule_set_revisions"] == report.tables["audit_log"])
          #expect(try Backup.survey(path).report.rows == report.rows)
        }
        writer.cancel()
        await writer.value
      }
    }
  }

  @Test("Nothing is overwritten without being told to: no file, no database", arguments: TestBackend.allCases)
  func careful(_ backend: TestBackend) async throws {
    try await withDirectory { directory in
      let path = "\(directory)/backup"
      try await withStore(backend) { store in
        try await store.setSetting("a", to: "1")
        _ = try await Backup.write(store.database, to: path, overwrites: false, now: Date())
        #expect(
          await failure { try await Backup.write(store.database, to: path, overwrites: false, now: Date()) }
            == .fileExists(path))
        _ = try await Backup.write(store.database, to: path, overwrites: true, now: Date())
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory) == ["backup"])
      }
      let other = try backend.make()
      defer { other.remove() }
      let full = try await Stores.open(settings(other), logger: quiet)
      try await full.setSetting("b", to: "2")
      #expect(await failure { try await Backup.restore(from: path, into: settings(other)) } == .databaseInUse)
      #expect(try await full.settings() == ["b": "2"])
      _ = try await Backup.restore(from: path, into: settings(other), overwrites: true)
      #expect(try await full.settings() == ["a": "1"])
      await full.close()
    }
  }

  @Test("A file that was cut, changed, reordered or is none changes nothing")
  func damaged() async throws {
    try await withDirectory { directory in
      let path = "\(directory)/backup"
      try await withStore(.sqlite) { store in
        try await fill(store)
        _ = try await Backup.write(store.database, to: path, overwrites: false, now: Date())
      }
      let whole = try String(contentsOfFile: path, encoding: .utf8)
      let lines = whole.split(separator: "\n").map(String.init)
      var swapped = lines
      swapped.swapAt(lines.count - 2, lines.count - 3)
      let hostile = [
        "", "\n", "{}", "null\n", "[]\n", String(repeating: "[", count: 100_000), String(whole.dropLast(1)),
        String(whole.prefix(whole.count / 2)), lines.dropLast().joined(separator: "\n") + "\n", whole + "{}\n",
        whole.replacing("edited", with: "edit3d"), swapped.joined(separator: "\n") + "\n",
        lines.filter { !$0.hasPrefix("[\"k1\"") }.joined(separator: "\n") + "\n",
        whole.replacing("\"version\":1", with: "\"version\":2"),
        whole.replacing(Schema.migrations[0].checksum, with: String(repeating: "0", count: 64)),
      ]
      let target = try TestBackend.sqlite.make()
      defer { target.remove() }
      for text in hostile {
        try Data(text.utf8).write(to: URL(fileURLWithPath: "\(directory)/bad"))
        let error = await failure { try await Backup.restore(from: "\(directory)/bad", into: settings(target)) }
        #expect(error != nil, "\(text.prefix(80))")
      }
      #expect(await failure { try await Backup.restore(from: "\(directory)/none", into: settings(target)) } != nil)
      #expect(await failure { try await Backup.restore(from: directory, into: settings(target)) } != nil)
      _ = try await Backup.restore(from: path, into: settings(target))
    }
  }

  @Test("A backup of an older schema is brought up to date")
  func older() async throws {
    try await withDirectory { directory in
      let path = "\(directory)/backup"
      try await withDatabase(.sqlite) { database in
        try await Migrator(Array(Schema.migrations.prefix(3))).run(on: database)
        _ = try await database.write { session in
          try session.execute("INSERT INTO settings (key, value, updated_at) VALUES ('a', 'b', 1)", [])
        }
        _ = try await Backup.write(database, to: path, overwrites: false, now: Date())
      }
      for backend in TestBackend.allCases {
        let target = try backend.make()
        defer { target.remove() }
        _ = try await Backup.restore(from: path, into: settings(target))
        let store = try await Stores.open(settings(target), logger: quiet)
        #expect(try await store.settings() == ["a": "b"])
        _ = try await store.createRuleSet(.sample("edge"), description: "", editor)
        await store.close()
      }
    }
  }

  @Test("A file that changes between its two readings changes nothing, and a pipe is refused", arguments: [TestBackend.sqlite, .postgres])
  func changedMeanwhile(_ backend: TestBackend) async throws {
    try await withDirectory { directory in
      let path = "\(directory)/backup"
      try await withStore(backend) { store in
        try await fill(store)
        _ = try await Backup.write(store.database, to: path, overwrites: false, now: Date())
        let before = try await content(store.database)
        let contents = try Backup.survey(path)
        let lines = try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").map(String.init)
        let other = [
          [], Array(lines.prefix(1)), Array(lines.prefix(lines.count / 2)), Array(lines.dropLast()),
          lines.filter { !$0.hasPrefix("[\"k1\"") },
        ]
        for lines in other {
          try Data(lines.map { $0 + "\n" }.joined().utf8).write(to: URL(fileURLWithPath: path))
          let error = await failure { try await Backup.restore(contents, path, store.database, overwrites: true) }
          #expect(error == .damaged(path: path, reason: "it changed meanwhile"), "\(lines.count) lines")
          #expect(try await content(store.database) == before)
        }
        let pipe = "\(directory)/pipe"
        #expect(mkfifo(pipe, 0o600) == 0)
        let refused = await failure { try await Backup.restore(contents, pipe, store.database, overwrites: true) }
        #expect(refused?.description.contains("no regular file") == true, "\(String(describing: refused))")
      }
    }
  }

  @Test("A backup whose audit log lacks its end says so, and so does whoever restores it")
  func truncatedAuditLog() async throws {
    try await withDirectory { directory in
      try await withStore(.sqlite) { store in
        try await fill(store)
        _ = try await store.database.write { session in
          try session.define("DROP TRIGGER audit_log_stays")
          try session.execute("DELETE FROM audit_log WHERE sequence = (SELECT MAX(sequence) FROM audit_log)", [])
        }
        let path = "\(directory)/backup"
        let report = try await Backup.write(store.database, to: path, overwrites: false, now: Date())
        #expect(report.auditFault?.description.contains("should go on to record") == true, "\(report)")
        #expect(try Backup.survey(path).report.auditFault == report.auditFault)
      }
    }
  }
}

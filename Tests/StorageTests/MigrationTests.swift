import DatabaseSupport
import Foundation
import Testing

@testable import Storage

@Suite(.serialized) struct MigrationTests {
  private let steps = (1...5).map { number in
    Migration(
      number: number, name: "step \(number)",
      statements: ["CREATE TABLE t\(number) (a BIGINT)", "INSERT INTO t\(number) (a) VALUES (\(number))"])
  }

  @Test("The released migrations never change")
  func released() {
    #expect(
      Schema.migrations.map { "\($0.number) \($0.name) \($0.checksum)" } == [
        "1 identity 03f4fefa2916ac994388f14bc29b454aeb07f954af24f9b445cbd2a776940510",
        "2 desired state aad5064d013094341a0ac3abefe0c2d1f5a93f11f290eeceef8cae030949c721",
        "3 captures 198133fcc6e1693a50ff6943a79447e963351f054c816844a5e2b59914101478",
        "4 audit log 45c736dbd91a35b587bda5b30b1380e7ad9d66ce030363285f2b585838662bbf",
        "5 idempotency keys a5de8f37cf3ce0108545a924729ba25f4f1101993c98fffddcf276dbafbad0a9",
        "6 roles and clients 6c94b9c9d107e91abe8e76b6f644f4efc3d662b27daea3f69cb4d6be96c783f6",
        "7 sessions 1187fb1c9fd1e9585c19ba6451a3be29883230dfb875497daceec028d9dd28f5",
        "8 second factors d610a63454ef71856dc66cf56af701a281ecc1f6a3e106f2c48f8027ef462c9e",
        "9 teams 37ae7a871e70dc083fd6e4a8016f9b029e73faa4cbbc7badc75848632cd400c0",
        "10 approvals 0e40a9878d01643c405d307a8bbfb45ea4bac8ab5c8343ce2e5131b3fef24b41",
        "11 events fc222a9f6eb9dd0bc38713d59e712c9f0a447c14205e0fb694de29c5afd53893",
        "12 ended sessions fe9b903b2c42e29e4031b0823f98314045cf9e1d8c7a81b47a611839c6c5db20",
        "13 roles of clients d301a7a188f7962b763a7395f43cc1bb08039b4613ce6fce99df4d0c084a8311",
        "14 webhooks 8e759e367020edfe43d8b15752f9d9f63a1b272a47d38caff9855b1cc1a1ffc8",
        "15 ids of accounts fa470a249eeaa17f89d66ea19eada51d2b5084e33dcbe7e8ea87d3e3d8bd8e52",
        "16 contents of revisions last e42b9c3787d1b54a6580c6c3b0bd7d909e51352a035eb5a5658eec295e355c10",
        "17 credential events 7e70b5405e2b339e5094595a8c773a68a584adfbbe46ea3c6cb62cd0d3c7a9b6",
        "18 contents of revisions as differences e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "19 accounts behind clients ff78cca3ffd288bce54f9a587bbc3e6ff19da4d082a8de7531de46be2940f6a9",
      ])
  }

  @Test("In SQLite nothing stands behind the content of a revision, and revisions of the schema before are kept")
  func contentLast() async throws {
    try await withDatabase(.sqlite) { database in
      try await Migrator(Array(Schema.migrations.prefix(15))).run(on: database)
      let columns = "number, author_id, author_email, reason, description, rule_count, default_action, content, created_at"
      let row: [SQLValue] = [
        .integer(7), .null, .text("a@example.net"), .text("why"), .text("what"), .integer(3), .text("drop"), .text("{}"),
        .integer(11),
      ]
      try await database.write { session in
        try session.execute("INSERT INTO rule_sets (id, name, revision, created_at) VALUES ('s', 'edge', 7, 1)", [])
        try session.execute(
          "INSERT INTO rule_set_revisions (rule_set_id, \(columns)) VALUES ('s', $1, $2, $3, $4, $5, $6, $7, $8, $9)", row)
      }
      try await Migrator(Schema.migrations).run(on: database)
      try await database.read { session in
        #expect(try session.rows("SELECT \(columns) FROM rule_set_revisions WHERE rule_set_id = 's'", []) == [row])
        let names = try session.all("SELECT name FROM pragma_table_info('rule_set_revisions') ORDER BY cid", []) {
          row throws(StorageError) in try row.text()
        }
        #expect(names.last == "content" && names.count == 10)
      }
      try await database.write { try $0.execute("DELETE FROM rule_sets", []) }
      #expect(try await database.read { try $0.count("SELECT COUNT(*) FROM rule_set_revisions", []) } == 0)
    }
  }

  @Test("Migrations run once, in order, and continue where the last program stopped", arguments: TestBackend.allCases)
  func continued(_ backend: TestBackend) async throws {
    try await withDatabase(backend) { database in
      let early = try await Migrator(Array(steps.prefix(2))).run(on: database)
      #expect(early == [1, 2])
      #expect(try await Migrator(steps).run(on: database) == [3, 4, 5])
      #expect(try await Migrator(steps).run(on: database) == [])
      #expect(try await database.read { try $0.count("SELECT COUNT(*) FROM t5", []) } == 1)
    }
  }

  @Test("Programs that start together apply each migration once", arguments: TestBackend.allCases)
  func concurrent(_ backend: TestBackend) async throws {
    let test = try backend.make()
    defer { test.remove() }
    let databases = try (0..<6).map { _ in try open(test) }
    let applied = try await withThrowingTaskGroup(of: [Int].self) { group in
      for database in databases { group.addTask { [steps] in try await Migrator(steps).run(on: database) } }
      return try await group.reduce(into: []) { $0 += $1 }
    }
    #expect(applied.sorted() == [1, 2, 3, 4, 5])
    for database in databases { await database.close() }
  }

  @Test("Stores that open together all open", arguments: TestBackend.allCases)
  func concurrentOpen(_ backend: TestBackend) async throws {
    let test = try backend.make()
    defer { test.remove() }
    var settings = try DatabaseSettings(environment: test.environment)
    settings.retryDelay = .milliseconds(20)
    let stores = try await withThrowingTaskGroup(of: (any Store).self) { [settings] group in
      for _ in 0..<6 { group.addTask { try await Stores.open(settings, logger: quiet) } }
      return try await group.reduce(into: []) { $0.append($1) }
    }
    for store in stores {
      try await store.ping(timeout: .seconds(10))
      await store.close()
    }
  }

  @Test("An applied migration that was edited is an error that names it", arguments: TestBackend.allCases)
  func edited(_ backend: TestBackend) async throws {
    try await withDatabase(backend) { database in
      try await Migrator(steps).run(on: database)
      var edited = steps
      edited[2] = Migration(number: 3, name: "step 3", statements: ["CREATE TABLE t3 (a BIGINT, b BIGINT)"])
      #expect(
        await storageError { try await Migrator(edited).run(on: database) }
          == .migration(.changed(number: 3, name: "step 3")))
    }
  }

  @Test("A tampered checksum is an error at the next start", arguments: TestBackend.allCases)
  func tampered(_ backend: TestBackend) async throws {
    let test = try backend.make()
    defer { test.remove() }
    let settings = try DatabaseSettings(environment: test.environment)
    let store = try await Stores.open(settings, logger: quiet)
    _ = try await (store as? SQLStore)?.database.write { session in
      try session.execute("UPDATE schema_migrations SET checksum = $1 WHERE number = 2", [.text("0")])
    }
    await store.close()
    let error = await storageError { try await Stores.open(settings, logger: quiet) }
    #expect(error == .migration(.changed(number: 2, name: "desired state")))
    #expect(error?.description.contains("migration 2 (desired state)") == true)
  }

  @Test("A database of a newer program is refused", arguments: TestBackend.allCases)
  func newer(_ backend: TestBackend) async throws {
    try await withDatabase(backend) { database in
      try await Migrator(steps).run(on: database)
      #expect(
        await storageError { try await Migrator(Array(steps.prefix(4))).run(on: database) }
          == .migration(.unknown(number: 5, name: "step 5")))
    }
  }

  @Test("A failing migration leaves nothing of itself and everything before it", arguments: TestBackend.allCases)
  func failing(_ backend: TestBackend) async throws {
    try await withDatabase(backend) { database in
      var broken = steps
      broken[1] = Migration(
        number: 2, name: "broken", statements: ["CREATE TABLE t2 (a BIGINT)", "INSERT INTO nowhere (a) VALUES (1)"])
      let error = await storageError { try await Migrator(broken).run(on: database) }
      guard case .migration(.failed(2, "broken", 2, _)) = error else {
        Issue.record("unexpected \(String(describing: error))")
        return
      }
      let rest = try await Migrator(steps).run(on: database)
      #expect(rest == [2, 3, 4, 5])
    }
  }
}

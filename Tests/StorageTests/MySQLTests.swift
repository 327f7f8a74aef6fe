import DatabaseSupport
import Foundation
import Rules
import Testing

@testable import Storage

@Suite struct MySQLTextTests {
  @Test("Arguments stand in place of their parameters; what is quoted stays, also in an argument")
  func parameters() {
    func text(_ sql: String, _ arguments: SQLValue...) -> String {
      let bytes = MySQLStatement.text(sql, arguments) { $1 += "<\($0)>".utf8 }
      return String(decoding: bytes, as: UTF8.self)
    }
    #expect(
      text("SELECT '$1', \"$2\", $2, $1 FROM t WHERE b=$1 AND c = '''$3'", .text("$2'"), .integer(-7))
        == "SELECT '$1', \"$2\", -7, <$2'> FROM t WHERE b=<$2'> AND c = '''$3'")
    #expect(text("$") == "$" && text("") == "" && text("VALUES ($1)", .null) == "VALUES (NULL)")
  }

  @Test("Hostile texts and the ends of the numbers come back as they were, beside one another")
  func values() async throws {
    let texts = [
      "", "'", "''", "\\", "\\'", "\\\\", "'; DROP TABLE v; --", "$1", "/* */ -- #", "\"", "`", "\u{1A}\n\r\t%_", "?",
      "ß\u{FF07}€😀",
    ]
    let rows: [[SQLValue]] = texts.enumerated().map { id, text in
      [.text(text), .integer(id.isMultiple(of: 2) ? .min : .max), id.isMultiple(of: 2) ? .null : .text("'\(text)")]
    }
    try await withDatabase(.mysql) { database in
      try await database.write { session in
        try session.define("CREATE TABLE v (id BIGINT PRIMARY KEY, a TEXT, n BIGINT, b TEXT) \(MySQLDefinition.options)")
        for (id, row) in rows.enumerated() {
          try session.execute("INSERT INTO v (a, n, b, id) VALUES ($1, $2, $3, $4)", row + [.integer(Int64(id))])
        }
      }
      try await database.read { session in
        #expect(try session.rows("SELECT a, n, b FROM v ORDER BY id", []) == rows)
        for text in texts where text != "" && text.last?.isWhitespace == false {
          let found = try session.rows("SELECT a FROM v WHERE a = $1", [.text(text)])
          #expect(found == [[.text(text)]])
        }
      }
    }
  }

  @Test("Texts in keys get a length, others none; everything can run again")
  func definitions() {
    let translated = MySQLDefinition.translate([
      """
      CREATE TABLE t (
        id TEXT PRIMARY KEY,
        key TEXT NOT NULL REFERENCES u (id) ON DELETE CASCADE,
        a TEXT, b TEXT NOT NULL DEFAULT 'x,y', n BIGINT NOT NULL CHECK (n IN (0, 1)),
        PRIMARY KEY (a, n),
        CHECK ((a IS NULL) <> (b IS NULL)))
      """,
      "CREATE UNIQUE INDEX t__b ON t (n, b)", "ALTER TABLE t ADD COLUMN c TEXT NOT NULL DEFAULT 'global'",
      "INSERT INTO t (id) VALUES ('head')",
    ])
    #expect(
      translated == [
        "CREATE TABLE IF NOT EXISTS t (\"id\" VARCHAR(255) PRIMARY KEY, "
          + "\"key\" VARCHAR(255) NOT NULL REFERENCES u (id) ON DELETE CASCADE, \"a\" VARCHAR(255), "
          + "\"b\" VARCHAR(255) NOT NULL DEFAULT 'x,y', \"n\" BIGINT NOT NULL CHECK (n IN (0, 1)), "
          + "PRIMARY KEY (\"a\", \"n\"), CHECK ((a IS NULL) <> (b IS NULL))) \(MySQLDefinition.options)",
        "CREATE UNIQUE INDEX IF NOT EXISTS t__b ON t (\"n\", \"b\")",
        "ALTER TABLE t ADD COLUMN IF NOT EXISTS \"c\" LONGTEXT NOT NULL DEFAULT 'global'",
        "INSERT IGNORE INTO t (id) VALUES ('head')",
      ])
  }

  @Test("Failures say what to do")
  func failures() {
    func error(_ code: UInt32, _ message: String = "", _ state: String = "HY000") -> StorageError {
      MySQLFailure(code: code, state: state, message: message).storageError
    }
    #expect(error(1062, "Duplicate entry 'it''s for key 'x__y'' for key 'users__email'") == .conflict(field: "email"))
    #expect(error(1062, "Duplicate entry 'a' for key 'PRIMARY'") == .conflict(field: "id"))
    #expect(error(1062, "") == .conflict(field: "id"))
    for code in [1213, 1205, 1047, 2006, 2013, 1053, 1969, 1290, 1114, 1040] as [UInt32] {
      #expect(isUnavailable(error(code)), "\(code)")
    }
    #expect(isUnavailable(error(1030, "Got error 28 \"No space left on device\" from storage engine InnoDB")))
    #expect(error(1030, "Got error 22", "HY000") == .failed(code: "HY000", message: "Got error 22"))
    #expect("\(error(1419))".contains("log_bin_trust_function_creators"))
    #expect("\(error(1153))".contains("max_allowed_packet"))
  }
}

/// On servers of their own where they stop them.
@Suite(.serialized) struct MySQLTests {
  private func withStarted(
    _ environment: [String: String], _ body: (any Store) async throws -> Void
  ) async throws {
    let store = try await Stores.open(DatabaseSettings(environment: environment), logger: quiet)
    do { try await body(store) } catch {
      await store.close()
      throw error
    }
    await store.close()
  }

  @Test("A killed server makes calls unavailable and loses nothing; once it is back, so is the store")
  func killAndRestart() async throws {
    let server = try MariaDBServer()
    defer { server.remove() }
    let test = try TestDatabase(on: server)
    let store = try await Stores.open(DatabaseSettings(environment: test.environment), logger: quiet)
    try await store.setSetting("k", to: "committed")
    let database = try open(test)
    let wrote = Latch(), killed = Latch()
    let writer = Task {
      try await database.write { session in
        try session.execute("UPDATE settings SET value = $1", [.text("not committed")])
        wrote.open()
        killed.wait()
        try session.execute("UPDATE settings SET value = $1", [.text("nor this")])
      }
    }
    try await eventually("the transaction did not start") { wrote.isOpen }
    server.kill()
    killed.open()
    #expect(await storageError { try await writer.value }.map(isUnavailable) == true)
    for _ in 0..<8 { #expect(await storageError { try await store.setting("k") }.map(isUnavailable) == true) }
    #expect(await storageError { try await store.ping(timeout: .seconds(5)) }.map(isUnavailable) == true)
    try server.start()
    #expect(try await store.setting("k") == "committed")
    try await store.ping(timeout: .seconds(10))
    #expect(store.poolState.inUse == 0 && store.poolState.waiting == 0)
    await database.close()
    await store.close()
  }

  @Test("Connections that the server dropped are replaced without an error")
  func droppedConnections() async throws {
    try await withStore(.mysql) { store in
      for _ in 0..<3 {
        try await withThrowingTaskGroup(of: Void.self) { group in
          for index in 0..<4 { group.addTask { try await store.setSetting("k", to: "\(index)") } }
          try await group.waitForAll()
        }
        try MariaDBServer.shared().run("KILL USER '\(MariaDBServer.user)'@'127.0.0.1'")
        for _ in 0..<4 { #expect(try await store.setting("k") != nil) }
      }
    }
  }

  @Test("What a deadlock undid is not taken for committed, and nothing behind it commits by itself")
  func hiddenFailure() async throws {
    try await withStore(.mysql) { store in
      let error = await storageError {
        try await store.database.write { session in
          try session.execute("UPDATE guards SET version = 9", [])
          // As a deadlock ends: the transaction is gone.
          do { try session.define("SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213") } catch {}
          _ = try? session.execute("UPDATE guards SET version = 8", [])
        }
      }
      #expect(error.map(isUnavailable) == true)
      let version = try await store.database.read { try $0.count("SELECT version FROM guards", []) }
      #expect(version == 0)
    }
  }

  @Test("More statements than a connection keeps prepared still run, and a long text comes back")
  func manyStatements() async throws {
    try await withDatabase(.mysql, poolSize: 1) { database in
      for _ in 0..<2 {
        let sum = try await database.read { session in
          try (0..<300).reduce(0) { $0 + (try session.count("SELECT \($1) + $1", [.integer(1)])) }
        }
        #expect(sum == 300 * 299 / 2 + 300)
      }
      let long = String(repeating: "aä😀", count: 1 << 20)
      let rows = try await database.read { try $0.rows("SELECT $1, $2, NULL, $2", [.text(long), .integer(.min)]) }
      #expect(rows == [[.text(long), .integer(.min), .null, .integer(.min)]])
      // More than max_allowed_packet: refused before it costs the connection.
      let huge = String(repeating: "x", count: 65 << 20)
      let error = await storageError { try await database.read { try $0.rows("SELECT $1", [.text(huge)]) } }
      #expect(error?.description.contains("max_allowed_packet") == true)
    }
  }

  @Test("The start waits for a late server, and gives up at once where waiting is in vain")
  func start() async throws {
    var environment = [
      "DB_TYPE": "mysql", "DB_HOST": "127.0.0.1", "DB_PORT": "1", "DB_MAX_RETRIES": "3", "DB_RETRY_DELAY": "0",
    ]
    let refused = await storageError {
      try await Stores.open(DatabaseSettings(environment: environment), logger: quiet)
    }
    #expect(refused.map(isUnavailable) == true)
    let server = try MariaDBServer.shared()
    environment["DB_PORT"] = "\(server.port)"
    environment["DB_USER"] = MariaDBServer.user
    let cases: [(change: [String: String], remedy: String)] = [
      (["DB_PASS": "wrong"], "DB_PASS"), ([:], "DB_PASS"), (["DB_USER": "nobody", "DB_PASS": "x"], "DB_PASS"),
      (["DB_PASS": MariaDBServer.password, "DB_NAME": "test_missing' db"], "DB_NAME"),
      (["DB_PASS": MariaDBServer.password, "DB_NAME": "mysql"], "grant DB_USER"),
    ]
    for (change, remedy) in cases {
      let environment = environment.merging(change) { $1 }
      let error = await storageError {
        try await Stores.open(DatabaseSettings(environment: environment), logger: quiet)
      }
      guard case .misconfigured(let reason, let said) = error else {
        Issue.record("\(change): unexpected \(String(describing: error))")
        continue
      }
      #expect(said.contains(remedy) && !reason.contains("wo\\rd"))
    }
  }

  @Test("DB_HOST may be the folder of a unix socket, or the socket")
  func unixSocket() async throws {
    let test = try TestBackend.mysql.make()
    defer { test.remove() }
    let directory = try MariaDBServer.shared().socketDirectory
    for host in [directory, "\(directory)/mysqld.sock", "localhost"] {
      let environment = test.environment.merging(["DB_HOST": host]) { $1 }
      try await withStarted(environment) { try await $0.ping(timeout: .seconds(10)) }
    }
  }

  @Test("TLS: required, and the server's certificate verified")
  func encrypted() async throws {
    let server = try MariaDBServer.withTLS()
    defer { server.remove() }
    let test = try TestDatabase(on: server)
    try server.run("ALTER USER '\(MariaDBServer.user)'@'127.0.0.1' REQUIRE SSL")
    func open(_ change: [String: String]) async -> StorageError? {
      do {
        try await withStarted(test.environment.merging(change) { $1 }) { try await $0.ping(timeout: .seconds(10)) }
        return nil
      } catch { return error as? StorageError }
    }
    let authority = "\(server.socketDirectory)/ca.pem", stranger = "\(server.socketDirectory)/other.pem"
    #expect(await open(["DB_TLS": "off"]) != nil)
    #expect(await open(["DB_TLS": "require"]) == nil)
    #expect(await open(["DB_TLS": "verify", "DB_HOST": "localhost", "DB_TLS_CA": authority]) == nil)
    #expect(await open(["DB_TLS": "verify", "DB_HOST": "localhost", "DB_TLS_CA": stranger]) != nil)
    #expect(await open(["DB_TLS": "verify", "DB_HOST": "localhost", "DB_TLS_CA": "\(authority).none"]) != nil)
  }

  @Test("A migration that was cut in the middle is taken up again")
  func cutMigration() async throws {
    let whole = Migration(
      number: 1, name: "one",
      statements: [
        "CREATE TABLE t (id TEXT PRIMARY KEY, a TEXT)", "INSERT INTO t (id, a) VALUES ('x', 'y')",
        "CREATE INDEX t_by_id ON t (id, a)", "ALTER TABLE t ADD COLUMN b BIGINT",
      ])
    for count in 0...4 {
      try await withDatabase(.mysql) { database in
        try await database.write { session in
          for statement in whole.statements(for: .mysql).prefix(count) { try session.define(statement) }
        }
        #expect(try await Migrator([whole]).run(on: database) == [1])
        let rows = try await database.read { try $0.rows("SELECT id, a, b FROM t", []) }
        #expect(rows == [[.text("x"), .text("y"), .null]])
      }
    }
  }

  @Test("A restore that was cut leaves a database that is refused until one has succeeded")
  func cutRestore() async throws {
    let directory = try TestDatabase.directory()
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let path = "\(directory)/backup"
    try await withStore(.sqlite) { store in
      try await store.setSetting("k", to: "v")
      _ = try await Backup.write(store.database, to: path, overwrites: false, now: Date())
    }
    let test = try TestBackend.mysql.make()
    defer { test.remove() }
    let settings = try DatabaseSettings(environment: test.environment)
    try await withStarted(test.environment) { store in
      try await (store as? SQLStore)?.database.write { session in
        try session.define("CREATE TABLE \(MySQLDefinition.restorePending) (since BIGINT PRIMARY KEY)")
        try session.define("DROP TABLE team_members")
      }
    }
    let error = await storageError { try await Stores.open(settings, logger: quiet) }
    #expect(error?.description.contains("restore again") == true)
    #expect(await storageError { try await Backup.write(settings, to: "\(directory)/other") } != nil)
    _ = try await Backup.restore(from: path, into: settings)
    try await withStarted(test.environment) { store in
      let restored = try await store.settings()
      #expect(restored == ["k": "v"])
    }
  }

  @Test("A lock of a program that died is free when its time is over; a living one keeps it")
  func leases() async throws {
    let test = try TestBackend.mysql.make()
    defer { test.remove() }
    let one = try open(test), two = try open(test)
    try await one.holding("node a") {
      // What another program would have written.
      let taken = try await two.write { session in
        try session.execute("UPDATE leases SET holder = 'dead', expires_at = expires_at - 20500", [])
      }
      #expect(taken == 1)
      let start = ContinuousClock.now
      try await two.holding("node a") { #expect(ContinuousClock.now - start < .seconds(10)) }
    }
    await one.close()
    await two.close()
  }

  @Test("Two nodes of a cluster: a conflict is repeated, a node without a quorum is not ready")
  func galera() async throws {
    let (first, second) = try MariaDBServer.cluster()
    defer {
      first.remove()
      second.remove()
    }
    let test = try TestDatabase(on: first)
    let other = test.environment.merging(["DB_PORT": "\(second.port)"]) { $1 }
    try await withStarted(test.environment) { here in
      try await withStarted(other) { there in
        _ = try await here.createRuleSet(.sample("edge"), description: "", editor)
        // Each editor writes to both nodes: certification refuses one of two that meet, and it runs again.
        let made = try await withThrowingTaskGroup(of: Int.self) { group in
          for (n, store) in [here, there].enumerated() {
            group.addTask {
              var count = 0
              for index in 0..<30 {
                do {
                  _ = try await store.updateRuleSet(named: "edge", editor) { draft in
                    draft.content.rules.append(.init(name: "r\(n)-\(index)", action: .drop))
                  }
                  count += 1
                } catch let error as StorageError where isUnavailable(error) {}
              }
              return count
            }
          }
          return try await group.reduce(0, +)
        }
        let edge = try await there.ruleSet(named: "edge")
        #expect(made >= 50, "most got through")
        #expect(Int(edge.revision) == made + 1 && edge.content.rules.count == made, "none twice, none lost")
        #expect(try await here.ruleSet(named: "edge") == edge)
        #expect(Int(try await here.auditHead().sequence) == made + 1)
        try await count(on: [here, there])
        try await here.ping(timeout: .seconds(10))
        second.kill()
        try await eventually("the node without a quorum is still ready") {
          do { try await here.ping(timeout: .seconds(10)) } catch { return "\(error)".contains("wsrep_ready") }
          return false
        }
        try first.run("SET GLOBAL wsrep_provider_options = 'pc.bootstrap=1'")
        try await eventually("the node is not ready again") {
          (try? await here.ping(timeout: .seconds(10))) != nil
        }
        #expect(try await here.ruleSet(named: "edge") == edge)
      }
    }
  }

  /// A transaction that the other node's ends, at whichever of its statements, runs again whole.
  private func count(on stores: [any Store]) async throws {
    let databases = try stores.map { try #require($0 as? SQLStore).database }
    try await databases[0].write { session in
      try session.define("CREATE TABLE counter (id BIGINT PRIMARY KEY, n BIGINT NOT NULL)")
      try session.define("CREATE TABLE counted (n BIGINT PRIMARY KEY)")
      try session.define("INSERT INTO counter (id, n) VALUES (1, 0)")
    }
    let made = try await withThrowingTaskGroup(of: Int.self) { group in
      for database in databases {
        group.addTask {
          var made = 0
          for _ in 0..<1000 {
            do {
              try await database.write { session in
                try session.execute("UPDATE counter SET n = n + 1 WHERE id = 1", [])
                let n = try session.rows("SELECT n FROM counter", [])[0]
                try session.execute("INSERT INTO counted (n) VALUES ($1)", n)
              }
              made += 1
            } catch let error as StorageError where isUnavailable(error) {}
          }
          return made
        }
      }
      return try await group.reduce(0, +)
    }
    let rows = try await databases[1].read { session in
      try session.rows("SELECT n, (SELECT COUNT(*) FROM counted) FROM counter", [])
    }
    #expect(made >= 1000 && rows == [[.integer(Int64(made)), .integer(Int64(made))]], "\(made) of 2000: \(rows)")
  }
}

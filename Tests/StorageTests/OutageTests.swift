import DatabaseSupport
import Foundation
import Logging
import Synchronization
import Testing

@testable import Storage

/// On a server of their own, since they stop it.
@Suite(.serialized) struct OutageTests {
  @Test("A killed server makes calls unavailable; once it is back, so is the store")
  func killAndRestart() async throws {
    let server = try PostgresServer()
    defer { server.remove() }
    let test = try TestDatabase(on: server)
    let store = try await Stores.open(DatabaseSettings(environment: test.environment), logger: quiet)
    try await store.setSetting("k", to: "committed")
    try server.kill()
    for _ in 0..<8 {
      #expect(await storageError { try await store.setting("k") }.map(isUnavailable) == true)
    }
    #expect(await storageError { try await store.ping(timeout: .seconds(5)) }.map(isUnavailable) == true)
    try server.start()
    #expect(try await store.setting("k") == "committed")
    try await store.ping(timeout: .seconds(10))
    #expect(store.poolState.inUse == 0 && store.poolState.waiting == 0)
    await store.close()
  }

  @Test("A transaction that the server dies under is not committed, and its connection not used again")
  func killedMidway() async throws {
    let server = try PostgresServer()
    defer { server.remove() }
    let test = try TestDatabase(on: server)
    let database = try open(test)
    let store = SQLStore(database)
    try await Migrator(Schema.migrations).run(on: database)
    let wrote = Latch(), killed = Latch()
    let writer = Task {
      try await database.write { session in
        try session.execute(
          "INSERT INTO settings (key, value, updated_at) VALUES ($1, $2, $3)", [.text("k"), .text("v"), .integer(0)])
        wrote.open()
        killed.wait()
        try session.execute("UPDATE settings SET value = $1", [.text("w")])
      }
    }
    try await eventually("the transaction did not start") { wrote.isOpen }
    try server.kill()
    killed.open()
    #expect(await storageError { try await writer.value }.map(isUnavailable) == true)
    try server.start()
    #expect(try await store.settings() == [:])
    await store.close()
  }

  @Test("Connections that the server dropped are replaced without an error")
  func droppedConnections() async throws {
    let test = try TestBackend.postgres.make()
    defer { test.remove() }
    let name = try #require(test.environment["DB_NAME"])
    let store = try await Stores.open(DatabaseSettings(environment: test.environment), logger: quiet)
    for _ in 0..<3 {
      try await withThrowingTaskGroup(of: Void.self) { group in
        for index in 0..<4 { group.addTask { try await store.setSetting("k", to: "\(index)") } }
        try await group.waitForAll()
      }
      try PostgresServer.shared().run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '\(name)'")
      for _ in 0..<4 { #expect(try await store.setting("k") != nil) }
    }
    await store.close()
  }

  @Test("Transactions that deadlock are repeated, and all commit", arguments: [TestBackend.postgres, .mysql])
  func deadlock(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      for key in ["a", "b"] { try await store.setSetting(key, to: "") }
      let append = #"UPDATE settings SET value = value || $2 WHERE "key" = $1"#
      let latches = ["a": Latch(), "b": Latch()]
      try await withThrowingTaskGroup(of: Void.self) { group in
        for (mine, other) in [("a", "b"), ("b", "a")] {
          group.addTask {
            try await store.database.write { session in
              try session.execute(append, [.text(mine), .text(mine)])
              let isFirstRun = latches[mine]?.isOpen == false
              latches[mine]?.open()
              if isFirstRun { latches[other]?.wait() }
              try session.execute(append, [.text(other), .text(mine)])
            }
          }
        }
        try await group.waitForAll()
      }
      #expect(try await store.settings().values.map { String($0.sorted()) } == ["ab", "ab"])
    }
  }

  @Test("A transaction that hid a failed statement is not taken for committed")
  func hiddenFailure() async throws {
    try await withDatabase(.postgres) { database in
      try await Migrator(Schema.migrations).run(on: database)
      let error = await storageError {
        try await database.write { session in
          try session.execute("UPDATE guards SET version = 9", [])
          _ = try? session.execute("SELECT no_such_column FROM guards", [])
        }
      }
      #expect(error == .failed(code: "25P02", message: "the transaction was rolled back"))
      #expect(try await database.read { try $0.count("SELECT COUNT(*) FROM guards WHERE version = 9", []) } == 0)
    }
  }

  @Test("More statements than a connection keeps prepared still run")
  func manyStatements() async throws {
    try await withDatabase(.postgres, poolSize: 1) { database in
      for round in 0..<2 {
        let sum = try await database.read { session in
          try (0..<300).reduce(0) { $0 + (try session.count("SELECT \($1) + $1::int", [.integer(1)])) }
        }
        #expect(sum == 300 * 299 / 2 + 300, "round \(round)")
      }
    }
  }

  @Test("More statements than a connection keeps prepared still run behind others that wait to go together")
  func manyStatementsTogether() async throws {
    try await withDatabase(.postgres, poolSize: 1) { database in
      try await Migrator(Schema.migrations).run(on: database)
      let sum = try await database.write { session in
        for number in 0..<255 { _ = try session.count("SELECT \(number) + $1::int", [.integer(1)]) }
        var sum = 0
        for number in 0..<3 {
          try session.executeLater("UPDATE guards SET version = version + $1 + \(number) - \(number)", [.integer(1)])
          sum += try session.count("SELECT 1000 + \(number) + $1::int", [.integer(1)])
        }
        return sum
      }
      #expect(sum == 3006)
    }
  }

  @Test("A read is itself again on a connection whose last write was overtaken again and again")
  func overtaken() async throws {
    try await withDatabase(.mysql, poolSize: 1) { database in
      let error = await storageError {
        try await database.write { try $0.define("SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213") }
      }
      #expect(error.map(isUnavailable) == true)
      let answers = try await database.query([SQLQuery(sql: "SELECT $1 + 1", arguments: [.integer(41)])])
      #expect(try answers.map { try $0.get() } == [[[.integer(42)]]])
    }
  }

  @Test("The start waits for a database that comes late, and says so without secrets")
  func lateStart() async throws {
    let server = try PostgresServer()
    defer { server.remove() }
    let test = try TestDatabase(on: server)
    try server.kill()
    var settings = try DatabaseSettings(environment: test.environment)
    settings.retriesMax = 1000
    settings.retryDelay = .milliseconds(5)
    let lines = Lines()
    let logger = Logger(label: "test") { _ in lines.handler }
    let opening = Task { [settings] in try await Stores.open(settings, logger: logger) }
    try await eventually("no attempt was logged") { lines.all.count >= 3 }
    try server.start()
    let store = try await opening.value
    try await store.ping(timeout: .seconds(10))
    await store.close()
    #expect(lines.all.allSatisfy { !$0.contains("wo\\rd") && $0.contains(PostgresServer.user) })
    #expect(lines.all.last?.contains("database ready") == true)
  }

  @Test("The start gives up after the retries, and at once where waiting is in vain")
  func givesUp() async throws {
    var environment = [
      "DB_TYPE": "postgresql", "DB_HOST": "127.0.0.1", "DB_PORT": "1", "DB_MAX_RETRIES": "3", "DB_RETRY_DELAY": "0",
    ]
    let lines = Lines()
    let logger = Logger(label: "test") { _ in lines.handler }
    let refused = await storageError {
      try await Stores.open(DatabaseSettings(environment: environment), logger: logger)
    }
    #expect(refused.map(isUnavailable) == true)
    #expect(lines.all.count == 3)
    let server = try PostgresServer.shared()
    environment["DB_PORT"] = "\(server.port)"
    environment["DB_USER"] = PostgresServer.user
    let cases: [(change: [String: String], remedy: String)] = [
      (["DB_PASS": "wrong"], "DB_PASS"), ([:], "DB_PASS"), (["DB_USER": "nobody", "DB_PASS": "x"], "DB_PASS"),
      (["DB_PASS": PostgresServer.password, "DB_NAME": "missing' db"], "DB_NAME"),
    ]
    for (change, remedy) in cases {
      let environment = environment.merging(change) { $1 }
      let error = await storageError {
        try await Stores.open(DatabaseSettings(environment: environment), logger: logger)
      }
      guard case .misconfigured(_, let said) = error else {
        Issue.record("\(change): unexpected \(String(describing: error))")
        continue
      }
      #expect(said.contains(remedy))
    }
    #expect(lines.all.count == 3, "no retry")
  }

  @Test("A role without rights on the schema is told what to grant")
  func noRights() async throws {
    let test = try TestBackend.postgres.make()
    defer { test.remove() }
    let server = try PostgresServer.shared()
    let role = "weak_\(UUID().uuidString.lowercased().prefix(8))"
    try server.run("CREATE ROLE \(role) LOGIN PASSWORD 'x'")
    let environment = test.environment.merging(["DB_USER": role, "DB_PASS": "x"]) { $1 }
    let error = await storageError {
      try await Stores.open(DatabaseSettings(environment: environment), logger: quiet)
    }
    guard case .misconfigured(_, let remedy) = error else {
      Issue.record("unexpected \(String(describing: error))")
      return
    }
    #expect(remedy.contains("grant DB_USER"))
    try server.run("DROP ROLE \(role)")
  }

  @Test("DB_HOST may be the directory of a unix socket")
  func unixSocket() async throws {
    let test = try TestBackend.postgres.make()
    defer { test.remove() }
    let directory = try PostgresServer.shared().socketDirectory
    let environment = test.environment.merging(["DB_HOST": directory]) { $1 }
    let store = try await Stores.open(DatabaseSettings(environment: environment), logger: quiet)
    try await store.ping(timeout: .seconds(10))
    await store.close()
  }

  @Test("A cancelled start ends")
  func cancelledStart() async throws {
    let settings = DatabaseSettings(
      backend: .postgres(DatabaseServer(host: "127.0.0.1", port: 1, database: "x", user: "x")), retriesMax: 1000,
      retryDelay: .seconds(3600))
    let lines = Lines()
    let logger = Logger(label: "test") { _ in lines.handler }
    let opening = Task { try await Stores.open(settings, logger: logger) }
    try await eventually("no attempt was logged") { !lines.all.isEmpty }
    opening.cancel()
    await #expect(throws: CancellationError.self) { try await opening.value }
  }
}

/// The lines that a logger wrote.
final class Lines: Sendable {
  private let lines = Mutex<[String]>([])

  var all: [String] { lines.withLock { $0 } }
  var handler: any LogHandler { Handler(lines: self) }

  private struct Handler: LogHandler {
    let lines: Lines
    var metadata: Logger.Metadata = [:]
    var logLevel: Logger.Level = .trace

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
      get { metadata[key] }
      set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
      lines.lines.withLock { $0.append("\(event.message) \(event.metadata ?? [:])") }
    }
  }
}

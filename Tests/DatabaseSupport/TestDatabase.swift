import Foundation

/// The databases that every storage test runs on.
public enum TestBackend: String, CaseIterable, Sendable {
  case sqlite, postgres, mysql

  /// A new, empty database of its own.
  public func make() throws -> TestDatabase {
    switch self {
    case .sqlite: try TestDatabase(sqliteIn: TestDatabase.directory())
    case .postgres: try TestDatabase(on: PostgresServer.shared())
    case .mysql: try TestDatabase(on: MariaDBServer.shared())
    }
  }
}

/// One empty database, named by the DB_* environment variables as the programs read them.
///
/// The owner calls ``remove()``.
public struct TestDatabase: Sendable {
  /// DB_TYPE and what belongs to it.
  public let environment: [String: String]
  private let drop: @Sendable () -> Void

  public init(on server: PostgresServer) throws {
    let name = Self.newName()
    try server.run("CREATE DATABASE \(name)")
    // Best effort: a test may have stopped the server.
    drop = { _ = try? server.run("DROP DATABASE IF EXISTS \(name) WITH (FORCE)") }
    environment = [
      "DB_TYPE": "postgresql", "DB_HOST": PostgresServer.host, "DB_PORT": "\(server.port)", "DB_NAME": name,
      "DB_USER": PostgresServer.user, "DB_PASS": PostgresServer.password, "DB_POOL_SIZE": "4",
    ]
  }

  public init(on server: MariaDBServer) throws {
    let name = Self.newName()
    try server.run("CREATE DATABASE \(name)")
    // Best effort, as above; a transaction that is still open would be waited for.
    drop = { _ = try? server.run("SET lock_wait_timeout = 1; DROP DATABASE IF EXISTS \(name)") }
    environment = [
      "DB_TYPE": "mysql", "DB_HOST": MariaDBServer.host, "DB_PORT": "\(server.port)", "DB_NAME": name,
      "DB_USER": MariaDBServer.user, "DB_PASS": MariaDBServer.password, "DB_POOL_SIZE": "4",
    ]
  }

  private static func newName() -> String { "test_\(UUID().uuidString.lowercased().replacing("-", with: ""))" }

  /// A file `sluice.db` in a directory that belongs to this database now.
  public init(sqliteIn directory: String) {
    drop = { try? FileManager.default.removeItem(atPath: directory) }
    environment = ["DB_TYPE": "sqlite", "DB_PATH": "\(directory)/sluice.db", "DB_POOL_SIZE": "4"]
  }

  /// A new directory for an SQLite file; those of dead processes are removed.
  public static func directory() throws -> String {
    for stale in OwnedDirectory.stale(prefix) {
      ReadOnlyDirectory.remove(in: stale)
      SmallDisk.remove(in: stale)
      try? FileManager.default.removeItem(atPath: stale)
    }
    return try OwnedDirectory.make(prefix)
  }

  private static let prefix = "sluice-test-db"

  public func remove() { drop() }
}

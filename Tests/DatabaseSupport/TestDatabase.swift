import Foundation

/// The databases that every storage test runs on.
public enum TestBackend: String, CaseIterable, Sendable {
  case sqlite, postgres

  /// A new, empty database of its own.
  public func make() throws -> TestDatabase {
    switch self {
    case .sqlite: try TestDatabase(sqliteIn: TestDatabase.directory())
    case .postgres: try TestDatabase(on: PostgresServer.shared())
    }
  }
}

/// One empty database, named by the DB_* environment variables as the programs read them.
///
/// The owner calls ``remove()``.
public struct TestDatabase: Sendable {
  /// DB_TYPE and what belongs to it.
  public let environment: [String: String]
  private let server: PostgresServer?
  private let directory: String?

  public init(on server: PostgresServer) throws {
    let name = "test_\(UUID().uuidString.lowercased().replacing("-", with: ""))"
    try server.run("CREATE DATABASE \(name)")
    self.server = server
    directory = nil
    environment = [
      "DB_TYPE": "postgresql", "DB_HOST": PostgresServer.host, "DB_PORT": "\(server.port)", "DB_NAME": name,
      "DB_USER": PostgresServer.user, "DB_PASS": PostgresServer.password, "DB_POOL_SIZE": "4",
    ]
  }

  /// A file `sluice.db` in a directory that belongs to this database now.
  public init(sqliteIn directory: String) {
    server = nil
    self.directory = directory
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

  public func remove() {
    if let directory { try? FileManager.default.removeItem(atPath: directory) }
    if let server, let name = environment["DB_NAME"] {
      // Best effort: a test may have stopped the server.
      _ = try? server.run("DROP DATABASE IF EXISTS \(name) WITH (FORCE)")
    }
  }
}

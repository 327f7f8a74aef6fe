import Crypto
import Foundation
import Identity

/// MariaDB.
typealias MySQLDatabase = ConnectionPool<MySQLConnection>

extension ConnectionPool where Connection == MySQLConnection {
  convenience init(_ server: DatabaseServer, settings: DatabaseSettings) {
    self.init(.mysql, settings: settings) { () throws(StorageError) in try MySQLConnection(server) }
  }
}

extension MySQLConnection: BlockingConnection {
  func answers(to queries: [SQLQuery]) -> [Result<[[SQLValue]], StorageError>] {
    queries.map { query in
      forgetOvertaken()
      return Result { () throws(StorageError) in try rows(query.sql, query.arguments) }
    }
  }

  /// A lease in a table, renewed while the body runs: Galera doesn't carry `GET_LOCK` from node to node. Of a program
  /// that died it is free again when its time is over, by the server's clock.
  static func holding<T: Sendable>(
    _ lock: String, in pool: ConnectionPool<MySQLConnection>, _ body: () async throws -> T
  ) async throws -> T {
    let lease = Lease(lock)
    try await LockWait.wait(for: lock) {
      do { return try await pool.write { try lease.take($0) } } catch StorageError.failed(MySQLFailure.noTable, _) {
        try await pool.write { try $0.define(Lease.table) }
        return false
      }
    }
    let renewal = Task {
      while true {
        try await Task.sleep(for: Lease.renewalPeriod)
        // Where this fails the next one may not; until the time is over the lease is this program's.
        _ = try? await pool.write { try lease.take($0) }
      }
    }
    let result: Result<T, any Error>
    do { result = .success(try await body()) } catch { result = .failure(error) }
    renewal.cancel()
    // Where this fails its time ends it.
    try? await pool.write { try lease.giveBack($0) }
    return try result.get()
  }
}

/// A lock that is somebody's until a time.
private struct Lease: Sendable {
  static let renewalPeriod = Duration.seconds(5)
  private static let milliseconds: Int64 = 20_000
  static let table =
    """
    CREATE TABLE IF NOT EXISTS \(MySQLDefinition.leases) (
      name VARCHAR(64) PRIMARY KEY, holder VARCHAR(36) NOT NULL, expires_at BIGINT NOT NULL) \(MySQLDefinition.options)
    """
  private static let now = "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)"

  private let name: SQLValue
  private let holder = SQLValue(UUID())

  init(_ lock: String) { name = .text(SHA256.hash(data: Array(lock.utf8)).hexadecimal) }

  /// Takes or renews it; false: it is another's.
  func take(_ session: any SQLSession) throws(StorageError) -> Bool {
    let mine = try session.execute(
      """
      UPDATE \(MySQLDefinition.leases) SET holder = $2, expires_at = \(Self.now) + $3
        WHERE name = $1 AND (holder = $2 OR expires_at < \(Self.now))
      """, [name, holder, .integer(Self.milliseconds)])
    if mine == 1 { return true }
    return try session.insertNew(
      into: MySQLDefinition.leases, ["name", "holder", "expires_at"], [name, holder, .integer(0)], key: ["name"])
      ? take(session) : false
  }

  func giveBack(_ session: any SQLSession) throws(StorageError) {
    try session.execute(
      "UPDATE \(MySQLDefinition.leases) SET expires_at = 0, holder = '' WHERE name = $1 AND holder = $2",
      [name, holder])
  }
}

import Crypto

/// PostgreSQL.
typealias PostgresDatabase = ConnectionPool<PostgresConnection>

extension ConnectionPool where Connection == PostgresConnection {
  convenience init(_ server: DatabaseServer, settings: DatabaseSettings) {
    self.init(.postgres, settings: settings, listen: { PostgresListener.wakes(server, $0) }) { () throws(StorageError) in
      try PostgresConnection(server)
    }
  }
}

extension PostgresConnection: BlockingConnection {
  func begin(_ access: TransactionAccess) throws(StorageError) {
    try begin(
      access == .read ? "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" : "BEGIN ISOLATION LEVEL READ COMMITTED")
  }

  func answers(to queries: [SQLQuery]) -> [Result<[[SQLValue]], StorageError>] { pipeline(queries) }

  /// An advisory lock of a connection of its own: it goes with the connection, whatever becomes of this program.
  static func holding<T: Sendable>(
    _ lock: String, in pool: ConnectionPool<PostgresConnection>, _ body: () async throws -> T
  ) async throws -> T {
    let connection = try await pool.newConnection()
    let key = SQLValue.integer(key(of: lock))
    try await LockWait.wait(for: lock) {
      try await pool.onThread {
        try connection.count("SELECT CAST(pg_try_advisory_lock($1) AS INT)", [key]) == 1
      }
    }
    let result: Result<T, any Error>
    do { result = .success(try await body()) } catch { result = .failure(error) }
    // Where this fails the connection is gone, and the lock with it.
    _ = try? await pool.onThread { try connection.rows("SELECT pg_advisory_unlock($1)::text", [key]) }
    return try result.get()
  }

  /// The number that stands for a name among the database's advisory locks.
  private static func key(of lock: String) -> Int64 {
    SHA256.hash(data: Array(lock.utf8)).prefix(8).reduce(0) { $0 << 8 | Int64($1) }
  }
}

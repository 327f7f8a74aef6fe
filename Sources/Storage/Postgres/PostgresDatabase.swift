import Crypto
import NIOPosix
import Synchronization

/// PostgreSQL: blocking libpq calls on a thread per connection.
///
/// The gate lets no more calls in than there are threads, so nothing ever waits inside the thread pool.
final class PostgresDatabase: Database {
  /// A transaction that met a deadlock runs at most so often.
  private static let runsMax = 4

  private let settings: PostgresSettings
  private let gate: AdmissionGate
  private let threads: NIOThreadPool
  private let idle = Mutex<[PostgresConnection]>([])

  /// Connects at the first call. ``close()`` before the last reference goes.
  init(_ server: PostgresSettings, settings: DatabaseSettings) {
    self.settings = server
    gate = AdmissionGate(size: settings.poolSize, timeout: settings.poolTimeout)
    threads = NIOThreadPool(numberOfThreads: settings.poolSize)
    threads.start()
  }

  var poolState: PoolState { gate.poolState }

  func query(_ queries: [SQLQuery]) async throws -> [Result<[[SQLValue]], StorageError>] {
    try await gate.admit {
      try await threads.runIfActive {
        if let pooled = self.idle.withLock({ $0.popLast() }) {
          let answers = self.keeping(pooled, queries)
          // What only reads can be sent again; the other pooled connections are as dead.
          if pooled.isHealthy { return answers }
          self.idle.withLock { $0.removeAll() }
        }
        return self.keeping(try PostgresConnection(self.settings), queries)
      }
    }
  }

  /// Without a transaction; the connection goes back into the pool where it can.
  private func keeping(
    _ connection: PostgresConnection, _ queries: [SQLQuery]
  ) -> [Result<[[SQLValue]], StorageError>] {
    defer { if connection.isIdle { idle.withLock { $0.append(connection) } } }
    return connection.pipeline(queries)
  }

  func read<T: Sendable>(_ body: @escaping @Sendable (any SQLSession) throws -> T) async throws -> T {
    try await transaction("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", body)
  }

  /// READ COMMITTED: what must not race is locked by updating a row first.
  func write<T: Sendable>(_ body: @escaping @Sendable (any SQLSession) throws -> T) async throws -> T {
    try await transaction("BEGIN", body)
  }

  /// An advisory lock of a connection of its own: it goes with the connection, whatever becomes of this program.
  func holding<T: Sendable>(_ lock: String, _ body: () async throws -> T) async throws -> T {
    let connection = try await onThread { try PostgresConnection(self.settings) }
    let key = SQLValue.integer(Self.key(of: lock))
    try await LockWait.wait(for: lock) {
      try await onThread {
        try connection.count("SELECT CAST(pg_try_advisory_lock($1) AS INT)", [key]) == 1
      }
    }
    let result: Result<T, any Error>
    do { result = .success(try await body()) } catch { result = .failure(error) }
    // Where this fails the connection is gone, and the lock with it.
    _ = try? await onThread { try connection.rows("SELECT pg_advisory_unlock($1)::text", [key]) }
    return try result.get()
  }

  /// The number that stands for a name among the database's advisory locks.
  private static func key(of lock: String) -> Int64 {
    SHA256.hash(data: Array(lock.utf8)).prefix(8).reduce(0) { $0 << 8 | Int64($1) }
  }

  private func onThread<T: Sendable>(_ work: @escaping @Sendable () throws -> T) async throws -> T {
    try await gate.admit { try await threads.runIfActive(work) }
  }

  func close() async {
    await gate.close()
    // Fails only if it was shut down before.
    try? await threads.shutdownGracefully()
    idle.withLock { $0.removeAll() }
  }

  private func transaction<T: Sendable>(
    _ begin: String, _ body: @escaping @Sendable (any SQLSession) throws -> T
  ) async throws -> T {
    try await gate.admit {
      try await threads.runIfActive {
        let connection = try self.begin(begin)
        defer { if connection.isIdle { self.idle.withLock { $0.append(connection) } } }
        for run in 1... {
          if run > 1 { try connection.begin(begin) }
          do {
            let value = try body(connection)
            try connection.commit()
            return value
          } catch {
            // Fails only if the connection is gone, and then there is nothing to roll back.
            try? connection.define("ROLLBACK")
            guard connection.mustRepeat, connection.isIdle, run < Self.runsMax else { throw error }
          }
        }
        preconditionFailure("the loop returns or throws")
      }
    }
  }

  /// A connection in a new transaction. If the pooled connection turns out dead, nothing has run yet: the other pooled
  /// ones are as dead, and one new connection is tried.
  private func begin(_ begin: String) throws(StorageError) -> PostgresConnection {
    if let pooled = idle.withLock({ $0.popLast() }) {
      do throws(StorageError) {
        try pooled.begin(begin)
        return pooled
      } catch {
        guard !pooled.isHealthy else { throw error }
        idle.withLock { $0.removeAll() }
      }
    }
    let connection = try PostgresConnection(settings)
    try connection.begin(begin)
    return connection
  }
}

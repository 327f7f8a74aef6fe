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

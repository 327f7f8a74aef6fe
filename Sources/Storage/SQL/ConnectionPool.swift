import Glibc
import NIOPosix
import Synchronization

/// One connection of a client library whose calls block. Used by one thread at a time: ``ConnectionPool`` hands it out
/// and takes it back.
protocol BlockingConnection: SQLSession, AnyObject, Sendable {
  var isHealthy: Bool { get }
  /// Healthy, and in no transaction.
  var isIdle: Bool { get }
  func begin(_ access: TransactionAccess) throws(StorageError)
  func commit() throws(StorageError)
  /// What cannot be rolled back is gone already, with the connection.
  func rollBack()
  /// Statements that only read, outside a transaction.
  func answers(to queries: [SQLQuery]) -> [Result<[[SQLValue]], StorageError>]
  /// As ``Database/holding(_:_:)``.
  static func holding<T: Sendable>(
    _ lock: String, in pool: ConnectionPool<Self>, _ body: () async throws -> T
  ) async throws -> T
}

enum TransactionAccess: Sendable {
  /// One consistent snapshot; writing fails.
  case read
  /// READ COMMITTED: what must not race is locked first.
  case write
}

/// A database server: blocking calls on a thread per connection.
///
/// The gate lets no more calls in than there are threads, so nothing ever waits inside the thread pool.
final class ConnectionPool<Connection: BlockingConnection>: Database {
  let dialect: SQLDialect
  private let listen: @Sendable (WakeTopic) -> AsyncStream<Void>
  private let connect: @Sendable () throws(StorageError) -> Connection
  private let gate: AdmissionGate
  private let threads: NIOThreadPool
  private let idle = Mutex<[Connection]>([])
  private let locks = LocalLocks()

  /// Connects at the first call. ``close()`` before the last reference goes.
  init(
    _ dialect: SQLDialect, settings: DatabaseSettings,
    listen: @escaping @Sendable (WakeTopic) -> AsyncStream<Void> = { _ in AsyncStream { _ in } },
    connect: @escaping @Sendable () throws(StorageError) -> Connection
  ) {
    self.dialect = dialect
    self.connect = connect
    self.listen = listen
    gate = AdmissionGate(size: settings.poolSize, timeout: settings.poolTimeout)
    threads = NIOThreadPool(numberOfThreads: settings.poolSize)
    threads.start()
  }

  var poolState: PoolState { gate.poolState }

  func query(_ queries: [SQLQuery]) async throws -> [Result<[[SQLValue]], StorageError>] {
    try await onThread {
      if let pooled = self.idle.withLock({ $0.popLast() }) {
        let answers = self.keeping(pooled, queries)
        // What only reads can be sent again; the other pooled connections are as dead.
        if pooled.isHealthy { return answers }
        self.idle.withLock { $0.removeAll() }
      }
      return self.keeping(try self.connect(), queries)
    }
  }

  /// Without a transaction; the connection goes back into the pool where it can.
  private func keeping(_ connection: Connection, _ queries: [SQLQuery]) -> [Result<[[SQLValue]], StorageError>] {
    defer { if connection.isIdle { idle.withLock { $0.append(connection) } } }
    return connection.answers(to: queries)
  }

  func wakes(_ topic: WakeTopic) -> AsyncStream<Void> { listen(topic) }

  func read<T: Sendable>(_ body: @escaping @Sendable (any SQLSession) throws -> T) async throws -> T {
    try await transaction(.read, body)
  }

  func write<T: Sendable>(_ body: @escaping @Sendable (any SQLSession) throws -> T) async throws -> T {
    try await transaction(.write, body)
  }

  /// One call of this program asks the database for a lock, however many wait for it: each would need a connection.
  func holding<T: Sendable>(_ lock: String, _ body: () async throws -> T) async throws -> T {
    try await locks.holding(lock) { try await Connection.holding(lock, in: self, body) }
  }

  /// A connection beside those of the pool, whose calls go through ``onThread(_:)``.
  func newConnection() async throws -> Connection { try await onThread { try self.connect() } }

  func onThread<T: Sendable>(_ work: @escaping @Sendable () throws -> T) async throws -> T {
    try await gate.admit { try await threads.runIfActive(work) }
  }

  func close() async {
    await gate.close()
    // Fails only if it was shut down before.
    try? await threads.shutdownGracefully()
    idle.withLock { $0.removeAll() }
  }

  private func transaction<T: Sendable>(
    _ access: TransactionAccess, _ body: @escaping @Sendable (any SQLSession) throws -> T
  ) async throws -> T {
    try await onThread {
      let connection = try self.begin(access)
      defer { if connection.isIdle { self.idle.withLock { $0.append(connection) } } }
      var retry = 0
      var generator = SystemRandomNumberGenerator()
      while true {
        if retry > 0 { try connection.begin(access) }
        do {
          let value = try body(connection)
          try connection.commit()
          return value
        } catch {
          connection.rollBack()
          guard connection.mustRepeat, connection.isIdle,
            let delay = RepeatedTransaction.backoff.delay(retry: retry, using: &generator)
          else { throw error }
          // The thread is this transaction's own.
          usleep(UInt32(delay / .microseconds(1)))
          retry += 1
        }
      }
    }
  }

  /// A connection in a new transaction. If the pooled connection turns out dead, nothing has run yet: the other pooled
  /// ones are as dead, and one new connection is tried.
  private func begin(_ access: TransactionAccess) throws(StorageError) -> Connection {
    if let pooled = idle.withLock({ $0.popLast() }) {
      do throws(StorageError) {
        try pooled.begin(access)
        return pooled
      } catch {
        guard !pooled.isHealthy else { throw error }
        idle.withLock { $0.removeAll() }
      }
    }
    let connection = try connect()
    try connection.begin(access)
    return connection
  }
}

/// How often a transaction that others were in the way of runs again, and after what wait.
enum RepeatedTransaction {
  static let backoff = Backoff(base: .milliseconds(4), cap: .milliseconds(100), retriesMax: 4)
}

import Foundation
import GRDB

/// One SQLite file through GRDB: write-ahead log, many readers, one writer at a time.
///
/// SQL runs on GRDB's own queues; callers wait without blocking a thread.
final class SQLiteDatabase: Database {
  /// How long SQLite waits for another process's lock.
  private static let busyTimeoutSeconds: TimeInterval = 5

  private let pool: DatabasePool
  private let gate: AdmissionGate
  private let locks = LocalLocks()

  init(path: String, settings: DatabaseSettings) throws(StorageError) {
    try SQLiteFile.prepare(path)
    var configuration = Configuration()
    configuration.busyMode = .timeout(Self.busyTimeoutSeconds)
    configuration.maximumReaderCount = settings.poolSize
    do {
      pool = try DatabasePool(path: path, configuration: configuration)
      // GRDB's NORMAL may lose the last transactions in a power failure; a revoked token must stay revoked.
      try pool.writeWithoutTransaction { try $0.execute(sql: "PRAGMA synchronous = FULL") }
    } catch { throw SQLiteFailure.storageError(error, path: path) }
    gate = AdmissionGate(size: settings.poolSize, timeout: settings.poolTimeout)
  }

  var dialect: SQLDialect { .sqlite }
  var poolState: PoolState { gate.poolState }

  func query(_ queries: [SQLQuery]) async throws -> [Result<[[SQLValue]], StorageError>] {
    try await read { session in
      queries.map { query in
        Result { () throws(StorageError) in try session.rows(query.sql, query.arguments) }
      }
    }
  }

  func read<T: Sendable>(_ body: @escaping @Sendable (any SQLSession) throws -> T) async throws -> T {
    let pool = self.pool
    return try await admitted { try await pool.read { try body(SQLiteSession(database: $0)) } }
  }

  func write<T: Sendable>(_ body: @escaping @Sendable (any SQLSession) throws -> T) async throws -> T {
    let pool = self.pool
    return try await admitted { try await pool.write { try body(SQLiteSession(database: $0)) } }
  }

  private func admitted<T: Sendable>(_ work: () async throws -> T) async throws -> T {
    try await gate.admit {
      do { return try await work() } catch {
        // GRDB interrupts the statement of a cancelled task and rolls back.
        try Task.checkCancellation()
        if error is DatabaseError { throw SQLiteFailure.storageError(error) }
        throw error
      }
    }
  }

  /// One program has the file: its locks are in its memory.
  func holding<T: Sendable>(_ lock: String, _ body: () async throws -> T) async throws -> T {
    try await locks.holding(lock, body)
  }

  func close() async {
    await gate.close()
    // Throws only while statements run, and nobody is inside any more; the file is whole either way.
    try? pool.close()
  }
}

private struct SQLiteSession: SQLSession {
  let database: GRDB.Database
  var dialect: SQLDialect { .sqlite }
  /// There is one writer: nothing to be in the way of.
  var mustRepeat: Bool { false }

  func rows(_ sql: String, _ arguments: [SQLValue]) throws(StorageError) -> [[SQLValue]] {
    let values = try bound(arguments)
    do {
      let statement = try database.cachedStatement(sql: sql)
      try statement.setArguments(values)
      guard statement.columnCount > 0 else {
        try statement.execute()
        return []
      }
      let columns = 0..<statement.columnCount
      var rows: [[SQLValue]] = []
      let cursor = try Row.fetchCursor(statement)
      while let row = try cursor.next() { rows.append(try columns.map { try Self.value(row[$0] as DatabaseValue) }) }
      return rows
    } catch { throw SQLiteFailure.storageError(error) }
  }

  func execute(_ sql: String, _ arguments: [SQLValue]) throws(StorageError) -> Int {
    _ = try rows(sql, arguments)
    return database.changesCount
  }

  func define(_ sql: String) throws(StorageError) {
    do { try database.execute(sql: sql) } catch { throw SQLiteFailure.storageError(error) }
  }

  /// SQLite takes `$1` for a *named* parameter.
  private func bound(_ arguments: [SQLValue]) throws(StorageError) -> StatementArguments {
    var named: [String: (any DatabaseValueConvertible)?] = [:]
    for (index, argument) in arguments.enumerated() {
      let value: (any DatabaseValueConvertible)? =
        switch try argument.checked() {
        case .null: nil
        case .integer(let integer): integer
        case .text(let text): text
        }
      named.updateValue(value, forKey: String(index + 1))
    }
    return StatementArguments(named)
  }

  private static func value(_ value: DatabaseValue) throws(StorageError) -> SQLValue {
    switch value.storage {
    case .null: return .null
    case .int64(let integer): return .integer(integer)
    case .string(let text): return .text(text)
    case .double, .blob: throw .corrupt("a column holds neither text nor an integer")
    }
  }
}

/// SQLite's result codes in the words of ``StorageError``; the only place that knows them.
enum SQLiteFailure {
  static func storageError(_ error: any Error, path: String? = nil) -> StorageError {
    if let error = error as? StorageError { return error }
    guard let error = error as? DatabaseError else { return .failed(code: "sqlite", message: "\(error)") }
    let file = path.map { " (\($0))" } ?? ""
    let message = error.message ?? "no message"
    switch error.extendedResultCode {
    case .SQLITE_CONSTRAINT_UNIQUE, .SQLITE_CONSTRAINT_PRIMARYKEY: return .conflict(field: field(in: message))
    case .SQLITE_CONSTRAINT_FOREIGNKEY: return .inUse(kind: "row", by: "other rows")
    default: break
    }
    switch error.resultCode {
    case .SQLITE_BUSY, .SQLITE_LOCKED:
      return .unavailable(reason: "SQLite is locked by another process\(file)", remedy: "end what holds the lock")
    case .SQLITE_FULL: return .unavailable(reason: "no space left for the database\(file)", remedy: "free disk space")
    case .SQLITE_IOERR:
      return .unavailable(reason: "SQLite cannot read or write\(file): \(message)", remedy: "check the disk")
    case .SQLITE_READONLY, .SQLITE_CANTOPEN, .SQLITE_PERM, .SQLITE_AUTH:
      return .misconfigured(reason: "SQLite: \(message)\(file)", remedy: SQLiteFile.remedy)
    case .SQLITE_CORRUPT, .SQLITE_NOTADB: return .corrupt("SQLite: \(message)\(file); restore it from a backup")
    default: return .failed(code: "sqlite \(error.extendedResultCode.rawValue)", message: message)
    }
  }

  /// `UNIQUE constraint failed: attachments.node_id, attachments.interface` → `interface`.
  private static func field(in message: String) -> String {
    let last = message.split(separator: ",").last ?? ""
    return last.split(separator: ".").last.map { String($0.prefix { $0 != " " }) } ?? "value"
  }
}

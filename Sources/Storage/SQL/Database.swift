import Foundation
import Synchronization

/// What a column or parameter holds. Two types serve every database: TEXT and BIGINT; flags are 0 and 1, times unix
/// milliseconds, identifiers lower-case UUID text, documents JSON text.
enum SQLValue: Hashable, Sendable {
  case null
  case integer(Int64)
  case text(String)

  init(_ value: String?) { self = value.map(SQLValue.text) ?? .null }
  init(_ value: Bool) { self = .integer(value ? 1 : 0) }
  init(_ value: Date) { self = .integer(value.unixMilliseconds) }
  init(_ value: Date?) { self = value.map { SQLValue($0) } ?? .null }
  init(_ value: UUID) { self = .text(value.uuidString.lowercased()) }
  init(_ value: UUID?) { self = value.map { SQLValue($0) } ?? .null }
  init(_ value: Int) { self = .integer(Int64(value)) }

  /// Revision numbers: from 1 and far below Int64's end; a larger one from outside matches nothing.
  init(revision: UInt64) { self = .integer(Int64(clamping: revision)) }

  /// NULL for nil.
  static func json(_ value: (some Encodable)?) throws -> SQLValue {
    guard let value else { return .null }
    return try json(value)
  }

  static func json(_ value: some Encodable) throws -> SQLValue {
    .text(String(decoding: try encoded(value), as: UTF8.self))
  }

  /// JSON as it is stored: equal values have equal bytes.
  static func encoded(_ value: some Encodable) throws -> Data {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return try encoder.encode(value)
  }

  /// PostgreSQL's text cannot hold NUL and SQLite's tools stop at it: neither gets one.
  func checked() throws(StorageError) -> SQLValue {
    if case .text(let text) = self, Self.hasNUL(text) {
      throw .invalid(field: "text", reason: "has a NUL character")
    }
    return self
  }

  /// Without an early end, which `contains` has: a loop that the compiler makes many bytes wide, for texts of megabytes.
  private static func hasNUL(_ text: String) -> Bool {
    let bytes = text.utf8.span
    var found: UInt8 = 0
    for index in bytes.indices { found |= bytes[index] == 0 ? 1 : 0 }
    return found != 0
  }
}

/// The inside of one transaction. Synchronous: it lives only inside the closure of ``Database``, on the thread that
/// owns the connection. One SQL text serves every database: parameters are `$1`, `$2`, ….
protocol SQLSession {
  var dialect: SQLDialect { get }
  /// Runs one prepared statement and returns its rows, also of RETURNING.
  @discardableResult
  func rows(_ sql: String, _ arguments: [SQLValue]) throws(StorageError) -> [[SQLValue]]
  /// Runs one prepared statement and returns how many rows it changed.
  @discardableResult
  func execute(_ sql: String, _ arguments: [SQLValue]) throws(StorageError) -> Int
  /// Runs one statement without parameters once, for definitions and savepoints.
  func define(_ sql: String) throws(StorageError)
  /// A statement whose answer nobody needs. Runs in its turn, at the latest with the next statement or the commit, which
  /// then throws in its place: where each trip to the server counts, several go together.
  func executeLater(_ sql: String, _ arguments: [SQLValue]) throws(StorageError)
  /// Begins a part of the transaction that can be undone alone; parts do not nest.
  func beginPart() throws(StorageError)
  /// Ends the part, with all that was to run later.
  func endPart() throws(StorageError)
  /// Undoes the part, after a failure in it too.
  func undoPart() throws(StorageError)
  /// Throws where the server answers but is not to be used now.
  func checkReady() throws(StorageError)
  /// The last failure was one after which the whole transaction, rolled back, can be repeated.
  var mustRepeat: Bool { get }
}

enum SQLDialect: Sendable {
  case sqlite, postgres
  /// MariaDB's.
  case mysql

  /// Whether a definition is part of its transaction, and can be undone.
  var definesInTransactions: Bool { self != .mysql }
}

/// One statement with its parameters.
struct SQLQuery: Sendable {
  var sql: String
  var arguments: [SQLValue]
}

extension SQLSession {
  func checkReady() throws(StorageError) {}

  /// At once.
  func executeLater(_ sql: String, _ arguments: [SQLValue]) throws(StorageError) {
    if arguments.isEmpty { try define(sql) } else { try execute(sql, arguments) }
  }

  func beginPart() throws(StorageError) { try define("SAVEPOINT part") }
  func endPart() throws(StorageError) { try define("RELEASE SAVEPOINT part") }
  func undoPart() throws(StorageError) {
    try define("ROLLBACK TO SAVEPOINT part")
    try define("RELEASE SAVEPOINT part")
  }

  /// The first row, read by `read`; nil if there is none.
  func first<T>(
    _ sql: String, _ arguments: [SQLValue], _ read: (inout RowReader) throws(StorageError) -> T
  ) throws(StorageError) -> T? {
    guard let row = try rows(sql, arguments).first else { return nil }
    var reader = RowReader(row)
    return try read(&reader)
  }

  func all<T>(
    _ sql: String, _ arguments: [SQLValue], _ read: (inout RowReader) throws(StorageError) -> T
  ) throws(StorageError) -> [T] {
    var result: [T] = []
    for row in try rows(sql, arguments) {
      var reader = RowReader(row)
      result.append(try read(&reader))
    }
    return result
  }

  func count(_ sql: String, _ arguments: [SQLValue]) throws(StorageError) -> Int {
    try first(sql, arguments) { row throws(StorageError) in Int(try row.integer()) } ?? 0
  }
}

/// Connections to one database. A closure is a transaction: it commits when the closure returns and rolls back when it
/// throws. A write closure may run again after a deadlock: it must have no effects besides its statements.
protocol Database: Sendable {
  var dialect: SQLDialect { get }
  var poolState: PoolState { get }
  /// Statements that only read, none in need of another's snapshot: the rows of each, or why it has none.
  func query(_ queries: [SQLQuery]) async throws -> [Result<[[SQLValue]], StorageError>]
  /// One consistent snapshot; writing fails.
  func read<T: Sendable>(_ body: @escaping @Sendable (any SQLSession) throws -> T) async throws -> T
  func write<T: Sendable>(_ body: @escaping @Sendable (any SQLSession) throws -> T) async throws -> T
  /// Runs the body while nobody else, in any program on this database, holds the lock of that name. Its transactions are
  /// the body's own. `StorageError.busy` where it is not free in time.
  func holding<T: Sendable>(_ lock: String, _ body: () async throws -> T) async throws -> T
  /// As ``Store/wakes(_:)``.
  func wakes(_ topic: WakeTopic) -> AsyncStream<Void>
  func close() async
}

extension Database {
  /// It cannot tell: the stream is silent until its task ends.
  func wakes(_ topic: WakeTopic) -> AsyncStream<Void> { AsyncStream { _ in } }
}

/// The locks that calls of this program hold.
final class LocalLocks: Sendable {
  private let held = Mutex<Set<String>>([])

  func holding<T: Sendable>(_ lock: String, _ body: () async throws -> T) async throws -> T {
    try await LockWait.wait(for: lock) { held.withLock { $0.insert(lock).inserted } }
    defer { held.withLock { _ = $0.remove(lock) } }
    return try await body()
  }
}

/// How locks are waited for: asked for again and again, since no database can wake a task.
enum LockWait {
  static let timeout = Duration.seconds(15)
  private static let period = Duration.milliseconds(25)

  static func wait(for lock: String, _ tryIt: () async throws -> Bool) async throws {
    let deadline = ContinuousClock.now + timeout
    while try await !tryIt() {
      guard ContinuousClock.now < deadline else {
        throw StorageError.busy(lock: lock, seconds: Int(timeout.components.seconds))
      }
      try await Task.sleep(for: period)
    }
  }
}

/// Takes a row apart, column by column, in the order of the SELECT.
struct RowReader {
  private let values: [SQLValue]
  private var next = 0

  init(_ values: [SQLValue]) { self.values = values }

  private mutating func value() throws(StorageError) -> SQLValue {
    guard next < values.count else { throw .corrupt("a row has only \(values.count) columns") }
    defer { next += 1 }
    return values[next]
  }

  private func unexpected(_ expected: String) -> StorageError { .corrupt("column \(next) is not \(expected)") }

  mutating func text() throws(StorageError) -> String {
    guard case .text(let text) = try value() else { throw unexpected("a text") }
    return text
  }

  mutating func textOrNil() throws(StorageError) -> String? {
    switch try value() {
    case .null: return nil
    case .text(let text): return text
    case .integer: throw unexpected("a text")
    }
  }

  mutating func integer() throws(StorageError) -> Int64 {
    guard case .integer(let integer) = try value() else { throw unexpected("an integer") }
    return integer
  }

  mutating func integerOrNil() throws(StorageError) -> Int64? {
    switch try value() {
    case .null: return nil
    case .integer(let integer): return integer
    case .text: throw unexpected("an integer")
    }
  }

  mutating func flag() throws(StorageError) -> Bool { try integer() != 0 }

  mutating func revision() throws(StorageError) -> UInt64 { UInt64(clamping: try integer()) }

  mutating func date() throws(StorageError) -> Date { Date(unixMilliseconds: try integer()) }

  mutating func dateOrNil() throws(StorageError) -> Date? {
    try integerOrNil().map { Date(unixMilliseconds: $0) }
  }

  mutating func uuid() throws(StorageError) -> UUID {
    guard let uuid = UUID(uuidString: try text()) else { throw unexpected("an identifier") }
    return uuid
  }

  mutating func uuidOrNil() throws(StorageError) -> UUID? {
    guard let text = try textOrNil() else { return nil }
    guard let uuid = UUID(uuidString: text) else { throw unexpected("an identifier") }
    return uuid
  }

  mutating func choice<E: RawRepresentable<String>>(_ type: E.Type = E.self) throws(StorageError) -> E {
    guard let choice = E(rawValue: try text()) else { throw unexpected("a known \(E.self)") }
    return choice
  }

  mutating func jsonOrNil<T: Decodable>(_ type: T.Type = T.self) throws(StorageError) -> T? {
    guard next < values.count, values[next] != .null else {
      _ = try value()
      return nil
    }
    return try json(type)
  }

  mutating func json<T: Decodable>(_ type: T.Type = T.self) throws(StorageError) -> T {
    let text = try text()
    do { return try JSONDecoder().decode(type, from: Data(text.utf8)) } catch {
      throw unexpected("a \(T.self) (\(error))")
    }
  }
}

/// A WHERE clause in the making, with its arguments.
struct Conditions {
  private var clauses: [String] = []
  private(set) var arguments: [SQLValue] = []

  /// `clause` names the parameter as `$?`.
  mutating func add(_ clause: String, _ value: SQLValue) {
    arguments.append(value)
    clauses.append(clause.replacing("$?", with: "$\(arguments.count)"))
  }

  /// `clause` names the parameters by their numbers, from the count of the arguments before.
  mutating func add(_ clause: String, _ values: [SQLValue]) {
    arguments += values
    clauses.append(clause)
  }

  /// A row that has one of the values in one of the columns; none where there are no values.
  mutating func addAny(_ choices: [(column: String, values: [SQLValue])]) {
    let parts = choices.filter { !$0.values.isEmpty }.map { column, values in
      let names = values.map { value -> String in
        arguments.append(value)
        return "$\(arguments.count)"
      }
      return "\(column) IN (\(names.joined(separator: ", ")))"
    }
    clauses.append(parts.isEmpty ? "1 = 0" : parts.joined(separator: " OR "))
  }

  /// A part of any of the columns, in any case.
  mutating func search(_ text: String, in columns: String...) {
    let escaped = text.lowercased().reduce(into: "") { $0 += "!%_".contains($1) ? "!\($1)" : "\($1)" }
    add(columns.map { "lower(\($0)) LIKE $? ESCAPE '!'" }.joined(separator: " OR "), .text("%\(escaped)%"))
  }

  var sql: String { clauses.isEmpty ? "" : " WHERE " + clauses.map { "(\($0))" }.joined(separator: " AND ") }
}

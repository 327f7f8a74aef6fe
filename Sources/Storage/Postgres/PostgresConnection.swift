import CPostgres

/// One connection, through libpq's blocking calls.
///
/// Used by one thread at a time: ``PostgresDatabase`` hands it out and takes it back.
final class PostgresConnection: SQLSession, @unchecked Sendable {
  /// Statements kept prepared; at the limit all are dropped and prepared anew.
  private static let preparedMax = 256
  /// Statements that wait for one trip, at most.
  private static let queueMax = 64
  private static let savepoint = "SAVEPOINT part"

  let connection: OpaquePointer
  private(set) var prepared: [String: String] = [:]
  /// What runs with the next statement of the transaction.
  private var queue: [PostgresStatement] = []
  /// The last failure was a deadlock or a failed serialisation: the transaction, rolled back, can be repeated.
  private(set) var mustRepeat = false

  var dialect: SQLDialect { .postgres }

  /// Blocks until connected or refused, at most 5 seconds per address.
  init(_ settings: DatabaseServer) throws(StorageError) {
    let parameters: [(String, String)] =
      [
        ("host", settings.host), ("port", "\(settings.port)"), ("dbname", settings.database),
        ("user", settings.user), ("connect_timeout", "5"), ("application_name", "sluice"),
        ("client_encoding", "UTF8"), ("keepalives_idle", "15"), ("keepalives_interval", "5"),
        ("keepalives_count", "3"), ("tcp_user_timeout", "10000"),
        (
          "options",
          "-c statement_timeout=10s -c lock_timeout=5s -c idle_in_transaction_session_timeout=30s "
            + "-c client_min_messages=warning"
        ),
      ] + (settings.password.map { [("password", $0.text)] } ?? []) + Self.tls(settings.tls)
    let opened = withCStrings(parameters.map(\.0)) { keywords in
      withCStrings(parameters.map(\.1)) { values in
        // The last argument 0: a database name is a name, never a connection string.
        PQconnectdbParams(keywords, values, 0)
      }
    }
    guard let opened else { throw .unavailable(reason: "libpq has no memory", remedy: "free memory") }
    guard PQstatus(opened) == CONNECTION_OK else {
      defer { PQfinish(opened) }
      throw PostgresFailure.connecting(message: String(cString: PQerrorMessage(opened)))
    }
    // Notices would go to standard error.
    PQsetNoticeProcessor(opened, { _, _ in }, nil)
    connection = opened
  }

  deinit { PQfinish(connection) }

  /// What isn't said here libpq takes from its own environment.
  private static func tls(_ tls: DatabaseTLS) -> [(String, String)] {
    let mode: String? =
      switch tls.mode {
      case .auto: nil
      case .off: "disable"
      case .require: "require"
      case .verify: "verify-full"
      }
    let said = [
      ("sslmode", mode), ("sslrootcert", tls.authority), ("sslcert", tls.certificate), ("sslkey", tls.key),
    ]
    return said.compactMap { name, value in value.map { (name, $0) } }
  }

  /// An error came that was libpq's own: whatever the status says, nothing more can be had here.
  var isLost = false
  var isHealthy: Bool { !isLost && PQstatus(connection) == CONNECTION_OK }
  var isIdle: Bool { isHealthy && PQtransactionStatus(connection) == PQTRANS_IDLE }

  /// `sql` is some BEGIN.
  func begin(_ sql: String) throws(StorageError) {
    mustRepeat = false
    queue = []
    try define(sql)
  }

  func commit() throws(StorageError) {
    let result = try run("COMMIT")
    defer { PQclear(result) }
    // A transaction in which a statement failed is rolled back by COMMIT, which calls that a success.
    guard PQcmdStatus(result).map({ String(cString: $0) }) == "COMMIT" else {
      throw .failed(code: "25P02", message: "the transaction was rolled back")
    }
  }

  func rows(_ sql: String, _ arguments: [SQLValue]) throws(StorageError) -> [[SQLValue]] {
    let result = try run(sql, arguments)
    defer { PQclear(result) }
    return try Self.decode(result)
  }

  func execute(_ sql: String, _ arguments: [SQLValue]) throws(StorageError) -> Int {
    let result = try run(sql, arguments)
    defer { PQclear(result) }
    return PQcmdTuples(result).flatMap { Int(String(cString: $0)) } ?? 0
  }

  func define(_ sql: String) throws(StorageError) {
    PQclear(try run(sql))
  }

  func executeLater(_ sql: String, _ arguments: [SQLValue]) throws(StorageError) {
    // The arguments are checked here, where nothing has failed yet.
    let statement = PostgresStatement(sql: sql, texts: try Self.texts(arguments))
    if queue.count >= Self.queueMax { PQclear(try runQueue(with: [])) }
    queue.append(statement)
  }

  func beginPart() throws(StorageError) { try executeLater(Self.savepoint, []) }

  func undoPart() throws(StorageError) {
    let nothingRan = queue.contains { $0.sql == Self.savepoint }
    queue = []
    if nothingRan { return }
    try define("ROLLBACK TO \(Self.savepoint)")
    try define("RELEASE \(Self.savepoint)")
  }

  func rollBack() {
    queue = []
    // Fails only if the connection is gone, and then there is nothing to roll back.
    try? define("ROLLBACK")
  }

  /// With what was to run before it, in one trip. The caller clears the result.
  private func run(_ sql: String, _ arguments: [SQLValue]) throws(StorageError) -> OpaquePointer? {
    let statement = PostgresStatement(sql: sql, texts: try Self.texts(arguments))
    guard queue.isEmpty else { return try runQueue(with: [statement]) }
    let name = try prepare(sql)
    return try checked(
      withCStrings(statement.texts) { values in
        PQexecPrepared(connection, name, Int32(arguments.count), values, nil, nil, 0)
      })
  }

  /// As ``run(_:_:)``, of what has no parameters and is not kept prepared for itself.
  private func run(_ sql: String) throws(StorageError) -> OpaquePointer? {
    guard queue.isEmpty else { return try run(sql, []) }
    return try checked(PQexec(connection, sql))
  }

  /// Clears the result of a failure.
  private func checked(_ result: OpaquePointer?) throws(StorageError) -> OpaquePointer? {
    do throws(StorageError) { try check(result) } catch {
      PQclear(result)
      throw error
    }
    return result
  }

  private func runQueue(with last: [PostgresStatement]) throws(StorageError) -> OpaquePointer? {
    defer { queue = [] }
    return try runTogether(queue + last)
  }

  static func texts(_ arguments: [SQLValue]) throws(StorageError) -> [String?] {
    var texts: [String?] = []
    for argument in arguments {
      switch try argument.checked() {
      case .null: texts.append(nil)
      case .integer(let integer): texts.append(String(integer))
      case .text(let text): texts.append(text)
      }
    }
    return texts
  }

  func prepare(_ sql: String) throws(StorageError) -> String {
    if let name = prepared[sql] { return name }
    if prepared.count >= Self.preparedMax {
      // Ahead of what waits to go together: that is what room is made for.
      PQclear(try checked(PQexec(connection, "DEALLOCATE ALL")))
      prepared = [:]
    }
    let name = "s\(prepared.count)"
    let result = PQprepare(connection, name, sql, 0, nil)
    defer { PQclear(result) }
    try check(result)
    prepared[sql] = name
    return name
  }

  func check(_ result: OpaquePointer?) throws(StorageError) {
    let status = PQresultStatus(result)
    guard status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK else { return }
    let state = field(result, "C")
    if state.isEmpty { isLost = true }
    let failure = PostgresFailure(
      state: state, constraint: field(result, "n"), message: field(result, "M"), isConnected: isHealthy)
    mustRepeat = failure.canRepeat
    throw failure.storageError
  }

  /// A field of an error report (PG_DIAG_…), empty if it has none.
  private func field(_ result: OpaquePointer?, _ code: Character) -> String {
    PQresultErrorField(result, Int32(code.asciiValue ?? 0)).map { String(cString: $0) } ?? ""
  }

  static func decode(_ result: OpaquePointer?) throws(StorageError) -> [[SQLValue]] {
    let columns = 0..<PQnfields(result)
    let integers = columns.map { [20, 21, 23].contains(PQftype(result, $0)) }  // int8, int2, int4
    var rows: [[SQLValue]] = []
    rows.reserveCapacity(Int(PQntuples(result)))
    for row in 0..<PQntuples(result) {
      var values: [SQLValue] = []
      for column in columns {
        guard PQgetisnull(result, row, column) == 0, let pointer = PQgetvalue(result, row, column) else {
          values.append(.null)
          continue
        }
        let text = String(cString: pointer)
        guard integers[Int(column)] else {
          values.append(.text(text))
          continue
        }
        guard let integer = Int64(text) else { throw .corrupt("an integer column holds no integer") }
        values.append(.integer(integer))
      }
      rows.append(values)
    }
    return rows
  }
}

/// Lends the texts as a null-terminated array of C strings.
func withCStrings<R>(
  _ texts: [String?], _ body: (UnsafePointer<UnsafePointer<CChar>?>?) -> R
) -> R {
  var bytes: [CChar] = []
  let offsets = texts.map { text -> Int? in
    guard let text else { return nil }
    defer { bytes += text.utf8.map(CChar.init(bitPattern:)) + [0] }
    return bytes.count
  }
  return bytes.withUnsafeBufferPointer { buffer in
    let pointers = offsets.map { offset in offset.flatMap { at in buffer.baseAddress.map { $0 + at } } } + [nil]
    return pointers.withUnsafeBufferPointer { body($0.baseAddress) }
  }
}

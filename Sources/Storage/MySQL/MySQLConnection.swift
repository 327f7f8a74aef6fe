import CMariaDB
import Glibc

/// One connection, through the blocking calls of MariaDB's client library.
///
/// Used by one thread at a time: ``ConnectionPool`` hands it out and takes it back.
final class MySQLConnection: SQLSession, @unchecked Sendable {
  /// The server refuses what is half right, and understands what the other databases do.
  private static let session =
    """
    SET SESSION sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION,NO_ZERO_DATE,\
    NO_ZERO_IN_DATE,ONLY_FULL_GROUP_BY,ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES', autocommit = 1,
      innodb_lock_wait_timeout = 5, max_statement_time = 10, idle_transaction_timeout = 30, foreign_key_checks = 1,
      unique_checks = 1, time_zone = '+00:00'
    """
  /// CREATE INDEX IF NOT EXISTS, whole definitions after a crash.
  private static let versionMin: UInt = 10_06_00

  private let handle: UnsafeMutablePointer<MYSQL>
  /// max_allowed_packet of the server: a longer statement would cost the connection.
  private var packetByteCountMax = 1 << 20
  /// On a node of a Galera cluster; elsewhere there is no `wsrep_ready` to ask for.
  private var isGalera = false
  /// An error came after which nothing more can be had here.
  private var isLost = false
  private(set) var mustRepeat = false

  var dialect: SQLDialect { .mysql }
  var isHealthy: Bool { !isLost }
  var isIdle: Bool { isHealthy && handle.pointee.server_status & UInt32(SERVER_STATUS_IN_TRANS) == 0 }

  /// Blocks until connected or refused, at most 5 seconds per address.
  init(_ settings: DatabaseServer) throws(StorageError) {
    Self.libraryIsReady
    guard let handle = mysql_init(nil) else {
      throw .unavailable(reason: "the client library has no memory", remedy: "free memory")
    }
    self.handle = handle
    Self.configure(handle, settings)
    let isSocket = settings.host.hasPrefix("/")
    let connected = mysql_real_connect(
      handle, isSocket ? nil : settings.host, settings.user, settings.password?.text ?? "", settings.database,
      UInt32(settings.port), isSocket ? Self.socket(settings.host) : nil, UInt(CLIENT_FOUND_ROWS))
    guard connected != nil else { throw MySQLFailure(of: handle).storageError }
    try checkVersion()
    keepAlive()
    try define(Self.session)
    try define("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
    try learnServer()
  }

  deinit { mysql_close(handle) }

  private static let libraryIsReady: Void = {
    guard mysql_server_init(0, nil, nil) == 0 else { preconditionFailure("MariaDB's client library initialises") }
  }()

  private static func configure(_ handle: UnsafeMutablePointer<MYSQL>, _ settings: DatabaseServer) {
    func set(_ option: mysql_option, _ value: UInt32) {
      withUnsafePointer(to: value) { _ = mysql_options(handle, option, $0) }
    }
    func set(_ option: mysql_option, _ flag: Bool) {
      withUnsafePointer(to: my_bool(flag ? 1 : 0)) { _ = mysql_options(handle, option, $0) }
    }
    mysql_options(handle, MYSQL_SET_CHARSET_NAME, "utf8mb4")
    set(MYSQL_OPT_CONNECT_TIMEOUT, 5)
    // Without this "localhost" would be a socket somewhere.
    set(MYSQL_OPT_PROTOCOL, settings.host.hasPrefix("/") ? MYSQL_PROTOCOL_SOCKET.rawValue : MYSQL_PROTOCOL_TCP.rawValue)
    // No server may ask for our files.
    set(MYSQL_OPT_LOCAL_INFILE, 0)
    withUnsafePointer(to: UInt(1 << 30)) { _ = mysql_options(handle, MYSQL_OPT_MAX_ALLOWED_PACKET, $0) }
    guard settings.tls.mode == .require || settings.tls.mode == .verify else { return }
    set(MYSQL_OPT_SSL_ENFORCE, true)
    set(MYSQL_OPT_SSL_VERIFY_SERVER_CERT, settings.tls.mode == .verify)
    mysql_options(handle, MARIADB_OPT_TLS_VERSION, "TLSv1.2,TLSv1.3")
    let files = [
      (MYSQL_OPT_SSL_CA, settings.tls.authority), (MYSQL_OPT_SSL_CERT, settings.tls.certificate),
      (MYSQL_OPT_SSL_KEY, settings.tls.key),
    ]
    for (option, path) in files { if let path { mysql_options(handle, option, path) } }
  }

  /// DB_HOST may be the folder of the socket.
  private static func socket(_ host: String) -> String { host.hasSuffix(".sock") ? host : "\(host)/mysqld.sock" }

  private func checkVersion() throws(StorageError) {
    let version = mysql_get_server_version(handle)
    guard mariadb_connection(handle) != 0, version >= Self.versionMin else {
      let name = mysql_get_server_info(handle).map { String(cString: $0) } ?? "unknown"
      throw .misconfigured(reason: "the server is \(name)", remedy: "use MariaDB 10.6 or later, or PostgreSQL")
    }
  }

  /// As PostgreSQL's: a peer that is gone is noticed within half a minute.
  private func keepAlive() {
    let socket = Int32(truncatingIfNeeded: mysql_get_socket(handle))
    func set(_ level: Int32, _ option: Int32, _ value: Int32) {
      _ = withUnsafePointer(to: value) { setsockopt(socket, level, option, $0, socklen_t(MemoryLayout<Int32>.size)) }
    }
    set(SOL_SOCKET, SO_KEEPALIVE, 1)
    set(Int32(IPPROTO_TCP), TCP_KEEPIDLE, 15)
    set(Int32(IPPROTO_TCP), TCP_KEEPINTVL, 5)
    set(Int32(IPPROTO_TCP), TCP_KEEPCNT, 3)
    set(Int32(IPPROTO_TCP), TCP_USER_TIMEOUT, 10_000)
  }

  private func learnServer() throws(StorageError) {
    let limit = try count("SELECT @@max_allowed_packet", [])
    packetByteCountMax = limit
    // A server without Galera may not know the variable.
    isGalera = try first(
      "SELECT variable_value FROM information_schema.global_variables WHERE variable_name = 'WSREP_ON'", []
    ) { row throws(StorageError) in try row.text() } == "ON"
    // What one node committed another one shows, from here on.
    if isGalera { try define("SET SESSION wsrep_sync_wait = 1") }
  }

  func begin(_ access: TransactionAccess) throws(StorageError) {
    mustRepeat = false
    switch access {
    case .write: try define("START TRANSACTION")
    case .read:
      try define("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
      try define("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
    }
  }

  /// What comes next is of no transaction, and not of the one before.
  func forgetOvertaken() { mustRepeat = false }

  func commit() throws(StorageError) { try define("COMMIT") }

  func rollBack() {
    guard isHealthy else { return }
    if mysql_real_query(handle, "ROLLBACK", 8) != 0 { isLost = true }
  }

  /// Whether this node of a cluster takes part in it.
  func checkReady() throws(StorageError) {
    guard isGalera else { return }
    let ready = try first(
      "SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'WSREP_READY'", []
    ) { row throws(StorageError) in try row.text() }
    guard ready == "ON" else { throw MySQLFailure(code: 1047, state: "08S01", message: "").storageError }
  }

  func rows(_ sql: String, _ arguments: [SQLValue]) throws(StorageError) -> [[SQLValue]] {
    try run(sql, arguments) ?? []
  }

  /// Rows that the statement changed, or found where it changed nothing in them.
  func execute(_ sql: String, _ arguments: [SQLValue]) throws(StorageError) -> Int {
    if let rows = try run(sql, arguments) { return rows.count }
    return Int(clamping: mysql_affected_rows(handle))
  }

  func define(_ sql: String) throws(StorageError) { _ = try run(sql, nil) }

  /// The rows of its answer; nil: it has none.
  ///
  /// - Parameter arguments: nil: `sql` is what is sent.
  private func run(_ sql: String, _ arguments: [SQLValue]?) throws(StorageError) -> [[SQLValue]]? {
    try checkTransaction()
    for argument in arguments ?? [] { _ = try argument.checked() }
    do throws(MySQLFailure) {
      let text = arguments.map { MySQLStatement.text(sql, $0) { MySQLStatement.quote($0, to: &$1, handle) } } ?? Array(sql.utf8)
      guard text.count < packetByteCountMax else {
        throw MySQLFailure(code: 1153, state: "08S01", message: "\(text.count) bytes are more than it takes")
      }
      let code = text.withUnsafeBytes { bytes in
        mysql_real_query(handle, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), UInt(bytes.count))
      }
      guard code == 0 else { throw MySQLFailure(of: handle) }
      return try MySQLStatement.rows(handle)
    } catch { throw note(error) }
  }

  /// After a deadlock the server has rolled back and would commit each further statement by itself.
  private func checkTransaction() throws(StorageError) {
    if mustRepeat { throw MySQLFailure.overtaken.storageError }
  }

  private func note(_ failure: MySQLFailure) -> StorageError {
    if failure.isLost { isLost = true }
    if failure.canRepeat { mustRepeat = true }
    return failure.storageError
  }
}

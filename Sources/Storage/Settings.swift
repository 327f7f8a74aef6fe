/// Where the database is and how hard to try: the DB_* environment variables.
public struct DatabaseSettings: Sendable, Equatable {
  public enum Backend: Sendable, Equatable {
    case sqlite(path: String)
    case postgres(DatabaseServer)
    case mysql(DatabaseServer)
  }

  public static let sqlitePathDefault = "/var/lib/sluice/sluice.db"
  public static let poolSizeRange = 1...100

  public var backend: Backend
  /// DB_POOL_SIZE: connections, and thereby transactions at once.
  public var poolSize: Int
  /// How long a call waits for a free connection before it fails as unavailable.
  public var poolTimeout: Duration
  /// DB_MAX_RETRIES: attempts at start after the first.
  public var retriesMax: Int
  /// DB_RETRY_DELAY, in seconds: the first bound of the growing random delay between attempts.
  public var retryDelay: Duration

  public init(
    backend: Backend = .sqlite(path: sqlitePathDefault), poolSize: Int = 8, poolTimeout: Duration = .seconds(5),
    retriesMax: Int = 10, retryDelay: Duration = .seconds(1)
  ) {
    self.backend = backend
    self.poolSize = poolSize
    self.poolTimeout = poolTimeout
    self.retriesMax = retriesMax
    self.retryDelay = retryDelay
  }

  /// From DB_TYPE, DB_PATH (SQLite), DB_HOST, DB_PORT, DB_NAME, DB_USER, DB_PASS (PostgreSQL and MariaDB), DB_TLS,
  /// DB_TLS_CA, DB_TLS_CERTIFICATE, DB_TLS_KEY, DB_POOL_SIZE, DB_MAX_RETRIES and DB_RETRY_DELAY. An unset or empty
  /// variable is its default; other variables are ignored.
  public init(environment: [String: String]) throws(DatabaseSettingsError) {
    func text(_ name: String) -> String? { environment[name].flatMap { $0.isEmpty ? nil : $0 } }
    func number(_ name: String, _ range: ClosedRange<Int>, default value: Int) throws(DatabaseSettingsError) -> Int {
      guard let text = text(name) else { return value }
      guard let number = Int(text), range.contains(number) else {
        throw .init(variable: name, expected: "a whole number from \(range.lowerBound) to \(range.upperBound)")
      }
      return number
    }
    func tls() throws(DatabaseSettingsError) -> DatabaseTLS {
      guard let mode = DatabaseTLS.Mode(rawValue: text("DB_TLS") ?? "auto") else {
        throw .init(variable: "DB_TLS", expected: "auto, off, require or verify")
      }
      return DatabaseTLS(
        mode: mode, authority: text("DB_TLS_CA"), certificate: text("DB_TLS_CERTIFICATE"), key: text("DB_TLS_KEY"))
    }
    func server(port: Int) throws(DatabaseSettingsError) -> DatabaseServer {
      DatabaseServer(
        host: text("DB_HOST") ?? "127.0.0.1", port: try number("DB_PORT", 1...65535, default: port),
        database: text("DB_NAME") ?? "sluice", user: text("DB_USER") ?? "sluice",
        password: text("DB_PASS").map(DatabasePassword.init), tls: try tls())
    }
    let backend: Backend
    switch text("DB_TYPE")?.lowercased() ?? "sqlite" {
    case "sqlite": backend = .sqlite(path: text("DB_PATH") ?? Self.sqlitePathDefault)
    case "postgresql", "postgres": backend = .postgres(try server(port: 5432))
    case "mysql", "mariadb": backend = .mysql(try server(port: 3306))
    default: throw .init(variable: "DB_TYPE", expected: "sqlite, postgresql or mysql")
    }
    self.init(
      backend: backend, poolSize: try number("DB_POOL_SIZE", Self.poolSizeRange, default: 8),
      retriesMax: try number("DB_MAX_RETRIES", 0...1000, default: 10),
      retryDelay: .seconds(try number("DB_RETRY_DELAY", 0...3600, default: 1)))
  }
}

/// How a database server is spoken to.
public struct DatabaseTLS: Sendable, Equatable {
  public enum Mode: String, Sendable, CaseIterable {
    /// The client library's own: libpq's environment (PGSSLMODE, …); without TLS on MariaDB.
    case auto
    case off
    /// Encrypted, whoever the server is.
    case require
    /// Encrypted, with a certificate for DB_HOST's name from a known authority.
    case verify
  }
  public var mode: Mode
  /// PEM files: who may have signed the server's certificate (nil: whom the system trusts), and this program's own.
  public var authority: String?
  public var certificate: String?
  public var key: String?

  public init(mode: Mode = .auto, authority: String? = nil, certificate: String? = nil, key: String? = nil) {
    self.mode = mode
    self.authority = authority
    self.certificate = certificate
    self.key = key
  }
}

/// A PostgreSQL server, a MariaDB server, or a node of a Galera cluster. Further options of PostgreSQL come from libpq's
/// own environment (PGAPPNAME, …).
public struct DatabaseServer: Sendable, Equatable {
  /// A name, an address, or a path: of the directory of a unix socket, or (MariaDB) of the socket.
  public var host: String
  public var port: Int
  public var database: String
  public var user: String
  public var password: DatabasePassword?
  public var tls: DatabaseTLS

  public init(
    host: String, port: Int, database: String, user: String, password: DatabasePassword? = nil,
    tls: DatabaseTLS = .init()
  ) {
    self.host = host
    self.port = port
    self.database = database
    self.user = user
    self.password = password
    self.tls = tls
  }
}

/// DB_PASS. Never printed: description, debug description and mirror are redacted.
public struct DatabasePassword: Sendable, Equatable, CustomStringConvertible, CustomDebugStringConvertible,
  CustomReflectable
{
  let text: String

  public init(_ text: String) { self.text = text }

  public var description: String { "<redacted>" }
  public var debugDescription: String { "<redacted>" }
  public var customMirror: Mirror { Mirror(self, children: []) }
}

/// A DB_* variable that says nothing usable. It doesn't hold the value: that may be a secret.
public struct DatabaseSettingsError: Error, Equatable, Sendable, CustomStringConvertible {
  public let variable: String
  public let expected: String

  public var description: String { "\(variable) must be \(expected)" }
}

extension DatabaseSettings: CustomStringConvertible {
  /// For the log.
  public var description: String {
    switch backend {
    case .sqlite(let path): "SQLite \(path)"
    case .postgres(let server): "PostgreSQL \(server.user)@\(server.host):\(server.port)/\(server.database)"
    case .mysql(let server): "MariaDB \(server.user)@\(server.host):\(server.port)/\(server.database)"
    }
  }
}

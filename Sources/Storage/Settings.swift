/// Where the database is and how hard to try: the DB_* environment variables.
public struct DatabaseSettings: Sendable, Equatable {
  public enum Backend: Sendable, Equatable {
    case sqlite(path: String)
    case postgres(PostgresSettings)
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

  /// From DB_TYPE, DB_PATH (SQLite), DB_HOST, DB_PORT, DB_NAME, DB_USER, DB_PASS (PostgreSQL), DB_POOL_SIZE,
  /// DB_MAX_RETRIES and DB_RETRY_DELAY. An unset or empty variable is its default; other variables are ignored.
  public init(environment: [String: String]) throws(DatabaseSettingsError) {
    func text(_ name: String) -> String? { environment[name].flatMap { $0.isEmpty ? nil : $0 } }
    func number(_ name: String, _ range: ClosedRange<Int>, default value: Int) throws(DatabaseSettingsError) -> Int {
      guard let text = text(name) else { return value }
      guard let number = Int(text), range.contains(number) else {
        throw .init(variable: name, expected: "a whole number from \(range.lowerBound) to \(range.upperBound)")
      }
      return number
    }
    let backend: Backend
    switch text("DB_TYPE")?.lowercased() ?? "sqlite" {
    case "sqlite": backend = .sqlite(path: text("DB_PATH") ?? Self.sqlitePathDefault)
    case "postgresql", "postgres":
      backend = .postgres(
        PostgresSettings(
          host: text("DB_HOST") ?? "127.0.0.1", port: try number("DB_PORT", 1...65535, default: 5432),
          database: text("DB_NAME") ?? "sluice", user: text("DB_USER") ?? "sluice",
          password: text("DB_PASS").map(DatabasePassword.init)))
    default: throw .init(variable: "DB_TYPE", expected: "sqlite or postgresql")
    }
    self.init(
      backend: backend, poolSize: try number("DB_POOL_SIZE", Self.poolSizeRange, default: 8),
      retriesMax: try number("DB_MAX_RETRIES", 0...1000, default: 10),
      retryDelay: .seconds(try number("DB_RETRY_DELAY", 0...3600, default: 1)))
  }
}

/// A PostgreSQL server. TLS and further options come from libpq's own environment (PGSSLMODE, PGSSLROOTCERT, …).
public struct PostgresSettings: Sendable, Equatable {
  /// A name, an address, or the directory of a unix socket.
  public var host: String
  public var port: Int
  public var database: String
  public var user: String
  public var password: DatabasePassword?

  public init(host: String, port: Int = 5432, database: String, user: String, password: DatabasePassword? = nil) {
    self.host = host
    self.port = port
    self.database = database
    self.user = user
    self.password = password
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
    }
  }
}

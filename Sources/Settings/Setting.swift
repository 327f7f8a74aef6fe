/// A program that reads settings.
public enum Program: String, Sendable, CaseIterable {
  case daemon = "sluiced"
  case api = "sluice-api"
}

/// One setting: what it is called in each place, and what it means.
public struct Setting: Hashable, Sendable {
  /// In the file, and in `--set KEY=VALUE`.
  public let key: String
  /// The environment variable.
  public let variable: String
  /// As it would be written; empty: not set.
  public let standard: String
  public let programs: Set<Program>
  /// Whether the value stays out of every message.
  public let isSecret: Bool
  /// In one line.
  public let help: String

  init(
    _ key: String, _ variable: String, _ standard: String, for programs: Set<Program>, isSecret: Bool = false,
    _ help: String
  ) {
    self.key = key
    self.variable = variable
    self.standard = standard
    self.programs = programs
    self.isSecret = isSecret
    self.help = help
  }
}

extension Setting {
  private static let both: Set<Program> = [.daemon, .api]

  static let socket = Setting(
    "control.socket", "SLUICE_SOCKET", "/run/sluice/sluiced.sock", for: both,
    "Unix socket of sluiced: gRPC, mode 0660. Whoever may open it may do everything.")
  static let socketGroup = Setting(
    "control.socket_group", "SLUICE_SOCKET_GROUP", "", for: [.daemon],
    "Group that may open the socket, by name or number; the daemon's user must be in it. Not set: the daemon's own group.")
  static let grpcEnabled = Setting(
    "control.grpc_enabled", "GRPC_ENABLED", "true", for: [.daemon],
    "Whether the socket exists. Without it the daemon decides by its last state and cannot be told anything.")
  static let grpcPort = Setting(
    "control.grpc_port", "GRPC_PORT", "0", for: [.daemon],
    "TCP port of gRPC. This version serves the unix socket only and accepts 0 alone.")
  static let stateDirectory = Setting(
    "daemon.state_directory", "SLUICE_STATE_DIR", "/var/lib/sluice", for: [.daemon],
    "Where the daemon keeps what it applied last, to restore it at its start.")
  static let captureDirectory = Setting(
    "daemon.capture_directory", "SLUICE_CAPTURE_DIR", "/var/lib/sluice/captures", for: [.daemon],
    "The only folder that captures are written to.")
  static let bpffs = Setting(
    "daemon.bpffs", "SLUICE_BPFFS", "/sys/fs/bpf", for: [.daemon],
    "Mount point of the BPF file system, where programs and maps outlive the daemon.")
  static let workerWait = Setting(
    "worker.wait", "SLUICE_WORKER_WAIT", "adaptive", for: [.daemon],
    "Packet threads without packets: adaptive (an idle one uses no CPU), spin (lowest latency, a whole CPU) or block.")
  static let workerBatch = Setting(
    "worker.batch", "SLUICE_WORKER_BATCH", "256", for: [.daemon], "Packets that they take at a time, at most: 32 to 1024.")
  static let workerRingEntries = Setting(
    "worker.ring_entries", "SLUICE_WORKER_RING_ENTRIES", "0", for: [.daemon],
    "Entries of their rings, a power of two, 256 to 65536: more bridge longer pauses, and take memory. 0: what suits.")
  static let metricsHost = Setting(
    "metrics.host", "METRICS_HOST", "127.0.0.1", for: [.daemon],
    "Address of /metrics, /healthz and /readyz of sluiced. sluice-api serves its own on its port.")
  static let metricsPort = Setting(
    "metrics.port", "METRICS_PORT", "9411", for: [.daemon], "TCP port of the same; 0: any free one.")
  static let httpHost = Setting(
    "api.host", "HTTP_HOST", "127.0.0.1", for: [.api],
    "Address the API listens on. Beyond loopback only after the first password was changed.")
  static let httpPort = Setting(
    "api.port", "HTTP_PORT", "8080", for: [.api], "TCP port of the API; 0: any free one.")
  static let http2Enabled = Setting(
    "api.http2_enabled", "HTTP2_ENABLED", "true", for: [.api], "Whether HTTP/2 is offered to clients that speak TLS.")
  static let tlsCertificate = Setting(
    "api.tls_certificate", "HTTP_TLS_CERTIFICATE", "", for: [.api],
    "Certificate chain in PEM: the API speaks TLS 1.2 or newer. Read again when the file changes, and at SIGHUP.")
  static let tlsKey = Setting(
    "api.tls_key", "HTTP_TLS_KEY", "", for: [.api], "Its private key in PEM, which others must not be able to read.")
  static let tlsClientAuthority = Setting(
    "api.tls_client_ca", "HTTP_TLS_CLIENT_CA", "", for: [.api],
    "Certificates in PEM of those who vouch for clients. Set: every client must show a certificate.")
  static let trustedHosts = Setting(
    "api.trusted_hosts", "HTTP_TRUSTED_HOSTS", "", for: [.api],
    "Names in Host that are answered, with commas; *.example.org for all below. Not set: all.")
  static let corsOrigins = Setting(
    "api.cors_origins", "HTTP_CORS_ORIGINS", "", for: [.api],
    "Origins whose pages may read answers, with commas: https://console.example.org. Not set: none.")
  static let ratePerAddress = Setting(
    "api.rate_per_address", "HTTP_RATE_PER_ADDRESS", "500", for: [.api],
    "Requests a second of one address (of IPv6 one /64), twice as many at once; 0: no limit, as behind a proxy.")
  static let ratePerToken = Setting(
    "api.rate_per_token", "HTTP_RATE_PER_TOKEN", "200", for: [.api],
    "Requests a second with one token, twice as many at once; 0: no limit.")
  static let rateOfCostlyRoutes = Setting(
    "api.rate_of_costly_routes", "HTTP_RATE_OF_COSTLY_ROUTES", "true", for: [.api],
    "Whether sign-ins, applies, captures and the like have limits of their own, 2 to 20 a second and address.")
  static let requireIfMatch = Setting(
    "api.require_if_match", "HTTP_REQUIRE_IF_MATCH", "false", for: [.api],
    "Whether changes must carry If-Match, so that nobody overwrites what he has not read.")
  static let importMebibytes = Setting(
    "api.import_mebibytes", "HTTP_IMPORT_MEBIBYTES", "256", for: [.api],
    "Largest file of set elements that is imported, 1 to 4096. Other bodies: 64 with rules, else 1.")
  public static let tokenKeysDirectory = Setting(
    "api.token_keys", "SLUICE_TOKEN_KEYS", "/var/lib/sluice-api/keys", for: [.api],
    "Folder of the keys that sign access tokens. Made at the first start; sluice-api keys rotates them.")
  static let tokenAlgorithm = Setting(
    "api.token_algorithm", "SLUICE_TOKEN_ALGORITHM", "EdDSA", for: [.api],
    "How access tokens are signed: EdDSA, ES256, or HS256, which only the API itself can verify.")
  public static let jwtSecretFile = Setting(
    "api.jwt_secret_file", "SLUICE_JWT_SECRET_FILE", "", for: [.api],
    "File with a secret of at least 32 bytes that signs access tokens (HS256), instead of that folder.")
  static let auditRetentionDays = Setting(
    "api.audit_retention_days", "SLUICE_AUDIT_RETENTION_DAYS", "0", for: [.api],
    "Days that records of the audit log are kept, 0 to 36500; what goes leaves a checkpoint. 0: for ever.")
  static let sessionHours = Setting(
    "api.session_hours", "SLUICE_SESSION_HOURS", "12", for: [.api],
    "Hours after a sign-in that the session ends, however often it is renewed, 1 to 720. API clients have no sessions.")
  static let sessionIdleMinutes = Setting(
    "api.session_idle_minutes", "SLUICE_SESSION_IDLE_MINUTES", "30", for: [.api],
    "Minutes without a renewal that end a session, 20 to 43200, at most those hours; each access token is good for 15.")
  static let breakGlassEmail = Setting(
    "api.break_glass_email", "SLUICE_BREAK_GLASS_EMAIL", "", for: [.api],
    "Account that is active and Admin whatever its record says; it still needs its password. Each use is audited.")
  static let secondFactorRoles = Setting(
    "api.second_factor_roles", "SLUICE_SECOND_FACTOR_ROLES", "", for: [.api],
    "Roles, built-in or custom, with commas, whose holders must set up a second factor before anything else.")
  public static let webhookPrivateTargets = Setting(
    "api.webhook_private_targets", "SLUICE_WEBHOOK_PRIVATE_TARGETS", "", for: [.api],
    "Prefixes of this machine or its network that webhooks may go to, without TLS too, with commas. Not set: public https.")
  public static let webhookAuthority = Setting(
    "api.webhook_ca", "SLUICE_WEBHOOK_CA", "", for: [.api],
    "Certificates in PEM of those who vouch for the targets of webhooks. Not set: whom the system trusts.")
  static let databaseType = Setting(
    "database.type", "DB_TYPE", "sqlite", for: [.api], "sqlite, postgresql, or mysql, which is MariaDB 10.6 or later.")
  static let databasePath = Setting(
    "database.path", "DB_PATH", "/var/lib/sluice-api/sluice.db", for: [.api], "File of the SQLite database.")
  static let databaseHost = Setting(
    "database.host", "DB_HOST", "127.0.0.1", for: [.api],
    "Database server: a host, an address, or the folder of its unix socket.")
  static let databasePort = Setting(
    "database.port", "DB_PORT", "", for: [.api], "Port of the server; 5432 for PostgreSQL and 3306 for MariaDB.")
  static let databaseName = Setting("database.name", "DB_NAME", "sluice", for: [.api], "Database on the server.")
  static let databaseUser = Setting("database.user", "DB_USER", "sluice", for: [.api], "User of the server.")
  static let databasePassword = Setting(
    "database.password", "DB_PASS", "", for: [.api], isSecret: true,
    "Password of that user. In the file only if others cannot read the file.")
  static let databaseTLS = Setting(
    "database.tls", "DB_TLS", "auto", for: [.api],
    "off, require (encrypted), verify (and the server's certificate is for its host), or auto: what PGSSLMODE says.")
  static let databaseTLSAuthority = Setting(
    "database.tls_ca", "DB_TLS_CA", "", for: [.api], "PEM file of whoever may sign the server's certificate.")
  static let databaseTLSCertificate = Setting(
    "database.tls_certificate", "DB_TLS_CERTIFICATE", "", for: [.api], "PEM file that this program shows the server.")
  static let databaseTLSKey = Setting(
    "database.tls_key", "DB_TLS_KEY", "", for: [.api], "Key of that certificate.")
  static let databasePoolSize = Setting(
    "database.pool_size", "DB_POOL_SIZE", "8", for: [.api], "Connections to the server at most, 1 to 100.")
  static let databaseMaxRetries = Setting(
    "database.max_retries", "DB_MAX_RETRIES", "10", for: [.api],
    "How often a start tries again to reach the database, 0 to 1000.")
  static let databaseRetryDelay = Setting(
    "database.retry_delay", "DB_RETRY_DELAY", "1s", for: [.api],
    "Wait before the first of these, then twice as long each time, with jitter: 500ms, 2s, 1m, or seconds.")
  static let logLevel = Setting(
    "log.level", "SLUICE_LOG_LEVEL", "notice", for: both,
    "trace, debug, info, notice, warning, error or critical. -v, -vv, -vvv on the command line go further.")
  static let logOutput = Setting(
    "log.output", "SLUICE_LOG", "auto", for: both,
    "auto (the journal under systemd, else the console), console, json (one object a line) or journal.")
  static let logSyslog = Setting(
    "log.syslog", "SLUICE_SYSLOG", "", for: both, "Syslog server that gets a copy, by UDP: host:port.")
  static let releaseMode = Setting(
    "release_mode", "RELEASE_MODE", "true", for: [.api],
    "false: for development, internal errors say to the caller what the log says.")

  /// Every setting, in the order of the file.
  public static let all: [Setting] = [
    socket, socketGroup, grpcEnabled, grpcPort, stateDirectory, captureDirectory, bpffs, workerWait, workerBatch,
    workerRingEntries, metricsHost, metricsPort,
    httpHost, httpPort, http2Enabled, tlsCertificate, tlsKey, tlsClientAuthority, trustedHosts, corsOrigins,
    ratePerAddress, ratePerToken, rateOfCostlyRoutes, requireIfMatch, importMebibytes,
    tokenKeysDirectory, tokenAlgorithm, jwtSecretFile, auditRetentionDays, sessionHours, sessionIdleMinutes, breakGlassEmail, secondFactorRoles,
    webhookPrivateTargets, webhookAuthority,
    databaseType, databasePath, databaseHost, databasePort, databaseName, databaseUser, databasePassword, databaseTLS,
    databaseTLSAuthority, databaseTLSCertificate, databaseTLSKey, databasePoolSize, databaseMaxRetries, databaseRetryDelay, logLevel,
    logOutput, logSyslog, releaseMode,
  ]

  /// The file read where nothing else is said; it need not exist.
  public static let standardFile = "/etc/sluice/sluice.yaml"
  /// Names another file, which must exist.
  public static let fileVariable = "SLUICE_CONFIG"

  /// Lines for `--help`: key, variable, default and meaning of a program's settings.
  public static func describe(_ program: Program) -> String {
    let own = all.filter { $0.programs.contains(program) }
    let keyWidth = own.map(\.key.count).max() ?? 0
    let variableWidth = own.map(\.variable.count).max() ?? 0
    func pad(_ text: String, _ width: Int) -> String { text + String(repeating: " ", count: width - text.count) }
    return own.map { setting in
      let value = setting.standard.isEmpty ? "" : " [\(setting.standard)]"
      return "  \(pad(setting.key, keyWidth))  \(pad(setting.variable, variableWidth))  \(setting.help)\(value)"
    }.joined(separator: "\n")
  }

  /// The table for the README.
  public static func markdownTable() -> String {
    let rows = all.map { setting in
      let programs = setting.programs.count == 2 ? "both" : setting.programs.first?.rawValue ?? ""
      let value = setting.standard.isEmpty ? "" : "`\(setting.standard)`"
      return "| `\(setting.variable)` | `\(setting.key)` | \(value) | \(programs) | \(setting.help) |"
    }
    return (["| variable | in the file | default | read by | meaning |", "|---|---|---|---|---|"] + rows)
      .joined(separator: "\n")
  }
}

import Packets

/// A text that no message, dump or interpolation shows.
public struct Secret: Hashable, Sendable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
  private let value: String
  public init(_ value: String) { self.value = value }
  /// The text itself, for the one place that needs it.
  public func reveal() -> String { value }
  public var description: String { "[redacted]" }
  public var debugDescription: String { description }
  public var customMirror: Mirror { Mirror(self, children: []) }
}

/// Where a program listens.
public struct ListenAddress: Hashable, Sendable, CustomStringConvertible {
  public var host: String
  /// 0: any free port.
  public var port: Int
  public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }

  /// Whether only this machine can reach it: `localhost`, 127.0.0.0/8 or ::1.
  public var isLoopback: Bool {
    if host == "localhost" || host == "::1" { return true }
    let parts = host.split(separator: ".", omittingEmptySubsequences: false)
    return parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
  }
}

/// How a program logs; the flags `-v` come on top.
public struct LogSettings: Hashable, Sendable {
  public enum Level: String, Sendable, CaseIterable {
    case trace, debug, info, notice, warning, error, critical
  }
  public enum Output: String, Sendable, CaseIterable {
    case auto, console, json, journal
  }
  public var level: Level
  public var output: Output
  /// `host:port`.
  public var syslog: String?

  init(_ reader: inout SettingsReader) {
    level = reader.choice(.logLevel)
    output = reader.choice(.logOutput)
    syslog = reader.optionalText(.logSyslog)
  }
}

/// Packet threads whose attachment or wire says nothing else.
public struct WorkerSettings: Hashable, Sendable {
  public enum Wait: String, Sendable, CaseIterable {
    case adaptive, spin, block
  }
  public var wait: Wait
  public var batch: Int
  /// A power of two; 0: what suits the thread.
  public var ringEntries: Int

  init(_ reader: inout SettingsReader) {
    wait = reader.choice(.workerWait)
    batch = reader.integer(.workerBatch, 32...1024)
    ringEntries = reader.powerOfTwo(.workerRingEntries, 256...65_536)
  }
}

/// Bytes in the path of a unix socket: sun_path without its final zero.
private let socketPathByteCountMax = 107

/// The settings of sluiced.
public struct DaemonSettings: Hashable, Sendable {
  public var socketPath: String
  /// Name or number; nil: the process's own group.
  public var socketGroup: String?
  public var isGRPCEnabled: Bool
  public var stateDirectory: String
  public var captureDirectory: String
  public var bpffs: String
  public var worker: WorkerSettings
  public var metrics: ListenAddress
  public var log: LogSettings

  /// Reads and checks everything. `flags` are values by key, from `--set`; they beat `environment`, which beats the
  /// file. `file` must exist where it is given; otherwise SLUICE_CONFIG names it, or the standard file is read if it
  /// is there.
  public static func load(
    flags: [String: String] = [:], environment: [String: String], file: String? = nil
  ) throws(SettingsError) -> DaemonSettings {
    var reader = try SettingsReader(flags: flags, environment: environment, file: file)
    let settings = DaemonSettings(&reader)
    try reader.finish()
    return settings
  }

  private init(_ reader: inout SettingsReader) {
    socketPath = reader.path(.socket, limit: socketPathByteCountMax)
    socketGroup = reader.optionalText(.socketGroup, limit: 32)
    isGRPCEnabled = reader.bool(.grpcEnabled)
    reader.fixed(
      .grpcPort, "is not possible: gRPC over TCP needs mutual TLS, which this version lacks; use 0 and the unix socket")
    stateDirectory = reader.path(.stateDirectory)
    captureDirectory = reader.path(.captureDirectory)
    bpffs = reader.path(.bpffs)
    worker = WorkerSettings(&reader)
    metrics = ListenAddress(host: reader.host(.metricsHost), port: reader.port(.metricsPort))
    log = LogSettings(&reader)
  }
}

/// The database of sluice-api.
public enum DatabaseSettings: Hashable, Sendable {
  case sqlite(path: String)
  case postgresql(DatabaseServerSettings)
  /// MariaDB.
  case mysql(DatabaseServerSettings)
}

public struct DatabaseServerSettings: Hashable, Sendable {
  /// What the connection is protected by.
  public enum TLS: String, Sendable, CaseIterable {
    /// What the client library does by itself.
    case auto
    case off
    /// Encrypted, whoever the server is.
    case require
    /// Encrypted, with a certificate for the host's name.
    case verify
  }

  /// A host, an address, or the folder of a unix socket.
  public var host: String
  /// nil: the one that servers of this kind have.
  public var port: Int?
  public var name: String
  public var user: String
  /// nil: none is sent.
  public var password: Secret?
  public var poolSize: Int
  public var tls: TLS
  /// PEM files; nil: whom the system trusts, and no certificate of the program's own.
  public var tlsAuthority: String?
  public var tlsCertificate: String?
  public var tlsKey: String?

  init(_ reader: inout SettingsReader) {
    host = reader.host(.databaseHost)
    port = reader.optionalPort(.databasePort)
    name = reader.text(.databaseName)
    user = reader.text(.databaseUser)
    password = reader.optionalText(.databasePassword).map(Secret.init)
    poolSize = reader.integer(.databasePoolSize, 1...100)
    tls = reader.choice(.databaseTLS)
    tlsAuthority = reader.optionalPath(.databaseTLSAuthority)
    tlsCertificate = reader.optionalPath(.databaseTLSCertificate)
    tlsKey = reader.optionalPath(.databaseTLSKey)
    if (tlsCertificate == nil) != (tlsKey == nil) {
      reader.refuse(tlsKey == nil ? .databaseTLSCertificate : .databaseTLSKey, "certificate and key go together")
    }
  }
}

/// How sluice-api meets those who call it.
public struct HTTPSettings: Hashable, Sendable {
  public struct TLS: Hashable, Sendable {
    public var certificate: String
    public var key: String
    /// nil: clients show no certificate.
    public var clientAuthority: String?
  }

  /// nil: without TLS.
  public var tls: TLS?
  public var offersHTTP2: Bool
  /// Lower case.
  public var trustedHosts: [String]
  public var corsOrigins: [String]
  /// Requests a second; 0: no limit.
  public var ratePerAddress: Int
  public var ratePerToken: Int
  public var limitsCostlyRoutes: Bool
  public var requiresIfMatch: Bool
  /// Of an imported file of elements, at most.
  public var importMebibytes: Int

  init(_ reader: inout SettingsReader) {
    let certificate = reader.optionalPath(.tlsCertificate)
    let key = reader.optionalPath(.tlsKey)
    let authority = reader.optionalPath(.tlsClientAuthority)
    if let certificate, let key {
      tls = TLS(certificate: certificate, key: key, clientAuthority: authority)
    } else {
      let given: [(Setting, String?)] = [
        (.tlsCertificate, certificate), (.tlsKey, key), (.tlsClientAuthority, authority),
      ]
      for (setting, value) in given where value != nil {
        reader.refuse(
          setting, "is not enough: \(Setting.tlsCertificate.key) and \(Setting.tlsKey.key) go together, set both for TLS")
      }
    }
    offersHTTP2 = reader.bool(.http2Enabled)
    trustedHosts = reader.list(.trustedHosts, "is not a list of host names with commas between") { text in
      let isName = !text.isEmpty && text.utf8.count <= 255 && !text.contains("/")
        && text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f } && !text.dropFirst().contains("*")
      return isName ? text.lowercased() : nil
    }
    corsOrigins = reader.list(.corsOrigins, "is not a list of origins such as https://console.example.org") { text in
      let parts = text.split(separator: "://", maxSplits: 1, omittingEmptySubsequences: false)
      let isOrigin = parts.count == 2 && ["http", "https"].contains(parts[0]) && !parts[1].isEmpty
        && parts[1].utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f && $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: "*") }
      return isOrigin ? text : nil
    }
    ratePerAddress = reader.integer(.ratePerAddress, 0...1_000_000)
    ratePerToken = reader.integer(.ratePerToken, 0...1_000_000)
    limitsCostlyRoutes = reader.bool(.rateOfCostlyRoutes)
    requiresIfMatch = reader.bool(.requireIfMatch)
    importMebibytes = reader.integer(.importMebibytes, 1...4096)
  }
}

/// The settings of sluice-api.
public struct APISettings: Hashable, Sendable {
  /// How access tokens are signed.
  public enum TokenAlgorithm: String, Sendable, CaseIterable {
    case edDSA = "EdDSA"
    case es256 = "ES256"
    case hs256 = "HS256"
  }
  private enum DatabaseType: String, CaseIterable {
    case sqlite, postgresql, mysql
  }

  public var http: ListenAddress
  public var interface: HTTPSettings
  /// Of the daemon on this machine.
  public var socketPath: String
  /// Of the keys that sign access tokens.
  public var tokenKeysDirectory: String
  public var tokenAlgorithm: TokenAlgorithm
  /// nil: the folder.
  public var jwtSecretFile: String?
  /// 0: for ever.
  public var auditRetentionDays: Int
  public var sessionHours: Int
  public var sessionIdleMinutes: Int
  /// nil: no account is more than its record says.
  public var breakGlassEmail: String?
  /// Names of roles.
  public var secondFactorRoles: [String]
  /// That webhooks may go to, although they are not public.
  public var webhookPrivateTargets: [IPPrefix]
  /// A PEM file; nil: whom the system trusts.
  public var webhookAuthority: String?
  public var database: DatabaseSettings
  /// Tries after the first, at the start.
  public var databaseMaxRetries: Int
  /// Before the first of them; doubled each time.
  public var databaseRetryDelay: Duration
  public var log: LogSettings
  public var isReleaseMode: Bool

  /// As ``DaemonSettings/load(flags:environment:file:)``.
  public static func load(
    flags: [String: String] = [:], environment: [String: String], file: String? = nil
  ) throws(SettingsError) -> APISettings {
    var reader = try SettingsReader(flags: flags, environment: environment, file: file)
    let settings = APISettings(&reader)
    try reader.finish()
    return settings
  }

  private init(_ reader: inout SettingsReader) {
    http = ListenAddress(host: reader.host(.httpHost), port: reader.port(.httpPort))
    interface = HTTPSettings(&reader)
    socketPath = reader.path(.socket, limit: socketPathByteCountMax)
    tokenKeysDirectory = reader.path(.tokenKeysDirectory)
    tokenAlgorithm = reader.choice(.tokenAlgorithm)
    jwtSecretFile = reader.optionalPath(.jwtSecretFile)
    auditRetentionDays = reader.integer(.auditRetentionDays, 0...36_500)
    sessionHours = reader.integer(.sessionHours, 1...720)
    sessionIdleMinutes = reader.integer(.sessionIdleMinutes, 20...43_200)
    if sessionIdleMinutes > sessionHours * 60 {
      reader.refuse(.sessionIdleMinutes, "is longer than a session, which \(Setting.sessionHours.key) ends")
    }
    breakGlassEmail = reader.optionalText(.breakGlassEmail, limit: 254)
    secondFactorRoles = reader.list(.secondFactorRoles, "is not a list of names of roles with commas between") { text in
      let isName = (1...64).contains(text.utf8.count) && text.utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7f }
      return isName ? text : nil
    }
    let targets = reader.list(.webhookPrivateTargets, "is not a list of prefixes such as 10.1.0.0/16 with commas between") {
      IPPrefix($0)?.description
    }
    webhookPrivateTargets = targets.compactMap { IPPrefix($0) }
    webhookAuthority = reader.optionalPath(.webhookAuthority)
    // Both are read, so that a mistake doesn't hide until the day the type is changed.
    let path = reader.path(.databasePath)
    let server = DatabaseServerSettings(&reader)
    let type: DatabaseType = reader.choice(.databaseType)
    database =
      switch type {
      case .sqlite: .sqlite(path: path)
      case .postgresql: .postgresql(server)
      case .mysql: .mysql(server)
      }
    databaseMaxRetries = reader.integer(.databaseMaxRetries, 0...1000)
    databaseRetryDelay = reader.duration(.databaseRetryDelay)
    log = LogSettings(&reader)
    isReleaseMode = reader.bool(.releaseMode)
  }
}

/// The flags `--set KEY=VALUE`, by key.
public enum SettingFlags {
  public static func parse(_ texts: [String]) throws(SettingsError) -> [String: String] {
    var flags: [String: String] = [:]
    for text in texts {
      guard let equals = text.firstIndex(of: "="), equals != text.startIndex else {
        throw SettingsError("--set \(text)", "takes KEY=VALUE, for example --set api.port=8081")
      }
      flags[String(text[..<equals])] = String(text[text.index(after: equals)...])
    }
    return flags
  }
}

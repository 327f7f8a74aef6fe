import ControlProtocol
import Foundation
import Hummingbird
import Identity
import LinuxSystem
import Logging
import Logs
import Metrics
import RESTAPI
import ServiceLifecycle
import Settings
import Storage
import Telemetry
import UnixSignals

/// Puts the API's parts together, bottom up, and takes them apart in reverse.
struct APIProcess {
  let settings: APISettings
  let verbosity: Int

  /// A drain that takes longer is cut off.
  private static let drainMax = Duration.seconds(20)

  private var logOptions: LogOptions {
    let level = Logger.Level(rawValue: settings.log.level.rawValue) ?? .notice
    return LogOptions(
      program: "sluice-api", level: LogOptions.level(level, verbosity: verbosity),
      output: LogOptions.Output(rawValue: settings.log.output.rawValue) ?? .automatic, syslog: settings.log.syslog)
  }

  func run() async throws {
    umask(0o077)
    let logs = try LogBootstrap(logOptions, journalStream: ProcessInfo.processInfo.environment["JOURNAL_STREAM"])
    logs.install(fields: .init { RequestTrace.current?.fields.mapValues { .string($0) } ?? [:] })
    let logger = Logger(label: "sluice-api")

    let registry = PrometheusRegistry()
    MetricsSystem.bootstrap(registry)
    registry.addBuildInfo(program: "sluice-api", version: SluiceVersion.current)
    registry.addProcessMetrics()
    registry.addLogMetrics { logs.droppedCounts }

    // First of all: wrong files should not cost a sign-in key and a migration.
    let certificates = try settings.interface.tls.map { tls in
      try TLSCertificates(
        TLSFiles(certificateChain: tls.certificate, privateKey: tls.key, clientAuthority: tls.clientAuthority))
    }
    if let certificates { addCertificateMetric(certificates, to: registry) }

    let breakGlass = try breakGlassEmail()
    let webhooks = try webhookSettings()
    let keys = TokenKeys(settings)
    let tokens = try await AccessTokens(
      keys: try keys.load(lifetime: AccessTokens.Settings().lifetimeWithLeeway, logger: logger))
    let hasher = try PasswordHasher()
    let store = try await Stores.open(settings.storage, logger: Logger(label: "database"))
    do {
      let sealer = try await keys.sealer(store: store, logger: logger)
      try await seed(store, hasher, logger)
      try await refuseToExposeTheSeededPassword(store)
      let (passwords, analyses) = (CostlyWork.onPasswords(), CostlyWork.onAnalyses())
      var serviceSettings = RESTAPI.Services.Settings(
        version: SluiceVersion.current, interface: interfaceSettings, breakGlass: breakGlass,
        secondFactorRoles: Set(settings.secondFactorRoles))
      serviceSettings.webhooks = webhooks
      serviceSettings.showsInternals = !settings.isReleaseMode
      serviceSettings.sessions = SessionLimits(
        lifetime: .seconds(settings.sessionHours * 3600), idle: .seconds(settings.sessionIdleMinutes * 60))
      let services = RESTAPI.Services(
        store: store, tokens: tokens, hasher: hasher, passwords: passwords, analyses: analyses, sealer: sealer,
        registry: registry, logger: Logger(label: "api"), settings: serviceSettings)
      let reloader = Reloader(certificates: certificates, keys: keys, tokens: tokens, sealer: sealer, logger: logger)
      try await serve(services, store, certificates, reloader, logger)
      try await passwords.shutdown()
      try await analyses.shutdown()
    } catch {
      await store.close()
      throw error
    }
    await store.close()
    logger.notice("stopped")
  }

  private func breakGlassEmail() throws -> Email? {
    guard let text = settings.breakGlassEmail else { return nil }
    do throws(EmailError) { return try Email(text) } catch {
      throw StartError("SLUICE_BREAK_GLASS_EMAIL (api.break_glass_email): \(error)")
    }
  }

  private func webhookSettings() throws -> WebhookSender.Settings {
    let networks = WebhookNetworks(allowed: settings.webhookPrivateTargets)
    do { return try WebhookSender.Settings(networks: networks, authorityFile: settings.webhookAuthority) } catch {
      throw StartError("SLUICE_WEBHOOK_CA (api.webhook_ca): cannot be read as certificates in PEM: \(error)")
    }
  }

  /// The first account and the node `local`, which is the daemon of the settings.
  private func seed(_ store: any Store, _ hasher: PasswordHasher, _ logger: Logger) async throws {
    guard try await !store.isSeeded() else { return try await tellOfOtherSocket(store, logger) }
    guard try await store.seed(adminPasswordHash: hasher.hash(SeededAdmin.password)) else { return }
    _ = try await store.updateNode(
      named: NewNode.local.name, NodeChange(address: "\(ControlAddress(parsing: settings.socketPath))"))
    let metadata: Logger.Metadata = ["account": "\(SeededAdmin.emailText)"]
    let account = try await store.user(email: SeededAdmin.email)
    // Nobody becomes an administrator because his address is that of the first account.
    guard let account, account.isActive, account.roles.contains(.admin) else {
      logger.warning(
        """
        first start: the account of the first administrator was there before and is no active one; it stays as it is. Let \
        `sluice-api seed` give somebody the role Admin, or name a break-glass account (SLUICE_BREAK_GLASS_EMAIL)
        """,
        metadata: metadata)
      return
    }
    guard try await store.seededPasswordStands() else {
      logger.notice("first start: the first administrator was there before; his password is his own", metadata: metadata)
      return
    }
    logger.notice(
      "first start: sign in as \(SeededAdmin.emailText) and change the password, which README names", metadata: metadata)
  }

  /// The setting is the address of the node `local` at the first start only: later, whoever may change nodes changes it.
  private func tellOfOtherSocket(_ store: any Store, _ logger: Logger) async throws {
    let address = "\(try ControlAddress(parsing: settings.socketPath))"
    let node: Node
    do { node = try await store.node(named: NewNode.local.name) } catch StorageError.notFound { return }
    guard node.address != address else { return }
    logger.warning(
      "the node local has another address than control.socket (SLUICE_SOCKET), and is asked there: PATCH /api/v1/nodes/local changes it",
      metadata: ["address": "\(node.address)", "setting": "\(address)"])
  }

  private func refuseToExposeTheSeededPassword(_ store: any Store) async throws {
    guard !settings.http.isLoopback, try await store.seededPasswordStands() else { return }
    throw StartError(
      "refusing to listen on \(settings.http) while the first password stands: start with HTTP_HOST=127.0.0.1 "
        + "(api.host), change the password of \(SeededAdmin.emailText) (sluice login), then start again")
  }

  private func housekeeping(_ store: any Store, _ logger: Logger) -> Housekeeping {
    Housekeeping(store: store, logger: logger, auditRetentionDays: settings.auditRetentionDays)
  }

  private var interfaceSettings: InterfaceSettings {
    let http = settings.interface
    let rate = { (perSecond: Int) in perSecond > 0 ? Rate(perSecond: Double(perSecond)) : nil }
    return InterfaceSettings(
      requiresIfMatch: http.requiresIfMatch, corsOrigins: Set(http.corsOrigins), trustedHosts: Set(http.trustedHosts),
      addressRate: rate(http.ratePerAddress), tokenRate: rate(http.ratePerToken),
      routeRates: http.limitsCostlyRoutes ? InterfaceSettings.costlyRoutes : [:], isTLS: http.tls != nil,
      importBytesMax: http.importMebibytes << 20)
  }

  private func addCertificateMetric(_ certificates: TLSCertificates, to registry: PrometheusRegistry) {
    registry.addCollector { exposition in
      exposition.family(
        "sluice_api_certificate_expiry_timestamp_seconds", .gauge, help: "When the API's own certificate ends."
      ) { $0.sample(UInt64(clamping: certificates.expiresAt)) }
    }
  }

  private func serve(
    _ services: RESTAPI.Services, _ store: any Store, _ certificates: TLSCertificates?, _ reloader: Reloader,
    _ logger: Logger
  ) async throws {
    let notifier = ServiceNotifier.fromEnvironment()
    let application = try RESTApplication.make(
      services: services, address: .hostname(settings.http.host, port: settings.http.port),
      certificates: certificates, offersHTTP2: settings.interface.offersHTTP2, logger: Logger(label: "http")
    ) { channel in
      let address = channel.localAddress.map { "\($0.ipAddress ?? "-"):\($0.port ?? 0)" } ?? "-"
      logger.notice("ready", metadata: ["version": "\(SluiceVersion.current)", "address": "\(address)"])
      do { try notifier.ready(status: "listening on \(address)") } catch {
        logger.warning("the service manager could not be told", metadata: ["error": "\(error)"])
      }
    }
    // Shut down in reverse: no new requests first, then the connections that requests use.
    var group = ServiceGroupConfiguration(
      services: [
        .init(service: services.nodes), .init(service: housekeeping(store, logger)),
        .init(service: ReplicaWatch(services)),
        .init(service: reloader), .init(service: application), .init(service: services.events),
        .init(service: services.webhooks),
      ], gracefulShutdownSignals: [.sigterm, .sigint], logger: logger)
    group.maximumGracefulShutdownDuration = Self.drainMax
    let outcome: Result<Void, any Error>
    do { outcome = .success(try await ServiceGroup(configuration: group).run()) } catch { outcome = .failure(error) }
    do { try notifier.stopping() } catch {
      logger.warning("the service manager could not be told", metadata: ["error": "\(error)"])
    }
    try outcome.get()
  }
}

extension APISettings {
  /// The database, in the terms of Storage.
  var storage: Storage.DatabaseSettings {
    switch database {
    case .sqlite(let path):
      Storage.DatabaseSettings(
        backend: .sqlite(path: path), retriesMax: databaseMaxRetries, retryDelay: databaseRetryDelay)
    case .postgresql(let server): storage(.postgres(server.storage(port: 5432)), server)
    case .mysql(let server): storage(.mysql(server.storage(port: 3306)), server)
    }
  }

  private func storage(
    _ backend: Storage.DatabaseSettings.Backend, _ server: DatabaseServerSettings
  ) -> Storage.DatabaseSettings {
    Storage.DatabaseSettings(
      backend: backend, poolSize: server.poolSize, retriesMax: databaseMaxRetries, retryDelay: databaseRetryDelay)
  }
}

extension DatabaseServerSettings {
  fileprivate func storage(port: Int) -> DatabaseServer {
    DatabaseServer(
      host: host, port: self.port ?? port, database: name, user: user,
      password: password.map { DatabasePassword($0.reveal()) }, tls: storageTLS)
  }

  private var storageTLS: DatabaseTLS {
    let mode: DatabaseTLS.Mode =
      switch tls {
      case .auto: .auto
      case .off: .off
      case .require: .require
      case .verify: .verify
      }
    return DatabaseTLS(mode: mode, authority: tlsAuthority, certificate: tlsCertificate, key: tlsKey)
  }
}

/// Why the API doesn't start, and the remedy.
struct StartError: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

/// Removes expired refresh tokens, old sign-ins and what the audit log need not keep, and tells of keys that will end;
/// once an hour.
struct Housekeeping: Service {
  let store: any Store
  let logger: Logger
  /// 0: for ever.
  let auditRetentionDays: Int

  private static let period = Duration.seconds(3600)
  private static let historySeconds: TimeInterval = 90 * 86_400
  private static let idempotencySeconds: TimeInterval = 86_400

  func run() async throws {
    try? await cancelWhenGracefulShutdown {
      while true {
        // Each by itself: one that fails hour after hour must not keep the others from being done.
        try await attempt("history") {
          let count = try await store.purgeHistory(before: Date(timeIntervalSinceNow: -Self.historySeconds))
          if count > 0 { logger.info("history purged", metadata: ["rows": "\(count)"]) }
        }
        try await attempt("idempotency keys") {
          try await store.purgeIdempotencyKeys(before: Date(timeIntervalSinceNow: -Self.idempotencySeconds))
        }
        try await attempt("audit log") { try await removeAuditLog() }
        try await attempt("ending keys") { try await store.tellOfEndingKeys() }
        try await Task.sleep(for: Self.period)
      }
    }
  }

  private func attempt(_ step: String, _ work: () async throws -> Void) async throws {
    do { try await work() } catch {
      try Task.checkCancellation()
      logger.warning("housekeeping did not come to its end", metadata: ["step": "\(step)", "error": "\(error)"])
    }
  }

  private func removeAuditLog() async throws {
    guard auditRetentionDays > 0 else { return }
    let before = Date(timeIntervalSinceNow: -TimeInterval(auditRetentionDays) * 86_400)
    // In parts, between which others write.
    while let last = try await store.removeAuditLog(before: before) {
      logger.notice("old records of the audit log removed", metadata: ["checkpoint": "\(last)"])
      try Task.checkCancellation()
    }
  }
}

import Control
import ControlProtocol
import ControlService
import FoundationEssentials
import Glibc
import LinuxSystem
import Logging
import Logs
import Metrics
import ServiceLifecycle
import Settings
import Telemetry
import UnixSignals

/// Puts the daemon's parts together, bottom up, and takes them apart in reverse.
struct Daemon {
  let settings: DaemonSettings
  let verbosity: Int

  private var logOptions: LogOptions {
    let level = Logger.Level(rawValue: settings.log.level.rawValue) ?? .notice
    return LogOptions(
      program: "sluiced", level: LogOptions.level(level, verbosity: verbosity),
      output: LogOptions.Output(rawValue: settings.log.output.rawValue) ?? .automatic, syslog: settings.log.syslog)
  }

  func run() async throws {
    umask(0o077)
    let logs = try LogBootstrap(logOptions, journalStream: ProcessInfo.processInfo.environment["JOURNAL_STREAM"])
    logs.install(fields: .init { RequestTrace.current?.fields.mapValues { .string($0) } ?? [:] })
    let logger = Logger(label: "sluiced")
    let notifier = ServiceNotifier.fromEnvironment()

    let registry = PrometheusRegistry()
    MetricsSystem.bootstrap(registry)
    registry.addBuildInfo(program: "sluiced", version: SluiceVersion.current)
    registry.addProcessMetrics()
    registry.addLogMetrics { logs.droppedCounts }

    let controller = try Controller(
      settings: ControlSettings(
        stateDirectory: settings.stateDirectory, captureDirectory: settings.captureDirectory, bpffs: settings.bpffs,
        worker: WorkerOptions(
          wait: WorkerOptions.Wait(rawValue: settings.worker.wait.rawValue), batch: UInt32(settings.worker.batch),
          ringEntries: UInt32(settings.worker.ringEntries))),
      logger: Logger(label: "control"))
    MetricsCollector.add(controller, to: registry)
    try await controller.restore()

    let readiness = HealthRegistry()
    readiness.add("control", .readiness) {
      await controller.isShuttingDown ? .failed("the daemon is shutting down") : .ok
    }

    var services: [any Service] = [
      ObservabilityServer(
        host: settings.metrics.host, port: settings.metrics.port, registry: registry, health: readiness,
        logger: Logger(label: "metrics", quietUnless: .trace)),
      try LinkWatcher(controller: controller, logger: Logger(label: "links")),
    ]
    let ready: @Sendable () -> Void = {
      logger.notice("ready", metadata: ["version": "\(SluiceVersion.current)"])
      do {
        try notifier.ready(status: "ready")
      } catch {
        logger.warning("the service manager could not be told", metadata: ["error": "\(error)"])
      }
      Task { await controller.prepareSelfTest() }
    }
    if settings.isGRPCEnabled {
      services.append(
        try ControlServer(
          controller: controller, socketPath: settings.socketPath, groupName: settings.socketGroup,
          version: SluiceVersion.current, logger: Logger(label: "grpc"), onReady: ready))
    } else {
      ready()
    }
    let group = ServiceGroup(
      configuration: .init(
        services: services.map { .init(service: $0) }, gracefulShutdownSignals: [.sigterm, .sigint],
        logger: Logger(label: "lifecycle", quietUnless: .trace)))
    let outcome = await Result { try await group.run() }
    try? notifier.stopping()
    if case .failure(let error) = outcome {
      logger.error("a part of the daemon failed", metadata: ["error": "\(error)"])
      await controller.shutdown(afterFailure: true)
    } else {
      await controller.shutdown()
    }
    logger.notice("stopped")
    try outcome.get()
  }
}

extension Result where Failure == any Error {
  init(catching body: () async throws -> Success) async {
    do { self = .success(try await body()) } catch { self = .failure(error) }
  }
}

extension Logger {
  /// A logger whose owner says much that helps only its own developers: no debug records unless `level` is logged.
  init(label: String, quietUnless level: Logger.Level) {
    self.init(label: label)
    if logLevel > level { logLevel = max(logLevel, .info) }
  }
}

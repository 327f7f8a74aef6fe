import Identity
import Logging
import Storage
import Telemetry

/// Everything that the routes work with. Made once, at the start.
public struct Services: Sendable {
  public struct Settings: Sendable {
    /// Of the program, for `/api/v1/openapi.json`.
    public var version: String
    public var refreshLifetime: Duration
    public var interface: InterfaceSettings

    public init(
      version: String, refreshLifetime: Duration = .seconds(14 * 86_400), interface: InterfaceSettings = .init()
    ) {
      self.version = version
      self.refreshLifetime = refreshLifetime
      self.interface = interface
    }
  }

  let store: any Store
  let tokens: AccessTokens
  let hasher: PasswordHasher
  let passwords: PasswordWorker
  let throttle: LoginThrottle
  let limiter = RateLimiter()
  let authenticator: Authenticator
  /// To be run as a service, so that connections are closed at the end.
  public let nodes: NodeClients
  let metrics: APIMetrics
  let registry: PrometheusRegistry
  let logger: Logger
  let settings: Settings
  /// Written once: the table doesn't change.
  let openAPIText: String

  public init(
    store: any Store, tokens: AccessTokens, hasher: PasswordHasher, passwords: PasswordWorker,
    throttle: LoginThrottle = LoginThrottle(), registry: PrometheusRegistry,
    logger: Logger, settings: Settings
  ) {
    let metrics = APIMetrics(registry: registry)
    self.store = store
    self.tokens = tokens
    self.hasher = hasher
    self.passwords = passwords
    self.throttle = throttle
    authenticator = Authenticator(store: store, tokens: tokens)
    nodes = NodeClients(metrics: metrics)
    self.metrics = metrics
    self.registry = registry
    self.logger = logger
    self.settings = settings
    openAPIText = OpenAPIDocument.make(.v1, version: settings.version).text
    APIMetrics.addPoolMetrics(of: store, to: registry)
    APIMetrics.addLockMetrics(of: throttle, to: registry)
  }
}

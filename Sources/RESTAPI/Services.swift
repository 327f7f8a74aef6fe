import Identity
import Logging
import Storage
import Telemetry

/// Everything that the routes work with. Made once, at the start.
public struct Services: Sendable {
  public struct Settings: Sendable {
    /// Of the program, for `/api/v1/openapi.json`.
    public var version: String
    public var sessions = SessionLimits()
    public var interface: InterfaceSettings
    /// The account that is active and Admin whatever its record says; nil: none.
    public var breakGlass: Email?
    /// Names of the roles whose holders must have a second factor.
    public var secondFactorRoles: Set<String>
    public var webhooks = WebhookSender.Settings()
    /// For development: an internal error says what the log does, also to the caller.
    public var showsInternals = false

    public init(
      version: String, interface: InterfaceSettings = .init(),
      breakGlass: Email? = nil, secondFactorRoles: Set<String> = []
    ) {
      self.version = version
      self.interface = interface
      self.breakGlass = breakGlass
      self.secondFactorRoles = secondFactorRoles
    }
  }

  let store: any Store
  let tokens: AccessTokens
  let hasher: PasswordHasher
  let passwords: CostlyWork
  let analyses: CostlyWork
  let throttle: LoginThrottle
  let limiter = RateLimiter()
  let authenticator: Authenticator
  let authorizer: Authorizer
  let breakGlass: BreakGlass
  let secondFactorPolicy: SecondFactorPolicy
  /// Encrypts the secrets of second factors and of webhooks.
  let sealer: SecretSealer
  /// To be run as a service, so that connections are closed at the end.
  public let nodes: NodeClients
  /// To be run as a service, after which no stream of events goes on.
  public let events: EventFeed
  /// To be run as a service.
  public let webhooks: WebhookSender
  let metrics: APIMetrics
  let registry: PrometheusRegistry
  let logger: Logger
  let settings: Settings
  /// Written once: the table doesn't change.
  let openAPIText: String
  let validRuleSets = ValidRuleSets()

  public init(
    store: any Store, tokens: AccessTokens, hasher: PasswordHasher, passwords: CostlyWork,
    analyses: CostlyWork, sealer: SecretSealer, throttle: LoginThrottle = LoginThrottle(), registry: PrometheusRegistry,
    logger: Logger, settings: Settings
  ) {
    let metrics = APIMetrics(registry: registry)
    self.store = store
    self.tokens = tokens
    self.hasher = hasher
    self.passwords = passwords
    self.analyses = analyses
    self.throttle = throttle
    breakGlass = BreakGlass(email: settings.breakGlass)
    self.sealer = sealer
    secondFactorPolicy = SecondFactorPolicy(roles: settings.secondFactorRoles, breakGlass: settings.breakGlass)
    authenticator = Authenticator(
      store: store, tokens: tokens, breakGlass: breakGlass, secondFactors: secondFactorPolicy)
    authorizer = Authorizer(store: store)
    nodes = NodeClients(metrics: metrics)
    events = EventFeed(store: store, nodes: nodes, metrics: metrics, logger: logger)
    webhooks = WebhookSender(
      store: store, sealer: sealer, metrics: metrics, logger: logger, settings: settings.webhooks)
    self.metrics = metrics
    self.registry = registry
    self.logger = logger
    self.settings = settings
    openAPIText = OpenAPIDocument.make(.v1, version: settings.version).text
    APIMetrics.addPoolMetrics(of: store, to: registry)
    APIMetrics.addLockMetrics(of: throttle, to: registry)
    APIMetrics.addStreamMetrics(of: events, to: registry)
    APIMetrics.addWebhookMetrics(of: webhooks, to: registry)
  }
}

import CoreMetrics
import Hummingbird
import Storage
import Synchronization
import Telemetry

/// The API's own metrics. Handles are made once per label set; label values come from the route table and from fixed
/// lists only, so the number of series is bounded.
public final class APIMetrics: Sendable {
  private struct RequestKey: Hashable {
    let method: String
    let route: String
    let status: Int
  }
  private struct DurationKey: Hashable {
    let method: String
    let route: String
  }
  private struct Handles {
    var requests: [RequestKey: Counter] = [:]
    var durations: [DurationKey: Timer] = [:]
    var loginFailures: [String: Counter] = [:]
    var lockOuts: [String: Counter] = [:]
    var nodeCalls: [String: Counter] = [:]
    var rateLimited: [String: Counter] = [:]
    var slowRequests: [String: Counter] = [:]
    var webhookDeliveries: [String: Counter] = [:]
  }

  private let factory: PrometheusRegistry
  private let handles = Mutex(Handles())
  private let inFlight: Meter
  private let passwordsRefused: Counter
  private let logins: Counter
  private let eventsStored: Counter
  private let breakGlass: Counter
  private let webhookCircuitsOpened: Counter

  /// - Parameter registry: where the series live, behind `/metrics`.
  public init(registry: PrometheusRegistry) {
    let factory = registry
    self.factory = factory
    Self.describe(in: registry)
    inFlight = Meter(label: "sluice_api_requests_in_flight", dimensions: [], factory: factory)
    passwordsRefused = Counter(label: "sluice_api_password_queue_refused_total", dimensions: [], factory: factory)
    breakGlass = Counter(label: "sluice_api_break_glass_total", dimensions: [], factory: factory)
    webhookCircuitsOpened = Counter(
      label: "sluice_api_webhook_circuits_opened_total", dimensions: [], factory: factory)
    logins = Counter(label: "sluice_api_logins_total", dimensions: [], factory: factory)
    eventsStored = Counter(label: "sluice_api_events_stored_total", dimensions: [], factory: factory)
  }

  private static func describe(in registry: PrometheusRegistry) {
    registry.describe("sluice_api_requests_total", help: "Answered requests, by route template and status.")
    registry.describe("sluice_api_request_duration_seconds", help: "From the request's head to the answer.")
    registry.describe("sluice_api_requests_in_flight", help: "Requests that are being answered.")
    registry.describe(
      "sluice_api_password_queue_refused_total", help: "Requests sent away because too many hashes waited.")
    registry.describe("sluice_api_break_glass_total", help: "Sign-ins by the break-glass account's own right.")
    registry.describe("sluice_api_logins_total", help: "Successful sign-ins.")
    registry.describe("sluice_api_login_failures_total", help: "Refused sign-ins, by reason.")
    registry.describe("sluice_api_lock_outs_total", help: "Waits that failed sign-ins brought, by what has to wait.")
    registry.describe("sluice_api_rate_limited_total", help: "Requests sent away for their number, by limit.")
    registry.describe("sluice_api_slow_requests_total", help: "Requests that took longer than a second, by route.")
    registry.describe("sluice_api_webhook_deliveries_total", help: "Attempts to tell a webhook of an event, by result.")
    registry.describe(
      "sluice_api_webhook_circuits_opened_total", help: "Times that a webhook failed too often and was left alone.")
    registry.describe("sluice_api_events_stored_total", help: "Events of daemons that this process has stored.")
    registry.describe("sluice_api_node_calls_total", help: "Calls to daemons, by result.")
  }

  /// The store's connections, asked at each scrape.
  static func addPoolMetrics(of store: any Store, to registry: PrometheusRegistry) {
    registry.addCollector { exposition in
      let pool = store.poolState
      exposition.family("sluice_api_database_pool_size", .gauge, help: "Connections that there may be.") {
        $0.sample(UInt64(pool.size))
      }
      exposition.family("sluice_api_database_pool_in_use", .gauge, help: "Connections in use.") {
        $0.sample(UInt64(pool.inUse))
      }
      exposition.family("sluice_api_database_pool_waiting", .gauge, help: "Calls waiting for a connection.") {
        $0.sample(UInt64(pool.waiting))
      }
      exposition.family("sluice_api_database_pool_timeouts_total", .counter, help: "Calls that gave up waiting.") {
        $0.sample(pool.timeouts)
      }
    }
  }

  private static let methods: Set<String> = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

  func requestStarted() { inFlight.increment() }
  func requestEnded() { inFlight.decrement() }

  func request(method: HTTPRequest.Method, route: String, status: HTTPResponse.Status, duration: Duration) {
    let method = Self.methods.contains(method.rawValue) ? method.rawValue : "other"
    let (counter, timer) = handles.withLock { handles in
      let requestKey = RequestKey(method: method, route: route, status: status.code)
      let durationKey = DurationKey(method: method, route: route)
      let counter =
        handles.requests[requestKey]
        ?? Counter(
          label: "sluice_api_requests_total",
          dimensions: [("method", method), ("route", route), ("status", String(status.code))], factory: factory)
      let timer =
        handles.durations[durationKey]
        ?? Timer(
          label: "sluice_api_request_duration_seconds", dimensions: [("method", method), ("route", route)],
          factory: factory)
      handles.requests[requestKey] = counter
      handles.durations[durationKey] = timer
      return (counter, timer)
    }
    counter.increment()
    timer.recordNanoseconds(
      duration.components.seconds * 1_000_000_000 + duration.components.attoseconds / 1_000_000_000)
  }

  enum LoginFailure: String { case credentials, inactive, throttled, secondFactor = "second_factor" }

  func loginFailed(_ reason: LoginFailure) {
    counter(\.loginFailures, "sluice_api_login_failures_total", "reason", reason.rawValue).increment()
  }

  func lockedOut(_ subject: LoginThrottle.Subject) {
    counter(\.lockOuts, "sluice_api_lock_outs_total", "subject", subject.rawValue).increment()
  }

  /// What waits, asked at each scrape.
  static func addLockMetrics(of throttle: LoginThrottle, to registry: PrometheusRegistry) {
    registry.addCollector { exposition in
      let counts = throttle.lockedCounts()
      exposition.family("sluice_api_locked_out", .gauge, help: "What has to wait after failed sign-ins.") { family in
        for subject in LoginThrottle.Subject.allCases {
          family.sample([("subject", subject.rawValue)], UInt64(counts[subject] ?? 0))
        }
      }
    }
  }

  func eventsStored(_ count: Int) { eventsStored.increment(by: Int64(count)) }

  static func addStreamMetrics(of feed: EventFeed, to registry: PrometheusRegistry) {
    registry.addCollector { exposition in
      exposition.family("sluice_api_event_streams", .gauge, help: "Streams of events that are open.") {
        $0.sample(UInt64(feed.streamCount))
      }
    }
  }

  func breakGlassUsed() { breakGlass.increment() }

  func loginSucceeded() { logins.increment() }
  func passwordRefused() { passwordsRefused.increment() }

  /// - Parameter result: "ok", or the error code that the call became.
  func nodeCall(result: String) {
    counter(\.nodeCalls, "sluice_api_node_calls_total", "result", result).increment()
  }

  /// - Parameter kind: "address", "token" or "route".
  func rateLimited(_ kind: String) {
    counter(\.rateLimited, "sluice_api_rate_limited_total", "limit", kind).increment()
  }

  /// - Parameter result: as the webhook's log has it.
  func webhookDelivery(_ result: String) {
    counter(\.webhookDeliveries, "sluice_api_webhook_deliveries_total", "result", result).increment()
  }

  func webhookCircuitOpened() { webhookCircuitsOpened.increment() }

  /// As all copies of the API see them, a few seconds late.
  static func addWebhookMetrics(of sender: WebhookSender, to registry: PrometheusRegistry) {
    registry.addCollector { exposition in
      let states = sender.states
      exposition.family("sluice_api_webhooks", .gauge, help: "Active webhooks, by the state of their circuit.") { family in
        for circuit in WebhookCircuit.allCases {
          family.sample([("circuit", circuit.rawValue)], UInt64(states.count { $0.circuit == circuit }))
        }
      }
      exposition.family(
        "sluice_api_webhook_backlog_events", .gauge, help: "Stored events that the webhook that is furthest behind has not seen."
      ) { $0.sample(states.map(\.backlog).max() ?? 0) }
    }
  }

  func slowRequest(route: String) {
    counter(\.slowRequests, "sluice_api_slow_requests_total", "route", route).increment()
  }

  private func counter(
    _ family: WritableKeyPath<Handles, [String: Counter]> & Sendable, _ label: String, _ dimension: String,
    _ value: String
  ) -> Counter {
    handles.withLock { handles in
      if let counter = handles[keyPath: family][value] { return counter }
      let counter = Counter(label: label, dimensions: [(dimension, value)], factory: factory)
      handles[keyPath: family][value] = counter
      return counter
    }
  }
}

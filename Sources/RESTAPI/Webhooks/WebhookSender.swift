import Foundation
import Identity
import Logging
import NIOSSL
import ServiceLifecycle
import Storage
import Synchronization

/// Tells webhooks of events, each webhook in their order, one attempt at a time.
///
/// An attempt that fails is made again after a time that doubles. ``Webhook/circuitFailures`` failures in a row open the
/// webhook's circuit: it is left alone, ever longer, and then a single event is what it is tried with. After a day of
/// failures that event is passed over. A lease in the database keeps other copies of the API away; where one dies between
/// the receiver's answer and its note, the event is sent again with the same `Sluice-Delivery`.
public final class WebhookSender: Service {
  /// Who may be told, and whom to believe.
  public struct Settings: Sendable {
    public var networks: WebhookNetworks
    /// Who may vouch for targets; nil: whom the system trusts.
    let authorities: [NIOSSLCertificate]?

    public init(networks: WebhookNetworks = WebhookNetworks()) {
      self.networks = networks
      authorities = nil
    }

    /// - Parameter authorityFile: certificates in PEM; nil: whom the system trusts.
    public init(networks: WebhookNetworks, authorityFile: String?) throws {
      self.networks = networks
      authorities = try authorityFile.map(NIOSSLCertificate.fromPEMFile)
    }
  }

  /// Webhooks that are told at the same time by one copy.
  private static let parallelMax = 4
  /// How often the database is asked, should nothing wake the sender: for attempts whose time has come, and for what
  /// another copy has left.
  private static let period = Duration.seconds(1)
  /// How long one lease tells events, one after the other.
  private static let turn = Duration.seconds(20)
  /// Longer than a turn and the attempt at its end take: looking up 5 s, answer 10 s, its body 2 s.
  private static let leaseSeconds: TimeInterval = 60
  private static let batch = 32
  private static let abandonAfter: TimeInterval = 86_400
  private static let statePeriod = Duration.seconds(5)

  private let store: any Store
  private let sealer: SecretSealer
  private let metrics: APIMetrics
  private let logger: Logger
  let settings: Settings
  private struct Workers {
    /// One for each; none while the sender doesn't run.
    var bells: [AsyncStream<Void>.Continuation] = []
    var idle: Set<Int> = []
  }
  private let workers = Mutex(Workers())
  private let known = Mutex<[WebhookState]>([])

  init(store: any Store, sealer: SecretSealer, metrics: APIMetrics, logger: Logger, settings: Settings) {
    self.store = store
    self.sealer = sealer
    self.metrics = metrics
    self.logger = logger
    self.settings = settings
  }

  /// There may be something to tell. Any thread; costs nothing where nobody waits.
  func wake() {
    let bell = workers.withLock { workers in
      // Where all are busy, one of them looks again when it is done.
      workers.bells.isEmpty ? nil : workers.bells[workers.idle.min() ?? 0]
    }
    bell?.yield()
  }

  /// As of a few seconds ago.
  var states: [WebhookState] { known.withLock { $0 } }

  public func run() async throws {
    let streams = (0..<Self.parallelMax).map { _ in
      AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
    }
    workers.withLock { $0 = Workers(bells: streams.map(\.continuation), idle: Set(streams.indices)) }
    await cancelWhenGracefulShutdown {
      await withTaskGroup(of: Void.self) { group in
        for (worker, bell) in streams.map(\.stream).enumerated() {
          group.addTask { await self.work(worker, bell) }
        }
        group.addTask { await self.watch() }
        group.addTask { for await _ in self.store.wakes(.events) { self.wake() } }
      }
    }
  }

  /// Wakes a worker now and then, not in step with other copies.
  private func watch() async {
    var looked: ContinuousClock.Instant?
    while !Task.isCancelled {
      if looked.map({ $0.duration(to: .now) >= Self.statePeriod }) ?? true {
        if let states = try? await store.webhookStates() { known.withLock { $0 = states } }
        looked = .now
      }
      wake()
      try? await Task.sleep(for: Self.period * Double.random(in: 0.5...1.5))
    }
  }

  /// Tells webhooks while there is something to tell. Who finds work wakes another worker: more of it may wait.
  private func work(_ worker: Int, _ bell: AsyncStream<Void>) async {
    for await _ in bell {
      workers.withLock { _ = $0.idle.remove(worker) }
      do {
        while !Task.isCancelled, let leased = try await store.leaseWebhook(for: Self.leaseSeconds) {
          wake()
          try await tell(leased)
        }
      } catch {
        logger.debug("webhooks wait for the database", metadata: ["reason": "\(error)"])
      }
      workers.withLock { _ = $0.idle.insert(worker) }
    }
  }

  // MARK: Events

  private func tell(_ leased: LeasedWebhook) async throws {
    var line: WebhookLine?
    let result: Result<Void, any Error>
    do { result = .success(try await takeTurn(leased, &line)) } catch { result = .failure(error) }
    await line?.close()
    try result.get()
  }

  /// Events in their order, until one fails, there are none, or the turn is over.
  private func takeTurn(_ leased: LeasedWebhook, _ line: inout WebhookLine?) async throws {
    let end = ContinuousClock.now + Self.turn
    var leased = leased
    while true {
      let events = try await events(for: leased.webhook)
      guard !events.isEmpty else {
        let progress = WebhookProgress(
          lastEvent: max(leased.webhook.lastEvent, leased.newestEvent), failures: leased.webhook.failures,
          nextAttemptAt: leased.webhook.nextAttemptAt, delivery: nil, leaseSeconds: nil)
        _ = try await record(progress, of: leased)
        return
      }
      for event in events {
        let outcome: WebhookLine.Outcome
        do {
          let way = if let line { line } else { try await open(to: leased.webhook) }
          line = way
          let message = WebhookMessage(event, to: leased.webhook)
          // An attempt that has begun is brought to its end and noted, also when the API ends: nobody is told twice.
          outcome = await Task { await way.tell(message) }.value
        } catch {
          outcome = Self.unsent(error)
        }
        let goesOn = outcome.isGood && ContinuousClock.now < end && !Task.isCancelled
        let progress = progress(outcome, event, leased.webhook, goesOn: goesOn)
        note(progress, leased.webhook)
        guard try await record(progress, of: leased), goesOn else { return }
        leased.webhook.lastEvent = progress.lastEvent
        leased.webhook.failures = progress.failures
        leased.webhook.nextAttemptAt = progress.nextAttemptAt
      }
    }
  }

  private func record(_ progress: WebhookProgress, of leased: LeasedWebhook) async throws -> Bool {
    try await Task { try await store.recordProgress(progress, of: leased) }.value
  }

  private func events(for webhook: Webhook) async throws -> [NodeEvent] {
    var filter = EventFilter()
    filter.after = webhook.lastEvent
    filter.kinds = Set(webhook.kinds)
    // Of credentials only where they were asked for by name, by somebody who may read them.
    filter.credentials = .init(accounts: !webhook.kinds.isEmpty, clients: !webhook.kinds.isEmpty)
    filter.isAscending = true
    return try await store.events(filter, Page(limit: Self.batch)).items
  }

  private func open(to webhook: Webhook) async throws -> WebhookLine {
    try await WebhookLine.open(
      to: webhook, attempt: webhook.failures + 1, in: settings.networks, authorities: settings.authorities,
      sealer: sealer)
  }

  /// Of an attempt that did not come as far as a connection.
  private static func unsent(_ error: any Error) -> WebhookLine.Outcome {
    WebhookLine.Outcome(error: String("\(error)".prefix(WebhookLine.errorCharactersMax)))
  }

  private func progress(
    _ outcome: WebhookLine.Outcome, _ event: NodeEvent, _ webhook: Webhook, goesOn: Bool
  ) -> WebhookProgress {
    let attempt = webhook.failures + 1
    // Old by itself it is also where the API was away, or the node's clock is behind: then it has its tries all the same.
    let isTooOld = event.event.happenedAt.timeIntervalSinceNow < -Self.abandonAfter && attempt >= Webhook.circuitFailures
    let result: WebhookDelivery.Result = outcome.isGood ? .delivered : isTooOld ? .abandoned : .failed
    return WebhookProgress(
      lastEvent: result == .failed ? webhook.lastEvent : event.id, failures: outcome.isGood ? 0 : attempt,
      nextAttemptAt: outcome.isGood ? Date() : Date(timeIntervalSinceNow: Self.delay(after: attempt)),
      delivery: WebhookDelivery(
        eventID: event.id, eventKind: event.event.kind, attempt: attempt, result: result, status: outcome.status,
        error: outcome.error, milliseconds: outcome.milliseconds, at: Date()),
      leaseSeconds: goesOn ? Self.leaseSeconds : nil)
  }

  /// In seconds, with jitter: 1, 2, 4, 8 while the circuit is closed, then from 30 doubling up to an hour.
  static func delay(after failures: Int) -> TimeInterval {
    let whole =
      failures < Webhook.circuitFailures
      ? pow(2, Double(max(0, failures - 1))) : min(30 * pow(2, Double(min(failures, 32) - Webhook.circuitFailures)), 3600)
    return Double.random(in: whole / 2...whole)
  }

  private func note(_ progress: WebhookProgress, _ webhook: Webhook) {
    guard let delivery = progress.delivery else { return }
    metrics.webhookDelivery(delivery.result.rawValue)
    // The URL's path may be as good as a password.
    let fields: Logger.Metadata = [
      "webhook": "\(webhook.name)", "event": "\(delivery.eventID)", "attempt": "\(delivery.attempt)",
      "reason": "\(delivery.error)",
    ]
    if delivery.result == .delivered {
      guard webhook.failures >= Webhook.circuitFailures else { return }
      logger.notice("a webhook's circuit closes: it was told again", metadata: ["webhook": "\(webhook.name)"])
    } else {
      if progress.failures == Webhook.circuitFailures {
        metrics.webhookCircuitOpened()
        logger.warning("a webhook's circuit opens: it is left alone for a while", metadata: fields)
      }
      logger.notice(
        delivery.result == .abandoned ? "an event is given up: a webhook was not told" : "a webhook was not told",
        metadata: fields)
    }
  }

  // MARK: Tests

  /// Sends a test now, whatever state the circuit is in, once; notes it in the webhook's log.
  func test(_ webhook: Webhook) async throws -> WebhookDelivery {
    let outcome: WebhookLine.Outcome
    do {
      let line = try await open(to: webhook)
      outcome = await line.tell(WebhookMessage(testOf: webhook))
      await line.close()
    } catch {
      outcome = Self.unsent(error)
    }
    let delivery = WebhookDelivery(
      eventID: 0, eventKind: WebhookMessage.testKind, attempt: 1, result: outcome.isGood ? .delivered : .failed,
      status: outcome.status, error: outcome.error, milliseconds: outcome.milliseconds, at: Date())
    try await store.recordTest(delivery, ofWebhook: webhook.id)
    if outcome.isGood { wake() }
    return delivery
  }
}

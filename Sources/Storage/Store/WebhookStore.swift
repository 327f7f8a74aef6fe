import Foundation

/// Somebody who is told of events by HTTP.
public struct Webhook: Hashable, Sendable {
  public var id: UUID
  public var name: String
  public var url: String
  /// Sealed, for ``sealingPurpose(of:)``.
  public var sealedSecret: String
  /// The events' types; empty: all.
  public var kinds: [String]
  public var isActive: Bool
  /// The last event that is done with.
  public var lastEvent: UInt64
  /// Attempts that failed since the last one that didn't.
  public var failures: Int
  public var nextAttemptAt: Date
  /// Events that it was told of, and that were given up, since it was made.
  public var deliveredCount: UInt64
  public var abandonedCount: UInt64
  /// Nil: it was never told of any.
  public var lastDeliveredAt: Date?
  public var createdBy: Author
  public var createdAt: Date
  public var updatedAt: Date

  /// Webhooks of one database at most.
  public static let countMax = 32
  /// Deliveries that are remembered of each.
  public static let deliveriesMax = 200

  /// Failures in a row that open the circuit.
  public static let circuitFailures = 5

  /// What the secret of a webhook is sealed for.
  public static func sealingPurpose(of id: UUID) -> String { "webhook \(id.uuidString.lowercased())" }

  public func circuit(at now: Date) -> WebhookCircuit {
    WebhookCircuit(failures: failures, nextAttemptAt: nextAttemptAt, at: now)
  }
}

/// Whether a target is sent to.
public enum WebhookCircuit: String, Hashable, Sendable, CaseIterable {
  /// As events come; after a failure soon again.
  case closed
  /// It failed too often: left alone until the next attempt's time.
  case open
  /// That time has come: one event is what it is tried with.
  case halfOpen = "half_open"

  public init(failures: Int, nextAttemptAt: Date, at now: Date) {
    self = failures < Webhook.circuitFailures ? .closed : nextAttemptAt > now ? .open : .halfOpen
  }
}

/// An active webhook at one moment, for metrics.
public struct WebhookState: Hashable, Sendable {
  public var circuit: WebhookCircuit
  /// Stored events, of whatever type, that it is not done with.
  public var backlog: UInt64
}

/// A webhook as it is made.
public struct NewWebhook: Hashable, Sendable {
  public var id: UUID
  public var name: String
  public var url: String
  public var sealedSecret: String
  public var kinds: [String]
  public var isActive: Bool
  public var createdBy: Author

  public init(
    id: UUID, name: String, url: String, sealedSecret: String, kinds: [String], isActive: Bool, createdBy: Author
  ) {
    self.id = id
    self.name = name
    self.url = url
    self.sealedSecret = sealedSecret
    self.kinds = kinds
    self.isActive = isActive
    self.createdBy = createdBy
  }
}

/// What changes; nil stays.
public struct WebhookChange: Hashable, Sendable {
  public var name: String?
  public var url: String?
  public var sealedSecret: String?
  public var kinds: [String]?
  public var isActive: Bool?

  public init() {}
}

/// One attempt to tell of an event.
public struct WebhookDelivery: Hashable, Sendable {
  public enum Result: String, Hashable, Sendable, CaseIterable {
    case delivered, failed
    /// Failed ``Webhook/circuitFailures`` times or more, and is a day old: the event is passed over.
    case abandoned
  }

  /// 0: a test.
  public var eventID: UInt64
  public var eventKind: String
  /// From 1.
  public var attempt: Int
  public var result: Result
  /// The receiver's answer; nil: none.
  public var status: Int?
  /// Empty: none.
  public var error: String
  public var milliseconds: Int
  public var at: Date

  public init(
    eventID: UInt64, eventKind: String, attempt: Int, result: Result, status: Int?, error: String, milliseconds: Int,
    at: Date
  ) {
    self.eventID = eventID
    self.eventKind = eventKind
    self.attempt = attempt
    self.result = result
    self.status = status
    self.error = error
    self.milliseconds = milliseconds
    self.at = at
  }
}

/// A webhook that one copy of the API tells events to, until the lease is over.
public struct LeasedWebhook: Hashable, Sendable {
  public var webhook: Webhook
  public var lease: UUID
  /// The newest event when it was leased.
  public var newestEvent: UInt64
}

/// How far one copy of the API has come with a leased webhook.
public struct WebhookProgress: Hashable, Sendable {
  /// Done with up to here.
  public var lastEvent: UInt64
  /// Since the last success.
  public var failures: Int
  public var nextAttemptAt: Date
  /// Nil: nothing had to be told.
  public var delivery: WebhookDelivery?
  /// How long the lease goes on; nil: it ends.
  public var leaseSeconds: TimeInterval?

  public init(
    lastEvent: UInt64, failures: Int, nextAttemptAt: Date, delivery: WebhookDelivery?, leaseSeconds: TimeInterval?
  ) {
    self.lastEvent = lastEvent
    self.failures = failures
    self.nextAttemptAt = nextAttemptAt
    self.delivery = delivery
    self.leaseSeconds = leaseSeconds
  }
}

/// The part of a ``Store`` about who is told of events.
public protocol WebhookStore: Sendable {
  /// Tells of events from now on. `StorageError.invalid` beyond ``Webhook/countMax``.
  func createWebhook(_ webhook: NewWebhook) async throws -> Webhook
  func webhook(id: UUID) async throws -> Webhook
  /// By name.
  func webhooks(_ page: Page) async throws -> Paged<Webhook>
  /// Where it becomes active again, or goes to another URL, it tells of events from now on, without delay.
  func updateWebhook(id: UUID, _ change: WebhookChange, if check: @escaping Check<Webhook>) async throws -> Webhook
  func deleteWebhook(id: UUID, if check: @escaping Check<Webhook>) async throws
  /// Newest first.
  func webhookDeliveries(ofWebhook id: UUID, _ page: Page) async throws -> Paged<WebhookDelivery>
  /// The active ones.
  func webhookStates() async throws -> [WebhookState]
  /// A webhook with events that it may be told now, for this copy of the API alone; nil: none.
  func leaseWebhook(for seconds: TimeInterval) async throws -> LeasedWebhook?
  /// False where the lease was over, or the webhook was changed meanwhile: then nothing is written.
  func recordProgress(_ progress: WebhookProgress, of leased: LeasedWebhook) async throws -> Bool
  /// What came of a test, for the log; one that arrived makes the events that wait go at once.
  func recordTest(_ delivery: WebhookDelivery, ofWebhook id: UUID) async throws
}

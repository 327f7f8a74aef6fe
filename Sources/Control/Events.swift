import LinuxSystem
import Synchronization

/// Something that happened in the daemon.
public struct ControlEvent: Hashable, Sendable {
  public enum Kind: String, Hashable, Sendable, CaseIterable {
    case attached, detached, applied, refused, confirmed, shutdown
    /// What was not confirmed, or was withdrawn, is gone; what was confirmed last decides.
    case rolledBack = "rolled_back"
    /// Rules reached their moment and are no longer live.
    case ruleExpired = "rule_expired"
    /// Elements of sets did; one event for all of ten seconds.
    case elementExpired = "element_expired"
    /// The program is no longer on an interface that it was attached to.
    case attachLost = "attach_lost"
    case captureStarted = "capture_started"
    case captureFinished = "capture_finished"
    case wireCreated = "wire_created"
    case wireDeleted = "wire_deleted"
    /// A wire's packets go another way than before, or none.
    case wirePathChanged = "wire_path_changed"
  }

  /// Without gaps since the daemon's start: a gap in what a subscriber reads is what it was too slow for.
  public var sequence: UInt64
  /// CLOCK_REALTIME.
  public var timeNanoseconds: UInt64
  public var kind: Kind
  public var interface: String
  public var message: String
  public var fields: [String: String]
}

/// Hands events to subscribers, and keeps the last ones for those who come later. A slow subscriber loses the oldest ones;
/// nobody waits for it.
public final class EventBus: Sendable {
  public static let subscribersMax = 64
  public static let bufferedEventsMax = 1024
  /// Events kept.
  public static let ringMax = 1024
  /// Characters of a message, and of a field.
  private static let textMax = 1024

  private struct State {
    var sequence: UInt64 = 0
    var nextSubscriber: UInt64 = 0
    var subscribers: [UInt64: AsyncStream<ControlEvent>.Continuation] = [:]
    var isFinished = false
    /// The last ones, the oldest first.
    var ring: [ControlEvent] = []

    func past(after sequence: UInt64) -> ArraySlice<ControlEvent> { ring.drop { $0.sequence <= sequence } }
  }
  private let state = Mutex(State())

  public init() {}

  /// What is kept behind an event, the oldest first.
  public func past(after sequence: UInt64) -> [ControlEvent] { state.withLock { Array($0.past(after: sequence)) } }

  /// Events from now on; nil where ``subscribersMax`` listen already or the bus is finished.
  ///
  /// - Parameter sequence: First of all what is kept behind this event; nil: nothing.
  public func subscribe(after sequence: UInt64? = nil) -> AsyncStream<ControlEvent>? {
    let (stream, continuation) = AsyncStream<ControlEvent>.makeStream(
      bufferingPolicy: .bufferingNewest(EventBus.bufferedEventsMax))
    let identifier = state.withLock { state -> UInt64? in
      guard !state.isFinished, state.subscribers.count < EventBus.subscribersMax else { return nil }
      // Whatever is published from here on is yielded after these.
      if let sequence { for event in state.past(after: sequence) { continuation.yield(event) } }
      state.nextSubscriber += 1
      state.subscribers[state.nextSubscriber] = continuation
      return state.nextSubscriber
    }
    guard let identifier else { return nil }
    continuation.onTermination = { [self] _ in
      _ = state.withLock { $0.subscribers.removeValue(forKey: identifier) }
    }
    return stream
  }

  func publish(
    _ kind: ControlEvent.Kind, interface: String = "", _ message: String, fields: [String: String] = [:]
  ) {
    let time = SystemClock.realtimeNanoseconds()
    let (event, subscribers) = state.withLock { state in
      state.sequence += 1
      let event = ControlEvent(
        sequence: state.sequence, timeNanoseconds: time, kind: kind, interface: String(interface.prefix(Self.textMax)),
        message: String(message.prefix(Self.textMax)), fields: fields.mapValues { String($0.prefix(Self.textMax)) })
      if state.ring.count == Self.ringMax { state.ring.removeFirst() }
      state.ring.append(event)
      return (event, Array(state.subscribers.values))
    }
    for subscriber in subscribers { subscriber.yield(event) }
  }

  /// Ends every subscription.
  func finish() {
    let subscribers = state.withLock { state in
      state.isFinished = true
      return Array(state.subscribers.values)
    }
    for subscriber in subscribers { subscriber.finish() }
  }
}

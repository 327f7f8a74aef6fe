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

/// Hands events to subscribers. A slow subscriber loses the oldest ones; nobody waits for it.
public final class EventBus: Sendable {
  public static let subscribersMax = 64
  public static let bufferedEventsMax = 1024

  private struct State {
    var sequence: UInt64 = 0
    var nextSubscriber: UInt64 = 0
    var subscribers: [UInt64: AsyncStream<ControlEvent>.Continuation] = [:]
    var isFinished = false
  }
  private let state = Mutex(State())

  public init() {}

  /// Events from now on; nil where ``subscribersMax`` listen already or the bus is finished.
  public func subscribe() -> AsyncStream<ControlEvent>? {
    let (stream, continuation) = AsyncStream<ControlEvent>.makeStream(
      bufferingPolicy: .bufferingNewest(EventBus.bufferedEventsMax))
    let identifier = state.withLock { state -> UInt64? in
      guard !state.isFinished, state.subscribers.count < EventBus.subscribersMax else { return nil }
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
        sequence: state.sequence, timeNanoseconds: time, kind: kind, interface: interface, message: message,
        fields: fields)
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

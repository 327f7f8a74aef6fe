import Synchronization

/// Slows down guessing: so many failed sign-ins per account and address within a window, then nothing for that pair
/// until the oldest failure is out of the window.
///
/// Per process and in memory. The number of remembered pairs is bounded; when it is reached, the pairs that failed
/// longest ago are forgotten first.
public final class LoginThrottle: Sendable {
  private struct Key: Hashable {
    let account: String
    let address: String
  }
  private let failures = Mutex<[Key: [ContinuousClock.Instant]]>([:])
  private let failuresMax: Int
  private let window: Duration
  private let recordsMax: Int

  public init(
    failuresMax: Int = APILimits.loginFailuresMax, window: Duration = .seconds(APILimits.loginWindowSeconds),
    recordsMax: Int = APILimits.loginRecordsMax
  ) {
    precondition(failuresMax > 0 && recordsMax > 1, "a throttle remembers at least one failure")
    self.failuresMax = failuresMax
    self.window = window
    self.recordsMax = recordsMax
  }

  /// How long this pair has to wait; nil if it may try.
  public func wait(account: String, address: String, now: ContinuousClock.Instant = .now) -> Duration? {
    let key = Key(account: account.lowercased(), address: address)
    return failures.withLock { failures in
      guard var times = failures[key] else { return nil }
      times.removeAll { now - $0 >= window }
      failures[key] = times.isEmpty ? nil : times
      guard times.count >= failuresMax, let oldest = times.first else { return nil }
      return window - (now - oldest)
    }
  }

  /// Remembers a failure; true if it is the one that locks the pair out.
  @discardableResult
  public func failed(account: String, address: String, now: ContinuousClock.Instant = .now) -> Bool {
    let key = Key(account: account.lowercased(), address: address)
    return failures.withLock { failures in
      if failures[key] == nil, failures.count >= recordsMax { Self.forget(in: &failures, now: now, window: window) }
      let before = failures[key]?.count ?? 0
      failures[key, default: []].append(now)
      // A pair that is locked out anyway needs no longer memory.
      if let count = failures[key]?.count, count > failuresMax { failures[key]?.removeFirst(count - failuresMax) }
      return before == failuresMax - 1
    }
  }

  /// Forgets a pair after it has signed in.
  public func succeeded(account: String, address: String) {
    failures.withLock { $0[Key(account: account.lowercased(), address: address)] = nil }
  }

  /// Pairs that are remembered.
  var recordCount: Int { failures.withLock { $0.count } }

  /// Makes room: what is out of the window, then the half that failed longest ago.
  private static func forget(
    in failures: inout [Key: [ContinuousClock.Instant]], now: ContinuousClock.Instant, window: Duration
  ) {
    let limit = failures.count
    failures = failures.filter { now - ($0.value.last ?? now) < window }
    guard failures.count >= limit else { return }
    let byAge = failures.sorted { ($0.value.last ?? now) < ($1.value.last ?? now) }
    for (key, _) in byAge.prefix(limit / 2) { failures[key] = nil }
  }
}

/// Exponential backoff with full jitter: before attempt n the wait is uniform in 0 … min(cap, base · 2ⁿ).
///
/// Full jitter spreads the replicas of an API that lost the same database at the same moment.
public struct Backoff: Sendable, Equatable {
  public var base: Duration
  public var cap: Duration
  /// Retries, not counting the first attempt.
  public var retriesMax: Int

  public init(base: Duration, cap: Duration = .seconds(30), retriesMax: Int) {
    self.base = base
    self.cap = cap
    self.retriesMax = retriesMax
  }

  /// The longest possible wait before retry `retry` (from 0).
  public func bound(retry: Int) -> Duration {
    guard base > .zero else { return .zero }
    var bound = base
    for _ in 0..<max(retry, 0) {
      if bound >= cap { break }
      bound *= 2
    }
    return min(bound, cap)
  }

  /// The wait before retry `retry` (from 0); nil when there are no more.
  public func delay(retry: Int, using generator: inout some RandomNumberGenerator) -> Duration? {
    guard retry < retriesMax else { return nil }
    return bound(retry: retry) * Double.random(in: 0...1, using: &generator)
  }
}

import Foundation

/// How long a sign-in is good for.
public struct SessionLimits: Hashable, Sendable {
  /// After the sign-in, however often it is renewed.
  public var lifetime: Duration
  /// After the sign-in or the last renewal.
  public var idle: Duration

  public init(lifetime: Duration = .seconds(12 * 3600), idle: Duration = .seconds(30 * 60)) {
    self.lifetime = lifetime
    self.idle = idle
  }

  /// The first moment at which the session is over.
  public func end(startedAt: Date, renewedAt: Date) -> Date {
    min(
      startedAt.addingTimeInterval(TimeInterval(lifetime.components.seconds)),
      renewedAt.addingTimeInterval(TimeInterval(idle.components.seconds)))
  }
}

/// What a work must show.
public struct Goal: Hashable, Sendable {
  public enum Measure: Hashable, Sendable {
    /// Beside that program.
    case ratio(to: String)
    /// By itself.
    case value
  }

  public var measure: Measure
  /// The worst that will do.
  public var limit: Double
  /// What it should reach.
  public var aim: Double

  public init(_ measure: Measure, limit: Double, aim: Double) {
    self.measure = measure
    self.limit = limit
    self.aim = aim
  }

  /// Whether less is better is in the order of the two numbers.
  public var prefersLess: Bool { aim < limit }

  /// How a result stands to the goal.
  public enum Verdict: String, Hashable, Sendable {
    case missed, met, aimed
  }

  public func verdict(_ result: Double) -> Verdict {
    if prefersLess { return result <= aim ? .aimed : result <= limit ? .met : .missed }
    return result >= aim ? .aimed : result >= limit ? .met : .missed
  }
}

/// What is measured, and how it is written.
public struct Metric: Hashable, Sendable {
  public enum Unit: String, Hashable, Sendable {
    case packetsPerSecond = "packets_per_second"
    case nanoseconds
    /// Of one core, 0 ... 1.
    case share
  }

  public var name: String
  public var unit: Unit
  public var goals: [Goal]

  public init(_ name: String, _ unit: Unit, goals: [Goal] = []) {
    self.name = name
    self.unit = unit
    self.goals = goals
  }
}

import Foundation

/// Everything that a run of the benchmark found.
public struct BenchReport: Sendable {
  public var machine: Machine
  public var rounds: Int
  public var seconds: Double
  public var results: [WorkResult] = []

  init(machine: Machine, rounds: Int, seconds: Double) {
    self.machine = machine
    self.rounds = rounds
    self.seconds = seconds
  }
}

/// What the programs gave at one work; ours is the first.
public struct WorkResult: Sendable {
  public var work: Work
  public var programs: [ProgramResult] = []

  init(work: Work) { self.work = work }

  func series(_ program: String, _ metric: String) -> Series? {
    programs.first { $0.name == program }.flatMap { $0.samples.isEmpty ? nil : $0.series(metric) }
  }

  /// Of our program: the quotient with another's, or its own median. Nil where one has no samples.
  func result(_ goal: Goal, _ metric: String) -> Double? {
    guard let own = programs.first?.series(metric) else { return nil }
    switch goal.measure {
    case .value: return own.median
    case .ratio(let name): return series(name, metric).flatMap { own.ratio(to: $0) }
    }
  }
}

/// One program at one work, by rounds.
public struct ProgramResult: Sendable {
  public var name: String
  public var command: String
  public var samples: [Sample] = []
  /// Why it has no samples, or no more of them.
  public var reason: String?

  init(name: String, command: String) {
    self.name = name
    self.command = command
  }

  static let ownName = "sluice"

  var isOwn: Bool { name == ProgramResult.ownName }

  func series(_ metric: String) -> Series { Series(samples.compactMap { $0.values[metric] }) }
}

extension Metric.Unit {
  /// For people: `3.55 Mpps`, `12.4 µs`, `0.12 %`.
  func text(_ value: Double) -> String {
    switch self {
    case .packetsPerSecond: String(format: "%.3f Mpps", value / 1e6)
    case .nanoseconds: value < 1e6 ? String(format: "%.1f µs", value / 1e3) : String(format: "%.1f ms", value / 1e6)
    case .share: String(format: "%.2f %%", value * 100)
    }
  }
}

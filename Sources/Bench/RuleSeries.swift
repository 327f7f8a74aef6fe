import Foundation
import Rules

/// What rule sets of each kind and size cost, side by side.
public struct RuleSeries: Codable, Hashable, Sendable {
  /// One rule set.
  public struct Row: Codable, Hashable, Sendable {
    /// Of ``RuleSample``.
    public var kind: String
    /// With packets of all rules; times of building and updating, and the verdicts, are of this run.
    public var uniform: RuleBench.Report
    /// Nanoseconds per packet where a few rules match most packets, and of those packets that take longest.
    public var zipfNanoseconds: Double
    public var worstNanoseconds: Double
    /// Verdicts of all three runs.
    public var verdicts: Int
    public var differing: Int
  }

  public private(set) var rows: [Row] = []
  public let rounds: Int

  public static let counts = [10, 1000, 10_000, 100_000]

  /// Measures; takes minutes.
  ///
  /// - Parameters:
  ///   - counts: Numbers of rules, each 1 ... ``Rules/Limits/rulesMax``.
  ///   - progress: Gets a line for what is done.
  public init(counts: [Int] = RuleSeries.counts, rounds: Int, seed: UInt64, progress: (String) -> Void) throws {
    self.rounds = rounds
    for kind in RuleSample.allCases {
      for count in counts {
        let ruleSet = kind.ruleSet(count: count)
        func bench(_ trace: RuleTraceKind) -> RuleBench {
          let plan = RuleBench.Plan(
            trace: trace, seed: seed, rounds: rounds, verdicts: nil, hasUpdates: trace == .uniform)
          return RuleBench(ruleSet, plan, progress: { _ in })
        }
        progress("\(kind.rawValue), \(count) rules, build")
        let built = try bench(.uniform).build()
        func report(_ trace: RuleTraceKind) throws -> RuleBench.Report {
          progress("\(kind.rawValue), \(count) rules, \(trace.rawValue)")
          return try bench(trace).run(on: built)
        }
        let reports = [try report(.uniform), try report(.zipf), try report(.worst)]
        rows.append(
          Row(
            kind: kind.rawValue, uniform: reports[0], zipfNanoseconds: reports[1].nanosecondsPerPacket,
            worstNanoseconds: reports[2].nanosecondsPerPacket, verdicts: reports.reduce(0) { $0 + $1.verdicts },
            differing: reports.reduce(0) { $0 + $1.differing }))
      }
    }
  }

  public static let titles = [
    "rules", "kind", "uniform", "zipf", "worst", "build", "tables", "insert p50/p99", "delete p50/p99",
    "verdicts, differing",
  ]

  /// A row's texts under ``titles``.
  public static func cells(_ row: Row) -> [String] {
    func nanoseconds(_ value: Double) -> String { String(format: "%.0f ns", value) }
    func microseconds(_ p50: Double, _ p99: Double) -> String {
      row.uniform.updates == row.uniform.updatesRefused
        ? "-" : String(format: "%.1f / %.1f µs", p50 / 1000, p99 / 1000)
    }
    let report = row.uniform
    return [
      "\(report.rules)", row.kind, nanoseconds(report.nanosecondsPerPacket), nanoseconds(row.zipfNanoseconds),
      nanoseconds(row.worstNanoseconds), String(format: "%.1f ms", report.buildMilliseconds),
      "\((report.generationBytes + 1023) / 1024) KiB",
      microseconds(report.insertNanosecondsP50, report.insertNanosecondsP99),
      microseconds(report.deleteNanosecondsP50, report.deleteNanosecondsP99), "\(row.verdicts), \(row.differing)",
    ]
  }

  /// For a README, and what it holds for.
  public var markdown: String {
    let lines = [RuleSeries.titles, RuleSeries.titles.map { _ in "---" }] + rows.map(RuleSeries.cells)
    return (lines.map { "| " + $0.joined(separator: " | ") + " |" } + [
      "",
      "Of a packet, counted, without the loop around it, on one CPU; medians of \(rounds) rounds. "
        + "\(Machine.here().summary).",
    ]).joined(separator: "\n")
  }
}

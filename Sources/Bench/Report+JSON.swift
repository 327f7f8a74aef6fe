import Foundation

extension BenchReport {
  /// Keys in order, two spaces deep.
  public func json() throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(document), as: UTF8.self)
  }

  private struct Document: Encodable {
    var machine: Machine
    var rounds: Int
    var secondsPerMeasurement: Double
    var works: [Entry]
  }

  private struct Entry: Encodable {
    var name: String
    var summary: String
    var frameBytes: Int
    var metrics: [MetricEntry]
  }

  private struct MetricEntry: Encodable {
    var name: String
    var unit: String
    var programs: [ProgramEntry]
    var goals: [GoalEntry]
  }

  private struct ProgramEntry: Encodable {
    var name: String
    var command: String
    var values: [Double]
    var median: Double?
    var minimum: Double?
    var maximum: Double?
    /// Of ours to it, the median of the rounds' quotients.
    var ratio: Double?
    var lost: [UInt64]?
    var unexplained: [Int64]?
    var reason: String?
  }

  private struct GoalEntry: Encodable {
    var besides: String?
    var limit: Double
    var aim: Double
    var result: Double?
    var verdict: String?
  }

  private var document: Document {
    Document(
      machine: machine, rounds: rounds, secondsPerMeasurement: seconds,
      works: results.map { result in
        Entry(
          name: result.work.rawValue, summary: result.work.summary, frameBytes: result.work.frameByteCount,
          metrics: result.work.metrics.map { BenchReport.entry($0, result) })
      })
  }

  private static func entry(_ metric: Metric, _ result: WorkResult) -> MetricEntry {
    let own = result.programs.first?.series(metric.name) ?? Series()
    return MetricEntry(
      name: metric.name, unit: metric.unit.rawValue,
      programs: result.programs.map { program in
        let series = program.series(metric.name)
        let lost = program.samples.compactMap(\.lost)
        let unexplained = program.samples.compactMap(\.unexplained)
        return ProgramEntry(
          name: program.name, command: program.command, values: series.values, median: series.median,
          minimum: series.least, maximum: series.greatest, ratio: program.isOwn ? nil : own.ratio(to: series),
          lost: lost.isEmpty ? nil : lost, unexplained: unexplained.isEmpty ? nil : unexplained,
          reason: program.reason)
      },
      goals: metric.goals.map { goal in
        let value = result.result(goal, metric.name)
        var name: String?
        if case .ratio(let other) = goal.measure { name = other }
        return GoalEntry(
          besides: name, limit: goal.limit, aim: goal.aim, result: value,
          verdict: value.map { goal.verdict($0).rawValue })
      })
  }
}

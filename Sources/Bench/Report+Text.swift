import Foundation

extension BenchReport {
  /// One line of the table: a program at a work.
  struct Row: Hashable {
    var work: String
    var program: String
    var median: String
    var spread: String
    var ratio: String
    var wanted: String

    var cells: [String] { [work, program, median, spread, ratio, wanted] }
  }

  static let titles = ["WORK", "PROGRAM", "MEDIAN", "MIN-MAX", "SLUICE BESIDE IT", "WANTED"]

  var rows: [Row] {
    results.flatMap { result in
      result.work.metrics.flatMap { metric in result.programs.map { row($0, metric, result) } }
    }
  }

  private func row(_ program: ProgramResult, _ metric: Metric, _ result: WorkResult) -> Row {
    let metrics = result.work.metrics
    let name = result.work.rawValue + (metrics.count > 1 ? " \(metric.name)" : "")
    let series = program.series(metric.name)
    var row = Row(work: name, program: program.name, median: "-", spread: "-", ratio: "", wanted: "")
    if let median = series.median, let least = series.least, let greatest = series.greatest {
      row.median = metric.unit.text(median)
      row.spread = "\(metric.unit.text(least)) - \(metric.unit.text(greatest))"
    }
    if !program.isOwn, let ratio = result.result(Goal(.ratio(to: program.name), limit: 0, aim: 0), metric.name) {
      row.ratio = String(format: ratio < 0.1 ? "%.4fx" : "%.2fx", ratio)
    }
    let measure: Goal.Measure = program.isOwn ? .value : .ratio(to: program.name)
    if let goal = metric.goals.first(where: { $0.measure == measure }) {
      row.wanted = BenchReport.wanted(goal, metric.unit)
      if let value = result.result(goal, metric.name), goal.verdict(value) == .missed { row.wanted += " MISSED" }
    }
    if series.values.isEmpty, program.reason != nil { row.median = "not run" }
    return row
  }

  private static func wanted(_ goal: Goal, _ unit: Metric.Unit) -> String {
    func text(_ value: Double) -> String {
      goal.measure == .value ? unit.text(value) : String(format: "%.2fx", value).replacing(/0+x$/, with: "x")
        .replacing(".x", with: "x")
    }
    return "\(goal.prefersLess ? "<=" : ">=") \(text(goal.limit)), aim \(text(goal.aim))"
  }

  /// Why programs were not run, and packets that nothing explains.
  public var notes: [String] {
    results.flatMap { result in
      result.programs.flatMap { program -> [String] in
        let reason = program.reason.map { "\(result.work.rawValue), \(program.name): \($0)" }
        let unexplained = program.samples.compactMap(\.unexplained).filter { $0 != 0 }
        let text = "packets that no counter explains, by rounds: \(unexplained)"
        let lost = unexplained.isEmpty || !program.isOwn ? nil : "\(result.work.rawValue), \(program.name): \(text)"
        return [reason, lost].compactMap { $0 }
      }
    }
  }

  /// Lines aligned by columns, for a terminal.
  public var table: String {
    let lines = [BenchReport.titles] + rows.map(\.cells)
    let widths = BenchReport.titles.indices.map { column in lines.map { $0[column].count }.max() ?? 0 }
    return lines.map { cells in
      zip(cells, widths).map { $0 + String(repeating: " ", count: $1 - $0.count) }.joined(separator: "  ")
        .replacing(/\ +$/, with: "")
    }.joined(separator: "\n")
  }

  /// The same for a README, and what it holds for.
  public var markdown: String {
    let head = "| work | program | median | min–max | Sluice beside it | wanted |\n|---|---|---|---|---|---|"
    let lines = rows.map { "| \($0.cells.map { $0.replacing(" - ", with: "–") }.joined(separator: " | ")) |" }
    let foot =
      "\(machine.summary); \(rounds) rounds of \(String(format: "%g", seconds)) s, interleaved; ratios are medians of the "
      + "rounds' ratios."
    return ([head] + lines + ["", foot]).joined(separator: "\n")
  }
}

/// The place in a document that a benchmark writes.
public struct MarkedPlace: Sendable {
  public static let paths = MarkedPlace("bench")
  public static let rules = MarkedPlace("bench-rules")

  public let start: String
  public let end: String

  private init(_ name: String) {
    start = "<!-- \(name): written by `make bench` -->"
    end = "<!-- \(name): end -->"
  }

  /// `document` with `text` between the two marks; nil where they are not there in order, each once.
  public func replace(in document: String, with text: String) -> String? {
    let head = document.components(separatedBy: start)
    guard head.count == 2 else { return nil }
    let tail = head[1].components(separatedBy: end)
    guard tail.count == 2, !head[0].contains(end) else { return nil }
    return head[0] + start + "\n" + text + "\n" + end + tail[1]
  }
}

import ArgumentParser
import Bench
import Foundation
import Rules

struct BenchRules: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rules",
    abstract: "Measure what a rule set costs, and check its verdicts.",
    discussion: """
      Compiles the rule set, classifies packets by it in the kernel with the code that decides about packets of \
      interfaces, takes rules out of the live tables and puts them back, and compares what is decided then with \
      the plain walk through all rules. Nothing is attached and nothing \
      sent. Times are medians, of classifying and counting a packet without the loop around it. Needs root and Linux \
      5.17; exits with 1 if a verdict differs.

      Without --file it measures rule sets of its own, of the kinds of ClassBench: access lists and firewalls of 10 to \
      100,000 rules, with three traces each, which takes minutes.

      TRACES
        uniform  packets of rules, each rule as often as any other
        zipf     packets of rules, a few rules very often
        miss     packets at random, whatever the rules
        worst    of both kinds those that take longest, each measured by itself

      EXAMPLES
        sluice bench rules --file edge.rules
        sluice bench rules --file acl1_10000 --format classbench --trace worst --json
        xzcat acl1_100000.xz | sluice bench rules --file - --format classbench
        sluice bench rules --count 10000 --json
      """)

  enum Format: String, CaseIterable, ExpressibleByArgument { case rules, classbench }

  @Option(help: "The rule set; \"-\" is standard input. [rule sets of its own]")
  var file: String?

  @Option(help: "rules: the text form or JSON; classbench: what that generator writes.")
  var format = Format.rules

  @Option(help: "\(RuleTraceKind.allCases.map(\.rawValue).joined(separator: ", ")). See TRACES.")
  var trace = "uniform"

  @Option(help: "For other packets of the same kind.")
  var seed: UInt64 = 1

  @Option(help: "How often each figure is measured, 1 to 1000.")
  var rounds = 11

  @Option(help: "Packets whose verdicts are compared, up to 65536. [as many as take some seconds]")
  var verdicts: Int?

  @Option(help: "Without --file: so many rules, 1 to \(Limits.rulesMax). Can be repeated. [10, 1000, 10000, 100000]")
  var count: [Int] = []

  @Option(
    help: "Without --file: write the table into this file, between \(MarkedPlace.rules.start) and \(MarkedPlace.rules.end).")
  var markdown: String?

  @OptionGroup var outputOptions: OutputOptions

  func run() throws {
    guard (1...1000).contains(rounds) else { throw CommandError.usage("--rounds \(rounds) is out of range: 1 to 1000") }
    if let file { try measure(file) } else { try measureSeries() }
  }

  private func measureSeries() throws {
    for count in count where !(1...Limits.rulesMax).contains(count) {
      throw CommandError.usage("--count \(count) is out of range: 1 to \(Limits.rulesMax)")
    }
    let series: RuleSeries
    do {
      series = try RuleSeries(counts: count.isEmpty ? RuleSeries.counts : count, rounds: rounds, seed: seed) {
        Terminal.printError($0)
      }
    } catch {
      throw CommandError(.failure, "bench_failed", "\(error)")
    }
    if outputOptions.json {
      try Terminal.printJSON(series)
    } else {
      var table = Table(RuleSeries.titles.map { $0.uppercased() })
      for row in series.rows { table.add(RuleSeries.cells(row)) }
      Terminal.print(table.text)
    }
    if let markdown { try MarkedPlace.rules.write(series.markdown, into: markdown) }
    if series.rows.contains(where: { $0.differing > 0 }) { throw ExitCode(ExitStatus.failure.rawValue) }
  }

  private func measure(_ file: String) throws {
    guard count.isEmpty, markdown == nil else {
      throw CommandError.usage("--count and --markdown are for its own rule sets: leave out --file")
    }
    guard let kind = RuleTraceKind(rawValue: trace) else {
      throw CommandError.usage(
        "there is no trace \"\(trace)\"; there are \(RuleTraceKind.allCases.map(\.rawValue).joined(separator: ", "))")
    }
    guard (0...65536).contains(verdicts ?? 0) else {
      throw CommandError.usage("--verdicts \(verdicts ?? 0) is out of range: 0 to 65536")
    }
    let plan = RuleBench.Plan(trace: kind, seed: seed, rounds: rounds, verdicts: verdicts)
    let report: RuleBench.Report
    do {
      let bench = RuleBench(try ruleSet(file), plan) { Terminal.printError(Terminal.safe($0)) }
      report = try bench.run()
    } catch let error as CommandError {
      throw error
    } catch {
      throw CommandError(.failure, "bench_failed", "\(error)")
    }
    if outputOptions.json { try Terminal.printJSON(report) } else { Terminal.print(report.text) }
    if report.differing > 0 { throw ExitCode(ExitStatus.failure.rawValue) }
  }

  private func ruleSet(_ file: String) throws -> RuleSet {
    guard format == .classbench else { return try RuleFile.read(file).ruleSet }
    let text = try InputFile.read(file)
    do {
      return try ClassBenchFile.ruleSet(String(decoding: text, as: UTF8.self), name: "classbench")
    } catch {
      throw CommandError.usage("\(file), \(error)")
    }
  }
}

extension RuleBench.Report {
  fileprivate var text: String {
    func number(_ value: Double) -> String { String(format: "%.1f", value) }
    var table = Table("WHAT", "VALUE")
    table.add("rules", "\(rules), as \(entries) entries")
    table.add("build", "\(number(buildMilliseconds)) ms")
    table.add("memory", "\(generationBytes / 1024) KiB")
    table.add("steps of a walk", "\(stepsMax) at most, proven (\(stepsLimit) are allowed)")
    table.add(
      "classifying (\(trace))",
      "\(number(nanosecondsPerPacket)) ns a packet, \(number(nanosecondsPerPacketLeast)) at best "
        + "(the loop: \(number(loopNanoseconds)) ns)")
    table.add(
      "one rule inserted",
      "\(number(insertNanosecondsP50 / 1000)) µs in the median, \(number(insertNanosecondsP99 / 1000)) at the 99th percentile")
    table.add(
      "one rule deleted",
      "\(number(deleteNanosecondsP50 / 1000)) µs in the median, \(number(deleteNanosecondsP99 / 1000)) at the 99th percentile")
    table.add("updates", "\(updates) rules deleted and inserted again, \(updatesRefused) of them need a new build")
    table.add("verdicts compared", "\(verdicts), \(differing) differ")
    if let firstDiffering { table.add("first that differs", firstDiffering) }
    return table.text
  }
}

import ArgumentParser
import Bench
import Foundation
import Rules

struct BenchSets: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "sets",
    abstract: "Measure what a large set costs, and check its verdicts.",
    discussion: """
      Builds a set of random elements and a rule that drops what comes from it, classifies packets in the kernel with \
      the code that decides about packets of interfaces, half of them from addresses in the set, puts elements into the \
      live tables and takes them out, and compares what is decided then with the reference. Nothing is attached and \
      nothing sent. Times are medians, of classifying and counting a packet without the loop around it. Needs root and \
      Linux 5.17; exits with 1 if a verdict differs.

      SHAPES
        hosts      IPv4 hosts                    hosts6     IPv6 hosts in 4096 networks of /32
        mixed      nine of them to one /24       networks6  IPv6 networks of /64
        lengths    IPv4, /17 to /32              mixed6     two /128 to a /64, a /56 and a /48

      EXAMPLES
        sluice bench sets
        sluice bench sets --shape mixed6 --size 100000 --json
      """)

  @Option(help: "\(SetBench.Shape.allCases.map(\.rawValue).joined(separator: ", ")). See SHAPES.")
  var shape = "hosts"

  @Option(help: "Elements, 1,000 to \(Limits.setElementsMax).")
  var size = 1_000_000

  @Option(help: "For other elements and packets of the same kind.")
  var seed: UInt64 = 1

  @Flag(help: "Count packets and bytes for each element.")
  var counters = false

  @Option(help: "How often each figure is measured, 1 to 1000.")
  var rounds = 11

  @OptionGroup var outputOptions: OutputOptions

  func run() throws {
    guard let shape = SetBench.Shape(rawValue: shape) else {
      throw CommandError.usage(
        "there is no shape \"\(shape)\"; there are \(SetBench.Shape.allCases.map(\.rawValue).joined(separator: ", "))")
    }
    guard (1000...Limits.setElementsMax).contains(size) else {
      throw CommandError.usage("--size \(size) is out of range: 1000 to \(Limits.setElementsMax)")
    }
    guard (1...1000).contains(rounds) else { throw CommandError.usage("--rounds \(rounds) is out of range: 1 to 1000") }
    let report: SetBench.Report
    do {
      var bench = SetBench(SetBench.Plan(shape: shape, size: size, seed: seed, rounds: rounds, hasCounters: counters)) {
        Terminal.printError(Terminal.safe($0))
      }
      report = try bench.run()
    } catch {
      throw CommandError(.failure, "bench_failed", "\(error)")
    }
    if outputOptions.json { try Terminal.printJSON(report) } else { Terminal.print(report.text) }
    if report.differing > 0 { throw ExitCode(ExitStatus.failure.rawValue) }
  }
}

extension SetBench.Report {
  fileprivate var text: String {
    func number(_ value: Double) -> String { String(format: "%.1f", value) }
    func times(_ p50: Double, _ p99: Double) -> String {
      "\(number(p50 / 1000)) µs in the median, \(number(p99 / 1000)) at the 99th percentile"
    }
    var table = Table("WHAT", "VALUE")
    table.add("elements (\(shape))", "\(elements)\(hasCounters ? ", which count" : "")")
    table.add("build", "\(number(buildMilliseconds)) ms")
    table.add("memory", "\(number(Double(setBytes) / 1e6)) MB")
    table.add("classifying", "\(number(nanosecondsPerPacket)) ns a packet (the loop: \(number(loopNanoseconds)) ns)")
    table.add("of the set only", "\(number(nanosecondsPerPacketInSet)) ns")
    table.add("of others only", "\(number(nanosecondsPerPacketElsewhere)) ns")
    table.add("one element put in", times(insertNanosecondsP50, insertNanosecondsP99))
    table.add("one element taken out", times(removeNanosecondsP50, removeNanosecondsP99))
    table.add(
      "updates", "\(updates), \(updatesWaited) of them waited for packets under way, \(updatesRefused) need a new build")
    table.add("verdicts compared", "\(verdicts), \(differing) differ")
    return table.text
  }
}

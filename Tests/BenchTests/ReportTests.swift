import Foundation
import Testing

@testable import Bench

@Suite("What the benchmark tells")
struct ReportTests {
  private var report: BenchReport {
    let machine = Machine(
      processor: "CPU", cpuCount: 2, memoryBytes: 24_000_000_000, kernel: "6.18", distribution: "Debian", time: 1,
      versions: [:])
    var report = BenchReport(machine: machine, rounds: 3, seconds: 2)
    var result = WorkResult(work: .receive)
    var own = ProgramResult(name: "sluice", command: "sluice bench subject receive near0")
    own.samples = [3e6, 4e6, 3.5e6].map { Sample(["rate": $0], lost: 4, unexplained: 1) }
    var peer = ProgramResult(name: "xdpsock", command: "xdpsock -r")
    peer.samples = [4e6, 4e6, 3.5e6].map { Sample(["rate": $0]) }
    var missing = ProgramResult(name: "testpmd", command: "dpdk-testpmd")
    missing.reason = "dpdk-testpmd is not installed"
    result.programs = [own, peer, missing]
    report.results = [result]
    return report
  }

  @Test("A row for each program, medians, spreads, ratios and goals")
  func rows() {
    let rows = report.rows
    #expect(rows.map(\.program) == ["sluice", "xdpsock", "testpmd"])
    #expect(rows[0].median == "3.500 Mpps")
    #expect(rows[0].spread == "3.000 Mpps - 4.000 Mpps")
    #expect(rows[1].ratio == "1.00x")
    #expect(rows[1].wanted == ">= 1x, aim 1.05x")
    #expect(rows[2].median == "not run")
  }

  @Test("A goal that is missed says so")
  func missed() {
    var report = report
    report.results[0].programs[1].samples = [Sample(["rate": 8e6])]
    #expect(report.rows[1].wanted == ">= 1x, aim 1.05x MISSED")
    #expect(report.rows[1].ratio == "0.38x")
    report.results[0].programs[1].samples = [Sample(["rate": 1.5e9])]
    #expect(report.rows[1].ratio == "0.0020x")
  }

  @Test("Reasons and unexplained losses are told")
  func notes() {
    #expect(
      report.notes == [
        "rx-drop, sluice: packets that no counter explains, by rounds: [1, 1, 1]",
        "rx-drop, testpmd: dpdk-testpmd is not installed",
      ])
  }

  @Test("The JSON holds every value with its command")
  func json() throws {
    let json = try JSONSerialization.jsonObject(with: Data(try report.json().utf8)) as? [String: Any]
    let works = json?["works"] as? [[String: Any]]
    let metrics = works?.first?["metrics"] as? [[String: Any]]
    let programs = metrics?.first?["programs"] as? [[String: Any]]
    #expect(programs?.count == 3)
    #expect(programs?[0]["values"] as? [Double] == [3e6, 4e6, 3.5e6])
    #expect(programs?[1]["command"] as? String == "xdpsock -r")
    #expect(programs?[1]["ratio"] as? Double == 1)
    #expect(programs?[2]["reason"] as? String == "dpdk-testpmd is not installed")
  }

  @Test("Only what is between the marks is replaced, and only where they are there once and in order")
  func marks() {
    let (start, end) = (MarkedPlace.paths.start, MarkedPlace.paths.end)
    #expect(MarkedPlace.paths.replace(in: "a\n\(start)\nold\n\(end)\nb", with: "new") == "a\n\(start)\nnew\n\(end)\nb")
    let others = [
      "", "a", start, end, end + start, start + start + end, start + end + end, end + start + end,
    ]
    for document in others {
      #expect(MarkedPlace.paths.replace(in: document, with: "new") == nil, "\(document)")
    }
  }

  @Test("Captures and idleness are measured half as often, and at least once", arguments: Work.allCases)
  func rounds(work: Work) {
    let isLong = [.capture, .captureLarge, .idle].contains(work)
    #expect([1, 2, 5].map(work.rounds(of:)) == (isLong ? [1, 1, 3] : [1, 2, 5]))
  }

  @Test("Every work has a metric, its own program first, and goals for programs that run")
  func worksAreWhole() {
    for work in Work.allCases {
      let contestants = work.contestants(farMAC: "02:00:00:00:00:01")
      #expect(contestants.first?.name == "sluice")
      #expect(Set(contestants.map(\.name)).count == contestants.count)
      #expect(!work.metrics.isEmpty)
      for goal in work.metrics.flatMap(\.goals) {
        if case .ratio(let name) = goal.measure { #expect(contestants.contains { $0.name == name }, "\(work) \(name)") }
      }
    }
  }
}

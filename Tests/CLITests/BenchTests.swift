import Foundation
import Testing

/// The built command measures for moments, in namespaces of its own: that its works work, not how fast they are.
@Suite("`sluice bench`", .serialized, .enabled(if: getuid() == 0, "measuring needs root"))
struct BenchTests {
  @Test(
    "Every rate is measured, and no packet is lost that nothing explains",
    arguments: ["rx-drop", "tx", "tx-apart", "tx-2cores", "tx-afxdp", "forward", "forward-kernel", "reflect"])
  func measures(work: String) async throws {
    let metric = try #require(try await metrics(of: work).first)
    let programs = try #require(metric["programs"] as? [[String: Any]])
    let own = try #require(programs.first)
    #expect(own["name"] as? String == "sluice")
    let median = try #require(own["median"] as? Double)
    #expect(median > 10_000)
    if let unexplained = own["unexplained"] as? [Int] { #expect(unexplained == [0]) }
  }

  @Test("Every filter drops by the rules, and ours counts each packet by one of them")
  func measuresFilters() async throws {
    let metrics = try await metrics(of: "filter-100")
    let rates = try #require(metrics.first?["programs"] as? [[String: Any]])
    #expect(rates.map { $0["name"] as? String } == ["sluice", "drop-all", "nft", "nft map", "iptables", "xdp-filter"])
    for program in rates {
      let median = try #require(program["median"] as? Double, "\(program["reason"] ?? program)")
      #expect(median > 1000, "\(program)")
    }
    #expect(rates.first?["unexplained"] as? [Int] == [0])
    let applied = try #require(metrics.last?["programs"] as? [[String: Any]]).compactMap { $0["median"] as? Double }
    #expect(applied.count == 5 && applied.allSatisfy { $0 > 0 }, "\(applied)")
  }

  @Test("Delay and idleness have plausible values")
  func measuresTime() async throws {
    let delays = try await metrics(of: "latency").map { try median(of: $0) }
    #expect(delays.count == 2 && delays[0] > 500 && delays[0] <= delays[1] && delays[1] < 1e9, "\(delays)")
    let idle = try await metrics(of: "idle").map { try median(of: $0) }
    #expect(idle.count == 1 && idle[0] >= 0 && idle[0] < 0.2, "\(idle)")
  }

  @Test("A rule set is measured with every trace, and no verdict differs", arguments: ["uniform", "zipf", "miss", "worst"])
  func measuresRules(trace: String) async throws {
    let rules = """
      ruleset small
      rule one: ip saddr 10.0.0.0/8 tcp dport 1-1000 drop
      rule two: ip6 daddr 2001:db8::/32 count
      rule three: udp drop
      """
    let run = try await withFolder { folder in
      let path = folder.appending(path: "small.rules").path
      try rules.write(toFile: path, atomically: true, encoding: .utf8)
      return try await sluice(
        ["bench", "rules", "--file", path, "--trace", trace, "--rounds", "3", "--verdicts", "500", "--json"], home: folder)
    }
    #expect(run.status == 0, "\(run.errors)")
    let report = try JSONSerialization.jsonObject(with: Data(run.output.utf8)) as? [String: Any]
    #expect(report?["rules"] as? Int == 3 && report?["verdicts"] as? Int == 500 && report?["differing"] as? Int == 0)
    let nanoseconds = try #require(report?["nanoseconds_per_packet"] as? Double)
    #expect(nanoseconds > 1 && nanoseconds < 10_000)
    let steps = try #require(report?["steps_max"] as? Int)
    #expect(steps > 0 && steps <= 1024)
  }

  @Test("Without a file rule sets of each kind are measured, and the table goes where it belongs")
  func measuresOwnRules() async throws {
    let run = try await withFolder { folder in
      let path = folder.appending(path: "README.md").path
      try "a\n<!-- bench-rules: written by `make bench` -->\n<!-- bench-rules: end -->\nb\n".write(toFile: path, atomically: true, encoding: .utf8)
      let run = try await sluice(
        ["bench", "rules", "--count", "5", "--rounds", "1", "--markdown", path, "--json"], home: folder)
      let document = try String(contentsOfFile: path, encoding: .utf8)
      #expect(document.contains("| 5 | access-list | ") && document.contains("| 5 | firewall | ") && document.hasSuffix("\nb\n"))
      return run
    }
    #expect(run.status == 0, "\(run.errors)")
    let series = try JSONSerialization.jsonObject(with: Data(run.output.utf8)) as? [String: Any]
    let rows = try #require(series?["rows"] as? [[String: Any]])
    #expect(rows.map { $0["kind"] as? String } == ["access-list", "firewall", "access-list-v6"])
    for row in rows {
      #expect(row["verdicts"] as? Int ?? 0 > 3000 && row["differing"] as? Int == 0)
      #expect((row["worst_nanoseconds"] as? Double).map { $0 > 1 && $0 < 10_000 } == true)
    }
  }

  @Test(
    "Wrong input of bench rules is refused in words",
    arguments: [
      (["--file", "/nowhere"], "/nowhere"), (["--file", "/dev/null", "--trace", "all"], "uniform, zipf, miss, worst"),
      (["--file", "/dev/null", "--rounds", "0"], "--rounds 0"), (["--file", "/dev/null", "--verdicts", "70000"], "65536"),
      (["--file", "/etc/passwd", "--format", "classbench"], "line 1"), (["--count", "0"], "--count 0"),
      (["--count", "100001"], "1 to 100000"), (["--file", "/dev/null", "--count", "5"], "leave out --file"),
    ])
  func refusesRules(arguments: [String], word: String) async throws {
    let run = try await withFolder { try await sluice(["bench", "rules"] + arguments, home: $0) }
    #expect(run.status == 2 && run.errors.contains(word), "\(run.errors)")
  }

  private func median(of metric: [String: Any]) throws -> Double {
    try #require((metric["programs"] as? [[String: Any]])?.first?["median"] as? Double)
  }

  private func metrics(of work: String) async throws -> [[String: Any]] {
    let run = try await withFolder {
      try await sluice(["bench", work, "--rounds", "1", "--seconds", "0.2", "--json"], home: $0)
    }
    #expect(run.status == 0, "\(run.errors)")
    let document = try JSONSerialization.jsonObject(with: Data(run.output.utf8)) as? [String: Any]
    return try #require((document?["works"] as? [[String: Any]])?.first?["metrics"] as? [[String: Any]])
  }
}

import Packets
import Rules
import Testing

@testable import Bench

@Suite("Rule sets to measure")
struct RuleBenchTests {
  @Test("ClassBench's lines become rules: prefixes, ports, protocol and flags, priorities in order")
  func readsClassBench() throws {
    let set = try ClassBenchFile.ruleSet(
      """
      @10.0.0.0/8\t192.0.2.1/32\t0 : 65535\t80 : 80\t0x06/0xFF\t0x1002/0x1012\t
      @0.0.0.0/0 0.0.0.0/0 0 : 65535 1024 : 65535 0x00/0x00 0x0000/0x0000

      @2001:db8::/32\t0::0/0\t0 : 65535\t0 : 65535\t0x3a/0xFF
      """, name: "c")
    #expect(set.rules.map(\.name) == ["r1", "r2", "r3"])
    #expect(set.rules.map(\.action) == [.drop, .pass, .drop])
    #expect(set.rules[0].match.sources.elements == [IPPrefix("10.0.0.0/8")!])
    #expect(set.rules[0].match.destinationPorts.elements == [PortRange(80)])
    #expect(set.rules[0].match.protocols.elements == [.tcp] && set.rules[0].match.sourcePorts.isEmpty)
    #expect(set.rules[0].match.tcpFlags.elements == [TCPFlagTest(set: 2, mask: 0x12)], "bits above the ninth are no flags")
    #expect(set.rules[1].match.sources.isEmpty && set.rules[1].match.protocols.elements == [.tcp, .udp])
    #expect(set.rules[2].match.destinations.elements == [IPPrefix("::/0")!], "any address of IPv6 is IPv6")
    #expect(set.validate().isEmpty)
  }

  @Test(
    "What is no rule is refused with its line",
    arguments: [
      "10.0.0.0/8 0.0.0.0/0 0 : 1 0 : 1 0x06/0xFF", "@10.0.0.0/8", "@10.0.0.1/8 0.0.0.0/0 0 : 1 0 : 1 0x06/0xFF",
      "@10.0.0.0/8 0.0.0.0/0 2 : 1 0 : 1 0x06/0xFF", "@10.0.0.0/8 0.0.0.0/0 0 : 70000 0 : 1 0x06/0xFF",
      "@10.0.0.0/8 0.0.0.0/0 0 : 1 0 : 1 tcp", "@10.0.0.0/8 0.0.0.0/0 0 : 1 0 : 1 0x06", "\u{0}@",
      "@10.0.0.0/8 0.0.0.0/0 0 : 1 0 : 1 0x06/0xFF 0xfffffffff/0x1",
    ])
  func refuses(_ line: String) throws {
    let error = try #require(throws: BenchError.self) {
      try ClassBenchFile.ruleSet("@1.0.0.0/8 0.0.0.0/0 0 : 1 0 : 1 0x06/0xFF\n" + line, name: "c")
    }
    #expect(error.description.hasPrefix("line 2: "))
  }

  @Test("Packets of rules are in their rules, the same for the same seed; zipf's are of few", arguments: RuleTraceKind.allCases)
  func makesTraces(_ kind: RuleTraceKind) throws {
    let rules = (0..<50).map { index in
      Rule(
        name: "r\(index)",
        match: Match(
          sources: [IPPrefix("10.\(index).0.0/16")!], protocols: [.udp],
          destinationPorts: [PortRange(low: 10, high: 20)]), action: .drop)
    }
    let set = RuleSet(name: "s", defaultAction: .pass, rules: rules)
    var (one, same, other) = (
      RuleTrace(set, kind: kind, seed: 7), RuleTrace(set, kind: kind, seed: 7), RuleTrace(set, kind: kind, seed: 8))
    var counts: [String: Int] = [:]
    var differs = false
    for _ in 0..<2000 {
      let frame = one.ruleFrame()
      #expect(frame == same.ruleFrame())
      if frame != other.ruleFrame() { differs = true }
      let rule = try #require(ReferenceClassifier.decide(frame, by: set).ruleName)
      counts[rule, default: 0] += 1
    }
    #expect(differs)
    let most = try #require(counts.values.max())
    #expect(kind == .zipf ? most > 300 : most < 100)
    #expect(ReferenceClassifier.decide(one.anyFrame(), by: set).malformed == nil)
  }

  @Test("Rule sets of each kind are valid, of the size asked for, the same each time, and of what their names say")
  func samples() {
    for kind in RuleSample.allCases {
      let set = kind.ruleSet(count: 500)
      #expect(set.validate().isEmpty && set.rules.count == 500)
      #expect(set == kind.ruleSet(count: 500))
      let matches = set.rules.map(\.match)
      let families = Set(matches.flatMap { $0.sources.elements + $0.destinations.elements }.map(\.family))
      #expect(families == [kind == .accessListIPv6 ? .ipv6 : .ipv4])
      #expect((matches.count { $0.sources.isEmpty } > 200) == (kind == .firewall))
    }
  }
}

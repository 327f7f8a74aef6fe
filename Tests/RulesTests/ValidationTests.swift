import Packets
import Rules
import TestSupport
import Testing

@Suite("Validation")
struct ValidationTests {
  @Test("The warnings about a rule are those that the whole set has about it")
  func warningsOfOne() throws {
    let set = try RuleSetText.parse(
      """
      ruleset a
      rule a: tcp dport 1, 1 drop
      rule b: count
      rule c: saddr ::1 icmp drop
      rule d: drop
      rule e: tcp dport 2, 2 drop
      rule f: pass
      """)
    let all = set.validate()
    #expect(all.count == 5)
    for index in set.rules.indices {
      let path = "rules[\(index)]"
      let own = all.filter { $0.path == path || $0.path.hasPrefix(path + ".") }
      #expect(set.warnings(ofRuleAt: index) == own)
    }
  }

  private func issues(_ rules: String) throws -> [ValidationIssue] {
    try RuleSetText.parse("ruleset a\n" + rules).validate()
  }

  @Test(
    "Each fault has its code and its place",
    arguments: [
      ("rule default: drop", "reserved_name", "rules[0].name"),
      ("rule a: count\nrule b: count\nrule a: drop", "duplicate_name", "rules[2].name"),
      ("rule a: protocol 0 dport 23 drop", "ports_of_portless_protocol", "rules[0].match.protocols[0]"),
      ("rule a: dport 23 drop", "ports_without_protocol", "rules[0].match.destination_ports"),
      ("rule a: sport 23 drop", "ports_without_protocol", "rules[0].match.source_ports"),
      ("rule a: tcp, sctp dport 23 drop", "ports_of_portless_protocol", "rules[0].match.protocols[1]"),
      ("rule a: ip saddr 10.0.0.0/8 ip6 daddr ::1 drop", "no_common_family", "rules[0].match"),
      ("rule a: redirect sixteen-bytes-xx", "invalid_interface_name", "rules[0].redirect_to"),
      ("rule a: tcp dport 1, 1 drop", "duplicate_element", "rules[0].match.destination_ports[1]"),
      ("rule a: saddr 10.0.0.0/8, ::1 ip daddr 10.0.0.1 drop", "dead_prefix", "rules[0].match.sources[1]"),
      ("rule a: saddr ::1 daddr 10.0.0.1, ::2 drop", "dead_prefix", "rules[0].match.destinations[0]"),
      ("rule a: saddr ::1 icmp drop", "other_familys_protocol", "rules[0].match.protocols[0]"),
      ("rule a: daddr 10.0.0.0/8 icmpv6 drop", "other_familys_protocol", "rules[0].match.protocols[0]"),
      ("rule a: daddr ::1 ah drop", "protocol_never_shown", "rules[0].match.protocols[0]"),
      ("rule a: drop\nrule b: pass", "unreachable_rule", "rules[1]"),
    ])
  func faults(_ rules: String, _ code: String, _ path: String) throws {
    let found = try issues(rules)
    #expect(found.map(\.code.rawValue) == [code])
    #expect(found.map(\.path) == [path])
  }

  @Test(
    "What is right has no issues",
    arguments: [
      "", "rule a: expires 10m drop\nrule b: tcp pass", "rule a: drop", "rule a: count\nrule b: drop", "disabled rule a: drop\nrule b: drop",
      "rule a: icmp, icmpv6 drop", "rule a: saddr ::1, 10.0.0.0/8 icmp, icmpv6 drop", "rule a: ah drop",
      "rule a: daddr 10.0.0.0/8 ah drop", "rule a: tcp, udp sport 0-65535 drop", "rule a: redirect fifteen-bytes-x",
      "rule a: saddr 10.0.0.0/8, ::1 daddr ::/0, 0.0.0.0/0 drop", "rule a: redirect \"#\"",
    ])
  func right(_ rules: String) throws {
    #expect(try issues(rules).isEmpty)
  }

  @Test(
    "Names of rules and sets keep to their alphabet",
    arguments: ["", "A", "-a", ".a", "_a", "a b", "a/b", "é", "a\u{0}", "a\n", String(repeating: "a", count: 64)])
  func names(_ name: String) {
    let set = RuleSet(name: name, rules: [Rule(name: name, action: .drop)])
    #expect(set.validate().map(\.path) == ["name", "rules[0].name"])
    #expect(set.validate().allSatisfy { $0.code == .invalidName && $0.severity == .error })
    #expect(RuleSet(name: String(repeating: "a", count: 63)).validate().isEmpty)
  }

  @Test(
    "Interface names are what the kernel takes",
    arguments: [
      ("eth0", true), ("a", true), ("", false), (".", false), ("..", false), ("...", true), ("a/b", false),
      ("a:b", false), ("a b", false), ("a\tb", false), ("a\u{b}b", false), ("a\u{0}b", false), ("é", true),
      ("à", false),
      ("123456789012345", true), ("1234567890123456", false), ("ééééééé", true), ("éééééééé", false), ("#,\"", true),
    ])
  func interfaces(_ name: String, _ isValid: Bool) {
    #expect((interfaceNameFault(name) == nil) == isValid)
  }

  @Test(
    "Comments are one short line",
    arguments: ["a\nb", "\u{0}", "\u{7f}", "\u{85}", "\u{2028}", String(repeating: "é", count: 129)])
  func comments(_ comment: String) {
    let rule = Rule(name: "a", action: .drop, comment: comment)
    #expect(rule.validate().map(\.code) == [.invalidComment])
    #expect(Rule(name: "a", action: .drop, comment: String(repeating: "é", count: 128)).validate().isEmpty)
  }

  @Test("A rule by itself has paths of its own")
  func ruleAlone() {
    let rule = Rule(name: "", match: Match(sourcePorts: [PortRange(1)]), action: .drop)
    #expect(rule.validate().map(\.path) == ["name", "match.source_ports"])
  }

  @Test("All faults are collected, bounded, and warnings never crowd out an error")
  func bounds() {
    let warned = Match(protocols: Condition(Array(repeating: IPProtocol.tcp, count: 64)))
    var set = RuleSet(name: "a", rules: (0..<1000).map { Rule(name: "r\($0)", match: warned, action: .drop) })
    set.rules[999].name = "BAD"
    let issues = set.validate()
    #expect(issues.count == Limits.issuesMax + 1)
    #expect(issues.filter { $0.severity == .error }.map(\.path) == ["rules[999].name"])
    #expect(throws: InvalidRuleSet.self) { try set.checkValid() }
    for index in set.rules.indices { set.rules[index].name = "BAD" }
    #expect(set.validate().filter { $0.severity == .error }.count == Limits.issuesMax)
  }

  @Test("Sizes beyond the limits are errors")
  func sizes() {
    let rules = (0...Limits.rulesMax).map { Rule(name: "r\($0)", match: Match(protocols: [.tcp]), action: .drop) }
    #expect(RuleSet(name: "a", rules: rules).validate().map(\.code) == [.tooManyRules])
    let counts = (0...Limits.countRulesMax).map { Rule(name: "r\($0)", action: .count) }
    #expect(RuleSet(name: "a", rules: counts).validate().map(\.code) == [.tooManyCountRules])
    #expect(RuleSet(name: "a", rules: Array(counts.dropLast())).validate().isEmpty)
    let ports = (0...64).map { PortRange(UInt16($0)) }
    let rule = Rule(name: "a", match: Match(protocols: [.tcp], destinationPorts: Condition(ports)), action: .drop)
    #expect(rule.validate().map(\.code) == [.tooManyElements])
    let redirects = (0...64).map {
      Rule(name: "r\($0)", match: Match(protocols: [.tcp]), action: .redirect(interface: "e\($0)"))
    }
    #expect(RuleSet(name: "a", rules: redirects).validate().map(\.code) == [.tooManyRedirectTargets])
    #expect(RuleSet(name: "a", rules: Array(redirects.dropLast())).validate().isEmpty)
  }

  @Test("Every limit is published under its name")
  func limits() {
    #expect(Limits.published["rules_max"] == 100_000)
    #expect(Limits.published["entries_max"] == 262_144)
    #expect(Limits.published.keys.allSatisfy { $0.hasSuffix("_max") })
  }
}

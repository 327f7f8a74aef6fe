import Packets
import TestSupport
import Testing

@testable import Rules

@Suite("What the analysis says about rules")
struct AnalysisTests {
  private func findings(_ rules: String, default fate: String = "pass") throws -> [String] {
    let set = try RuleSetText.parse("ruleset a\ndefault \(fate)\n" + rules)
    #expect(!set.validate().contains { $0.severity == .error })
    let analysis = set.analysis()
    for finding in analysis.findings { try expectProof(finding, in: set) }
    return analysis.findings.map { "\($0.kind.rawValue) \($0.rule) \($0.by.joined(separator: " "))" }
  }

  /// The packet of a finding is one that the rule and one of those named match, and that isn't decided by the rule.
  private func expectProof(_ finding: RuleFinding, in set: RuleSet) throws {
    guard let example = finding.packet else {
      #expect(finding.kind == .contradictory || finding.kind == .undecided)
      return
    }
    let rule = set.rules[finding.index]
    #expect(rule.name == finding.rule)
    #expect(rule.match.matches(example.packet, at: example.arrival), "\(finding)")
    #expect(example.match.matches(example.packet, at: example.arrival), "\(finding)")
    var others = set
    if finding.kind == .redundant { others.rules.remove(at: finding.index) }
    let decision = ReferenceClassifier.decide(example.packet, by: others, at: example.arrival)
    #expect(decision.ruleName != finding.rule, "\(finding)")
    let takers = finding.by.map { name in set.rules.first { $0.name == name } }
    #expect(takers.contains { $0?.match.matches(example.packet, at: example.arrival) ?? true }, "\(finding)")
  }

  @Test("A rule below one that matches all its packets is shadowed, or redundant where both do the same")
  func single() throws {
    let rules = "rule a: ip saddr 10.0.0.0/8 tcp dport 1-100 drop\nrule b: ip saddr 10.1.0.0/16 tcp dport 22, 80 "
    #expect(try findings(rules + "capture") == ["shadowed b a"])
    #expect(try findings(rules + "drop") == ["redundant b a"])
    #expect(try findings(rules + "count") == ["shadowed b a"])
    #expect(try findings(rules.replacing("tcp dport 22, 80", with: "tcp dport 22, 101") + "capture") == [])
  }

  @Test("A rule that ends is no reason against one that stays longer")
  func ending() throws {
    func pair(_ first: String, _ second: String) throws -> [String] {
      try findings(
        "rule a: ip saddr 10.0.0.0/8 \(first) drop\nrule b: ip saddr 10.1.0.0/16 tcp \(second) drop")
    }
    #expect(try pair("expires 4h", "") == [])
    #expect(try pair("expires 4h", "expires 5h") == [])
    #expect(try pair("expires 4h", "expires 4h") == ["redundant b a"])
    #expect(try pair("", "expires 4h") == ["redundant b a"])
    // Nor is a rule superfluous because of one below it that ends.
    #expect(try findings("rule a: ip saddr 10.1.0.0/16 drop\nrule b: ip saddr 10.0.0.0/8 expires 4h drop") == [])
    let element = "set s {\ntype ipv4_addr\nelements 10.0.0.0/8 timeout 1h\n}\n"
    #expect(try findings(element + "rule a: saddr @s drop\nrule b: ip saddr 10.1.0.0/16 drop") == [])
    let lasting = try RuleSetText.parse(
      "ruleset a\n" + element.replacing(" timeout 1h", with: "") + "rule a: saddr @s drop\nrule b: ip saddr 10.1.0.0/16 drop")
    #expect(lasting.analysis().findings.map(\.rule) == ["b"])
  }

  @Test("What is not in a set grows as elements of the set end")
  func growing() throws {
    func findings(timeout: String, _ rules: String) throws -> [String] {
      let set = try RuleSetText.parse(
        "ruleset a\nset s {\ntype ipv4_addr\nelements 192.0.2.7\(timeout)\n}\n\(rules)\n")
      return set.analysis().findings.map { "\($0.kind.rawValue) \($0.rule)" }
    }
    let admin = "rule admin: ip saddr 192.0.2.7 tcp dport 22 pass\nrule block: ip saddr != @s tcp dport 22 drop"
    #expect(try findings(timeout: "", admin) == ["redundant admin"])
    #expect(try findings(timeout: " timeout 1h", admin) == [])
    let both = "rule a: ip saddr != 192.0.2.7 drop\nrule b: ip saddr != @s drop"
    #expect(try findings(timeout: "", both).contains("redundant b"))
    #expect(try !findings(timeout: " timeout 1h", both).contains("redundant b"))
  }

  @Test("What has expired is not there, and every rule keeps its place")
  func expired() throws {
    let set = try RuleSetText.parse(
      "ruleset a\nrule old: tcp expires 2020-01-01T00:00:00Z drop\nrule b: tcp drop\nrule c: tcp dport 1 drop")
    let analysis = set.analysis(atUnixMilliseconds: 1_790_000_000_000)
    #expect(analysis.findings.map(\.rule) == ["c"] && analysis.findings[0].by == ["b"] && analysis.findings[0].index == 2)
    #expect(analysis.ruleCount == 2)
  }

  @Test("A rule whose set is empty waits for elements")
  func emptySet() throws {
    let set = "set s {\ntype ipv4_addr\n}\n"
    #expect(try findings(set + "rule a: saddr @s drop") == [])
    #expect(try findings(set + "rule a: saddr @s drop\nrule b: ip saddr 10.0.0.0/8 drop") == [])
  }

  @Test("Rules above may cover a rule only together")
  func together() throws {
    let halves = "rule a: ip saddr 0.0.0.0/1 drop\nrule b: ip saddr 128.0.0.0/1 drop\n"
    #expect(try findings(halves + "rule c: ip saddr 0.0.0.0/0 capture") == ["never_hit c a b"])
    #expect(try findings(halves + "rule c: ip daddr 1.2.3.4 drop") == ["redundant c a b"])
    let kinds = "rule a: tcp drop\nrule b: protocol != tcp drop\nrule c: frag later capture"
    #expect(try findings(kinds) == ["never_hit c a b"])
    let tags = "rule a: vlan id 0-99 drop\nrule b: vlan id != 0-99 drop\nrule c: vlan pcp 3 capture"
    #expect(try findings(tags) == ["never_hit c a b"])
    let flags = "rule a: tcp flags syn drop\nrule b: tcp flags none/syn drop\nrule c: tcp dport 1 capture"
    #expect(try findings(flags) == ["never_hit c a b"])
  }

  @Test("A rule without which those below or the default action would do the same is redundant")
  func below() throws {
    #expect(try findings("rule a: tcp pass") == ["redundant a default"])
    #expect(try findings("rule a: tcp drop", default: "drop") == ["redundant a default"])
    #expect(try findings("rule a: tcp dport 80 pass\nrule b: udp capture\nrule c: tcp pass", default: "drop") == [
      "redundant a c"
    ])
    #expect(try findings("rule a: tcp dport 80 pass\nrule b: tcp drop\nrule c: tcp pass", default: "drop") == [
      "shadowed c b"
    ])
    // What is counted below would count more.
    #expect(try findings("rule a: tcp dport 80 pass\nrule b: tcp count") == [])
  }

  @Test("Conditions that exclude each other")
  func contradictory() throws {
    for match in [
      "vlan id 1 vlan inner-id != 0-4095", "ip saddr 10.0.0.0/8 flowlabel 1", "ip saddr 10.0.0.0/8 ether type 0x86dd",
      "tcp dport 80 frag later", "tcp dport != 0-65535", "icmp type 1 frag later",
      "ip saddr 10.0.0.0/8 length 0-19", "ether type 0x0806 ttl 1",
    ] {
      #expect(try findings("rule a: \(match) drop") == ["contradictory a "], "\(match)")
    }
  }

  @Test("Where it would take too long, it is said that nothing is known")
  func undecided() throws {
    var random = SeededGenerator(announcing: "AnalysisTests.undecided")
    var set = LargeRuleSet(.mixed, ruleCount: 300, using: &random).ruleSet
    set.rules.append(Rule(name: "last", action: .capture))
    let analysis = set.analysis(budget: 100)
    #expect(!analysis.isComplete && analysis.stepCount <= 100)
    let mask = "ether saddr 00:00:00:00:00:00/aa:aa:aa:aa:aa:aa"
    #expect(try findings("rule a: \(mask) drop\nrule b: tcp drop", default: "pass") == ["undecided a "])
  }

  private func hosts(_ count: Int) -> [IPPrefix] {
    (0..<count).map { IPPrefix(host: .v4(IPv4Address(value: UInt32($0 * 2)))) }
  }

  @Test("Of rules with large sets as many are told about as half of the steps are for")
  func largeSets() {
    var rules = (0..<1000).map { index in
      Rule(
        name: "r\(index)", match: Match(sources: Condition(sets: ["s"]), protocols: [.tcp], destinationPorts: [PortRange(UInt16(index))]),
        action: .drop)
    }
    rules.append(Rule(name: "last", match: Match(protocols: [.udp]), action: .capture))
    let set = RuleSet(name: "a", rules: rules, sets: [NamedSet(name: "s", family: .ipv4, prefixes: hosts(60_000))])
    let analysis = set.analysis(budget: 1_000_000)
    #expect(analysis.undecidedCount == 998 && analysis.stepCount <= 1_000_000)
    #expect(analysis.reached.keys.sorted() == ["last", "r0", "r1"])
  }

  @Test("A rule is undecided where what is left of it would take too much memory")
  func largeParts() {
    let elements = hosts(60_000)
    var rules = (0..<60).map { index in
      Rule(
        name: "p\(index)", match: Match(destinations: [elements[index]], protocols: [.tcp], destinationPorts: [PortRange(UInt16(index))]),
        action: .pass)
    }
    let big = Rule(name: "big", match: Match(sources: Condition(sets: ["s"]), protocols: [.tcp]), action: .drop)
    let set = RuleSet(name: "a", rules: rules + [big], sets: [NamedSet(name: "s", family: .ipv4, prefixes: elements)])
    #expect(set.analysis().reached["big"] != nil)
    rules.append(Rule(name: "hole", match: Match(sources: [elements[100]], protocols: [.tcp]), action: .pass))
    let holed = RuleSet(name: "a", rules: rules + [big], sets: set.sets)
    #expect(holed.analysis().findings.filter { $0.kind == .undecided }.map(\.rule) == ["big"])
  }

  @Test("Every rule is reported with its proof, or is reached by the packet that is named; verdicts of random packets agree")
  func agreesWithReference() throws {
    var random = SeededGenerator(announcing: "AnalysisTests.agreesWithReference")
    var kinds: [RuleFinding.Kind: Int] = [:]
    for _ in 0..<300 {
      let set = RandomCases.ruleSet(rulesUpTo: 10, using: &random)
      let analysis = set.analysis()
      for finding in analysis.findings {
        kinds[finding.kind, default: 0] += 1
        try expectProof(finding, in: set)
      }
      for (name, example) in analysis.reached {
        let decision = ReferenceClassifier.decide(example.packet, by: set, at: example.arrival)
        #expect(
          decision.ruleName == name || decision.counted.contains(name),
          "seed \(random.seed): \(name) \(example)\n\(RuleSetText.print(set))")
      }
      let told = Set(analysis.reached.keys).union(analysis.findings.map(\.rule))
      #expect(told == Set(set.rules.filter(\.isEnabled).map(\.name)))
      var without = set
      let redundant = analysis.findings.first { $0.kind == .redundant }
      if let redundant { without.rules.remove(at: redundant.index) }
      for _ in 0..<100 {
        let packet = PacketParser.parse(RandomCases.frame(using: &random))
        let arrival = Arrival(interface: random.pick(["eth0", "eth1", "lo"]), queue: UInt8(Int.random(in: 0...1, using: &random)))
        let decision = ReferenceClassifier.decide(packet, by: set, at: arrival)
        for name in decision.counted + [decision.ruleName].compactMap(\.self) {
          let finding = analysis.findings.first { $0.rule == name }
          let isHit = finding == nil || finding?.kind == .undecided || finding?.kind == .redundant
          #expect(isHit, "seed \(random.seed): \(finding?.description ?? "")\n\(packet)\n\(RuleSetText.print(set))")
        }
        if redundant != nil {
          let other = ReferenceClassifier.decide(packet, by: without, at: arrival)
          #expect(other.action == decision.action, "seed \(random.seed): \(redundant?.description ?? "")\n\(RuleSetText.print(set))")
        }
      }
    }
    #expect(kinds[.redundant, default: 0] > 20 && kinds[.shadowed, default: 0] + kinds[.neverHit, default: 0] > 5, "\(kinds)")
  }
}

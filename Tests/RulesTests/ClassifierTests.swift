import Packets
import Rules
import TestSupport
import Testing

@Suite("The reference classifier")
struct ClassifierTests {
  private func set(_ rules: String) throws -> RuleSet { try RuleSetText.parse("ruleset a\n" + rules) }
  private let source = IPAddress("10.0.0.1")!
  private let destination = IPAddress("10.0.0.2")!
  private var telnet: [UInt8] {
    PacketBuilder(from: source, to: destination, .tcp(source: 4000, destination: 23)).build()
  }
  private var arp: [UInt8] { PacketBuilder(network: .other(.arp), transport: .other(.tcp)).build() }

  @Test(
    "The first rule that matches decides",
    arguments: [
      ("", "pass", nil), ("default drop", "drop", nil), ("rule a: drop", "drop", "a"),
      ("rule a: tcp dport 23 drop\nrule b: pass", "drop", "a"),
      ("rule a: tcp dport 24 drop\nrule b: capture", "capture", "b"),
      ("disabled rule a: drop", "pass", nil), ("rule a: udp drop", "pass", nil),
      ("rule a: ip6 saddr ::/0 drop", "pass", nil),
      ("rule a: ip saddr 10.0.0.0/31 drop", "drop", "a"), ("rule a: ip saddr 10.0.0.2 drop", "pass", nil),
      ("rule a: ip daddr 10.0.0.2 drop", "drop", "a"), ("rule a: tcp sport 3999, 4001 drop", "pass", nil),
      ("rule a: tcp sport 3999-4001 drop", "drop", "a"),
      ("rule a: udp, tcp dport 22, 23 redirect eth1", "redirect", "a"),
    ] as [(String, String, String?)])
  func first(_ rules: String, _ action: String, _ rule: String?) throws {
    let decision = ReferenceClassifier.decide(telnet, by: try set(rules))
    #expect(decision.action.name == action)
    #expect(decision.ruleName == rule)
    #expect(decision.counted.isEmpty && decision.malformed == nil)
  }

  @Test("Count rules count and go on, and only those above the decision")
  func count() throws {
    let rules = "rule a: count\nrule b: udp count\nrule c: tcp count\nrule d: drop\nrule e: count"
    let decision = ReferenceClassifier.decide(telnet, by: try set(rules))
    #expect(decision == Decision(action: .drop, ruleName: "d", counted: ["a", "c"]))
    #expect(ReferenceClassifier.decide(telnet, by: try set("rule a: count")) == Decision(action: .pass, counted: ["a"]))
  }

  @Test("What is not IP matches only rules without prefixes, protocols and ports")
  func other() throws {
    for rules in [
      "rule a: saddr 0.0.0.0/0, ::/0 drop", "rule a: protocol 0 drop", "rule a: tcp, udp dport 0-65535 drop",
    ] {
      #expect(ReferenceClassifier.decide(arp, by: try set(rules)).action == .pass)
    }
    #expect(ReferenceClassifier.decide(arp, by: try set("rule a: drop")).ruleName == "a")
  }

  @Test("A later fragment shows no ports, not even to a rule for all of them")
  func fragments() throws {
    let packet = PacketBuilder(
      from: source, to: destination, .udp(source: 1, destination: 53), payload: Array(repeating: 0, count: 64))
    let frames = packet.buildFragments(byteCount: 32)
    let all = try set("rule ports: udp dport 0-65535 drop\nrule udp: udp capture")
    #expect(ReferenceClassifier.decide(frames[0], by: all).ruleName == "ports")
    #expect(ReferenceClassifier.decide(frames[1], by: all).ruleName == "udp")
  }

  @Test(
    "Malformed packets have the policy's fate before any rule",
    arguments: PacketFixtures.all.filter { $0.malformed != nil })
  func malformed(_ fixture: PacketFixture) throws {
    let reason = try #require(fixture.malformed)
    let dropping = try set("rule a: count\nrule b: pass\nmalformed drop")
    #expect(ReferenceClassifier.decide(fixture.bytes, by: dropping) == Decision(action: .drop, malformed: reason))
    let excepting = try set("rule b: drop\nmalformed drop except \(reason.rawValue) pass")
    #expect(ReferenceClassifier.decide(fixture.bytes, by: excepting) == Decision(action: .pass, malformed: reason))
  }
}

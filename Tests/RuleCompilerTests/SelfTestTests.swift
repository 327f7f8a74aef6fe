import Packets
import RuleCompiler
import Rules
import TestSupport
import Testing

@Suite("Self-test packets")
struct SelfTestTests {
  private func set(_ rules: String) throws -> RuleSet { try RuleSetText.parse("ruleset a\n" + rules) }

  @Test("They are the same each time, all different, and bounded")
  func bounded() throws {
    var random = SeededGenerator(announcing: "SelfTestTests.bounded")
    for _ in 0..<50 {
      let set = RandomCases.ruleSet(rulesUpTo: 40, using: &random) { $0.entryCount <= 300 }
      let frames = SelfTest.packets(for: set)
      #expect(frames == SelfTest.packets(for: set))
      #expect(Set(frames).count == frames.count && frames.count <= 512)
      #expect(SelfTest.packets(for: set, limit: 3).count == 3)
      #expect(SelfTest.packets(for: set, limit: 0).isEmpty)
      #expect(frames.allSatisfy { $0.count >= 14 })
    }
  }

  @Test("Every malformed reason is among them, but for frames too short to be tried, and what isn't IP")
  func fixed() throws {
    let packets = SelfTest.packets(for: try set("")).map { PacketParser.parse($0) }
    #expect(Set(packets.compactMap(\.malformed)) == Set(MalformedReason.allCases).subtracting([.truncatedEthernet]))
    #expect(packets.contains { $0.family == .other && $0.malformed == nil })
    #expect(packets.contains { $0.vlanTags.count == 2 && $0.family == .other })
  }

  @Test(
    "They lie in the corners of a rule and just outside of each edge",
    arguments: [
      "rule r: ip saddr 10.0.0.0/8 ip daddr 192.0.2.0/24 tcp sport 1024-65535 dport 80-90 drop",
      "rule r: ip6 saddr 2001:db8::/32 udp dport 53 drop", "rule r: icmp drop", "rule r: protocol 200 count",
    ])
  func edges(_ rules: String) throws {
    let set = try set(rules)
    let match = set.rules[0].match
    let packets = SelfTest.packets(for: set).map { PacketParser.parse($0) }.filter { $0.malformed == nil }
    let inside = packets.filter { match.matches($0) }
    #expect(!inside.isEmpty && inside.count < packets.count)
    for prefix in match.sources {
      let sources = Set(packets.compactMap(\.source))
      let (first, last) = (prefix.address, prefix.lastAddress)
      #expect(sources.isSuperset(of: [first, last]))
      #expect(sources.contains(IPAddress(family: prefix.family, value: first.value - 1)))
      #expect(sources.contains(IPAddress(family: prefix.family, value: last.value + 1)))
    }
    for range in match.destinationPorts {
      let ports = Set(packets.compactMap(\.ports?.destination))
      #expect(ports.isSuperset(of: [range.low, range.high, range.low - 1, range.high + 1]))
    }
    #expect(packets.contains { $0.fragment == .later })
    #expect(Set(packets.map(\.family)).isSuperset(of: [.ipv4, .ipv6]))
  }

  @Test("Of more rules than packets, some from the first to the last have theirs")
  func spread() throws {
    let count = 3000
    let rules = (0..<count).map { "rule r\($0): ip saddr 10.0.\($0 >> 8).\($0 & 255) udp dport 53 drop" }
    let set = try set(rules.joined(separator: "\n"))
    for limit in [50, nil] {
      let packets = SelfTest.packets(for: set, limit: limit)
      let deciding = packets.compactMap {
        ReferenceClassifier.decide($0, by: set).ruleName.flatMap { Int($0.dropFirst()) }
      }
      #expect(deciding.count >= 30 && packets.count <= (limit ?? 512))
      for part in 0..<10 { #expect(deciding.contains { $0 * 10 / count == part }, "limit \(limit ?? 0), part \(part)") }
    }
    #expect(SelfTest.packets(for: set).count == 512)
  }

  @Test("Under a limit every rule still has its first packets")
  func fairness() throws {
    let set = try set((0..<200).map { "rule r\($0): tcp dport \($0 * 100 + 1) drop" }.joined(separator: "\n"))
    let packets = SelfTest.packets(for: set).map { PacketParser.parse($0) }
    for rule in set.rules { #expect(packets.contains { rule.match.matches($0) }) }
  }

  @Test(
    "They catch a table whose rule is off by one",
    arguments: ["sport 1023-2000", "sport 1024-2001", "sport 1024-1999", "sport 1025-2000"])
  func catches(_ wrong: String) throws {
    let right = try set("rule r: udp sport 1024-2000 drop")
    var table = TableInterpreter(compiled: try CompilerTests.compiled(set("rule r: udp \(wrong) drop")))
    let disagreement = SelfTest.packets(for: right).contains { frame in
      let packet = PacketParser.parse(frame)
      return table.decide(packet).action != CompilerTests.code(ReferenceClassifier.decide(packet, by: right).action)
    }
    #expect(disagreement)
  }
}

import Foundation
import Packets
import Rules
import TestSupport
import Testing

@Suite("Sets whose elements count")
struct ElementCounterTests {
  @Test(
    "The text says so behind the type, in nftables' way on one line, too; what is read is written the same, also as JSON",
    arguments: [
      "set x {\n  type ipv4_addr\n  counters\n  elements 192.0.2.1, 198.51.100.0/24 timeout 1h\n}",
      "set x { type ipv4_addr; counters; elements = { 192.0.2.1, 198.51.100.0/24 timeout 1h } }",
      "set x { counters; type ipv4_addr; elements 192.0.2.1, 198.51.100.0/24 timeout 1h }",
    ])
  func text(_ text: String) throws {
    let read = try RuleSetText.parse("ruleset s\n\(text)\nset y { type ipv4_addr; elements 192.0.2.1 }\n")
    #expect(read.sets.map(\.hasCounters) == [true, false] && read.sets[0].count == 2)
    #expect(try RuleSetText.parse(RuleSetText.print(read)) == read)
    #expect(try JSONDecoder().decode(RuleSet.self, from: try JSONEncoder().encode(read)) == read)
    var other = read.sets[0]
    other.hasCounters = false
    #expect(other != read.sets[0])
  }

  @Test("What isn't said right is refused with a suggestion")
  func wrong() throws {
    let error = #expect(throws: RuleTextError.self) {
      try RuleSetText.parse("ruleset s\nset x {\n  type ipv4_addr\n  counter\n}\n")
    }
    #expect(error?.description.contains("counters") == true)
    #expect(throws: DecodingError.self) {
      try JSONDecoder().decode(NamedSet.self, from: Data(#"{"name":"x","type":"ipv4_addr","counters":"yes"}"#.utf8))
    }
    let ports = try RuleSetText.parse("ruleset s\nset x { type inet_service; counters; elements 80 }\n")
    #expect(ports.validate().map(\.code) == [.countersOfPorts])
    var many = RuleSet(name: "s")
    many.sets = [NamedSet(name: "x", family: .ipv4, prefixes: (0...UInt32(Limits.countedElementsMax)).map { index in
      IPPrefix(host: .v4(IPv4Address(value: 0x0100_0000 + index)))
    })]
    #expect(many.validate().isEmpty)
    many.sets[0].hasCounters = true
    #expect(many.validate().map(\.code) == [.tooManyCountedElements])
  }

  @Test("The longest element that holds the address counts, for each set and field that the rule names and doesn't negate")
  func reference() throws {
    let ruleSet = try RuleSetText.parse(
      """
      ruleset s
      set a { type ipv4_addr; counters; elements 10.0.0.0/8, 10.1.0.0/16, 10.1.2.3 }
      set b { type ipv4_addr; counters; elements 10.1.2.0/24 }
      set c { type ipv4_addr; elements 10.1.2.3 }
      chain x {
        rule first: saddr @b count
        rule second: daddr != @b saddr @c, @a drop
      }
      rule in: saddr @a jump x
      """)
    func counted(_ source: String, _ destination: String) throws -> [String] {
      let frame = PacketBuilder(
        from: try #require(IPPrefix(source)).address, to: try #require(IPPrefix(destination)).address,
        .udp(source: 1, destination: 2)
      ).build()
      return ReferenceClassifier.decide(frame, by: ruleSet).countedElements.map { "\($0.set) \($0.element)" }
    }
    #expect(try counted("10.1.2.3", "192.0.2.1") == ["b 10.1.2.0/24", "a 10.1.2.3"])
    #expect(try counted("10.1.3.3", "192.0.2.1") == ["a 10.1.0.0/16"])
    #expect(try counted("10.2.3.3", "10.1.2.9").isEmpty, "the jump counts nothing, and nothing decides")
    #expect(try counted("192.0.2.1", "10.1.2.3").isEmpty)
  }
}

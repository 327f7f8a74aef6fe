import Foundation
import Packets
import Rules
import TestSupport
import Testing

@Suite("Elements of sets that end")
struct ElementExpiryTests {
  private static let moment: Int64 = 1_795_275_527_000

  private func ruleSet(_ elements: String, type: String = "ipv4_addr") throws -> RuleSet {
    try RuleSetText.parse("ruleset s\nset x {\n  type \(type)\n  elements \(elements)\n}\n")
  }

  private func member(_ text: String) throws -> SetMember { try SetMember(parsing: text) }

  @Test(
    "The text form says behind an element when it ends, and is what is read back",
    arguments: [
      ("192.0.2.1 timeout 90m", "192.0.2.1 timeout 5400s"), ("192.0.2.0/24 timeout 7d, 192.0.2.9", "192.0.2.0/24 timeout 604800s"),
      ("192.0.2.1 expires 2026-11-21T16:38:47+01:00", "192.0.2.1 expires 2026-11-21T15:38:47.000Z"),
      ("192.0.2.1 expires 1h", "192.0.2.1 timeout 3600s"), ("{ 192.0.2.1 timeout 5s, 198.51.100.1 }", "192.0.2.1 timeout 5s"),
      ("192.0.2.1 timeout\n 5s,\n 198.51.100.1", "192.0.2.1 timeout 5s"),
    ])
  func text(_ elements: String, _ first: String) throws {
    let read = try ruleSet(elements)
    #expect(read.sets[0].texts[0] == first)
    #expect(try RuleSetText.parse(RuleSetText.print(read)) == read)
    let ports = try ruleSet("53, 8000-8080 timeout 1h", type: "inet_service")
    #expect(ports.sets[0].texts == ["53", "8000-8080 timeout 3600s"])
    #expect(try RuleSetText.parse(RuleSetText.print(ports)) == ports)
    let data = try JSONEncoder().encode(read)
    #expect(try JSONDecoder().decode(RuleSet.self, from: data) == read)
  }

  @Test(
    "What is no end of an element is refused where it stands",
    arguments: [
      "192.0.2.1 timeout", "192.0.2.1 timeout 0s", "192.0.2.1 timeout -1s", "192.0.2.1 timeout 1h timeout 2h", "timeout 1h",
      "192.0.2.1 timeout 2026-11-21T15:38:47Z", "192.0.2.1 expires soon", "192.0.2.1 expires 9999999999999999999d",
      "192.0.2.1, timeout 1h", "192.0.2.1 timeout, 192.0.2.2", "192.0.2.1 timeout 1h expires 1h", "192.0.2.1 ends 1h",
      "192.0.2.1 expires 2026-02-30T00:00:00Z", "192.0.2.1 timeout }",
    ])
  func hostile(_ elements: String) throws {
    #expect(throws: RuleTextError.self) { try ruleSet(elements) }
    if !elements.contains(",") { #expect(throws: ValueTextError.self) { try member(elements) } }
  }

  @Test("Of an element that comes again the last end counts, with none it stays for ever; equal sets are equal values")
  func renewal() throws {
    var set = NamedSet(name: "x", kind: .ipv4)
    #expect(set.insert([try member("192.0.2.1 timeout 5s"), try member("192.0.2.1 timeout 9s"), try member("192.0.2.2")]) == 2)
    #expect(set.texts == ["192.0.2.1 timeout 9s", "192.0.2.2"])
    #expect(set.insert([try member("192.0.2.1 timeout 7s")]) == 0 && set.texts[0] == "192.0.2.1 timeout 7s")
    let many = try (1...9).map { try member("192.0.2.\($0) timeout \($0)s") }
    #expect(set.insert(many) == 7 && set.texts[0] == "192.0.2.1 timeout 1s")
    #expect(set.insert(many.map(\.element)) == 0)
    #expect(set == NamedSet(name: "x", family: .ipv4, prefixes: (1...9).map { IPPrefix("192.0.2.\($0)")! }))
    #expect(set.nextEnd == nil)
  }

  @Test("A time begins when the rule set is accepted; an element ends at its moment and not before")
  func ending() throws {
    var ruleSet = try ruleSet("192.0.2.1 timeout 5s, 192.0.2.2, 192.0.2.3 timeout 6s")
    #expect(ruleSet.nextElementEnd == nil, "not accepted yet")
    ruleSet.fixExpiry(atUnixMilliseconds: Self.moment)
    let fixed = ruleSet
    ruleSet.fixExpiry(atUnixMilliseconds: Self.moment + 60_000)
    #expect(ruleSet == fixed)
    #expect(ruleSet.nextElementEnd?.unixMilliseconds == Self.moment + 5000 && ruleSet.nextElementEnd?.elementCount == 2)
    #expect(ruleSet.expiring(atUnixMilliseconds: Self.moment + 4999).left == ruleSet)
    let (left, expired, count) = ruleSet.expiring(atUnixMilliseconds: Self.moment + 5000)
    #expect(left.sets[0].elements.map(\.text) == ["192.0.2.2", "192.0.2.3"] && expired.isEmpty && count == 1)
    #expect(left.expiring(atUnixMilliseconds: .max).left.sets[0].texts == ["192.0.2.2"])
    #expect(ruleSet.sets[0].ended(atUnixMilliseconds: Self.moment + 5000).map(\.text) == ["192.0.2.1"])
  }

  @Test("An end that no reader lets in is found by the validation")
  func validation() {
    var set = NamedSet(name: "x", family: .ipv4)
    set.insert([SetMember(.prefix(IPPrefix("192.0.2.1")!)), SetMember(.prefix(IPPrefix("192.0.2.2")!), .after(seconds: 0))])
    let issues = RuleSet(name: "s", sets: [set]).validate()
    #expect(issues.map(\.code) == [.invalidExpiry] && issues.first?.path == "sets[0].elements[1]")
  }

  @Test("Whatever comes, goes and ends, the set is what a plain table is", arguments: NamedSet.Kind.allCases)
  func model(_ kind: NamedSet.Kind) {
    var random = SeededGenerator(announcing: "ElementExpiryTests.model(\(kind))")
    func element() -> SetElement {
      let number = UInt32.random(in: 0..<300, using: &random)
      switch kind {
      case .ipv4: return .prefix(IPPrefix(.v4(IPv4Address(value: 0x0a00_0000 + number)), length: number % 2 == 0 ? 32 : 31))
      case .ipv6: return .prefix(IPPrefix(.v6(IPv6Address(value: UInt128(number) << 64)), length: number % 2 == 0 ? 128 : 64))
      case .ports: return .ports(PortRange(low: UInt16(number), high: UInt16(number * 2)))
      }
    }
    var set = NamedSet(name: "x", kind: kind)
    var table: [SetElement: Expiry?] = [:]
    for step in 0..<400 {
      let old = set
      let count = random.chance(50) ? Int.random(in: 1...4, using: &random) : Int.random(in: 5...60, using: &random)
      switch Int.random(in: 0..<4, using: &random) {
      case 0, 1:
        let members = (0..<count).map { _ in
          SetMember(element(), random.chance(50) ? nil : .at(unixMilliseconds: Int64.random(in: 0..<1000, using: &random)))
        }
        set.insert(members)
        for member in members { table.updateValue(member.expiry, forKey: member.element) }
      case 2:
        let elements = (0..<count).map { _ in element() }
        set.remove(elements)
        for element in elements { table.removeValue(forKey: element) }
      default:
        let now = Int64.random(in: 0..<200, using: &random)
        set.removeEnded(atUnixMilliseconds: now)
        table = table.filter { if case .at(let moment)? = $0.value { moment > now } else { true } }
      }
      #expect(set.count == table.count && set.elements.allSatisfy { table[$0] == .some(set.expiry(of: $0)) }, "step \(step)")
      let (inserted, removed) = set.difference(from: old)
      var changed = old
      changed.remove(removed)
      changed.insert(inserted)
      #expect(changed == set, "step \(step)")
    }
  }
}

import Packets
import RuleCompiler
import Rules
import TestSupport
import Testing

@Suite("Chains and sets in tables")
struct ChainCompileTests {
  private func compiled(_ ruleSet: RuleSet) throws(CompileError) -> (CompiledGeneration, slots: [String: UInt32]) {
    let names = ruleSet.countedRules.map(\.name)
    let slots = Dictionary(uniqueKeysWithValues: names.enumerated().map { ($0.element, UInt32($0.offset + 1)) })
    let generation = try compile(
      ruleSet, slots: { slots[$0] ?? 0 }, interfaceIndex: { _ in 9 }, generation: 1, captureFallback: .pass)
    return (generation, slots)
  }

  @Test("Jumps, gotos, returns and sets decide and count as in the reference, which walks the chains")
  func agrees() throws {
    var random = SeededGenerator(announcing: "ChainCompileTests.agrees")
    var resumed = 0
    for _ in 0..<50 {
      let set = RandomCases.compilableRuleSet(rulesUpTo: 16, entriesPerRule: 200, using: &random)
      let (generation, slots) = try compiled(set)
      resumed += set.flattened.count { $0.continuation != nil }
      var table = TableInterpreter(compiled: generation)
      for _ in 0..<400 {
        let packet = PacketParser.parse(RandomCases.frame(using: &random))
        let expected = ReferenceClassifier.decide(packet, by: set)
        let outcome = table.decide(packet)
        #expect(outcome.slot == expected.ruleName.flatMap { slots[$0] }, "\(RuleSetText.print(set))")
        #expect(outcome.action == expected.action.abiAction)
        #expect(outcome.countedSlots == expected.counted.map { slots[$0] })
      }
    }
    #expect(resumed > 30)
  }

  @Test("A rule takes entries for what all that lead to it leave of it")
  func entries() throws {
    let text = """
      ruleset a
      chain c {
        rule x: ip daddr 10.0.0.0/8 tcp dport 80-90, 443 drop
        rule y: udp drop
      }
      rule j: ip daddr 10.1.0.0/16, 10.2.0.0/16, 11.0.0.0/8 tcp dport 85-500 jump c
      """
    // Of x: two networks, and 85-90 and 443; of y: nothing, as only TCP comes.
    #expect(try compiled(RuleSetText.parse(text)).0.entryCount == 4)
  }

  @Test("A set that is too large to multiply is refused with the rule named")
  func tooLarge() throws {
    let set = NamedSet(name: "big", ports: (0..<256).map { PortRange(UInt16($0 * 2)) })
    var rules = RuleSet(name: "a", rules: [Rule(name: "one", action: .drop)], sets: [set])
    rules.rules[0].match.protocols = [.udp]
    rules.rules[0].match.sourcePorts.sets = ["big"]
    rules.rules[0].match.sources = Condition((0..<5).map { IPPrefix(host: .v4(IPv4Address(value: $0 * 2))) })
    #expect(try compiled(rules).0.entryCount == 5 * 256)
    rules.rules[0].match.destinationPorts.sets = ["big"]
    let error = try #require(throws: CompileError.self) { try compiled(rules) }
    #expect(error.description.contains("entries_max") && error.description.contains("one (327680)"))
  }
}

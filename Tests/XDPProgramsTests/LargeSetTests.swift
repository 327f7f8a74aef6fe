import CSluiceABI
import Packets
import RuleCompiler
import Rules
import TestSupport
import Testing

@testable import XDPPrograms

/// Sets that packets are looked up in, in the kernel and by the reference.
@Suite("Large sets decide as the reference does", .serialized)
struct LargeSetTests {
  static func slots(of ruleSet: RuleSet) -> [String: UInt32] {
    Dictionary(uniqueKeysWithValues: ruleSet.countedRules.enumerated().map { ($0.element.name, UInt32($0.offset + 1)) })
  }

  static func compiled(_ ruleSet: RuleSet) throws -> CompiledGeneration {
    let slots = slots(of: ruleSet)
    return try compile(ruleSet, slots: { slots[$0]! }, interfaceIndex: { _ in 1 }, generation: 1, captureFallback: .pass)
  }

  private func expectAgreement(_ cases: LargeSetCases, _ count: Int, using random: inout SeededGenerator) throws {
    let ruleSet = cases.ruleSet
    let slots = Self.slots(of: ruleSet)
    let generation = try Self.compiled(ruleSet)
    let program = try SelfTestProgram(generationByteCount: generation.words.count * 8)
    generation.withUnsafeBytes { program.load($0) }
    var seen: Set<String?> = []
    for _ in 0..<count {
      let frame = cases.frame(using: &random)
      let expected = ReferenceClassifier.decide(frame, by: ruleSet)
      seen.insert(expected.ruleName)
      let decision = try program.decide(frame)
      #expect(decision.slot == expected.ruleName.map { slots[$0]! } ?? 0, "\(frame)")
      #expect(decision.action == UInt32(expected.action.abiAction), "\(frame)")
    }
    #expect(seen.count > 2, "packets that all take one way show nothing")
    #expect(try program.interfaceCounter(SLUICE_COUNTER_BROKEN_WALK.rawValue).packets == 0)
  }

  @Test("Elements next to, in, and instead of each other, in one set and several", arguments: LargeSetCases.Shape.allCases)
  func shapes(_ shape: LargeSetCases.Shape) throws {
    var random = SeededGenerator(announcing: "LargeSetTests.shapes(\(shape))")
    for count in [900, 6000] {
      try expectAgreement(LargeSetCases(shape, count: count, using: &random), 1000, using: &random)
    }
  }

  @Test("Large sets in chains, beside small ones, and with what else a rule asks for")
  func chained() throws {
    var random = SeededGenerator(announcing: "LargeSetTests.chained")
    var cases = LargeSetCases(.shared, count: 2000, using: &random)
    let rules = try RuleSetText.parse(
      """
      ruleset chained
      default pass
      set a4 { type ipv4_addr }
      set b4 { type ipv4_addr }
      set c4 { type ipv4_addr }
      set small { type ipv4_addr; elements = { 10.0.0.0/22, 10.1.0.3 } }
      chain inner {
        rule one: saddr @a4 daddr != @small tcp drop
        rule back: daddr @small tcp return
        rule two: saddr @small daddr @b4 udp dport 50-90 drop
      }
      rule in: saddr @c4 jump inner
      rule out: saddr 10.0.0.0/15 daddr != @a4 drop
      """)
    cases.ruleSet.rules = rules.rules
    cases.ruleSet.chains = rules.chains
    cases.ruleSet.sets.append(rules.sets[3])
    try expectAgreement(cases, 3000, using: &random)
  }
}

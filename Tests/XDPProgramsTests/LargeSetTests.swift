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

  enum Damage: CaseIterable, Sendable {
    case cellsWithoutEnd, listWithoutEnd, listBeyondTheTables
  }

  @Test("Where the trie of IPv4 is damaged, packets are dropped and counted", arguments: Damage.allCases)
  func damaged(_ damage: Damage) throws {
    let hosts = (0..<1000).map { IPPrefix(host: .v4(IPv4Address(value: 0x0a00_0000 | $0 << 16))) }
    var ruleSet = RuleSet(name: "sets", defaultAction: .pass)
    ruleSet.rules = [Rule(name: "in", match: Match(sources: Condition([], sets: ["s"])), action: .drop)]
    ruleSet.sets = [NamedSet(name: "s", family: .ipv4, prefixes: hosts)]
    let generation = try Self.compiled(ruleSet)
    let program = try SelfTestProgram(generationByteCount: generation.words.count * 8)
    generation.withUnsafeBytes { program.load($0) }
    let half = program.liveHalf
    let place = try #require(MemoryLayout<sluice_generation>.offset(of: \.sets)) + Int(SLUICE_TABLES_HEADER_BYTES)
    let sets = Int(half.word(place / 8) >> UInt64(place % 8 * 8) & 0xffff_ffff) * 8
    let cell = Int(half.word(sets) & 0xffff_ffff) * 8 + 0x0a01
    let list = Int(half.word(cell) >> UInt64(SLUICE_SET_CELL_INDEX) & 0x7ff_ffff)
    func leading(_ index: Int, split: UInt64 = 0, words: UInt64 = 0) -> UInt64 {
      UInt64(index) << UInt64(SLUICE_SET_CELL_INDEX) | split << UInt64(SLUICE_SET_CELL_SPLIT) | words << UInt64(SLUICE_SET_CELL_WORDS)
    }
    switch damage {
    case .cellsWithoutEnd: for index in cell - 1...cell { half.store(leading(cell - 1, split: 1), at: index) }
    case .listWithoutEnd: half.store(1, at: list)
    case .listBeyondTheTables: half.store(leading(0x7ff_ffff, words: 2), at: cell)
    }
    let frame = PacketBuilder(from: .v4(IPv4Address(10, 1, 0, 9)), to: .v4(IPv4Address(10, 0, 0, 1)), .udp(source: 1, destination: 2))
    let decision = try program.decide(frame.build())
    #expect(decision.action == SLUICE_ACTION_DROP.rawValue)
    #expect(try program.interfaceCounter(SLUICE_COUNTER_BROKEN_WALK.rawValue).packets == 1)
  }
}

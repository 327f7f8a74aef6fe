import Packets
import Rules
import Testing

@testable import RuleCompiler

@Suite("Rules whose conditions multiply")
struct ManyAlternativesTests {
  private func compiled(_ ruleSet: RuleSet) throws(CompileError) -> CompiledGeneration {
    try compile(ruleSet, slots: { _ in 1 }, interfaceIndex: { _ in 9 }, generation: 1, captureFallback: .pass)
  }

  /// The rule `r0` of the own list leads to `r1` of a chain, and so on; the last one drops.
  private func nested(_ matches: [Match], sets: [NamedSet] = []) -> RuleSet {
    var ruleSet = RuleSet(name: "a", sets: sets)
    for (level, match) in matches.enumerated() {
      let action: Action = level == matches.count - 1 ? .drop : .jump(chain: "c\(level + 1)")
      let rule = Rule(name: "r\(level)", match: match, action: action)
      if level == 0 { ruleSet.rules.append(rule) } else { ruleSet.chains.append(Chain(name: "c\(level)", rules: [rule])) }
    }
    return ruleSet
  }

  private func counting(_ setCount: Int) -> (sets: [NamedSet], match: Match) {
    let sets = (0..<setCount).map { index in
      var set = NamedSet(name: "s\(index)", family: .ipv4, prefixes: [IPPrefix(host: .v4(IPv4Address(value: UInt32(index))))])
      set.hasCounters = true
      return set
    }
    var match = Match()
    match.sources.sets = sets.map(\.name)
    return (sets, match)
  }

  private func match(_ field: NumberField, _ ranges: [NumberRange]) -> Match {
    var match = Match()
    match[field] = Condition(ranges)
    return match
  }

  @Test("An address that must be in one of the same sets at each jump is asked for each choice of sets once")
  func sameSets() throws {
    let (sets, match) = counting(4)
    #expect(try compiled(nested([match, match, match], sets: sets)).entryCount == 4 + 6 + 4)
    let many = counting(24)
    let large = try LargeSets(nested([many.match], sets: many.sets))
    let expansion = Expansion(Array(repeating: many.match, count: 4), large)
    #expect(expansion.entryCount == 24 + 276 + 2024 + 10_626)
  }

  @Test("Conditions about different bits of a word are counted, not multiplied, over jumps")
  func differentFields() throws {
    let tags = (0..<64 as Range<UInt32>).map { NumberRange(low: $0 * 64 + 1, high: $0 * 64 + 62) }
    let limits = (0..<64 as Range<UInt32>).map { NumberRange(low: $0 * 4 + 1, high: $0 * 4 + 2) }
    let classes = (0..<32 as Range<UInt32>).map { NumberRange($0 * 2) }
    let ruleSet = nested([
      match(.vlanIDs, tags), match(.innerVLANIDs, tags), match(.hopLimits, limits), match(.dscp, classes),
    ])
    let error = try #require(throws: CompileError.self) { try compiled(ruleSet) }
    let count = 640 * 640 * 128 * 32
    #expect(
      error == .tooManyEntries(count: count, limit: Limits.entriesMax, biggest: [.init(rule: "r3", entries: count)]))
    // Of those of one field, few may be left.
    var last = match(.vlanIDs, [NumberRange(5)])
    last[.innerVLANIDs] = [NumberRange(6)]
    #expect(try compiled(nested([match(.vlanIDs, tags), match(.innerVLANIDs, tags), last])).entryCount == 1)
  }

  @Test("A list that grows too long is refused with its rule, whatever a later condition leaves of it")
  func tooLong() throws {
    // Each of six bits of its own: without all of them are 6 to the power of 8.
    let tests = (0..<8).map { index in
      let mask = MACAddress(value: 0x3f << UInt64(index * 6))
      return MACPattern(mask, mask: mask)
    }
    var outer = Match()
    outer.sourceMACs = Condition(tests, isNegated: true)
    var inner = Match()
    inner.sourceMACs = [MACPattern(MACAddress(value: 0))]
    let error = try #require(throws: CompileError.self) { try compiled(nested([outer, inner])) }
    #expect(error.description.contains("r1 (far more than \(Limits.entriesMax))"))
    var forest = Forest()
    let isAppended = forest.append(outer, CutRule(priority: 1, verdict: 0), interface: "", most: 64)
    #expect(!isAppended && forest.entryCount == 0)
  }

  @Test("Elements of sets that rules would become too many entries with aren't put in place of their names")
  func manyElements() throws {
    let sets = (0..<63).map { index in
      let prefixes = (0..<256).map { IPPrefix(host: .v4(IPv4Address(value: UInt32(index * 256 + $0)))) }
      return NamedSet(name: "s\(index)", family: .ipv4, prefixes: prefixes)
    }
    var match = Match()
    match.sources.sets = sets.map(\.name)
    let rules = (0..<1000).map { Rule(name: "r\($0)", match: match, action: .drop) }
    let error = try #require(throws: CompileError.self) { try compiled(RuleSet(name: "a", rules: rules, sets: sets)) }
    let biggest = (0..<5).map { CompileError.RuleSize(rule: "r\($0)", entries: 63 * 256) }
    #expect(error == .tooManyEntries(count: 1000 * 63 * 256, limit: Limits.entriesMax, biggest: biggest))
  }

  @Test("The self-test puts a few elements of large sets in place of their names, and fewer where many rules name many")
  func selfTestSample() {
    let sets = (0..<24).map { index in
      let prefixes = (0..<300).map { IPPrefix(host: .v4(IPv4Address(value: UInt32(index * 300 + $0)))) }
      return NamedSet(name: "s\(index)", family: .ipv4, prefixes: prefixes)
    }
    var match = Match()
    match.sources.sets = sets.map(\.name)
    func elementCount(_ ruleCount: Int) -> Int {
      let rules = (0..<ruleCount).map { Rule(name: "r\($0)", match: match, action: .drop) }
      return RuleSet(name: "a", rules: rules, sets: sets).sample.resolvedElementCounts(keeping: []).reduce(0) { $0 + $1.count }
    }
    #expect(elementCount(100) == 100 * 24 * 60)
    #expect(elementCount(5000) == 5000 * 24 * 15)
  }

  @Test("Elements are counted in each place where they are put, and nowhere else")
  func elementCounts() {
    let prefixes = (0..<2).map { IPPrefix(host: .v4(IPv4Address(value: UInt32($0)))) }
    let sets = [NamedSet(name: "s", family: .ipv4, prefixes: prefixes), NamedSet(name: "none", family: .ipv4)]
    func jump(_ name: String, to destinations: Condition<IPPrefix>) -> Rule {
      Rule(name: name, match: Match(destinations: destinations), action: .jump(chain: "c"))
    }
    let asked = Rule(name: "x", match: Match(sources: Condition([prefixes[0]], sets: ["s"])), action: .drop)
    var disabled = asked
    disabled.name = "y"
    disabled.isEnabled = false
    let ruleSet = RuleSet(
      name: "a",
      rules: [
        jump("a", to: Condition(sets: ["s"])), jump("b", to: Condition(sets: ["none"])),
        jump("c", to: Condition(sets: ["none"], isNegated: true)),
      ], chains: [Chain(name: "c", rules: [asked, disabled])], sets: sets)
    #expect(ruleSet.resolvedElementCounts(keeping: []).map { "\($0.rule) \($0.count)" } == ["a 2", "x 3", "x 3"])
    #expect(ruleSet.resolvedElementCounts(keeping: ["s"]).isEmpty)
  }

  /// 12 entries for one element of each of two sets.
  private func pair(of setSize: Int) -> RuleSet {
    let sets = ["a", "b"].map { name in
      NamedSet(
        name: name, family: .ipv4, prefixes: (0..<setSize).map { IPPrefix(host: .v4(IPv4Address(value: UInt32($0 * 2)))) })
    }
    var match = Match()
    match.sources.sets = ["a"]
    match.destinations.sets = ["b"]
    match.protocols = Condition([.tcp, .udp])
    match.destinationPorts = Condition([22, 80, 443].map { PortRange(UInt16($0)) })
    return RuleSet(name: "s", rules: [Rule(name: "r", match: match, action: .drop)], sets: sets)
  }

  @Test("Sets that have shrunk to what would be expanded are looked up where their elements would be too many entries")
  func shrunkenSets() throws {
    let large = try compiled(pair(of: 257))
    #expect(large.entryCount == 6 && large.largeSetNames == ["a", "b"])
    let shrunken = try compiled(pair(of: 256))
    #expect(shrunken.entryCount == 6 && shrunken.largeSetNames == ["a", "b"])
    let small = try compiled(pair(of: 100))
    #expect(small.entryCount == 6 * 100 * 100 && small.largeSetNames.isEmpty)
  }

  @Test("Lists that leave nothing and take long are refused, before they have taken long")
  func costlyLists() throws {
    // Each of six takes a piece for each bit of a byte of its own; the others lie outside of all that is left.
    let crossing = (0..<6).map { MACPattern(MACAddress(value: 0), mask: MACAddress(value: 0xff << UInt64($0 * 8))) }
    let apart = (1...57).map { MACPattern(MACAddress(value: UInt64($0))) }
    let all = MACPattern(MACAddress(value: 0), mask: MACAddress(value: 0))
    var match = Match()
    match.sourceMACs = Condition(crossing + apart + [all], isNegated: true)
    match.destinationMACs = match.sourceMACs
    let error = try #require(throws: CompileError.self) {
      try compiled(RuleSet(name: "a", rules: [Rule(name: "r", match: match, action: .drop)]))
    }
    guard case .tooManyEntries = error else { throw error }

    // Less than is too much by itself, in many rules.
    match.sourceMACs = Condition(crossing.prefix(5) + apart + [all], isNegated: true)
    match.destinationMACs = match.sourceMACs
    let rules = (0..<100).map { Rule(name: "r\($0)", match: match, action: .drop) }
    #expect(try compiled(RuleSet(name: "a", rules: [rules[0]])).entryCount == 0)
    #expect(throws: CompileError.tooCostly(rule: "r0")) { try compiled(RuleSet(name: "a", rules: RuleList(rules))) }
  }

  @Test("Long lists of addresses that lie apart at two jumps are refused, before each is compared with each")
  func costlyJoins() throws {
    let sets = (0..<52).map { set in
      NamedSet(
        name: "s\(set)", family: .ipv4,
        prefixes: (0..<256).map { IPPrefix(host: .v4(IPv4Address(value: UInt32(truncatingIfNeeded: (set * 256 + $0) * 322_123)))) })
    }
    var match = Match()
    match.sources.sets = sets.map(\.name)
    match.sources.isNegated = true
    #expect(throws: CompileError.self) { try compiled(nested([match, match, match], sets: sets)) }
  }

  @Test("Elements that are chosen to share their lines by seeds that others can know crowd no tables")
  func chosenLines() throws {
    var prefixes: [IPPrefix] = []
    var lineCount = 64
    for seed in 0..<8 as Range<UInt32> {
      // One more than both lines of the first have places for.
      func lines(_ key: SetKey) -> (Int, Int) { SetTable.lines(key.hash(seed: seed), lineCount) }
      var low = UInt128(seed) << 48
      var group: [IPPrefix] = []
      while group.count < 7 {
        let prefix = IPPrefix(host: .v6(IPv6Address(value: 0x2001_0db8 << 96 | low)))
        if group.isEmpty || lines(SetKey(prefix)) == lines(SetKey(group[0])) { group.append(prefix) }
        low += 1
      }
      prefixes += group
      lineCount += lineCount / 8
    }
    var set = NamedSet(name: "s", family: .ipv6, prefixes: prefixes)
    set.hasCounters = true
    var match = Match()
    match.sources.sets = ["s"]
    let generation = try compiled(RuleSet(name: "a", rules: [Rule(name: "r", match: match, action: .drop)], sets: [set]))
    #expect(generation.largeSetNames == ["s"])
  }
}

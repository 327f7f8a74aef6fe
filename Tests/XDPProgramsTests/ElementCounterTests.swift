import CSluiceABI
import Packets
import RuleCompiler
import Rules
import TestSupport
import Testing

@testable import XDPPrograms

/// Elements that count, in the kernel and by the reference.
@Suite("Elements of sets count as the reference says", .serialized)
struct ElementCounterTests {
  private struct Expected {
    var counts: [CountedElement: UInt64] = [:]

    mutating func add(_ frame: [UInt8], _ ruleSet: RuleSet) {
      for element in ReferenceClassifier.decide(frame, by: ruleSet).countedElements { counts[element, default: 0] += 1 }
    }
  }

  private func program(_ ruleSet: RuleSet) throws -> SelfTestProgram {
    let generation = try LargeSetTests.compiled(ruleSet)
    let keys = ruleSet.sets.filter(\.hasCounters).flatMap { $0.counterKeys(of: $0.prefixes) }
    let program = try SelfTestProgram(generationByteCount: generation.words.count * 8, elementCount: keys.count)
    try program.makeElementCounters(keys)
    generation.withUnsafeBytes { program.load($0) }
    return program
  }

  private func expectCounts(
    _ expected: Expected, _ ruleSet: RuleSet, _ program: SelfTestProgram, sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    for set in ruleSet.sets where set.hasCounters {
      for (prefix, key) in zip(set.prefixes, set.counterKeys(of: set.prefixes)) {
        let count = try program.elementCounter(key)?.packets
        let wanted = expected.counts[CountedElement(set: set.name, element: prefix)] ?? 0
        if count != wanted { Issue.record("\(set.name) \(prefix): \(count ?? 0), not \(wanted)", sourceLocation: sourceLocation) }
      }
    }
  }

  @Test("Of every shape, large and small, with rules that count, negate, and name several", arguments: LargeSetCases.Shape.allCases)
  func shapes(_ shape: LargeSetCases.Shape) throws {
    var random = SeededGenerator(announcing: "ElementCounterTests.shapes(\(shape))")
    for (count, names) in [(60, ["a", "b", "c"]), (2000, ["a", "c"]), (2000, ["b"])] {
      var cases = LargeSetCases(shape, count: count, using: &random)
      for index in cases.ruleSet.sets.indices {
        cases.ruleSet.sets[index].hasCounters = names.contains(String(cases.ruleSet.sets[index].name.prefix(1)))
      }
      let program = try program(cases.ruleSet)
      var expected = Expected()
      for _ in 0..<1500 {
        let frame = cases.frame(using: &random)
        expected.add(frame, cases.ruleSet)
        _ = try program.decide(frame)
      }
      #expect(expected.counts.values.reduce(0, +) > 100, "what counts nothing shows nothing")
      try expectCounts(expected, cases.ruleSet, program)
      #expect(try program.interfaceCounter(SLUICE_COUNTER_BROKEN_WALK.rawValue).packets == 0)
    }
  }

  @Test("In chains: whoever counts the packet counts its elements, a jump or goto doesn't")
  func chained() throws {
    let ruleSet = try RuleSetText.parse(
      """
      ruleset chained
      set outer { type ipv4_addr; counters; elements 10.0.0.0/8, 10.1.0.0/16, 0.0.0.0/0 }
      set inner { type ipv4_addr; counters; elements 10.0.0.0/8, 10.1.2.3 }
      set silent { type ipv4_addr; elements 10.1.2.3, 10.1.2.4 }
      set six { type ipv6_addr; counters; elements ::/0, 2001:db8::/32, 2001:db8::/64, 2001:db8::1, 2001:db8::/127 }
      chain deeper {
        rule seen: saddr @inner count
        rule back: saddr @outer daddr @inner udp return
        rule end: saddr @inner, @outer, @silent daddr != @outer drop
      }
      rule in: saddr @outer jump deeper
      rule else: saddr @silent, @six daddr @six, 192.0.2.0/24, @outer pass
      """)
    let program = try program(ruleSet)
    var expected = Expected()
    for source in ["10.1.2.3", "10.1.2.4", "10.2.0.1", "192.0.2.9"] {
      for destination in ["10.1.2.3", "192.0.2.1", "172.16.0.1"] {
        for isUDP in [true, false] {
          let frame = PacketBuilder(
            from: IPPrefix(source)!.address, to: IPPrefix(destination)!.address,
            isUDP ? .udp(source: 1, destination: 2) : .tcp(source: 1, destination: 2, flags: 2)
          ).build()
          expected.add(frame, ruleSet)
          _ = try program.decide(frame)
        }
      }
    }
    for source in ["2001:db8::", "2001:db8::1", "2001:db8::2", "2001:db8:1::", "fe80::1"] {
      let frame = PacketBuilder(
        from: IPPrefix(source)!.address, to: IPPrefix("2001:db8::1")!.address, .udp(source: 1, destination: 2)
      ).build()
      expected.add(frame, ruleSet)
      _ = try program.decide(frame)
    }
    #expect(expected.counts.count >= 10)
    try expectCounts(expected, ruleSet, program)
    let bytes = try program.elementCounter(ruleSet.sets[1].counterKeys(of: [IPPrefix("10.1.2.3")!])[0])?.bytes ?? 0
    #expect(bytes > 0)
  }

  @Test("Elements put into live tables count from then on, and the others go on")
  func edited() throws {
    var ruleSet = try RuleSetText.parse(
      """
      ruleset edited
      set s { type ipv4_addr; counters; elements 10.0.0.0/8 }
      set t { type ipv6_addr; counters; elements 2001:db8::/32 }
      rule in: saddr @s, @t drop
      """)
    let generation = try LargeSetTests.compiled(ruleSet)
    let keys = ruleSet.sets.flatMap { $0.counterKeys(of: $0.prefixes) }
    let new = ["10.1.2.3", "10.1.0.0/16", "10.128.0.0/9", "2001:db8::1", "2001:db8::/48", "::/0", "0.0.0.0/0"].map { IPPrefix($0)! }
    let program = try SelfTestProgram(generationByteCount: generation.words.count * 8, elementCount: keys.count + new.count)
    try program.makeElementCounters(keys)
    generation.withUnsafeBytes { program.load($0) }
    var editor = try #require(SetEditor(generation, of: ruleSet))
    let half = Half(live: program.liveHalf)
    var expected = Expected()
    func send() throws {
      for source in new.map(\.address) + [IPPrefix("10.9.9.9")!.address, IPPrefix("2001:db9::1")!.address] {
        let to = IPPrefix(source.family == .ipv4 ? "192.0.2.1" : "2001:db8:2::1")!.address
        let frame = PacketBuilder(from: source, to: to, .udp(source: 1, destination: 2)).build()
        expected.add(frame, ruleSet)
        _ = try program.decide(frame)
      }
    }
    try send()
    for prefix in new {
      let index = prefix.family == .ipv4 ? 0 : 1
      try program.makeElementCounters(ruleSet.sets[index].counterKeys(of: [prefix]))
      #expect(try editor.insert(prefix, into: ruleSet.sets[index].name, of: half))
      ruleSet.sets[index].insert([.prefix(prefix)])
      try send()
      try expectCounts(expected, ruleSet, program)
    }
    #expect(throws: ProgramError.self) { try program.makeElementCounters(ruleSet.sets[0].counterKeys(of: [IPPrefix("10.5.5.5")!])) }
  }

  @Test("A key says which element of which set it is")
  func keys() throws {
    var random = SeededGenerator(announcing: "ElementCounterTests.keys")
    for shape in LargeSetCases.Shape.allCases {
      let sets = LargeSetCases(shape, count: 300, using: &random).ruleSet.sets
      for set in sets {
        let keys = set.counterKeys(of: set.prefixes)
        #expect(keys.map { set.element(ofKey: $0) } == set.prefixes)
        for other in sets where other.name != set.name { #expect(keys.allSatisfy { other.element(ofKey: $0) == nil }) }
      }
    }
  }
}

import CSluiceABI
import Packets
import RuleCompiler
import Rules
import TestSupport
import Testing

@testable import XDPPrograms

/// The program in the kernel against the reference, by BPF_PROG_TEST_RUN.
@Suite("The XDP program decides as the reference does", .serialized)
struct ClassificationTests {
  @Test("Every fixture is parsed alike: each field that rules can match, and reasons")
  func parsesFixtures() throws {
    let program = try SelfTestProgram()
    // BPF_PROG_TEST_RUN takes no frame below 14 bytes; those are tried on a live interface.
    let fixtures = PacketFixtures.all.filter { $0.bytes.count >= 14 }
    #expect(fixtures.count > 500)
    for (index, fixture) in fixtures.enumerated() { try expectExactMatch(fixture, third: index % 3, in: program) }
  }

  private func expectExactMatch(_ fixture: PacketFixture, third: Int, in program: SelfTestProgram) throws {
    let parsed = PacketParser.parse(fixture.bytes)
    let match = exactMatch(for: parsed)
    // Before the rule that takes exactly this packet, one for a field, of a third of them, that takes exactly the others.
    var rules: [Rule] = []
    for (index, condition) in match.conditions.enumerated() where index % 3 == third {
      var form = condition
      form.isNegated.toggle()
      var rule = Rule(name: "not-\(form.field)", match: match, action: .pass)
      try rule.match.set(form)
      if !rule.validate().contains(where: { $0.severity == .error }) { rules.append(rule) }
    }
    let exact = RuleSet(
      name: "exact", defaultAction: .pass, malformed: .init(fate: .drop),
      rules: rules + [Rule(name: "exact", match: match, action: .drop)])
    let slots = Dictionary(
      uniqueKeysWithValues: exact.rules.enumerated().map { ($0.element.name, UInt32($0.offset + 1)) })
    try load(exact, slots: slots, into: program)
    try expectSameDecision(fixture.bytes, exact, slots: slots, in: program)
    if parsed.malformed == nil {
      let decision = ReferenceClassifier.decide(fixture.bytes, by: exact)
      #expect(decision.ruleName == "exact", "\(fixture) must reach its own rule, or the test shows nothing")
    }
  }

  /// Matches what was parsed and nothing else.
  private func exactMatch(for packet: ParsedPacket) -> Match {
    var match = Match()
    guard packet.malformed == nil else { return match }
    func set(_ field: NumberField, _ value: (some FixedWidthInteger)?) {
      if let value { match[field] = [NumberRange(UInt32(value))] }
    }
    match.sourceMACs = Condition(packet.sourceMAC.map { [MACPattern($0)] } ?? [])
    match.destinationMACs = Condition(packet.destinationMAC.map { [MACPattern($0)] } ?? [])
    set(.etherTypes, packet.etherType?.rawValue)
    set(.vlanIDs, packet.vlanTags.first?.id)
    set(.vlanPriorities, packet.vlanTags.first?.priority)
    set(.innerVLANIDs, packet.vlanTags.dropFirst().first?.id)
    set(.innerVLANPriorities, packet.vlanTags.dropFirst().first?.priority)
    set(.queues, UInt8(0) as UInt8?)
    guard let source = packet.source, let destination = packet.destination else { return match }
    match.sources = [IPPrefix(host: source)]
    match.destinations = [IPPrefix(host: destination)]
    if let number = packet.protocol { match.protocols = [number] }
    if let ports = packet.ports {
      match.sourcePorts = [PortRange(low: ports.source, high: ports.source)]
      match.destinationPorts = [PortRange(low: ports.destination, high: ports.destination)]
    }
    if let flags = packet.tcpFlags { match.tcpFlags = [TCPFlagTest(set: flags, mask: 0x1ff)] }
    set(.icmpTypes, packet.icmp?.type)
    set(.icmpCodes, packet.icmp?.code)
    set(.dscp, packet.trafficClass.map { $0 >> 2 })
    set(.ecn, packet.trafficClass.map { $0 & 3 })
    set(.hopLimits, packet.hopLimit)
    set(.flowLabels, packet.flowLabel)
    set(.lengths, packet.datagramByteCount)
    match.fragments = [packet.fragment == .none ? .not : packet.fragment == .first ? .first : .later]
    match.hasOptions = packet.hasOptions
    return match
  }

  @Test("Random rule sets and frames, damaged ones among them: the same verdict, rule, reason and counts")
  func agreesOnRandomCases() throws {
    var random = SeededGenerator(announcing: "agreesOnRandomCases")
    for _ in 0..<60 {
      let ruleSet = RandomCases.ruleSet(rulesUpTo: 40, using: &random) { $0.entryCount <= 300 }
      var frames: [[UInt8]] = []
      while frames.count < 200 {
        let frame = RandomCases.frame(using: &random)
        if frame.count >= 14, frame.count < 3000 { frames.append(frame) }
      }
      try expectAgreement(ruleSet, frames)
    }
  }

  @Test("Chains, returns and sets: the same verdict, rule and counts as the reference, which walks the chains")
  func agreesOnChains() throws {
    var random = SeededGenerator(announcing: "agreesOnChains")
    for _ in 0..<40 {
      let ruleSet = RandomCases.compilableRuleSet(rulesUpTo: 16, entriesPerRule: 100, using: &random)
      var frames: [[UInt8]] = []
      while frames.count < 200 {
        let frame = RandomCases.frame(using: &random)
        if frame.count >= 14, frame.count < 3000 { frames.append(frame) }
      }
      try expectAgreement(ruleSet, frames)
    }
  }

  @Test("Thousands of rules decide as the reference does, whatever their shape", arguments: LargeRuleSet.Shape.allCases)
  func largeRuleSets(_ shape: LargeRuleSet.Shape) throws {
    var random = SeededGenerator(announcing: "largeRuleSets(\(shape))")
    let large = LargeRuleSet(shape, ruleCount: 2000, using: &random)
    try expectAgreement(large.ruleSet, (0..<1500).map { _ in large.frame(using: &random) })
  }

  @Test("Packets in memory are decided as on an interface, over and over", arguments: LargeRuleSet.Shape.allCases)
  func probeAgrees(_ shape: LargeRuleSet.Shape) throws {
    var random = SeededGenerator(announcing: "probeAgrees(\(shape))")
    let large = LargeRuleSet(shape, ruleCount: 300, using: &random)
    let slots = Dictionary(
      uniqueKeysWithValues: large.ruleSet.rules.enumerated().map { ($0.element.name, UInt32($0.offset + 1)) })
    let probe = try compiled(large.ruleSet, slots: slots).withUnsafeBytes { try ClassificationProbe($0) }
    var frames: [[UInt8]] = []
    while frames.count < 512 {
      let frame = large.frame(using: &random)
      if try probe.add(frame) { frames.append(frame) }
    }
    #expect(probe.sampleCount == 512)
    #expect(try !probe.add(Array(frames[0].prefix(20))), "a truncated packet is not taken")
    #expect(try probe.run(period: 512, count: 512, isEmpty: true) > 0)
    #expect(probe.verdict(3) == (0, 0))
    // The second half only, and more often than there are packets.
    #expect(try probe.run(first: 256, period: 256, count: 1000) > 0)
    #expect(probe.verdict(3) == (0, 0))
    _ = try probe.run(period: 512, count: 512)
    for (index, frame) in frames.enumerated() {
      let expected = ReferenceClassifier.decide(frame, by: large.ruleSet)
      let slot = expected.ruleName.map { slots[$0]! } ?? 0
      #expect(probe.verdict(index) == (UInt32(expected.action.abiAction), slot))
    }
  }

  /// Decides `frames` in the kernel and by the reference, and compares everything that can be seen.
  private func expectAgreement(_ ruleSet: RuleSet, _ frames: [[UInt8]]) throws {
    let slots = Dictionary(
      uniqueKeysWithValues: ruleSet.countedRules.enumerated().map { ($0.element.name, UInt32($0.offset + 1)) })
    let program = try SelfTestProgram(generationByteCount: compiled(ruleSet, slots: slots).words.count * 8)
    try load(ruleSet, slots: slots, into: program)
    var expectedCounts: [UInt32: PacketCount] = [:]
    for frame in frames {
      let expected = try expectSameDecision(frame, ruleSet, slots: slots, in: program)
      var counted = expected.counted.map { slots[$0]! }
      if expected.malformed == nil { counted.append(expected.ruleName.map { slots[$0]! } ?? 0) }
      for slot in counted {
        expectedCounts[slot, default: .init()].packets += 1
        expectedCounts[slot, default: .init()].bytes += UInt64(frame.count)
      }
    }
    for slot in [UInt32(0)] + slots.values {
      let count = try program.ruleCounter(slot: slot)
      #expect(count == expectedCounts[slot, default: PacketCount()], "counter of slot \(slot)")
    }
    var fates: UInt64 = 0
    for fate in 0...SLUICE_COUNTER_FORWARD.rawValue { fates += try program.interfaceCounter(fate).packets }
    #expect(fates == UInt64(frames.count), "every packet is in exactly one of pass, drop, capture, redirect, forward")
  }

  private func load(_ ruleSet: RuleSet, slots: [String: UInt32], into program: SelfTestProgram) throws {
    try compiled(ruleSet, slots: slots).withUnsafeBytes { program.load($0) }
  }

  private func compiled(_ ruleSet: RuleSet, slots: [String: UInt32]) throws -> CompiledGeneration {
    try compile(ruleSet, slots: { slots[$0] ?? 0 }, interfaceIndex: { _ in 1 }, generation: 7, captureFallback: .pass)
  }

  @discardableResult
  private func expectSameDecision(
    _ frame: [UInt8], _ ruleSet: RuleSet, slots: [String: UInt32], in program: SelfTestProgram
  ) throws -> Decision {
    let decision = try program.decide(frame)
    let expected = ReferenceClassifier.decide(frame, by: ruleSet)
    #expect(decision.malformed == UInt32(expected.malformed?.index ?? 0), "\(hexadecimal(frame))")
    let slot = expected.ruleName.map { slots[$0]! } ?? 0
    #expect(decision.slot == slot, "\(hexadecimal(frame))")
    #expect(decision.action == UInt32(expected.action.abiAction), "\(hexadecimal(frame))")
    return expected
  }
}

import CSluiceABI
import Packets
import RuleCompiler
import Rules
import TestSupport
import Testing

@Suite("The rule compiler")
struct CompilerTests {
  static func slot(of name: String) -> UInt32 { UInt32(name.split(separator: "-").last.flatMap { Int($0) } ?? 0) + 1 }

  static func compiled(_ set: RuleSet, generation: UInt64 = 1) throws -> CompiledGeneration {
    try compile(
      set, slots: slot, interfaceIndex: { UInt32($0.utf8.count + 100) }, generation: generation, captureFallback: .drop)
  }

  private func compiled(_ rules: String) throws -> TableInterpreter {
    TableInterpreter(compiled: try Self.compiled(RuleSetText.parse("ruleset a\n" + rules)))
  }

  @Test("Compiled tables decide as the reference does, over rule sets and packets that nearly match")
  func agreement() throws {
    var random = SeededGenerator(announcing: "CompilerTests.agreement")
    var pairs = 0
    var deciding: Set<String> = []
    while pairs < 120_000 {
      let set = RandomCases.ruleSet(using: &random)
      let compiled = try Self.compiled(set)
      let interpreter = TableInterpreter(compiled: compiled)
      for _ in 0..<150 {
        let frame = RandomCases.frame(using: &random)
        pairs += 1
        let packet = PacketParser.parse(frame)
        let reference = ReferenceClassifier.decide(packet, by: set)
        let outcome = interpreter.decide(packet)
        deciding.insert(reference.action.name + (reference.ruleName == nil ? "" : " by rule"))
        guard outcome.action == Self.code(reference.action),
          outcome.entry.map({ compiled.entryRuleNames[$0] }) == reference.ruleName,
          outcome.countedSlots == reference.counted.map(Self.slot)
        else {
          Issue.record(
            "seed \(random.seed): \(outcome) against \(reference) for \(frame) in\n\(RuleSetText.print(set))")
          return
        }
      }
    }
    #expect(deciding.count == 6, "every action decided: \(deciding)")
  }

  static func code(_ action: Action) -> UInt8 {
    UInt8(Action.names.firstIndex(of: action.name) ?? 255)
  }

  @Test("The bytes are struct sluice_generation")
  func header() throws {
    var set = RuleSet(name: "a", defaultAction: .drop, malformed: .init(fate: .pass, exceptions: [.badTCP: .drop]))
    set.rules = [Rule(name: "r-6", action: .redirect(interface: "eth0"))]
    let compiled = try Self.compiled(set, generation: 0x0102_0304_0506_0708)
    #expect(compiled.bytes.count == MemoryLayout<sluice_generation>.size)
    #expect(compiled.bytes.count == 40 + 96 * 1024)
    #expect(
      compiled.generation == 0x0102_0304_0506_0708 && compiled.entryCount == 1 && compiled.entryRuleNames == ["r-6"])
    let table = TableInterpreter(compiled: compiled)
    #expect(table.load(0, as: UInt32.self) == UInt32(SLUICE_ABI_VERSION))
    #expect(table.load(4, as: UInt32.self) == 1)
    #expect(table.load(8, as: UInt64.self) == 0x0102_0304_0506_0708)
    #expect(compiled.bytes[16] == 1 && compiled.bytes[17] == 1)
    #expect(compiled.bytes[18..<24].allSatisfy { $0 == 0 })
    let exception = Int(SLUICE_MALFORMED_BAD_TCP.rawValue)
    #expect((0..<16).allSatisfy { compiled.bytes[24 + $0] == ($0 == exception ? 1 : 0) })
    let entry = table.entry(0)
    #expect(entry.slot == 7 && entry.redirect_ifindex == 104 && entry.next == 1 && entry.action == 4)
    #expect(compiled.bytes[136...].allSatisfy { $0 == 0 })
  }

  @Test("Addresses stand as in the packet, with masks of the same shape")
  func addresses() throws {
    let entry = try compiled("rule a: saddr 10.1.0.0/16 daddr 192.0.2.1 drop").entry(0)
    #expect(entry.source_value.0 == UInt64(bigEndian: 0x0a01_0000_0000_0000) && entry.source_value.1 == 0)
    #expect(entry.source_mask.0 == UInt64(bigEndian: 0xffff_0000_0000_0000) && entry.source_mask.1 == 0)
    #expect(entry.destination_mask.0 == UInt64(bigEndian: 0xffff_ffff_0000_0000))
    #expect(entry.families_excluded == 6)
    let six = try compiled("rule a: saddr 2001:db8::/65 drop").entry(0)
    #expect(six.source_value.0 == UInt64(bigEndian: 0x2001_0db8_0000_0000) && six.source_value.1 == 0)
    #expect(six.source_mask.0 == .max && six.source_mask.1 == UInt64(bigEndian: 1 << 63))
    #expect(six.families_excluded == 5)
  }

  @Test(
    "A rule takes one entry for each combination that can match",
    arguments: [
      ("rule a: drop", 1, 0), ("rule a: protocol 0 drop", 1, 4), ("rule a: tcp, udp sport 1, 3 dport 5, 7 drop", 8, 4),
      ("rule a: saddr 10.0.0.0/8, 11.0.0.0/8, ::1 ip daddr 10.0.0.0/8, 12.0.0.0/8 drop", 4, 6),
      ("rule a: saddr 10.0.0.0/8, ::1 ip6 daddr ::2, ::3 drop", 2, 5), ("rule a: saddr 0.0.0.0/0 drop", 1, 6),
      ("rule a: saddr 10.0.0.0/8, 10.1.0.0/16, 10.0.0.0/8 drop", 1, 6),
      ("rule a: tcp dport 80, 81, 83, 82-90 drop", 1, 4),
      ("rule a: tcp, tcp drop", 1, 4), ("rule a: daddr 10.1.0.0/16, 10.0.0.0/8 drop", 1, 6), ("rule a: tcp dport 65535, 0 drop", 2, 4), ("disabled rule a: drop", 0, 0),
    ])
  func expansion(_ rules: String, _ count: Int, _ excluded: UInt8) throws {
    let table = try compiled(rules)
    #expect(table.compiled.entryCount == count)
    #expect(try RuleSetText.parse("ruleset a\n" + rules).rules[0].entryCount == count)
    for index in 0..<count {
      #expect(table.entry(index).next == UInt32(count))
      #expect(table.entry(index).families_excluded == excluded)
    }
  }

  @Test("After its last entry every rule points to the next rule")
  func next() throws {
    let table = try compiled(
      "rule a: tcp, udp count\ndisabled rule b: count\nrule c: icmp count\nrule d: tcp dport 1, 3, 5 drop")
    #expect((0..<6).map { table.entry($0).next } == [2, 2, 3, 6, 6, 6])
    #expect(table.compiled.entryRuleNames == ["a", "a", "c", "d", "d", "d"])
  }

  @Test("Exactly the limit of entries compiles, one more is refused with the biggest rules")
  func limit() throws {
    func set(_ ports: Int) -> RuleSet {
      let many = (0..<ports).map { PortRange(UInt16($0 * 2)) }
      let wide = Match(
        protocols: [.tcp, .udp], sourcePorts: Array(many.prefix(32)), destinationPorts: Array(many.prefix(16)))
      return RuleSet(name: "a", rules: [Rule(name: "wide", match: wide, action: .drop)])
    }
    var full = set(32)
    #expect(try Self.compiled(full).entryCount == 1024)
    full.rules.append(Rule(name: "small", match: Match(protocols: [.gre]), action: .drop))
    let error = try #require(throws: CompileError.self) { try Self.compiled(full) }
    #expect(
      error
        == .tooManyEntries(
          count: 1025, limit: 1024, biggest: [.init(rule: "wide", entries: 1024), .init(rule: "small", entries: 1)]))
    #expect(error.description.contains("entries_max") && error.description.contains("wide (1024)"))
    full.rules[1].isEnabled = false
    #expect(try Self.compiled(full).entryCount == 1024)
  }

  @Test("The greatest rule that is valid by itself is refused, not expanded")
  func greatest() throws {
    let prefixes = (0..<64).map { IPPrefix(host: .v4(IPv4Address(value: UInt32($0)))) }
    let ports = (0..<64).map { PortRange(UInt16($0 * 2)) }
    let match = Match(
      sources: prefixes, destinations: prefixes, protocols: [.tcp, .udp], sourcePorts: ports, destinationPorts: ports)
    let set = RuleSet(name: "a", rules: [Rule(name: "r", match: match, action: .drop)])
    let error = try #require(throws: CompileError.self) { try Self.compiled(set) }
    #expect(error == .tooManyEntries(count: 1 << 25, limit: 1024, biggest: [.init(rule: "r", entries: 1 << 25)]))
  }

  @Test("Invalid rule sets, unknown interfaces and impossible slots are refused")
  func refused() throws {
    let set = RuleSet(name: "a", rules: [Rule(name: "r", action: .redirect(interface: "gone"))])
    func attempt(_ set: RuleSet, slot: UInt32 = 1) throws(CompileError) {
      _ = try compile(set, slots: { _ in slot }, interfaceIndex: { _ in nil }, generation: 1, captureFallback: .pass)
    }
    #expect(throws: CompileError.unknownInterface(rule: "r", interface: "gone")) { try attempt(set) }
    for slot in [0, UInt32(SLUICE_SLOTS_MAX), .max] {
      #expect(throws: CompileError.slotOutOfRange(rule: "r", slot: slot)) { try attempt(set, slot: slot) }
    }
    var disabled = set
    disabled.rules[0].isEnabled = false
    try attempt(disabled)
    let error = try #require(throws: CompileError.self) { try attempt(RuleSet(name: "")) }
    guard case .invalid(let invalid) = error else {
      Issue.record("\(error)")
      return
    }
    #expect(invalid.issues.map(\.path) == ["name"])
  }

  @Test("The limits that both sides name are the ABI's")
  func abi() {
    #expect(Limits.entriesMax == Int(SLUICE_ENTRIES_MAX))
    #expect(Limits.redirectTargetsMax == Int(SLUICE_REDIRECT_TARGETS_MAX))
    #expect(PacketParser.vlanTagsMax == Int(SLUICE_VLAN_TAGS_MAX))
    #expect(PacketParser.ipv6ExtensionsMax == Int(SLUICE_IPV6_EXTENSIONS_MAX))
    #expect(MalformedReason.allCases.count + 1 == Int(SLUICE_MALFORMED_REASONS.rawValue))
    #expect(Int(ParsedPacket.Family.other.rawValue) == Int(SLUICE_FAMILY_OTHER))
    #expect(MalformedReason.badUDP.index == Int(SLUICE_MALFORMED_BAD_UDP.rawValue))
    #expect(Self.code(.redirect(interface: "")) == UInt8(SLUICE_ACTION_REDIRECT.rawValue))
  }
}

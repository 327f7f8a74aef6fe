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
      let set = RandomCases.ruleSet(using: &random) { $0.entryCount <= 300 }
      let compiled = try Self.compiled(set)
      var interpreter = TableInterpreter(compiled: compiled)
      for _ in 0..<600 {
        let frame = RandomCases.frame(using: &random)
        pairs += 1
        let packet = PacketParser.parse(frame)
        let reference = ReferenceClassifier.decide(packet, by: set)
        let outcome = interpreter.decide(packet)
        deciding.insert(reference.action.name + (reference.ruleName == nil ? "" : " by rule"))
        guard outcome.action == Self.code(reference.action),
          outcome.slot == reference.ruleName.map(Self.slot),
          outcome.countedSlots == reference.counted.map(Self.slot),
          interpreter.cost.steps <= compiled.stepsMax + 1
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

  @Test("The words begin with struct sluice_generation and the rules' records")
  func header() throws {
    var set = RuleSet(name: "a", defaultAction: .drop, malformed: .init(fate: .pass, exceptions: [.badTCP: .drop]))
    set.rules = [Rule(name: "r-6", action: .redirect(interface: "eth0"))]
    let compiled = try Self.compiled(set, generation: 0x0102_0304_0506_0708)
    #expect(compiled.generation == 0x0102_0304_0506_0708 && compiled.entryCount == 1 && compiled.ruleNames == ["r-6"])
    let table = TableInterpreter(compiled: compiled)
    let header = table.header
    #expect(header.abi_version == UInt32(SLUICE_ABI_VERSION) && header.rule_count == 1)
    #expect(header.generation == 0x0102_0304_0506_0708)
    #expect(header.default_action == 1 && header.capture_fallback == 1)
    let exception = Int(SLUICE_MALFORMED_BAD_TCP.rawValue)
    #expect((0..<16).allSatisfy { table.malformedAction($0) == ($0 == exception ? 1 : 0) })
    #expect(header.targets.0 == 104 && header.slot_count == 8)
    var redirecting = table
    let frame = PacketBuilder(
      from: .v4(IPv4Address(10, 0, 0, 1)), to: .v4(IPv4Address(10, 0, 0, 2)), .udp(source: 1, destination: 2)).build()
    let decided = redirecting.decide(PacketParser.parse(frame))
    #expect(decided.slot == 7 && decided.action == 4)
    // One leaf in each tree, of one record.
    for root in [header.roots.0, header.roots.1, header.roots.2] {
      #expect([1, 3].contains(root >> 42 & 7) && root >> 27 & 0xff == 1)
    }
    #expect(compiled.stepsMax == 1)
  }

  @Test("A rule is in the trees of the families that it can match")
  func families() throws {
    func empty(_ rules: String) throws -> [Bool] {
      let roots = try compiled(rules).header.roots
      return [roots.0, roots.1, roots.2].map { $0 == UInt64(SLUICE_SLOT_EMPTY) }
    }
    #expect(try empty("rule a: drop") == [false, false, false])
    #expect(try empty("rule a: tcp drop") == [false, false, true])
    #expect(try empty("rule a: saddr 0.0.0.0/0 drop") == [false, true, true])
    #expect(try empty("rule a: daddr ::/0 drop") == [true, false, true])
    #expect(try empty("disabled rule a: drop") == [true, true, true])
  }

  @Test(
    "A rule takes one entry for each combination that can match",
    arguments: [
      ("rule a: drop", 1), ("rule a: protocol 0 drop", 1), ("rule a: tcp, udp sport 1, 3 dport 5, 7 drop", 8),
      ("rule a: saddr 10.0.0.0/8, 11.0.0.0/8, ::1 ip daddr 10.0.0.0/8, 12.0.0.0/8 drop", 4),
      ("rule a: saddr 10.0.0.0/8, ::1 ip6 daddr ::2, ::3 drop", 2), ("rule a: saddr 0.0.0.0/0 drop", 1),
      ("rule a: saddr 10.0.0.0/8, 10.1.0.0/16, 10.0.0.0/8 drop", 1),
      ("rule a: tcp dport 80, 81, 83, 82-90 drop", 1),
      ("rule a: tcp, tcp drop", 1), ("rule a: daddr 10.1.0.0/16, 10.0.0.0/8 drop", 1), ("rule a: tcp dport 65535, 0 drop", 2), ("disabled rule a: drop", 0),
    ])
  func expansion(_ rules: String, _ count: Int) throws {
    #expect(try compiled(rules).compiled.entryCount == count)
    #expect(try RuleSetText.parse("ruleset a\n" + rules).rules[0].entryCount == count)
  }

  @Test("Rules that no cut can part are refused by name where their walk would be too long, and so are those that count")
  func tooComplex() throws {
    let match = Match(protocols: [.tcp], sourcePorts: [PortRange(low: 7, high: 9)])
    func rules(_ count: Int, _ action: Action, _ name: String) -> [Rule] {
      (0..<count).map { Rule(name: "\(name)-\($0)", match: match, action: action) }
    }
    var set = RuleSet(name: "a", rules: rules(4000, .drop, "same"))
    #expect(try Self.compiled(set).stepsMax <= 1024)
    set.rules += rules(1000, .pass, "more")
    var error = try #require(throws: CompileError.self) { try Self.compiled(set) }
    #expect(error.description.hasSuffix("at fault are same-0, same-1, same-2, same-3, same-4"), "\(error)")
    // Short enough for one walk, not for one after each rule that counts.
    set.rules = RuleList(rules(250, .count, "count") + rules(800, .drop, "same"))
    error = try #require(throws: CompileError.self) { try Self.compiled(set) }
    #expect(error.description.hasSuffix("at fault are count-0, count-1, count-2, count-3, count-4"), "\(error)")
    set.rules = RuleList(rules(20, .count, "count") + rules(800, .drop, "same"))
    #expect(throws: Never.self) { try Self.compiled(set) }
  }

  @Test("The greatest rules that are valid by themselves are refused with the biggest named, not expanded")
  func greatest() throws {
    let prefixes = (0..<64).map { IPPrefix(host: .v4(IPv4Address(value: UInt32($0)))) }
    let ports = (0..<64).map { PortRange(UInt16($0 * 2)) }
    let match = Match(
      sources: Condition(prefixes), destinations: Condition(prefixes), protocols: [.tcp, .udp],
      sourcePorts: Condition(ports), destinationPorts: Condition(ports))
    var set = RuleSet(name: "a", rules: [Rule(name: "r", match: match, action: .drop)])
    set.rules.append(Rule(name: "small", match: Match(protocols: [.gre]), action: .drop))
    let error = try #require(throws: CompileError.self) { try Self.compiled(set) }
    #expect(
      error
        == .tooManyEntries(
          count: (1 << 25) + 1, limit: Limits.entriesMax,
          biggest: [.init(rule: "r", entries: 1 << 25), .init(rule: "small", entries: 1)]))
    #expect(error.description.contains("entries_max") && error.description.contains("r (33554432)"))
    set.rules[0].isEnabled = false
    #expect(try Self.compiled(set).entryCount == 1)
  }

  @Test("A packet passes as many counting rules as there may be, each once")
  func manyCounts() throws {
    var set = RuleSet(name: "a")
    set.rules = RuleList(
      (0..<Limits.countRulesMax).map { index in
        Rule(name: "c-\(index)", match: Match(sources: index % 2 == 0 ? [] : [IPPrefix(host: .v4(IPv4Address(10, 0, 0, 1)))]),
          action: .count)
      })
    set.rules.append(Rule(name: "d-999", action: .drop))
    var table = TableInterpreter(compiled: try Self.compiled(set))
    let frame = PacketBuilder(
      from: .v4(IPv4Address(10, 0, 0, 1)), to: .v4(IPv4Address(10, 0, 0, 2)), .udp(source: 1, destination: 2)).build()
    let outcome = table.decide(PacketParser.parse(frame))
    #expect(outcome.slot == 1000 && outcome.countedSlots == (1...UInt32(Limits.countRulesMax)).map { $0 })
    set.rules.insert(Rule(name: "e", action: .count), at: 0)
    #expect(throws: CompileError.self) { try Self.compiled(set) }
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
    #expect(Limits.countRulesMax == Int(SLUICE_COUNT_RULES_MAX))
    #expect(Limits.redirectTargetsMax == Int(SLUICE_REDIRECT_TARGETS_MAX))
    #expect(PacketParser.vlanTagsMax == Int(SLUICE_VLAN_TAGS_MAX))
    #expect(PacketParser.ipv6ExtensionsMax == Int(SLUICE_IPV6_EXTENSIONS_MAX))
    #expect(MalformedReason.allCases.count + 1 == Int(SLUICE_MALFORMED_REASONS.rawValue))
    #expect(Int(ParsedPacket.Family.other.rawValue) == Int(SLUICE_FAMILY_OTHER))
    #expect(MalformedReason.badUDP.index == Int(SLUICE_MALFORMED_BAD_UDP.rawValue))
    #expect(Self.code(.redirect(interface: "")) == UInt8(SLUICE_ACTION_REDIRECT.rawValue))
  }
}

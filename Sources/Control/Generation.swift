import CSluiceABI
import Packets
import RuleCompiler
import Rules
import XDPPrograms

/// A rule set compiled for one interface, ready to go live. Pure: made without touching the system.
struct PreparedGeneration: Sendable {
  /// Nil: nothing is applied, everything passes.
  private(set) var applied: RuleSet?
  private var ruleSet: RuleSet { applied ?? PreparedGeneration.nothing }
  private let interface: String
  private(set) var compiled: CompiledGeneration
  /// Of all rules, each counted once also where it is in several trees.
  private(set) var entryCount: Int
  private(set) var slots: SlotTable
  /// Slots whose counters must be cleared before the swap: rules that are new here.
  let freshSlots: [UInt32]
  /// Index of the interface that each name in a redirect means; 0: there is none, and its packets are dropped.
  private let targets: [String: UInt32]
  let options: AttachmentOptions
  /// Of its rules; nil: none ends.
  private(set) var nextExpiry: (unixMilliseconds: Int64, ruleCount: Int)?
  /// Not later than the next of its elements ends, in milliseconds since 1970; nil: none does.
  private(set) var elementEnd: Int64?

  /// - Parameters:
  ///   - interface: What it is for.
  ///   - previous: Slots of the live generation.
  ///   - interfaceIndices: Of the interfaces in the daemon's network namespace, by name.
  ///   - mayMissTargets: What is redirected to an interface that isn't there is dropped, and counted; else it is an error. For what
  ///     must go live in any case: it was live before, or is less than that.
  init(
    _ applied: RuleSet?, interface: String, generation: UInt64, previous: SlotTable, options: AttachmentOptions,
    interfaceIndices: [String: UInt32], mayMissTargets: Bool = false
  ) throws(ControlError) {
    let ruleSet = applied ?? PreparedGeneration.nothing
    guard ruleSet.ruleCount <= Limits.rulesMax else {
      throw ControlError(
        .invalidArgument, "\(ruleSet.ruleCount) rules with those of chains; a rule set has at most \(Limits.rulesMax) (rules_max)")
    }
    let (table, fresh) = previous.assigning(ruleSet.countedRules.map(\.name))
    do throws(CompileError) {
      compiled = try compile(
        ruleSet, interface: interface, slots: { table[$0] ?? 0 },
        interfaceIndex: { interfaceIndices[$0] ?? (mayMissTargets ? 0 : nil) }, generation: generation,
        captureFallback: options.captureFallback)
    } catch {
      throw ControlError(error)
    }
    entryCount = compiled.entryCount
    self.applied = applied
    self.interface = interface
    self.options = options
    nextExpiry = ruleSet.nextExpiry
    elementEnd = ruleSet.nextElementEnd?.unixMilliseconds
    slots = table
    freshSlots = fresh
    let names = ruleSet.allRules.filter(\.isEnabled).compactMap(\.action.redirectInterface)
    targets = Dictionary(names.map { ($0, interfaceIndices[$0] ?? 0) }, uniquingKeysWith: { first, _ in first })
  }

  var redirectTargets: Set<UInt32> { Set(targets.values.filter { $0 > 0 }) }

  /// Those that were not there.
  var missingTargets: [String] { targets.filter { $0.value == 0 }.keys.sorted() }

  var hasTargets: Bool { !targets.isEmpty }

  /// Whether the names mean other interfaces by now.
  func leadsElsewhere(_ interfaceIndices: [String: UInt32]) -> Bool {
    targets.contains { (interfaceIndices[$0.key] ?? 0) != $0.value }
  }

  /// Whether what no rule decides is decided by the same rule set in the same way, and goes on being counted.
  func hasDefaultOf(_ other: PreparedGeneration) -> Bool {
    applied?.name == other.applied?.name && ruleSet.defaultAction == other.ruleSet.defaultAction
  }

  private static let nothing = RuleSet(name: "none", malformed: MalformedPolicy(fate: .pass))

  /// Nil: it has no large sets.
  func makeSetEditor() -> SetEditor? { SetEditor(compiled, of: ruleSet) }

  func effect(of change: SetChange) -> SetEffect { SetEffect(of: change, on: ruleSet) }

  /// What takes back an effect that is to be made.
  func opposite(of effect: SetEffect) -> SetEffect { effect.opposite(on: ruleSet) }

  /// Whether an enabled rule names the set.
  func isNamed(_ set: String) -> Bool {
    ruleSet.allRules.contains { rule in
      rule.isEnabled
        && (rule.match.sources.sets.contains(set) || rule.match.destinations.sets.contains(set)
          || rule.match.sourcePorts.sets.contains(set) || rule.match.destinationPorts.sets.contains(set))
    }
  }

  /// Elements that have ended by a moment, of sets in which there are some.
  func endedElements(atUnixMilliseconds now: Int64) -> [(set: String, elements: [SetElement])] {
    ruleSet.sets.map { ($0.name, $0.ended(atUnixMilliseconds: now)) }.filter { !$0.elements.isEmpty }
  }

  /// Not later than a rule or an element ends, in milliseconds since 1970; nil: none does.
  var due: Int64? { [nextExpiry?.unixMilliseconds, elementEnd].compactMap(\.self).min() }

  /// What was changed in the live tables is so in the rule set, too.
  mutating func make(_ effect: SetEffect) {
    applied?.change(effect.set, inserted: effect.inserted, removed: effect.removed, revision: effect.revision)
    // Which is the next of all takes a look at each: that is for when one is due.
    for member in effect.inserted {
      if let end = member.expiry?.unixMilliseconds { elementEnd = min(end, elementEnd ?? .max) }
    }
  }

  /// Elements that have ended are no longer in the rule set. What is live is changed by others.
  mutating func removeEnded(of sets: [String], atUnixMilliseconds now: Int64) {
    for set in sets { applied?.removeEnded(of: set, atUnixMilliseconds: now) }
    elementEnd = ruleSet.nextElementEnd?.unixMilliseconds
  }

  /// The same for a rule.
  mutating func change(_ plan: PlannedRuleChange) {
    applied = plan.next
    if let lost = plan.lost { slots.remove(lost) }
    if let fresh = plan.fresh { slots.set(fresh.slot, of: fresh.name) }
    entryCount = plan.entryCount
    if plan.changesExpiry { nextExpiry = plan.next.nextExpiry }
  }

  /// Takes over what was changed in the live tables.
  mutating func refresh(from memory: some TableMemory, changedBy editor: GenerationEditor? = nil) {
    compiled.refresh(from: memory, changedBy: editor)
  }

  /// What makes generations of one rule set decide differently.
  struct Meaning: Hashable {
    let options: AttachmentOptions
    /// Nil: no rule asks where a packet came in.
    let interface: String?
  }

  var meaning: Meaning {
    let asks = ruleSet.allRules.contains { $0.isEnabled && !$0.match.interfaces.isEmpty }
    return Meaning(options: options, interface: asks ? interface : nil)
  }

  /// Whether packets of this generation can go to user space.
  var needsSockets: Bool { ruleSet.allRules.contains { $0.isEnabled && $0.action == .capture } }

  /// Runs packets made from the rules through the program, and compares with the reference classifier.
  ///
  /// - Returns: How many packets agreed: all.
  func selfTest(with program: SelfTestProgram) throws(ControlError) -> Int {
    try selfTest(with: program, SelfTest.packets(for: ruleSet))
  }

  /// - Parameter frames: Those of at least 14 bytes are run, what BPF_PROG_TEST_RUN takes.
  func selfTest(with program: SelfTestProgram, _ frames: [[UInt8]]) throws(ControlError) -> Int {
    let packets = frames.filter { $0.count >= 14 }
    compiled.withUnsafeBytes { program.load($0) }
    let arrival = Arrival(interface: interface)  // test runs are queue 0's
    for packet in packets {
      let decision = try translating { () throws(ProgramError) in try program.decide(packet) }
      let expected = expectation(for: ReferenceClassifier.decide(packet, by: ruleSet, at: arrival))
      guard decision == expected else {
        throw ControlError(
          .internal,
          "self-test: the program decides \(decision), the reference \(expected), for packet \(hex(packet)); nothing was "
            + "changed. This is a defect of Sluice: please report it with the rule set")
      }
    }
    return packets.count
  }

  private func expectation(for decision: Decision) -> SelfTestProgram.Decision {
    SelfTestProgram.Decision(
      action: UInt32(decision.action.abiAction), slot: decision.ruleName.flatMap { slots[$0] } ?? 0,
      malformed: UInt32(decision.malformed?.index ?? 0))
  }
}

private func hex(_ bytes: [UInt8]) -> String {
  let digits = Array("0123456789abcdef")
  return String(bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
}

/// Runs something of XDPPrograms and speaks of its failure in the terms of control.
func translating<Value: ~Copyable>(
  _ body: () throws(ProgramError) -> Value
) throws(ControlError) -> Value {
  do throws(ProgramError) {
    return try body()
  } catch {
    throw ControlError(error)
  }
}

import CSluiceABI
import Packets
import RuleCompiler
import Rules
import TestSupport
import Testing

@testable import XDPPrograms

@Suite("Rules are edited in place beside chains and sets", .serialized)
struct ListEditingTests {
  /// What an edited rule has to do with.
  private enum Kind: CaseIterable {
    case largeSet, smallSet, count, redirect, link, besideChains
  }

  /// A rule set that is live in a program, and the same one for the reference.
  private final class Live {
    private(set) var ruleSet: RuleSet
    private let program: SelfTestProgram
    private let compiled: CompiledGeneration
    private var editor: GenerationEditor
    private var slots: [String: UInt32] = [:]
    private var counts: [UInt32: UInt64] = [:]
    private(set) var done: [Kind: Int] = [:]
    private(set) var refused: [GenerationEditor.Refusal: Int] = [:]

    init(_ ruleSet: RuleSet) throws {
      self.ruleSet = ruleSet
      var slots: [String: UInt32] = [:]
      for (index, rule) in ruleSet.countedRules.enumerated() { slots[rule.name] = UInt32(index + 1) }
      self.slots = slots
      let compiled = try compile(
        ruleSet, slots: { slots[$0]! }, interfaceIndex: Live.index, generation: 1, captureFallback: .pass)
      self.compiled = compiled
      let program = try SelfTestProgram(generationByteCount: 2 * compiled.words.count * 8 + 65536)
      self.program = program
      compiled.withUnsafeBytes { program.load($0) }
      editor = GenerationEditor(compiled, wordCount: program.liveHalf.wordCount)
    }

    private static func index(of interface: String) -> UInt32? { UInt32(interface.utf8.reduce(1) { $0 + Int($1) }) }

    private func edited(_ rule: Rule) -> EditedRule? {
      ruleSet.resolved(rule, keeping: compiled.largeSetNames).map {
        EditedRule($0, slot: slots[rule.name]!, targetIndex: rule.action.redirectInterface.flatMap(Live.index))
      }
    }

    private func neighbours(of index: Int, in rules: RuleList) -> (after: String?, before: String?) {
      func isThere(_ rule: Rule) -> Bool { rule.isEnabled && editor.has(rule.name) }
      return (rules[..<index].last(where: isThere)?.name, rules[index...].first(where: isThere)?.name)
    }

    /// Tries one change of the own list. On a refusal nothing has changed.
    func edit(_ donor: Rule, using random: inout SeededGenerator) throws {
      let index = Int.random(in: 0...ruleSet.rules.count, using: &random)
      var next = ruleSet
      let half = Half(live: program.liveHalf)
      do throws(GenerationEditor.Refusal) {
        let goes = index < ruleSet.rules.count && random.chance(60) ? ruleSet.rules[index] : nil
        guard goes?.isEnabled != false, donor.isEnabled else { return }
        if goes != nil { next.rules.remove(at: index) }
        if let goes, random.chance(40) {
          guard let old = edited(goes) else { return }
          try editor.remove(old, from: half)
          note(goes)
        } else {
          var rule = donor
          if let goes, random.chance(50) {
            // The same with another action, which is there by now.
            rule = goes
            rule.action = donor.action
          }
          let place = rule.match == goes?.match ? index : Int.random(in: 0...next.rules.count, using: &random)
          slots[rule.name] = slots[rule.name] ?? UInt32(slots.count + 1)
          guard let new = edited(rule), ruleSet.rules.allSatisfy({ $0.name != rule.name || $0.name == goes?.name }) else { return }
          let (after, before) = neighbours(of: place, in: next.rules)
          next.rules.insert(rule, at: place)
          if let goes {
            guard let old = edited(goes) else { return }
            if old.rule.match == new.rule.match, place == index {
              try editor.replace(old, by: new, in: half)
            } else {
              try editor.exchange(old, for: new, after: after, before: before, in: half, waiting: {})
            }
          } else {
            try editor.insert(new, after: after, before: before, in: half)
          }
          note(rule)
        }
        ruleSet = next
      } catch {
        #expect(!editor.isTorn)
        refused[error, default: 0] += 1
      }
      // Nobody reads what was replaced.
      editor.beginGracePeriod()
      editor.endGracePeriod()
    }

    private func note(_ rule: Rule) {
      let sets = rule.match.sources.sets + rule.match.destinations.sets
      let isLarge = sets.contains { compiled.largeSetNames.contains($0) }
      if isLarge { done[.largeSet, default: 0] += 1 } else if rule.namesOthers { done[.smallSet, default: 0] += 1 }
      if rule.action == .count { done[.count, default: 0] += 1 }
      if rule.action.redirectInterface != nil { done[.redirect, default: 0] += 1 }
      if !rule.match.sourceMACs.isEmpty || !rule.match.destinationMACs.isEmpty { done[.link, default: 0] += 1 }
      if ruleSet.rules.contains(where: { $0.isEnabled && $0.action.chain != nil }) { done[.besideChains, default: 0] += 1 }
    }

    /// What inserting a rule at the begin is refused for; nil: it is there.
    func refusal(of rule: Rule) -> GenerationEditor.Refusal? {
      do throws(GenerationEditor.Refusal) {
        try editor.insert(
          EditedRule(rule, slot: 100), after: nil, before: ruleSet.rules.first?.name, in: Half(live: program.liveHalf))
        return nil
      } catch {
        return error
      }
    }

    func expectAgreement(on frames: [[UInt8]]) throws {
      for frame in frames {
        let expected = ReferenceClassifier.decide(frame, by: ruleSet)
        let decision = try program.decide(frame)
        let slot = expected.ruleName.map { slots[$0]! } ?? 0
        guard decision.action == UInt32(expected.action.abiAction), decision.slot == slot else {
          Issue.record("\(frame) is decided by \(decision), not by \(expected), of \(ruleSet)")
          return
        }
        if expected.malformed != nil { continue }
        for name in expected.counted { counts[slots[name]!, default: 0] += 1 }
        counts[slot, default: 0] += 1
      }
      for (slot, count) in counts where slot != 0 {
        #expect(try program.ruleCounter(slot: slot).packets == count, "slot \(slot) of \(slots)")
      }
    }
  }

  /// With a set that is large, and rules for it.
  private func ruleSet(using random: inout SeededGenerator) -> RuleSet {
    var ruleSet = RandomCases.compilableRuleSet(rulesUpTo: 16, entriesPerRule: 20, using: &random)
    guard let large = ruleSet.sets.firstIndex(where: { $0.name == "four" }) else { return ruleSet }
    ruleSet.sets[large].insert(
      (0..<400).map { _ in .prefix(IPPrefix(host: .v4(IPv4Address(value: .random(in: 0 ... .max, using: &random))))) })
    return ruleSet
  }

  @Test("Rules that name sets, count or redirect come, change and go: verdicts and counts are the reference's at every stage")
  func everyKind() throws {
    var random = SeededGenerator(announcing: "ListEditingTests.everyKind")
    var done: [Kind: Int] = [:]
    var refused: [GenerationEditor.Refusal: Int] = [:]
    for round in 0..<30 {
      let live = try Live(ruleSet(using: &random))
      let frames = (0..<150).map { _ in RandomCases.frame(using: &random) }.filter { $0.count >= 14 && $0.count < 3000 }
      try live.expectAgreement(on: frames)
      for turn in 0..<30 {
        let donors = ruleSet(using: &random).rules.filter { $0.action.chain == nil && $0.action != .leave }
        guard var donor = donors.randomElement(using: &random) else { continue }
        donor.name = "new-\(round)-\(turn)"
        try live.edit(donor, using: &random)
        try live.expectAgreement(on: frames)
      }
      done.merge(live.done, uniquingKeysWith: +)
      refused.merge(live.refused, uniquingKeysWith: +)
    }
    // How many of the rarest kind there are is chance: four in one run.
    for kind in Kind.allCases { #expect(done[kind, default: 0] > 0, "\(kind): \(done), refused: \(refused)") }
    #expect(refused[.unknownRule] == nil, "\(refused)")
  }

  @Test("A rule of a thousand million entries is refused before any of them is made")
  func tooManyEntries() throws {
    let live = try Live(RuleSet(name: "edge", rules: [Rule(name: "all", action: .pass)]))
    let hosts = (0..<64).map { IPPrefix(host: .v4(IPv4Address(value: 0x0a00_0000 + $0 * 2))) }
    let ports = (0..<64).map { PortRange($0 * 2) }
    var match = Match(
      sources: Condition(hosts), destinations: Condition(hosts), protocols: [.tcp], sourcePorts: Condition(ports),
      destinationPorts: Condition(ports))
    match[.lengths] = Condition((0..<64).map { NumberRange(low: $0 * 2 + 100, high: $0 * 2 + 100) })
    #expect(live.refusal(of: Rule(name: "huge", match: match, action: .drop)) == .needsMore)
    #expect(live.refusal(of: Rule(name: "small", match: Match(protocols: [.tcp]), action: .drop)) == nil)
  }

  /// What a list ends with.
  enum End: CaseIterable {
    case goTo, jump, jumpToGoTo, disabled
  }

  @Test("Behind the end of a chain that was gone to comes no rule that is new, and behind a jump it does", arguments: End.allCases)
  func ends(_ end: End) throws {
    var random = SeededGenerator(announcing: "ListEditingTests.ends")
    func rule(_ name: String, _ action: Action, _ port: UInt16? = nil) -> Rule {
      Rule(
        name: name, match: port.map { Match(protocols: [.udp], destinationPorts: [PortRange($0)]) } ?? Match(), action: action)
    }
    var edge = RuleSet(name: "edge", defaultAction: .pass)
    edge.chains = [
      Chain(name: "a", rules: [rule("a-1", .leave, 1), rule("a-2", .drop, 2)]),
      Chain(name: "b", rules: [rule("b-1", .leave, 3), rule("b-2", .drop, 4)]),
      Chain(name: "c", rules: [rule("c-to-b", .goTo(chain: "b"))]),
    ]
    edge.rules = [rule("first", .pass, 5), rule("to-a", .jump(chain: "a"))]
    switch end {
    case .goTo: edge.rules.append(rule("to-b", .goTo(chain: "b")))
    case .jump: break
    case .jumpToGoTo: edge.rules.append(rule("to-c", .jump(chain: "c")))
    case .disabled: edge.rules.append(Rule(name: "off", action: .drop, isEnabled: false))
    }
    let frames = (1...6).map {
      PacketBuilder(from: IPPrefix("10.0.0.1")!.address, to: IPPrefix("10.0.0.2")!.address, .udp(source: 9, destination: $0)).build()
    }
    let live = try Live(edge)
    for turn in 0..<40 {
      try live.edit(rule("new-\(turn)", .drop), using: &random)
      try live.expectAgreement(on: frames)
    }
    #expect(live.done[.besideChains, default: 0] > 3)
  }
}

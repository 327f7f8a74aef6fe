import CSluiceABI
import LinuxSystem
import Packets
import RuleCompiler
import Rules
import Synchronization
import TestSupport
import Testing

@testable import XDPPrograms

/// The live tables for editors.
struct Half: TableMemory {
  let live: LiveHalf
  var wordCount: Int { live.wordCount }
  func word(_ index: Int) -> UInt64 { live.word(index) }
  func store(_ word: UInt64, at index: Int) { live.store(word, at: index) }
}

@Suite("A live generation is edited in place", .serialized)
struct EditingTests {
  private struct Verdict: Hashable {
    var action: UInt32
    var slot: UInt32
  }

  private let slots: [String: UInt32]
  private let ruleSet: RuleSet
  private let generation: CompiledGeneration
  private let probe: ClassificationProbe
  private let frames: [[UInt8]]

  private init(_ shape: LargeRuleSet.Shape, using random: inout SeededGenerator) throws {
    let large = LargeRuleSet(shape, ruleCount: 300, using: &random)
    ruleSet = large.ruleSet
    let slots = Dictionary(
      uniqueKeysWithValues: ruleSet.rules.enumerated().map { ($0.element.name, UInt32($0.offset + 1)) })
    self.slots = slots
    generation = try compile(
      ruleSet, slots: { slots[$0]! }, interfaceIndex: { _ in 1 }, generation: 1, captureFallback: .pass)
    probe = try generation.withUnsafeBytes { try ClassificationProbe($0) }
    var frames: [[UInt8]] = []
    while frames.count < 256 {
      let frame = large.frame(using: &random)
      if try probe.add(frame) { frames.append(frame) }
    }
    self.frames = frames
  }

  init() throws {
    var random = SeededGenerator(announcing: "EditingTests")
    try self.init(.mixed, using: &random)
  }

  private func verdict(_ frame: [UInt8], by ruleSet: RuleSet) -> Verdict {
    let decision = ReferenceClassifier.decide(frame, by: ruleSet)
    return Verdict(action: UInt32(decision.action.abiAction), slot: decision.ruleName.map { slots[$0]! } ?? 0)
  }

  private func neighbours(of index: Int) -> (after: String?, before: String?) {
    let rules = ruleSet.rules
    return (index > 0 ? rules[index - 1].name : nil, index + 1 < rules.count ? rules[index + 1].name : nil)
  }

  @Test("Each rule taken out and put back: verdicts are the reference's at every stage", arguments: LargeRuleSet.Shape.allCases)
  func oneByOne(_ shape: LargeRuleSet.Shape) throws {
    var random = SeededGenerator(announcing: "EditingTests.oneByOne(\(shape))")
    let tests = try EditingTests(shape, using: &random)
    let half = Half(live: tests.probe.liveHalf)
    var editor = GenerationEditor(tests.generation, wordCount: half.wordCount)
    var edited = 0
    for (index, rule) in tests.ruleSet.rules.enumerated() where rule.isEnabled && index % 16 == 0 {
      do throws(GenerationEditor.Refusal) {
        try editor.remove(EditedRule(rule, slot: tests.slots[rule.name]!), from: half)
      } catch {
        #expect(error != .unknownRule, "\(rule) is there")
        try tests.expectVerdicts(of: tests.ruleSet)
        continue
      }
      var without = tests.ruleSet
      without.rules.remove(at: index)
      try tests.expectVerdicts(of: without)
      let (after, before) = tests.neighbours(of: index)
      do throws(GenerationEditor.Refusal) {
        try editor.insert(EditedRule(rule, slot: tests.slots[rule.name]!), after: after, before: before, in: half)
      } catch {
        // Rules that cross each other as here can fill a leaf; then nothing has changed.
        #expect(error == .noRoom)
        try tests.expectVerdicts(of: without)
        return
      }
      try tests.expectVerdicts(of: tests.ruleSet)
      edited += 1
      // The probe's runs are over, nobody reads what was replaced.
      editor.beginGracePeriod()
      editor.endGracePeriod()
    }
    #expect(edited > 0 || shape == .crossingRanges || !tests.generation.isEditable, "\(shape)")
  }

  @Test("A rule in another's place, with the same match or another, and at another place", arguments: LargeRuleSet.Shape.allCases)
  func exchanged(_ shape: LargeRuleSet.Shape) throws {
    var random = SeededGenerator(announcing: "EditingTests.exchanged(\(shape))")
    let tests = try EditingTests(shape, using: &random)
    let half = Half(live: tests.probe.liveHalf)
    var editor = GenerationEditor(tests.generation, wordCount: half.wordCount)
    var current = tests.ruleSet
    current.rules.removeAll { !$0.isEnabled }
    var done = [0, 0, 0]
    for turn in 0..<60 {
      let index = Int.random(in: current.rules.indices, using: &random)
      let old = current.rules[index]
      let slot = tests.slots[old.name]!
      var rule = old
      var next = current
      if turn % 3 > 0 { next.rules.remove(at: index) }
      let place = turn % 3 == 2 ? Int.random(in: 0...next.rules.count, using: &random) : index
      if turn % 3 == 0 {
        rule.action = old.action == .drop ? .pass : .drop
        next.rules[index] = rule
      } else {
        if turn % 3 == 1 { rule.match = random.pick(current.rules).match }
        next.rules.insert(rule, at: place)
      }
      do throws(GenerationEditor.Refusal) {
        if turn % 3 == 0 {
          try editor.replace(EditedRule(old, slot: slot), by: EditedRule(rule, slot: slot), in: half)
        } else {
          try editor.exchange(
            EditedRule(old, slot: slot), for: EditedRule(rule, slot: slot), after: place > 0 ? next.rules[place - 1].name : nil,
            before: place + 1 < next.rules.count ? next.rules[place + 1].name : nil, in: half, waiting: {})
        }
      } catch {
        #expect(!editor.isTorn, "there is room")
        try tests.expectVerdicts(of: current)
        continue
      }
      current = next
      done[turn % 3] += 1
      try tests.expectVerdicts(of: current)
      editor.beginGracePeriod()
      editor.endGracePeriod()
    }
    #expect(done.reduce(0, +) > 0 || shape == .crossingRanges || !tests.generation.isEditable, "\(shape): \(done)")
  }

  @Test("A rule that keeps a part of its entries keeps them")
  func overlap() throws {
    func rule(_ ports: [UInt16]) -> Rule {
      Rule(name: "kept", match: Match(protocols: [.udp], destinationPorts: Condition(ports.map { PortRange($0) })), action: .drop)
    }
    let kept = rule([80, 443])
    let slots: [String: UInt32] = ["kept": 1]
    let ruleSet = RuleSet(name: "edge", rules: [kept])
    let generation = try compile(
      ruleSet, slots: { slots[$0]! }, interfaceIndex: { _ in 1 }, generation: 1, captureFallback: .pass)
    let probe = try generation.withUnsafeBytes { try ClassificationProbe($0) }
    let half = Half(live: probe.liveHalf)
    var editor = GenerationEditor(generation, wordCount: half.wordCount)
    let around = SelfTest.packets(around: kept, in: ruleSet, limit: 64).filter { $0.count >= 14 }
    var frames: [[UInt8]] = []
    for turn in 0... {
      let frame = around[turn % around.count]
      if try probe.add(frame) { frames.append(frame) }
      if frames.count == 64 { break }
    }
    #expect(Set(frames.map { ReferenceClassifier.decide($0, by: ruleSet).ruleName }).count == 2)
    var current = kept
    for ports: [UInt16] in [[80], [80, 443], [443], [443, 80], [80, 443]] {
      try editor.exchange(
        EditedRule(current, slot: 1), for: EditedRule(rule(ports), slot: 1), after: nil, before: nil, in: half, waiting: {})
      current = rule(ports)
      _ = try probe.run(period: frames.count, count: frames.count)
      for (index, frame) in frames.enumerated() {
        let expected = ReferenceClassifier.decide(frame, by: RuleSet(name: "edge", rules: [current]))
        #expect(probe.verdict(index).slot == (expected.ruleName == nil ? 0 : 1), "\(ports): \(frame)")
      }
    }
  }

  @Test("Actions that change at full rate: each packet is decided by the old rule or by the new one")
  func replacedUnderTraffic() throws {
    let flips = Dictionary(grouping: ruleSet.rules.filter { $0.isEnabled && $0.action != .count }, by: \.name)
    let allowed = frames.map { frame -> Set<Verdict> in
      let decided = verdict(frame, by: ruleSet)
      guard let rule = ruleSet.rules.first(where: { slots[$0.name] == decided.slot }), flips[rule.name] != nil else { return [decided] }
      return Set([Rules.Action.pass, .drop, rule.action].map { Verdict(action: UInt32($0.abiAction), slot: decided.slot) })
    }
    let flipping = UncheckedBox(try Flipping(self))
    let (wrong, seen) = try watch(allowed, while: { flipping.value.step() })
    #expect(wrong.isEmpty, "decided by neither of both: \(wrong.first.map { "\(frames[$0])" } ?? "")")
    #expect(flipping.value.count > 1000 && !seen.isEmpty, "\(flipping.value.count) changes, \(seen.count) packets noticed some")
    try expectVerdicts(of: flipping.value.ruleSet)
  }

  /// Lets packets be decided for some seconds while another thread repeats a step.
  ///
  /// - Returns: Frames whose verdicts were none of those allowed, up to the first round with some, and such that changed.
  private func watch(
    _ allowed: [Set<Verdict>], while step: @escaping @Sendable () -> Void
  ) throws -> (wrong: [Int], seen: Set<Int>) {
    let atFirst = frames.map { verdict($0, by: ruleSet) }
    var wrong: [Int] = []
    var seen: Set<Int> = []
    try repeating(name: "editor", step) {
      let end = SystemClock.monotonicNanoseconds() + 3_000_000_000
      while SystemClock.monotonicNanoseconds() < end, wrong.isEmpty {
        _ = try probe.run(period: frames.count, count: frames.count)
        for index in frames.indices {
          let (action, slot) = probe.verdict(index)
          let now = Verdict(action: action, slot: slot)
          if !allowed[index].contains(now) { wrong.append(index) }
          if now != atFirst[index] { seen.insert(index) }
        }
      }
    }
    return (wrong, seen)
  }

  private func expectVerdicts(of ruleSet: RuleSet) throws {
    _ = try probe.run(period: frames.count, count: frames.count)
    for (index, frame) in frames.enumerated() {
      let (action, slot) = probe.verdict(index)
      guard Verdict(action: action, slot: slot) == verdict(frame, by: ruleSet) else {
        Issue.record("\(frame) is decided by \(slot)")
        return
      }
    }
  }

  @Test("Updates at full rate: each packet is decided with the rule that comes and goes, or without it")
  func underTraffic() throws {
    // A packet's verdict changes only if the rule that decides it is away.
    let allowed = frames.map { frame -> Set<Verdict> in
      var without = ruleSet
      let full = verdict(frame, by: ruleSet)
      without.rules.removeAll { slots[$0.name] == full.slot }
      return [full, verdict(frame, by: without)]
    }
    let editing = UncheckedBox(try Editing(self))
    let (wrong, seen) = try watch(allowed, while: { editing.value.step() })
    #expect(wrong.isEmpty, "decided by neither of both: \(wrong.first.map { "\(frames[$0])" } ?? "")")
    #expect(editing.value.count > 1000 && !seen.isEmpty, "\(editing.value.count) updates, \(seen.count) packets noticed some")
    try expectVerdicts(of: ruleSet)
  }

  /// Takes one rule after the other out and puts it back. One thread's at a time.
  private final class Editing {
    private let tests: EditingTests
    private let half: Half
    private let barrier: ProgramBarrier
    private var editor: GenerationEditor
    private var next = 0
    private(set) var count = 0

    init(_ tests: EditingTests) throws {
      barrier = try ProgramBarrier()
      self.tests = tests
      half = Half(live: tests.probe.liveHalf)
      editor = GenerationEditor(tests.generation, wordCount: half.wordCount)
    }

    func step() {
      let index = next % tests.ruleSet.rules.count
      let rule = tests.ruleSet.rules[index]
      next += 1
      let slot = tests.slots[rule.name]!
      guard rule.isEnabled, (try? editor.remove(EditedRule(rule, slot: slot), from: half)) != nil else { return waitForGracePeriod() }
      let (after, before) = tests.neighbours(of: index)
      for _ in 0..<3 {
        if (try? editor.insert(EditedRule(rule, slot: slot), after: after, before: before, in: half)) != nil { break }
        waitForGracePeriod()
      }
      count += 2
    }

    private func waitForGracePeriod() {
      editor.beginGracePeriod()
      barrier.wait()
      editor.endGracePeriod()
    }
  }
  /// Turns one rule after the other from drop to pass and back. One thread's at a time.
  private final class Flipping {
    private(set) var ruleSet: RuleSet
    private let slots: [String: UInt32]
    private let half: Half
    private let barrier: ProgramBarrier
    private var editor: GenerationEditor
    private var next = 0
    private(set) var count = 0

    init(_ tests: EditingTests) throws {
      barrier = try ProgramBarrier()
      ruleSet = tests.ruleSet
      slots = tests.slots
      half = Half(live: tests.probe.liveHalf)
      editor = GenerationEditor(tests.generation, wordCount: half.wordCount)
    }

    func step() {
      let index = next % ruleSet.rules.count
      next += 1
      let old = ruleSet.rules[index]
      var new = old
      new.action = old.action == .drop ? .pass : .drop
      let slot = slots[old.name]!
      if old.action == .count { return }
      guard (try? editor.replace(EditedRule(old, slot: slot), by: EditedRule(new, slot: slot), in: half)) != nil else {
        editor.beginGracePeriod()
        barrier.wait()
        return editor.endGracePeriod()
      }
      ruleSet.rules[index] = new
      count += 1
    }
  }
}

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
        try editor.remove(rule, slot: tests.slots[rule.name]!, from: half)
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
        try editor.insert(rule, slot: tests.slots[rule.name]!, after: after, before: before, in: half)
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
    let editing = UncheckedBox(Editing(self))
    let atFirst = frames.map { verdict($0, by: ruleSet) }
    var wrong: [Int] = []
    var seen: Set<Int> = []
    try repeating(name: "editor", { editing.value.step() }) {
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
    #expect(wrong.isEmpty, "decided by neither of both: \(wrong.first.map { "\(frames[$0])" } ?? "")")
    #expect(editing.value.count > 1000 && !seen.isEmpty, "\(editing.value.count) updates, \(seen.count) packets noticed some")
    try expectVerdicts(of: ruleSet)
  }

  /// Takes one rule after the other out and puts it back. One thread's at a time.
  private final class Editing {
    private let tests: EditingTests
    private let half: Half
    private var editor: GenerationEditor
    private var next = 0
    private(set) var count = 0

    init(_ tests: EditingTests) {
      self.tests = tests
      half = Half(live: tests.probe.liveHalf)
      editor = GenerationEditor(tests.generation, wordCount: half.wordCount)
    }

    func step() {
      let index = next % tests.ruleSet.rules.count
      let rule = tests.ruleSet.rules[index]
      next += 1
      let slot = tests.slots[rule.name]!
      guard rule.isEnabled, (try? editor.remove(rule, slot: slot, from: half)) != nil else { return waitForGracePeriod() }
      let (after, before) = tests.neighbours(of: index)
      for _ in 0..<3 {
        if (try? editor.insert(rule, slot: slot, after: after, before: before, in: half)) != nil { break }
        waitForGracePeriod()
      }
      count += 2
    }

    private func waitForGracePeriod() {
      editor.beginGracePeriod()
      Kernel.waitForGracePeriod()
      editor.endGracePeriod()
    }
  }
}

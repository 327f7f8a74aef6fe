import CSluiceABI
import Glibc
import LinuxSystem
import Packets
import RuleCompiler
import Rules
import TestSupport
import XDPPrograms

/// Runs rule sets and packets through the program and an oracle, and counts.
struct Comparison {
  enum Oracle { case reference, libpcap }

  private var verdicts = 0
  private var differing = 0
  private var refused = 0
  private var program: SelfTestProgram?

  /// As many frames as `make` gives that BPF_PROG_TEST_RUN takes.
  static func frames(_ count: Int, _ make: () -> [UInt8]) -> [[UInt8]] {
    var frames: [[UInt8]] = []
    frames.reserveCapacity(count)
    while frames.count < count {
      let frame = make()
      if (14..<3000).contains(frame.count) { frames.append(frame) }
    }
    return frames
  }

  /// Takes rule sets and frames until there are so many verdicts: one rule set at least.
  ///
  /// Rule sets are decided exactly or refused; of a kind that is refused, three are tried.
  mutating func run(
    _ kind: String, verdicts wanted: Int, oracle: Oracle = .reference, _ next: () -> (RuleSet, [[UInt8]])
  ) throws {
    var (sets, refusals, count, differences) = (0, 0, 0, 0)
    let start = SystemClock.monotonicNanoseconds()
    while count < wanted || sets == 0 {
      var (ruleSet, frames) = next()
      frames.removeLast(max(0, frames.count - max(wanted - count, 1)))
      sets += 1
      let slots = Dictionary(
        uniqueKeysWithValues: ruleSet.countedRules.enumerated().map { ($0.element.name, UInt32($0.offset + 1)) })
      let compiled: CompiledGeneration
      do throws(CompileError) {
        compiled = try compile(
          ruleSet, slots: { slots[$0] ?? 0 }, interfaceIndex: { _ in 1 }, generation: 1, captureFallback: .pass)
      } catch {
        refusals += 1
        print("refused: \(error)")
        if refusals == 3 { break }
        continue
      }
      let program = try program(for: compiled)
      compiled.withUnsafeBytes { program.load($0) }
      let expected: [Expectation] =
        switch oracle {
        case .reference: frames.map { Expectation(ReferenceClassifier.decide($0, by: ruleSet), slots) }
        case .libpcap: try PcapOracle.decide(frames, by: ruleSet).map { Expectation($0, ruleSet, slots) }
        }
      for (frame, expectation) in zip(frames, expected) {
        let decision = try program.decide(frame)
        count += 1
        guard decision != expectation.decision else { continue }
        differences += 1
        if differences == 1 { print("differs: \(decision), not \(expectation.decision): \(hexadecimal(frame))\n\(ruleSet)") }
      }
    }
    let seconds = (SystemClock.monotonicNanoseconds() - start) / 1_000_000_000
    print("\(kind): \(sets) rule sets (\(refusals) refused), \(count) verdicts, \(differences) differ (\(seconds) s)")
    fflush(nil)
    verdicts += count
    differing += differences
    refused += refusals
  }

  /// The one that is there, unless it is too small.
  private mutating func program(for compiled: CompiledGeneration) throws -> SelfTestProgram {
    let byteCount = compiled.words.count * 8
    if let program, program.generationByteCountMax >= byteCount { return program }
    let made = try SelfTestProgram(generationByteCount: max(byteCount, 4 << 20))
    program = made
    return made
  }

  /// Says what came of it all, and ends the program.
  func finish() -> Never {
    print("\(verdicts) verdicts, \(differing) differ; \(refused) rule sets refused")
    exit(differing == 0 && verdicts > 0 ? 0 : 1)
  }
}

/// What the program has to decide.
private struct Expectation {
  let decision: SelfTestProgram.Decision

  init(_ reference: Decision, _ slots: [String: UInt32]) {
    decision = SelfTestProgram.Decision(
      action: UInt32(reference.action.abiAction), slot: reference.ruleName.flatMap { slots[$0] } ?? 0,
      malformed: UInt32(reference.malformed?.index ?? 0))
  }

  /// - Parameter index: Of the first rule that decides; nil: none does.
  init(_ index: Int?, _ ruleSet: RuleSet, _ slots: [String: UInt32]) {
    let rule = index.map { ruleSet.rules[$0] }
    decision = SelfTestProgram.Decision(
      action: UInt32((rule?.action ?? Action(ruleSet.defaultAction)).abiAction), slot: rule.flatMap { slots[$0.name] } ?? 0,
      malformed: 0)
  }
}

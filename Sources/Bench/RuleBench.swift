import CSluiceABI
import LinuxSystem
import RuleCompiler
import Rules
import XDPPrograms

/// What a rule set costs and whether it is decided right: compiles it, classifies packets by it in the kernel, many in one
/// run, and compares the verdicts with the reference classifier's.
public struct RuleBench {
  public struct Plan: Sendable {
    public var trace: RuleTraceKind
    public var seed: UInt64
    public var rounds: Int
    /// Packets to compare; nil: as many as the reference decides in some seconds.
    public var verdicts: Int?
    /// Whether rules are taken out of the live tables and put back, for some seconds at most.
    public var hasUpdates: Bool

    public init(trace: RuleTraceKind, seed: UInt64, rounds: Int, verdicts: Int?, hasUpdates: Bool = true) {
      self.hasUpdates = hasUpdates
      self.trace = trace
      self.seed = seed
      self.rounds = rounds
      self.verdicts = verdicts
    }
  }

  /// Everything that was found; times in the units of their names, medians over the rounds.
  public struct Report: Codable, Hashable, Sendable {
    public var rules: Int
    public var entries: Int
    public var buildMilliseconds: Double
    public var generationBytes: Int
    /// The most steps of any packet's walk, proven, and what the program allows.
    public var stepsMax: Int
    public var stepsLimit: Int
    public var trace: String
    public var seed: UInt64
    public var packets: Int
    /// Classifying and counting, without the loop around it.
    public var nanosecondsPerPacket: Double
    public var nanosecondsPerPacketLeast: Double
    public var loopNanoseconds: Double
    /// Of taking one rule out of the live tables, and of putting it back, single calls.
    public var insertNanosecondsP50: Double
    public var insertNanosecondsP99: Double
    public var deleteNanosecondsP50: Double
    public var deleteNanosecondsP99: Double
    /// How many updates were tried, and how many of them need the rule set to be compiled anew.
    public var updates: Int
    public var updatesRefused: Int
    public var verdicts: Int
    public var differing: Int
    /// The first packet that was decided otherwise, in hexadecimal.
    public var firstDiffering: String?
  }

  private static let packetCount = 65536
  private static let worstCount = 1024
  private static let referenceBudget = 200_000_000

  private let ruleSet: RuleSet
  private let plan: Plan
  private let progress: (String) -> Void
  private let slots: [String: UInt32]

  /// - Parameter ruleSet: A valid one. Interfaces that it redirects to need not exist.
  public init(_ ruleSet: RuleSet, _ plan: Plan, progress: @escaping (String) -> Void) {
    self.ruleSet = ruleSet
    self.plan = plan
    self.progress = progress
    slots = OwnProgram.slots(of: ruleSet)
  }

  /// A generation of the rule set, and the median of the milliseconds that making it took.
  typealias Built = (generation: CompiledGeneration, milliseconds: Double)

  func build() throws -> Built {
    let (generation, build) = try timed(rounds: plan.rounds) {
      try compile(ruleSet, slots: { slots[$0] ?? 0 }, interfaceIndex: { _ in 1 }, generation: 1, captureFallback: .pass)
    }
    progress("built in \(build) ms")
    return (generation, build)
  }

  public func run() throws -> Report { try run(on: try build()) }

  /// - Parameter built: By ``build()``, of the same rule set.
  func run(on built: Built) throws -> Report {
    let generation = built.generation
    let frames = try trace(generation)
    progress("made \(frames.count) packets")
    let probe = try probe(generation, frames)
    let count = RuleBench.packetCount * 4
    let (net, loop) = try probe.measure(period: probe.sampleCount, count: count, rounds: plan.rounds)
    progress("measured \(plan.rounds) rounds of \(count) packets")
    let updates = plan.hasUpdates
      ? try RuleUpdates.measure(ruleSet, generation, probe.liveHalf, slots: slots, seed: plan.seed)
      : RuleUpdates(ruleSet: ruleSet)
    progress("measured \(updates.deletes.count) deletions and as many insertions")
    // By the tables that were changed and changed back.
    _ = try probe.run(period: probe.sampleCount, count: probe.sampleCount)
    let (verdicts, differing) = try compare(probe, frames, by: updates.ruleSet)
    return Report(
      rules: generation.ruleNames.count, entries: generation.entryCount, buildMilliseconds: built.milliseconds,
      generationBytes: generation.words.count * 8, stepsMax: generation.stepsMax, stepsLimit: Int(SLUICE_STEPS_MAX),
      trace: plan.trace.rawValue, seed: plan.seed, packets: frames.count, nanosecondsPerPacket: net.median,
      nanosecondsPerPacketLeast: net.first ?? 0, loopNanoseconds: loop.median,
      insertNanosecondsP50: updates.inserts.quantile(0.5), insertNanosecondsP99: updates.inserts.quantile(0.99),
      deleteNanosecondsP50: updates.deletes.quantile(0.5), deleteNanosecondsP99: updates.deletes.quantile(0.99),
      updates: updates.deletes.count + updates.refused, updatesRefused: updates.refused, verdicts: verdicts,
      differing: differing.count, firstDiffering: differing.first.map { hexadecimal(frames[$0]) })
  }

  /// As many as the trace has; a power of two.
  private func trace(_ generation: CompiledGeneration) throws -> [[UInt8]] {
    var trace = RuleTrace(ruleSet, kind: plan.trace, seed: plan.seed)
    switch plan.trace {
    case .uniform, .zipf: return (0..<RuleBench.packetCount).map { _ in trace.ruleFrame() }
    case .miss: return (0..<RuleBench.packetCount).map { _ in trace.anyFrame() }
    case .worst:
      let candidates = (0..<RuleBench.packetCount).map { $0 % 2 == 0 ? trace.ruleFrame() : trace.anyFrame() }
      let probe = try probe(generation, candidates)
      progress("looking for the packets that take longest")
      var times: [(time: UInt64, index: Int)] = []
      for index in candidates.indices {
        var least = UInt64.max
        for _ in 0..<3 { least = min(least, try probe.run(first: index, period: 1, count: 512)) }
        times.append((least, index))
      }
      return times.sorted { $0 > $1 }.prefix(RuleBench.worstCount).map { candidates[$0.index] }
    }
  }

  private func probe(_ generation: CompiledGeneration, _ frames: [[UInt8]]) throws -> ClassificationProbe {
    let probe = try generation.withUnsafeBytes { try ClassificationProbe($0) }
    for frame in frames where try !probe.add(frame) { throw BenchError("a made packet is malformed: \(hexadecimal(frame))") }
    return probe
  }

  private func compare(
    _ probe: ClassificationProbe, _ frames: [[UInt8]], by ruleSet: RuleSet
  ) throws -> (count: Int, differing: [Int]) {
    let affordable = max(100, RuleBench.referenceBudget / max(ruleSet.flattened.count, 1))
    let count = min(frames.count, plan.verdicts ?? affordable)
    var differing: [Int] = []
    var told = SystemClock.monotonicNanoseconds()
    for index in 0..<count {
      let expected = ReferenceClassifier.decide(frames[index], by: ruleSet)
      let verdict = probe.verdict(index)
      let slot = expected.ruleName.map { slots[$0] ?? 0 } ?? UInt32(SLUICE_SLOT_DEFAULT)
      if verdict.slot != slot || verdict.action != UInt32(expected.action.abiAction) { differing.append(index) }
      if SystemClock.monotonicNanoseconds() - told > 2_000_000_000 {
        told = SystemClock.monotonicNanoseconds()
        progress("compared \(index + 1) of \(count) verdicts with the reference's")
      }
    }
    return (count, differing)
  }
}

private func hexadecimal(_ bytes: [UInt8]) -> String {
  let digits = Array("0123456789abcdef")
  return String(bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
}

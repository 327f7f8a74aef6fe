import CSluiceABI
import LinuxSystem
import Packets
import RuleCompiler
import Rules
import XDPPrograms

/// What a large set costs: builds a generation whose one rule drops what comes from the set, looks packets up in it in the
/// kernel, changes elements in the live tables, and compares verdicts with the reference classifier's.
public struct SetBench {
  /// What the elements are.
  public enum Shape: String, CaseIterable, Sendable {
    /// IPv4: hosts anywhere.
    case hosts
    /// IPv4: nine hosts to one /24.
    case mixed
    /// IPv4: lengths 17 to 32, each as often.
    case lengths
    /// IPv6: hosts in 4096 networks of /32.
    case hosts6
    /// IPv6: /64 networks in as many.
    case networks6
    /// IPv6: of five elements two /128, one /64, /56 and /48.
    case mixed6

    var family: IPFamily {
      switch self {
      case .hosts, .mixed, .lengths: .ipv4
      case .hosts6, .networks6, .mixed6: .ipv6
      }
    }
  }

  public struct Plan: Sendable {
    public var shape: Shape
    /// Elements.
    public var size: Int
    public var seed: UInt64
    public var rounds: Int
    /// Whether the elements count.
    public var hasCounters: Bool

    public init(shape: Shape, size: Int, seed: UInt64, rounds: Int, hasCounters: Bool = false) {
      self.shape = shape
      self.size = size
      self.seed = seed
      self.rounds = rounds
      self.hasCounters = hasCounters
    }
  }

  /// Times in the units of their names, medians over the rounds.
  public struct Report: Codable, Hashable, Sendable {
    public var shape: String
    public var elements: Int
    /// Whether the elements count: for each packet from one of them.
    public var hasCounters: Bool
    public var seed: UInt64
    public var buildMilliseconds: Double
    /// Of the tables that the set is in, with its roots.
    public var setBytes: Int
    /// Classifying and counting a packet without the loop around it, half of the packets from addresses in the set.
    public var nanosecondsPerPacket: Double
    public var nanosecondsPerPacketInSet: Double
    public var nanosecondsPerPacketElsewhere: Double
    public var loopNanoseconds: Double
    /// Single calls, in the live tables.
    public var insertNanosecondsP50: Double
    public var insertNanosecondsP99: Double
    public var removeNanosecondsP50: Double
    public var removeNanosecondsP99: Double
    public var updates: Int
    /// Of them, those that had to wait for packets under way, and those for which there was no room.
    public var updatesWaited: Int
    public var updatesRefused: Int
    public var verdicts: Int
    public var differing: Int
  }

  private static let packetCount = 65536
  private static let updateCount = 20_000

  private let plan: Plan
  private let progress: (String) -> Void
  private var random: SplitMix

  public init(_ plan: Plan, progress: @escaping (String) -> Void) {
    self.plan = plan
    self.progress = progress
    random = SplitMix(state: plan.seed)
  }

  public mutating func run() throws -> Report {
    var elements: [IPPrefix] = []
    elements.reserveCapacity(plan.size)
    for _ in 0..<plan.size { elements.append(prefix()) }
    var ruleSet = RuleSet(
      name: "bench", defaultAction: .pass,
      rules: [Rule(name: "in-set", match: Match(sources: Condition([], sets: ["large"])), action: .drop)])
    ruleSet.sets = [NamedSet(name: "large", family: plan.shape.family, prefixes: elements)]
    ruleSet.sets[0].hasCounters = plan.hasCounters
    let whole = ruleSet.sets[0]
    let (generation, build) = try timed(rounds: max(1, min(plan.rounds, 5))) { try compile(ruleSet) }
    ruleSet.sets[0] = NamedSet(name: "large", family: plan.shape.family)
    let none = try compile(ruleSet)
    ruleSet.sets[0] = whole
    let keys = plan.hasCounters ? whole.counterKeys(of: whole.prefixes) : []
    progress("built in \(build) ms")

    let inside = (0..<SetBench.packetCount / 2).map { _ in frame(from: address(in: elements.randomElement(using: &random)!)) }
    let outside = (0..<SetBench.packetCount / 2).map { _ in frame(from: prefix().address) }
    let probe = try generation.withUnsafeBytes { try ClassificationProbe($0, counting: keys) }
    for frame in inside + outside where try !probe.add(frame) { throw BenchError("a made packet is malformed") }
    let half = SetBench.packetCount / 2
    let hits = try measure(probe, first: 0, period: half)
    let misses = try measure(probe, first: half, period: half)
    let mixed = try generation.withUnsafeBytes { try ClassificationProbe($0, counting: keys) }
    for frame in zip(inside, outside).flatMap({ [$0, $1] }) { _ = try mixed.add(frame) }
    let all = try measure(mixed, first: 0, period: SetBench.packetCount)
    progress("measured \(plan.rounds) rounds")

    var updates = SetUpdates()
    guard var editor = SetEditor(generation, of: ruleSet) else {
      throw BenchError("\(plan.size) elements are no large set; sets of more than \(Limits.expandedSetElementsMax) are")
    }
    try updates.measure(&editor, probe.liveHalf, (0..<SetBench.updateCount).map { _ in prefix() }, except: ruleSet.sets[0])
    progress("measured \(updates.inserts.count) insertions and as many removals")

    // By the tables that were changed and changed back.
    _ = try probe.run(period: SetBench.packetCount, count: SetBench.packetCount)
    var differing = 0
    for (index, frame) in (inside + outside).enumerated() {
      let expected = ReferenceClassifier.decide(frame, by: ruleSet)
      if probe.verdict(index).action != UInt32(expected.action.abiAction) { differing += 1 }
    }
    return Report(
      shape: plan.shape.rawValue, elements: ruleSet.sets[0].count, hasCounters: plan.hasCounters, seed: plan.seed,
      buildMilliseconds: build,
      setBytes: (generation.words.count - none.words.count) * 8, nanosecondsPerPacket: all.net,
      nanosecondsPerPacketInSet: hits.net, nanosecondsPerPacketElsewhere: misses.net, loopNanoseconds: all.loop,
      insertNanosecondsP50: updates.inserts.quantile(0.5), insertNanosecondsP99: updates.inserts.quantile(0.99),
      removeNanosecondsP50: updates.removals.quantile(0.5), removeNanosecondsP99: updates.removals.quantile(0.99),
      updates: updates.inserts.count + updates.removals.count + updates.refused, updatesWaited: updates.waited,
      updatesRefused: updates.refused, verdicts: SetBench.packetCount, differing: differing)
  }

  private func compile(_ ruleSet: RuleSet) throws -> CompiledGeneration {
    try RuleCompiler.compile(
      ruleSet, slots: { _ in 1 }, interfaceIndex: { _ in nil }, generation: 1, captureFallback: .pass)
  }

  /// Medians.
  private func measure(_ probe: ClassificationProbe, first: Int, period: Int) throws -> (net: Double, loop: Double) {
    let times = try probe.measure(first: first, period: period, count: SetBench.packetCount * 4, rounds: plan.rounds)
    return (times.net.median, times.loop.median)
  }

  // MARK: Elements and packets

  private mutating func prefix() -> IPPrefix {
    let host4 = IPAddress.v4(IPv4Address(value: UInt32.random(in: 0x0100_0000..<0xe000_0000, using: &random)))
    switch plan.shape {
    case .hosts: return IPPrefix(host: host4)
    case .mixed: return IPPrefix(host4, length: Int.random(in: 0..<10, using: &random) == 0 ? 24 : 32)
    case .lengths: return IPPrefix(host4, length: Int.random(in: 17...32, using: &random))
    case .hosts6: return IPPrefix(host: host6())
    case .networks6: return IPPrefix(host6(), length: 64)
    case .mixed6: return IPPrefix(host6(), length: [128, 128, 64, 56, 48].randomElement(using: &random)!)
    }
  }

  private mutating func host6() -> IPAddress {
    let network = UInt128(0x2a00_0000 + UInt32.random(in: 0..<4096, using: &random)) << 96
    let rest = UInt128(UInt32.random(in: 0 ... .max, using: &random)) << 64 | UInt128(UInt64.random(in: 0 ... .max, using: &random))
    return .v6(IPv6Address(value: network | rest))
  }

  private mutating func address(in prefix: IPPrefix) -> IPAddress {
    let free = prefix.family.bitCount - prefix.length
    let rest = free == 0 ? 0 : UInt128.random(in: 0 ... .max, using: &random) >> UInt128(128 - free)
    return IPAddress(family: prefix.family, value: prefix.address.value | rest)
  }

  private func frame(from source: IPAddress) -> [UInt8] {
    let destination: IPAddress =
      source.family == .ipv4 ? .v4(IPv4Address(192, 0, 2, 1)) : .v6(IPv6Address(value: 0x2001_0db8 << 96 | 1))
    return PacketBuilder(from: source, to: destination, .udp(source: 1000, destination: 2000)).build()
  }
}

/// What putting one element in and taking it out takes in live tables, single calls on this thread.
private struct SetUpdates {
  /// Nanoseconds, ascending.
  private(set) var inserts: [UInt64] = []
  private(set) var removals: [UInt64] = []
  private(set) var waited = 0
  private(set) var refused = 0

  /// Each in, and later out again: the set keeps some hundred of them at a time.
  mutating func measure(
    _ editor: inout SetEditor, _ half: LiveHalf, _ elements: [IPPrefix], except set: NamedSet
  ) throws {
    let period = try GracePeriod()
    var inside: [IPPrefix] = []
    for (index, element) in elements.enumerated() where !set.contains(.prefix(element)) {
      if index % 200 == 0 { period.turn(&editor) }
      if insert(element, &editor, half, period) { inside.append(element) }
      if inside.count > 500 { try remove(inside.removeFirst(), &editor, half) }
    }
    for element in inside { try remove(element, &editor, half) }
    inserts.sort()
    removals.sort()
  }

  private mutating func insert(
    _ element: IPPrefix, _ editor: inout SetEditor, _ half: LiveHalf, _ period: GracePeriod
  ) -> Bool {
    var waits = 0
    while true {
      do throws(SetEditor.Refusal) {
        let start = SystemClock.monotonicNanoseconds()
        let isNew = try editor.insert(element, into: "large", of: half)
        inserts.append(SystemClock.monotonicNanoseconds() - start)
        return isNew
      } catch {
        guard error == .needsGracePeriod, waits < SetEditor.gracePeriodsMax else {
          refused += 1
          return false
        }
        if waits == 0 { waited += 1 }
        waits += 1
        period.wait(&editor)
      }
    }
  }

  private mutating func remove(_ element: IPPrefix, _ editor: inout SetEditor, _ half: LiveHalf) throws {
    let start = SystemClock.monotonicNanoseconds()
    _ = try editor.remove(element, from: "large", of: half)
    removals.append(SystemClock.monotonicNanoseconds() - start)
  }
}

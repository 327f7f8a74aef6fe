/// In which order the frames of several flows are sent so that each flow has exactly its packets.
///
/// The engine walks a table of frames round and round. A schedule is one table after the other, each sent for a whole
/// number of rounds: in the first, every frame stands as often as its count divided by the rounds; what remains of the
/// division makes the next table. Two or three tables reach any counts. Within a table the flows are mixed evenly.
public struct TrafficSchedule: Hashable, Sendable {
  /// A frame of a flow.
  public struct Entry: Hashable, Sendable {
    public let flow: Int
    public let frame: Int
  }

  /// A table and how often it is sent.
  public struct Phase: Hashable, Sendable {
    /// 1 ... ``TrafficLimits/frameCountMax``.
    public let entries: [Entry]
    /// nil: without end.
    public let rounds: UInt64?

    /// nil: without end.
    public var packetCount: UInt64? { rounds.map { $0 * UInt64(entries.count) } }
  }

  /// A flow that ends. Its frames get equal numbers of the packets, the first of them one more where that isn't even.
  public struct FiniteFlow: Hashable, Sendable {
    public var frameCount: Int
    public var packetCount: UInt64
    public init(frameCount: Int, packetCount: UInt64) {
      self.frameCount = frameCount
      self.packetCount = packetCount
    }
  }

  /// A flow that goes on until the run is stopped.
  public struct EndlessFlow: Hashable, Sendable {
    public var frameCount: Int
    /// 1 ... ``TrafficLimits/weightMax``.
    public var weight: Int
    public init(frameCount: Int, weight: Int) {
      self.frameCount = frameCount
      self.weight = weight
    }
  }

  public let phases: [Phase]
  public let flowCount: Int

  /// Tables up to this length stay in the processor's caches.
  private static let shortTable: UInt64 = 4096

  /// Exactly these packets. Traps where the flows have more frames together than ``TrafficLimits/frameCountMax``.
  public init(_ flows: [FiniteFlow]) {
    precondition(flows.allSatisfy { $0.frameCount > 0 }, "a flow has a frame")
    precondition(flows.map(\.frameCount).reduce(0, +) <= TrafficLimits.frameCountMax, "all frames fit in a table")
    var counts = flows.map { flow -> [UInt64] in
      let (each, more) = flow.packetCount.quotientAndRemainder(dividingBy: UInt64(flow.frameCount))
      return (0..<flow.frameCount).map { each + (UInt64($0) < more ? 1 : 0) }
    }
    var phases: [Phase] = []
    while let rounds = TrafficSchedule.rounds(counts.flatMap { $0 }.filter { $0 > 0 }) {
      phases.append(Phase(entries: TrafficSchedule.mix(counts.map { $0.map { Int($0 / rounds) } }), rounds: rounds))
      for index in counts.indices { counts[index] = counts[index].map { $0 % rounds } }
    }
    self.phases = phases
    flowCount = flows.count
  }

  /// The frames of one flow in turn, again and again, until there are so many packets.
  ///
  /// - Parameter frameCount: 1 ... ``TrafficLimits/frameCountMax``.
  public init(inTurn frameCount: Int, packetCount: UInt64) {
    let turn = (0..<frameCount).map { Entry(flow: 0, frame: $0) }
    let (rounds, rest) = packetCount.quotientAndRemainder(dividingBy: UInt64(frameCount))
    var phases: [Phase] = []
    if rounds > 0 { phases.append(Phase(entries: turn, rounds: rounds)) }
    if rest > 0 { phases.append(Phase(entries: Array(turn.prefix(Int(rest))), rounds: 1)) }
    self.init(phases: phases, flowCount: 1)
  }

  /// Packets in proportion to the weights, without end.
  public init(endless flows: [EndlessFlow]) {
    let limit = UInt64(TrafficLimits.frameCountMax)
    let weights = flows.map { UInt64($0.weight) }
    // The least table in which every frame of a flow stands equally often.
    let least = leastCommonMultiple(
      flows.map { UInt64($0.frameCount) / greatestCommonDivisor(UInt64($0.frameCount), UInt64($0.weight)) },
      limit: limit)
    let factor = max(1, min(least, limit / weights.reduce(0, +)))
    let table = zip(flows, weights).map { flow, weight -> [Int] in
      let (each, more) = Int(weight * factor).quotientAndRemainder(dividingBy: flow.frameCount)
      return (0..<flow.frameCount).map { each + ($0 < more ? 1 : 0) }
    }
    phases = [Phase(entries: TrafficSchedule.mix(table), rounds: nil)]
    flowCount = flows.count
  }

  private init(phases: [Phase], flowCount: Int) {
    self.phases = phases
    self.flowCount = flowCount
  }

  /// The same packets dealt to several senders, as evenly as whole tables allow. Where a table's frames are many and all
  /// different, each frame has one sender, so that packets of a flow don't overtake each other.
  public func split(into parts: Int) -> [TrafficSchedule] {
    precondition(1...TrafficLimits.threadCountMax ~= parts, "1 ... threadCountMax parts")
    let dealt = phases.map { TrafficSchedule.split($0, into: parts) }
    return (0..<parts).map { part in
      TrafficSchedule(phases: dealt.compactMap { $0[part] }, flowCount: flowCount)
    }
  }

  /// Tables of so many entries for each part are dealt even if one part gets an entry more than another.
  private static let unevenEntryCountMin = 64

  private static func split(_ phase: Phase, into parts: Int) -> [Phase?] {
    let entries = phase.entries
    func deal(_ entries: [Entry], _ part: Int) -> Phase? {
      let own = stride(from: part, to: entries.count, by: parts).map { entries[$0] }
      return own.isEmpty ? nil : Phase(entries: own, rounds: phase.rounds)
    }
    let isEven = entries.count % parts == 0 || entries.count >= unevenEntryCountMin * parts
    if isEven, Set(entries).count == entries.count { return (0..<parts).map { deal(entries, $0) } }
    guard let rounds = phase.rounds else {
      // As often as makes it divisible, where that fits.
      let times = parts / Int(greatestCommonDivisor(UInt64(entries.count), UInt64(parts)))
      let fits = entries.count * times <= TrafficLimits.frameCountMax
      let table = fits ? Array(repeatElement(entries, count: times).joined()) : entries
      return (0..<parts).map { deal(table, $0) }
    }
    if rounds < UInt64(parts) { return (0..<parts).map { deal(entries, $0) } }
    let (each, more) = rounds.quotientAndRemainder(dividingBy: UInt64(parts))
    return (0..<parts).map { Phase(entries: entries, rounds: each + (UInt64($0) < more ? 1 : 0)) }
  }

  /// Packets in all; nil: without end.
  public var packetCount: UInt64? {
    phases.reduce(0 as UInt64?) { sum, phase in
      if let sum, let count = phase.packetCount { sum + count } else { nil }
    }
  }

  /// How often to send a table made of `counts`, all above zero: so that it fits, is short, and leaves little for the
  /// next. nil where there is nothing to send.
  private static func rounds(_ counts: [UInt64]) -> UInt64? {
    guard let least = counts.min() else { return nil }
    let total = counts.reduce(0, +)
    let limit = UInt64(TrafficLimits.frameCountMax)
    let divisor = counts.reduce(0, greatestCommonDivisor)
    // The last always fits, and as no more counts than fit in a table are there, puts at least one frame into it.
    var candidates = [least, max(1, total / shortTable), divisor, (total + limit - 1) / limit]
    if total / divisor <= shortTable { candidates.insert(divisor, at: 0) }
    var best: (rounds: UInt64, rest: UInt64)?
    for rounds in candidates {
      let length = counts.reduce(0) { $0 + $1 / rounds }
      guard (1...limit).contains(length) else { continue }
      let rest = total - length * rounds
      if rest <= total / 64 { return rounds }
      if rest < best?.rest ?? .max { best = (rounds, rest) }
    }
    return best?.rounds
  }

  /// A table in which each frame of each flow stands as often as `counts` says: a flow's frames in turn, the flows
  /// spread evenly over the table.
  private static func mix(_ counts: [[Int]]) -> [Entry] {
    var entries: [(entry: Entry, place: Int, of: Int)] = []
    for (flow, counts) in counts.enumerated() {
      let total = counts.reduce(0, +)
      var place = 0
      var round = 0
      var active = counts.indices.filter { counts[$0] > 0 }
      while !active.isEmpty {
        for frame in active {
          entries.append((Entry(flow: flow, frame: frame), 2 * place + 1, 2 * total))
          place += 1
        }
        round += 1
        active.removeAll { counts[$0] <= round }
      }
    }
    // By place / of, exactly; the sort is stable for equal ones because the flow decides.
    entries.sort { a, b in
      let (left, right) = (a.place * b.of, b.place * a.of)
      return left != right ? left < right : a.entry.flow < b.entry.flow
    }
    return entries.map(\.entry)
  }
}

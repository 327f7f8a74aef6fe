/// When each packet of a run is due, counted from its start. Pure; times in nanoseconds.
public struct TrafficPace: Hashable, Sendable {
  private enum Kind: Hashable, Sendable {
    case unlimited
    case steps([Step])
    case recorded(offsets: [UInt64], period: UInt64)
  }

  /// A rate that holds for a while.
  public struct Step: Hashable, Sendable {
    public let rate: PacketRate
    public let start: UInt64
    /// nil: without end.
    public let end: UInt64?
    /// Packets due before it begins.
    public let firstPacket: UInt64
    /// nil: without end.
    public let packetCount: UInt64?
  }

  private let kind: Kind
  /// This pace has the packets `part`, `part` + `parts`, … of the whole.
  private var part: UInt64 = 0
  private var parts: UInt64 = 1

  /// All at once: as fast as it goes.
  public static let unlimited = TrafficPace(.unlimited)

  private init(_ kind: Kind) { self.kind = kind }

  /// One rate without end.
  public init(_ rate: PacketRate) {
    kind = .steps([Step(rate: rate, start: 0, end: nil, firstPacket: 0, packetCount: nil)])
  }

  /// Rates one after the other, each from its first packet on; after the last one nothing is due.
  public init(ramp: [(rate: PacketRate, nanoseconds: UInt64)]) {
    precondition(!ramp.isEmpty, "a ramp has a step")
    var (start, packets): (UInt64, UInt64) = (0, 0)
    kind = .steps(
      ramp.map { rate, nanoseconds in
        precondition(nanoseconds > 0, "a step lasts")
        let count = rate.due(at: nanoseconds - 1)
        defer { (start, packets) = (start + nanoseconds, packets + count) }
        return Step(
          rate: rate, start: start, end: start + nanoseconds, firstPacket: packets, packetCount: count)
      })
  }

  /// Packets at recorded times, round and round.
  ///
  /// - Parameters:
  ///   - offsets: Of each packet from the first, never falling; one or more.
  ///   - period: From the first packet of a round to that of the next, the last packet or later. 0: as fast as it goes.
  public init(offsets: [UInt64], period: UInt64) {
    precondition(offsets.first == 0 && (offsets.last ?? 0) <= period, "offsets from 0 to the period")
    kind = period == 0 ? .unlimited : .recorded(offsets: offsets, period: period)
  }

  /// Packets `part`, `part` + `parts`, … of this pace, for one of several senders.
  public func dealt(_ part: Int, of parts: Int) -> TrafficPace {
    precondition((0..<parts).contains(part) && self.parts == 1, "a part of a whole")
    var pace = self
    (pace.part, pace.parts) = (UInt64(part), UInt64(parts))
    return pace
  }

  public var isUnlimited: Bool { kind == .unlimited }

  /// The steps of a rate or ramp, of the whole; none otherwise.
  public var steps: [Step] { if case .steps(let steps) = kind { steps } else { [] } }

  /// Packets due in all; nil: without end.
  public var packetCount: UInt64? {
    guard case .steps(let steps) = kind, let last = steps.last, let count = last.packetCount else { return nil }
    return dealt(last.firstPacket + count)
  }

  /// Packets due at `elapsed` or before.
  public func due(at elapsed: UInt64) -> UInt64 {
    switch kind {
    case .unlimited: return .max
    case .steps(let steps):
      // Few steps, and most runs have one: no search is faster.
      guard let step = steps.last(where: { $0.start <= elapsed }) else { return 0 }
      let due = min(step.rate.due(at: elapsed - step.start), step.packetCount ?? .max)
      return dealt(step.firstPacket + min(due, .max - step.firstPacket))
    case .recorded(let offsets, let period):
      let (rounds, rest) = elapsed.quotientAndRemainder(dividingBy: period)
      let inRound = TrafficPace.count(of: offsets, upTo: rest)
      return dealt(UInt64(clamping: UInt128(rounds) * UInt128(offsets.count) + UInt128(inRound)))
    }
  }

  /// Packets due before `elapsed`.
  public func due(before elapsed: UInt64) -> UInt64 { elapsed == 0 ? 0 : due(at: elapsed - 1) }

  /// When packet `index` is due; nil: never.
  public func time(of index: UInt64) -> UInt64? {
    let (product, overflow) = index.multipliedReportingOverflow(by: parts)
    let (whole, more) = product.addingReportingOverflow(part)
    if overflow || more { return nil }
    switch kind {
    case .unlimited: return 0
    case .steps(let steps):
      guard let step = steps.last(where: { $0.firstPacket <= whole }),
        whole - step.firstPacket < step.packetCount ?? .max
      else { return nil }
      return step.start + min(step.rate.time(of: whole - step.firstPacket), .max - step.start)
    case .recorded(let offsets, let period):
      let (rounds, rest) = whole.quotientAndRemainder(dividingBy: UInt64(offsets.count))
      return UInt64(clamping: UInt128(rounds) * UInt128(period) + UInt128(offsets[Int(rest)]))
    }
  }

  /// Of `whole` packets those that are this part's.
  private func dealt(_ whole: UInt64) -> UInt64 {
    if parts == 1 { return whole }
    return whole <= part ? 0 : (whole - part - 1) / parts + 1
  }

  /// How many of rising `offsets` are at most `limit`.
  private static func count(of offsets: [UInt64], upTo limit: UInt64) -> Int {
    var (low, high) = (0, offsets.count)
    while low < high {
      let middle = (low + high) / 2
      if offsets[middle] <= limit { low = middle + 1 } else { high = middle }
    }
    return low
  }
}

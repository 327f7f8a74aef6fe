/// When to send how much: a state machine without clock or engine of its own.
///
/// The caller asks ``step(elapsedNanoseconds:)``, does what it says, and reports with ``record(attempted:)``.
public struct TrafficRun: Sendable {
  public enum Step: Hashable, Sendable {
    /// Send so many packets of the phase's table, from where it stands.
    case send(phase: Int, packetCount: UInt32)
    /// Sleep until so long after the start.
    case wait(untilNanoseconds: UInt64)
    case finished(Stop)
  }

  public enum Stop: String, Hashable, Sendable {
    /// Everything was sent.
    case count
    case duration
    /// By the user.
    case signal
  }

  /// Packets and their bytes, frame check sequence not included.
  public struct Tally: Hashable, Sendable {
    public var packets: UInt64 = 0
    public var bytes: UInt64 = 0
    public init() {}
  }

  /// Packets in one call at most, so that the caller looks at clock and signals every few milliseconds.
  public static let sliceMax: UInt32 = 16384
  /// A paced run sends at least about so often.
  private static let sliceNanoseconds: UInt64 = 1_000_000
  /// Longest sleep.
  private static let waitMax: UInt64 = 50_000_000
  private static let second: UInt128 = 1_000_000_000

  private let schedule: TrafficSchedule
  private let packetsPerSecond: UInt64?
  private let durationNanoseconds: UInt64?
  private var phase = 0
  /// Packets attempted, by phase.
  public private(set) var attemptedByPhase: [UInt64]
  /// Packets attempted in all.
  public private(set) var attempted: UInt64 = 0

  /// - Parameters:
  ///   - packetsPerSecond: 1 ... ``TrafficLimits/packetsPerSecondMax``; nil: as fast as it goes.
  ///   - durationNanoseconds: nil: until everything is sent.
  public init(_ schedule: TrafficSchedule, packetsPerSecond: UInt64? = nil, durationNanoseconds: UInt64? = nil) {
    precondition(packetsPerSecond.map { 1...TrafficLimits.packetsPerSecondMax ~= $0 } ?? true, "a rate in its limits")
    self.schedule = schedule
    self.packetsPerSecond = packetsPerSecond
    self.durationNanoseconds = durationNanoseconds
    attemptedByPhase = schedule.phases.map { _ in 0 }
  }

  /// What to do at a time since the start.
  public func step(elapsedNanoseconds elapsed: UInt64) -> Step {
    guard phase < schedule.phases.count else { return .finished(.count) }
    let isOver = durationNanoseconds.map { elapsed >= $0 } ?? false
    guard let rate = packetsPerSecond else {
      return isOver ? .finished(.duration) : .send(phase: phase, packetCount: slice(.max))
    }
    if isOver, let durationNanoseconds {
      // What was due before the end and waited for its slice; not what a slow machine has left behind.
      let backlog = due(durationNanoseconds, rate, isEnd: true)
      let isSmall = backlog > 0 && backlog <= max(1, rate / 20)
      return isSmall ? .send(phase: phase, packetCount: slice(backlog)) : .finished(.duration)
    }
    let rest = schedule.packetCount.map { $0 - attempted } ?? .max
    let wanted = min(max(1, rate * Self.sliceNanoseconds / 1_000_000_000), rest)
    let allowed = due(elapsed, rate, isEnd: false)
    if allowed >= wanted { return .send(phase: phase, packetCount: slice(allowed)) }
    let next = UInt64((UInt128(attempted + wanted - 1) * Self.second + UInt128(rate) - 1) / UInt128(rate))
    return .wait(untilNanoseconds: min(next, elapsed + Self.waitMax, durationNanoseconds ?? .max))
  }

  /// After a send: how many packets the engine took of those asked for, no more than that.
  public mutating func record(attempted count: UInt32) {
    attempted += UInt64(count)
    attemptedByPhase[phase] += UInt64(count)
    guard let all = schedule.phases[phase].packetCount else { return }
    precondition(attemptedByPhase[phase] <= all, "no more packets than asked for")
    if attemptedByPhase[phase] == all { phase += 1 }
  }

  /// Packets that may be sent now: one at the start, then one each 1/rate; at the end only those before it.
  private func due(_ elapsed: UInt64, _ rate: UInt64, isEnd: Bool) -> UInt64 {
    let product = UInt128(elapsed) * UInt128(rate)
    let all = isEnd ? (product + Self.second - 1) / Self.second : product / Self.second + 1
    return UInt64(clamping: all) - min(attempted, UInt64(clamping: all))
  }

  private func slice(_ allowed: UInt64) -> UInt32 {
    let rest = schedule.phases[phase].packetCount.map { $0 - attemptedByPhase[phase] } ?? .max
    return UInt32(min(allowed, rest, UInt64(Self.sliceMax)))
  }

  /// What each flow of `plan` (the one whose schedule this is) has sent so far.
  public func tallies(_ plan: TrafficPlan) -> [Tally] {
    var tallies = plan.flows.map { _ in Tally() }
    for (phase, packets) in zip(schedule.phases, attemptedByPhase) where packets > 0 {
      let (rounds, more) = packets.quotientAndRemainder(dividingBy: UInt64(phase.entries.count))
      for (index, entry) in phase.entries.enumerated() {
        let times = rounds + (UInt64(index) < more ? 1 : 0)
        tallies[entry.flow].packets += times
        tallies[entry.flow].bytes += times * UInt64(plan.flows[entry.flow].frames[entry.frame].count)
      }
    }
    return tallies
  }
}

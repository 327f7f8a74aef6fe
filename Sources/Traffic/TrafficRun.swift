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

  /// Packets in one call at most of a paced run, so that the caller looks at clock and signals every few milliseconds.
  public static let sliceMax: UInt32 = 16384
  /// Packets in one call at most of a run without pace.
  public static let unpacedSliceMax: UInt32 = 1 << 20
  /// How long a call of a run without pace is to take. Each waits for whoever changes an XDP program anywhere on the
  /// machine, tens of milliseconds: better seldom than often.
  private static let unpacedNanoseconds: UInt64 = 20_000_000
  /// Packets in one call at most of a run that has to catch up: what was late leaves in bursts, not in one.
  public static let catchUpMax: UInt32 = 256
  /// Longest sleep.
  private static let waitMax: UInt64 = 50_000_000
  /// A run that is over still sends what was due so shortly before its end.
  private static let graceNanoseconds: UInt64 = 50_000_000

  private let schedule: TrafficSchedule
  public let pace: TrafficPace
  private let durationNanoseconds: UInt64?
  private let burst: UInt64
  private var phase = 0
  /// Packets attempted, by phase.
  public private(set) var attemptedByPhase: [UInt64]
  /// Packets attempted in all.
  public private(set) var attempted: UInt64 = 0

  /// - Parameters:
  ///   - durationNanoseconds: nil: until everything is sent, or nothing is due any more.
  ///   - burst: Packets that are waited for and sent together; 1 or more.
  public init(
    _ schedule: TrafficSchedule, pace: TrafficPace = .unlimited, durationNanoseconds: UInt64? = nil, burst: UInt32 = 1
  ) {
    precondition(1...TrafficRun.sliceMax ~= burst, "a burst in its limits")
    self.schedule = schedule
    self.pace = pace
    self.durationNanoseconds = durationNanoseconds
    self.burst = UInt64(burst)
    attemptedByPhase = schedule.phases.map { _ in 0 }
  }

  /// What to do at a time since the start.
  public func step(elapsedNanoseconds elapsed: UInt64) -> Step {
    guard phase < schedule.phases.count else { return .finished(.count) }
    let isOver = durationNanoseconds.map { elapsed >= $0 } ?? false
    if pace.isUnlimited {
      return isOver ? .finished(.duration) : .send(phase: phase, packetCount: slice(unpaced(elapsed)))
    }
    if isOver, let end = durationNanoseconds {
      // What was due just before the end; not what a slow machine has left behind for long.
      let backlog = pace.due(before: end) - min(attempted, pace.due(before: end))
      let grace = pace.due(before: end) - pace.due(before: end - min(end, TrafficRun.graceNanoseconds))
      let isSmall = backlog > 0 && backlog <= max(1, grace)
      return isSmall ? .send(phase: phase, packetCount: slice(backlog)) : .finished(.duration)
    }
    if let all = pace.packetCount, attempted >= all { return .finished(.duration) }
    let rest = min(schedule.packetCount ?? .max, pace.packetCount ?? .max) - attempted
    let wanted = min(burst, rest)
    let due = pace.due(at: elapsed)
    if due >= attempted + wanted { return .send(phase: phase, packetCount: slice(due - attempted)) }
    let next = pace.time(of: attempted + wanted - 1) ?? .max
    return .wait(untilNanoseconds: min(next, elapsed + TrafficRun.waitMax, durationNanoseconds ?? .max))
  }

  /// By how much the next packet is behind its time; nil where no time is given, and while it isn't due.
  public func lateness(elapsedNanoseconds elapsed: UInt64) -> UInt64? {
    guard !pace.isUnlimited, let time = pace.time(of: attempted), time <= elapsed else { return nil }
    return elapsed - time
  }

  /// Packets that were due by then, of those that there are; nil where the pace asks for as many as possible.
  public func due(elapsedNanoseconds elapsed: UInt64) -> UInt64? {
    if pace.isUnlimited { return nil }
    let isOver = durationNanoseconds.map { elapsed >= $0 } ?? false
    let due = isOver ? pace.due(before: durationNanoseconds ?? elapsed) : pace.due(at: elapsed)
    return min(due, schedule.packetCount ?? .max)
  }

  /// After a send: how many packets the engine took of those asked for, no more than that.
  public mutating func record(attempted count: UInt32) {
    attempted += UInt64(count)
    attemptedByPhase[phase] += UInt64(count)
    guard let all = schedule.phases[phase].packetCount else { return }
    precondition(attemptedByPhase[phase] <= all, "no more packets than asked for")
    if attemptedByPhase[phase] == all { phase += 1 }
  }

  /// What the engine has taken in such a time so far, or takes until the end if that is nearer.
  private func unpaced(_ elapsed: UInt64) -> UInt64 {
    let time = min(TrafficRun.unpacedNanoseconds, durationNanoseconds.map { $0 - min($0, elapsed) } ?? .max)
    let packets = UInt128(attempted) * UInt128(time) / UInt128(max(1, elapsed))
    return max(UInt64(TrafficRun.sliceMax), min(UInt64(clamping: packets), UInt64(TrafficRun.unpacedSliceMax)))
  }

  private func slice(_ allowed: UInt64) -> UInt32 {
    let rest = schedule.phases[phase].packetCount.map { $0 - attemptedByPhase[phase] } ?? .max
    let limit = pace.isUnlimited ? UInt64(TrafficRun.unpacedSliceMax) : max(burst, UInt64(TrafficRun.catchUpMax))
    return UInt32(min(allowed, rest, limit))
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

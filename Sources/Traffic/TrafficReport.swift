/// What became of a run's packets.
public struct TrafficReport: Hashable, Sendable {
  public struct Flow: Hashable, Sendable {
    public var name: String
    /// Packets asked for; nil: without end.
    public var planned: UInt64?
    public var attempted: TrafficRun.Tally

    public init(name: String, planned: UInt64?, attempted: TrafficRun.Tally) {
      self.name = name
      self.planned = planned
      self.attempted = attempted
    }
  }

  /// What happened while one rate of a ramp held.
  public struct Step: Hashable, Sendable {
    /// Packets a second that were asked for.
    public var asked: Double
    public var nanoseconds: UInt64
    public var attempted: UInt64
    /// Frames that the interface dropped meanwhile.
    public var transmitDropped: UInt64
    /// Counted at the receiver meanwhile; nil without one.
    public var received: UInt64?

    public init(asked: Double, nanoseconds: UInt64, attempted: UInt64, transmitDropped: UInt64, received: UInt64?) {
      self.asked = asked
      self.nanoseconds = nanoseconds
      self.attempted = attempted
      self.transmitDropped = transmitDropped
      self.received = received
    }

    public var sent: UInt64 { attempted - min(transmitDropped, attempted) }
    public var packetsPerSecond: Double { nanoseconds == 0 ? 0 : Double(sent) / Double(nanoseconds) * 1e9 }
  }

  public var flows: [Flow]
  /// Frames handed to the interface.
  public var redirected: UInt64
  /// Frames that could not be built.
  public var failed: UInt64
  /// Frames that the interface dropped while the run lasted, whoever sent them.
  public var transmitDropped: UInt64
  public var nanoseconds: UInt64
  public var stop: TrafficRun.Stop
  /// Packets that the rate asked for in the time of the run; nil where none was asked for.
  public var due: UInt64?
  /// By how much bursts left after their time; empty where no rate was asked for.
  public var lateness = LatencyHistogram()
  /// Of a ramp.
  public var steps: [Step] = []

  public init(
    flows: [Flow], redirected: UInt64, failed: UInt64, transmitDropped: UInt64, nanoseconds: UInt64,
    stop: TrafficRun.Stop, due: UInt64? = nil
  ) {
    self.flows = flows
    self.redirected = redirected
    self.failed = failed
    self.transmitDropped = transmitDropped
    self.nanoseconds = nanoseconds
    self.stop = stop
    self.due = due
  }

  public var attempted: UInt64 { flows.reduce(0) { $0 + $1.attempted.packets } }
  public var attemptedBytes: UInt64 { flows.reduce(0) { $0 + $1.attempted.bytes } }
  public var sent: UInt64 { redirected - min(transmitDropped, redirected) }
  public var seconds: Double { Double(nanoseconds) / 1e9 }
  public var packetsPerSecond: Double { nanoseconds == 0 ? 0 : Double(sent) / seconds }
  /// Packets that the rate asked for and that were not even attempted.
  public var shortfall: UInt64 { due.map { $0 - min($0, attempted) } ?? 0 }

  /// Of sent frames, counted as ``TrafficRate/Layer`` says; where some were not sent, of frames of average size.
  public func bitsPerSecond(_ layer: TrafficRate.Layer) -> Double {
    guard attempted > 0 else { return 0 }
    let overhead = layer == .l1 ? Double(TrafficRate.lineOverheadByteCount) : 0
    return (Double(attemptedBytes) / Double(attempted) + overhead) * 8 * packetsPerSecond
  }
}

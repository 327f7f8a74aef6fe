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

  public var flows: [Flow]
  /// Frames handed to the interface.
  public var redirected: UInt64
  /// Frames that could not be built.
  public var failed: UInt64
  /// Frames that the interface dropped while the run lasted, whoever sent them.
  public var transmitDropped: UInt64
  public var nanoseconds: UInt64
  public var stop: TrafficRun.Stop

  public init(
    flows: [Flow], redirected: UInt64, failed: UInt64, transmitDropped: UInt64, nanoseconds: UInt64,
    stop: TrafficRun.Stop
  ) {
    self.flows = flows
    self.redirected = redirected
    self.failed = failed
    self.transmitDropped = transmitDropped
    self.nanoseconds = nanoseconds
    self.stop = stop
  }

  public var attempted: UInt64 { flows.reduce(0) { $0 + $1.attempted.packets } }
  public var attemptedBytes: UInt64 { flows.reduce(0) { $0 + $1.attempted.bytes } }
  public var sent: UInt64 { redirected - min(transmitDropped, redirected) }
  public var seconds: Double { Double(nanoseconds) / 1e9 }
  public var packetsPerSecond: Double { nanoseconds == 0 ? 0 : Double(sent) / seconds }

  /// Of sent frames, without preamble and frame check sequence; where some were not sent, of frames of average size.
  public var bitsPerSecond: Double {
    attempted == 0 ? 0 : Double(attemptedBytes) * 8 / Double(attempted) * packetsPerSecond
  }
}

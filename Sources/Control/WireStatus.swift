import Flows
import XDPPrograms

/// A wire as it is.
public struct WireStatus: Hashable, Sendable {
  public enum Path: String, Hashable, Sendable {
    case kernel, user
    /// A side is missing: nothing is carried.
    case none
  }

  public var options: WireOptions
  public var path: Path
  public var reason: String
  /// The user path was chosen and could not be kept: why.
  public var fallbackReason: String?
  public var sides: [WireSideStatus]
  public var queues: [WireQueueStatus]
  public var flows: FlowStatus?
  public var warnings: [String]
  public var createdAtNanoseconds: UInt64
}

/// What became of the packets that came in by one side, since the wire was started.
public struct WireSideStatus: Hashable, Sendable {
  public var interface: String
  /// Carried or received: `kernel`, `user`.
  public var received: [NamedCount]
  /// Packets sent on, by the way they took: `kernel`, `live`, `af_xdp`.
  public var forwarded: [String: UInt64]
  /// By reason.
  public var dropped: [String: UInt64]
  /// Packets that left by AF_XDP, by why not as live frames.
  public var notLive: [String: UInt64]
  public var captured: UInt64
  public var mirrored: UInt64
  public var mirrorDropped: UInt64
  /// Nil: the kernel can't tell.
  public var transmitsRedirected: Bool?

  init(interface: String) {
    self.interface = interface
    (received, forwarded, dropped, notLive) = ([], [:], [:], [:])
    (captured, mirrored, mirrorDropped) = (0, 0, 0)
  }
}

/// A packet thread of the user path.
public struct WireQueueStatus: Hashable, Sendable {
  public var queue: UInt32
  /// -1: not pinned.
  public var cpu: Int
  public var isZeroCopy: Bool
  public var copyReason: String?
  public var hasLiveFrames: Bool
  public var liveReason: String?
  public var framesTotal: UInt64
  public var framesPool: UInt64
  public var thread: ThreadReport
}

/// What a wire's flow accounting did, over all its packet threads.
public struct FlowStatus: Hashable, Sendable {
  public var packets: UInt64 = 0
  public var notIP: UInt64 = 0
  public var malformed: UInt64 = 0
  public var active: UInt64 = 0
  public var capacity: UInt64 = 0
  public var closed: UInt64 = 0
  public var evicted: UInt64 = 0
  public var lost: UInt64 = 0
  public var exportedRecords: UInt64 = 0
  public var unsentRecords: UInt64 = 0
  public var messages: UInt64 = 0
  /// Packets in the records that were lost.
  public var lostPackets: UInt64 = 0
  /// What went wrong with messages, by reason; a refusal is heard of only after the message that it was for, which counts as
  /// sent. Empty: flows are not exported.
  public var exportErrors: [String: UInt64] = [:]
}

/// The greatest flows of a wire at one moment.
public struct TopFlowsReport: Hashable, Sendable {
  public struct Flow: Hashable, Sendable {
    public var entry: TopFlows.Entry
    /// That the flow comes in by.
    public var interface: String
    /// CLOCK_REALTIME.
    public var firstNanoseconds: UInt64
    public var lastNanoseconds: UInt64
  }

  public var flows: [Flow]
  public var flowCount: Int
  /// CLOCK_REALTIME.
  public var takenNanoseconds: UInt64
  public var isComplete: Bool
}

import DataPlane
import Rules
import XDPPrograms

/// An attachment as it is.
public struct AttachmentReport: Hashable, Sendable {
  public var interface: String
  public var options: AttachmentOptions
  public var isNative: Bool
  /// Why not native although that was preferred.
  public var fallbackReason: String?
  public var isInDispatcher: Bool
  public var programIdentifier: UInt32
  public var generation: UInt64
  /// Nil: nothing applied yet.
  public var ruleSet: String?
  public var revision: UInt64
  public var queues: [QueueReport]
  public var warnings: [String]
  public var attachedAtNanoseconds: UInt64
  /// Nil: what is applied stands.
  public var trial: TrialReport?
  /// Rules of what is live that will end.
  public var expiringRules: Int
  /// Elements of its sets that will.
  public var expiringElements: Int
  /// CLOCK_REALTIME of the next of both; 0: none.
  public var nextExpiryNanoseconds: UInt64
  /// Rules of what was applied last that have ended.
  public var expiredRules: Int
  /// Elements of its sets that have.
  public var endedElements: UInt64
}

/// Until when a rule set must be confirmed, and what comes back otherwise.
public struct TrialReport: Hashable, Sendable {
  /// CLOCK_REALTIME.
  public var confirmByNanoseconds: UInt64
  /// Nil: none.
  public var previousRuleSet: String?
  public var previousRevision: UInt64
}

/// A receive queue whose packets can go to user space.
public struct QueueReport: Hashable, Sendable {
  public var queue: UInt32
  public var isZeroCopy: Bool
  /// -1: not pinned.
  public var cpu: Int
  /// -1: one node, or the check failed.
  public var numaNode: Int
  public var hasHugePages: Bool
  public var framesTotal: UInt64
  public var framesPool: UInt64
  public var framesFill: UInt64
  public var framesInFlight: UInt64
  /// With a capture's writer, packets in them.
  public var framesLent: UInt64
  public var received: PacketCount
  public var rxDropped: UInt64
  public var rxInvalidDescriptors: UInt64
  public var rxRingFull: UInt64
  public var rxFillRingEmpty: UInt64
  public var thread: ThreadReport
}

/// What a packet thread did with its time, and in how large batches.
public struct ThreadReport: Hashable, Sendable {
  /// Element i: batches of 2^i up to 2^(i+1)−1 packets; the last one: also larger ones.
  public var batches: [UInt64]
  /// In all batches together.
  public var packets: UInt64
  public var busySeconds: Double
  /// Awake, without packets.
  public var idleSeconds: Double
  public var asleepSeconds: Double

  init(_ loop: LoopHistogram) {
    batches = loop.batches
    packets = loop.packets
    busySeconds = Double(loop.busyNanoseconds) / 1e9
    idleSeconds = Double(loop.idleNanoseconds) / 1e9
    asleepSeconds = Double(loop.asleepNanoseconds) / 1e9
  }
}

/// A network interface of the daemon's network namespace.
public struct InterfaceReport: Hashable, Sendable {
  public var name: String
  public var index: UInt32
  public var mac: String
  public var mtu: UInt32
  public var isUp: Bool
  public var hasCarrier: Bool
  public var receiveQueueCount: UInt32
  public var driver: String
  public var numaNode: Int
  /// An XDP program that isn't Sluice's; 0: none.
  public var foreignProgramIdentifier: UInt32
  public var attachment: AttachmentReport?
}

/// A counter with its name.
public struct NamedCount: Hashable, Sendable {
  public var name: String
  public var count: PacketCount
}

/// Counters of an attachment, summed over the CPUs; each one monotonic, all read within a millisecond or so.
public struct CountersReport: Hashable, Sendable {
  public struct RuleCount: Hashable, Sendable {
    /// `default` for the default action.
    public var rule: String
    public var action: String
    public var count: PacketCount
  }

  public var interface: String
  public var ruleSet: String?
  public var revision: UInt64
  public var generation: UInt64
  public var rules: [RuleCount]
  /// `pass`, `drop`, `capture`, `redirect`, `forward`: every packet is in exactly one.
  public var actions: [NamedCount]
  /// `capture_fallback`, `redirect_failed`, `no_generation`, `forward_failed`, `forward_fallback`, and `broken_walk`:
  /// dropped, because the tables could not be walked to an end.
  public var events: [NamedCount]
  /// By reason.
  public var malformed: [NamedCount]
}

/// What applying a rule set came to on one interface.
public struct ApplyReport: Hashable, Sendable {
  public var interface: String
  public var generation: UInt64
  public var entryCount: Int
  public var selfTestPacketCount: Int
  /// Whether the live tables were changed; else they were compiled anew.
  public var isInPlace = false
  /// From the start of the compilation to the end of the grace period after the swap.
  public var seconds: Double
}

/// What the daemon has done since its start.
public struct ControlStatistics: Hashable, Sendable {
  public struct Capture: Hashable, Sendable {
    public var written: UInt64 = 0
    public var sampledOut: UInt64 = 0
    public var filteredOut: UInt64 = 0
    public var dropped: UInt64 = 0
    public var lostByKernel: UInt64 = 0
    public var bytesWritten: UInt64 = 0
  }

  public var applied: UInt64 = 0
  public var refused: UInt64 = 0
  /// Interfaces on which what was confirmed last came back.
  public var rolledBack: UInt64 = 0
  /// Rules taken out of what is live when their time had come.
  public var rulesExpired: UInt64 = 0
  /// Elements of sets taken out of what is live when their time had come.
  public var elementsEnded: UInt64 = 0
  public var lastApplySeconds: Double = 0
  public var attachmentsLost: UInt64 = 0
  /// User paths that failed, so that the kernel took over.
  public var wireFallbacks: UInt64 = 0
  public var capturesRunning = 0
  /// Of running and finished captures.
  public var capture = Capture()
}

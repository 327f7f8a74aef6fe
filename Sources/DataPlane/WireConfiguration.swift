import Flows
import LinuxSystem
import XSK

/// One queue of a wire: what goes in at one side comes out at the other.
public struct WireConfiguration: Hashable, Sendable {
  public enum LiveMode: String, Hashable, Sendable {
    /// Live frames where they are faster and the device takes them.
    case auto
    /// Only AF_XDP.
    case off
    /// Fails at the start where live frames cannot be set up.
    case required
  }

  /// One interface: a reflector, which sends packets back with source and destination address swapped. Two: a wire.
  public var sides: [NetworkInterface]
  /// The receive queue of each side.
  public var queue: UInt32
  /// The CPU to pin the thread to; nil: it roams.
  public var cpu: Int?
  /// Node of the frames; negative: no preference.
  public var numaNode: Int
  public var wait: WaitMode
  /// Packets taken at a time, at most; 32 to 1024.
  public var batchLimit: UInt32
  /// Entries of each side's fill and receive rings: a power of two. Large enough for the packets of a time in which the
  /// thread does not run.
  public var ringEntryCount: UInt32
  /// Entries of each side's transmit ring: a power of two, at least ``batchLimit``.
  public var transmitEntryCount: UInt32
  public var frameByteCount: UInt32
  /// Packets longer than a frame go through, in several. The XDP programs must be ones for fragments.
  public var usesFragments: Bool
  public var zeroCopy: XDPSocket.ZeroCopyMode
  /// The XDP programs are attached in native mode.
  public var isProgramNative: Bool
  /// The programs call receivers, and are given the worker's (``WireWorker/receiver(side:)``): they copy packets into the
  /// frames themselves, where not all devices have zero-copy.
  public var hasReceivers = false
  public var wantsHugePages: Bool
  public var live: LiveMode
  /// Where copies go: its queue 0 must have no AF_XDP socket.
  public var mirror: NetworkInterface?
  /// Nil: no flows are accounted.
  public var flows: FlowAccountingConfiguration?
  /// One of so many packets is mirrored and accounted; 0 and 1: all.
  public var sampleEvery: UInt32
  public var captureFallback: CaptureFallback

  public init(
    sides: [NetworkInterface], queue: UInt32 = 0, cpu: Int? = nil, wait: WaitMode = .adaptive, batchLimit: UInt32 = 256,
    ringEntryCount: UInt32 = 4096, transmitEntryCount: UInt32 = 2048, usesFragments: Bool = false,
    zeroCopy: XDPSocket.ZeroCopyMode = .auto, isProgramNative: Bool = true, wantsHugePages: Bool = true,
    live: LiveMode = .auto, mirror: NetworkInterface? = nil,
    flows: FlowAccountingConfiguration? = nil, sampleEvery: UInt32 = 1,
    captureFallback: CaptureFallback = .pass
  ) {
    self.sides = sides
    self.queue = queue
    self.cpu = cpu
    numaNode = sides.first?.numaNode() ?? -1
    self.wait = wait
    self.batchLimit = batchLimit
    self.ringEntryCount = ringEntryCount
    self.transmitEntryCount = transmitEntryCount
    frameByteCount = UMEM.Geometry.frameByteCount(forMTU: sides.map(\.mtu).max() ?? 1500)
    self.usesFragments = usesFragments
    self.zeroCopy = zeroCopy
    self.isProgramNative = isProgramNative
    self.wantsHugePages = wantsHugePages
    self.live = live
    self.mirror = mirror
    self.flows = flows
    self.sampleEvery = sampleEvery
    self.captureFallback = captureFallback
  }

  /// Frames for everything that can hold one at the same time, so that no ring starves another: for each side a full
  /// fill and a full receive ring and a full transmit ring, the mirror's transmit ring, a batch in hand.
  var frameCount: UInt32 {
    let perSide = 2 * ringEntryCount + transmitEntryCount
    return UInt32(sides.count) * perSide + (mirror == nil ? 0 : transmitEntryCount) + batchLimit
  }

  /// Bytes that the thread takes for frames and for flows.
  public var memoryByteCount: Int {
    Int(frameCount) * Int(frameByteCount) + (flows.map { FlowTable.byteCount(flowCount: $0.flowCount) } ?? 0)
  }

  /// Names what cannot be.
  func validate() throws(SystemError) {
    let defect: String?
    if !(1...2).contains(sides.count) {
      defect = "a wire has one side or two"
    } else if !(BatchSize.least...1024).contains(batchLimit) {
      defect = "\(BatchSize.least) to 1024 packets in a batch, not \(batchLimit)"
    } else if transmitEntryCount < batchLimit {
      defect = "a transmit ring of \(transmitEntryCount) entries holds no batch"
    } else if Set(sides.map(\.index) + (mirror.map { [$0.index] } ?? [])).count != sides.count + (mirror == nil ? 0 : 1) {
      defect = "sides and mirror are different interfaces"
    } else {
      defect = nil
    }
    if let defect {
      throw SystemError(
        operation: "make wire", code: 22, subject: sides.map(\.name).joined(separator: "-"), remedy: defect)  // EINVAL
    }
  }
}

/// What a wire became. Every fallback has its reason.
public struct WireReport: Hashable, Sendable {
  /// The sockets, as the sides.
  public var sides: [QueueReport]
  /// Live frames were set up; whether a device takes them is another question.
  public var isLiveOpen: Bool
  /// Why they were not; nil if they were.
  public var liveReason: String?
  /// Why the mirror's copies are copied once more by the kernel; nil with zero-copy, and without a mirror.
  public var mirrorCopyReason: String?
}

/// What becomes of the packets that rules capture on a wire while nobody captures.
public enum CaptureFallback: Hashable, Sendable {
  /// They go on to the other side.
  case pass
  case drop
}

import CSluiceABI
import XSK

// One file: in debug builds the compiler's proof about processBatch sees no bodies in other files of the module.

/// What is known of a packet besides its bytes. Stages may change it for those behind them.
public struct PacketContext: BitwiseCopyable, Hashable, Sendable {
  /// Counter slot of the rule that sent it here; ``unknownSlot`` if the program didn't say.
  public var slot: UInt32
  /// Of the whole packet. A stage sees its first frame; the rest of a longer packet lies in further ones.
  public var byteCount: UInt32
  /// CLOCK_MONOTONIC, when the XDP program saw it, or when its batch was received if the program didn't say.
  public var timestampNanoseconds: UInt64
  /// The side of a wire that it came in by, 0 or 1; 0 elsewhere.
  public var side: UInt8
  /// A rule captures it; else it is on its way through a wire.
  public var isCaptured: Bool
  /// It is among those that sampled stages look at.
  public var isSampled: Bool
  /// A copy is wanted on the wire's mirror interface.
  public var wantsMirror: Bool

  @inlinable public static var unknownSlot: UInt32 { .max }

  @inlinable public init(
    slot: UInt32, byteCount: UInt32, timestampNanoseconds: UInt64, side: UInt8 = 0, isCaptured: Bool = true
  ) {
    self.slot = slot
    self.byteCount = byteCount
    self.timestampNanoseconds = timestampNanoseconds
    self.side = side
    self.isCaptured = isCaptured
    isSampled = true
    wantsMirror = false
  }
}

/// What a stage makes of a packet.
public enum Verdict: Hashable, Sendable {
  /// On to the next stage.
  case proceed
  /// No further stage sees it.
  case finish
}

/// One step of what happens to a packet in user space. Compose with ``Chain``; concrete types cost nothing.
public protocol PacketStage: ~Copyable {
  /// On the packet thread, for every packet: no system call, lock or allocation.
  ///
  /// A stage in another file than its chain carries `@_noAllocation @_noLocks` itself, so that the compiler's proof
  /// about the chain holds file by file.
  mutating func process(_ packet: inout MutableRawSpan, _ context: inout PacketContext) -> Verdict
}

/// Two stages, one after the other.
@frozen public struct Chain<First: PacketStage & ~Copyable, Second: PacketStage & ~Copyable>: PacketStage, ~Copyable {
  public var first: First
  public var second: Second

  @inlinable public init(_ first: consuming First, _ second: consuming Second) {
    self.first = first
    self.second = second
  }

  @inlinable public mutating func process(_ packet: inout MutableRawSpan, _ context: inout PacketContext) -> Verdict {
    guard first.process(&packet, &context) == .proceed else { return .finish }
    return second.process(&packet, &context)
  }
}

/// Counts packets and bytes.
public struct TrafficCount: PacketStage, ~Copyable {
  public var packets: UInt64 = 0
  public var bytes: UInt64 = 0

  @inlinable public init() {}

  @inlinable public mutating func process(_ packet: inout MutableRawSpan, _ context: inout PacketContext) -> Verdict {
    packets &+= 1
    bytes &+= UInt64(truncatingIfNeeded: packet.byteCount)
    return .proceed
  }
}

/// Offers packets to the running captures.
public struct CaptureTap: PacketStage, ~Copyable {
  public var taps = Taps()

  public init() {}

  @inlinable public mutating func process(_ packet: inout MutableRawSpan, _ context: inout PacketContext) -> Verdict {
    taps.append(packet, slot: context.slot, timestampNanoseconds: context.timestampNanoseconds)
    return .proceed
  }
}

/// What every received packet goes through.
typealias Pipeline = Chain<TrafficCount, CaptureTap>

/// From received frames to the pipeline: understands the metadata that the XDP program leaves.
struct PipelineEntry: FrameHandler, ~Copyable {
  var pipeline = Pipeline(TrafficCount(), CaptureTap())
  /// CLOCK_MONOTONIC of this batch, for packets without a timestamp.
  var now: UInt64 = 0

  @inline(__always)
  mutating func handle(_ packet: inout MutableRawSpan, in frame: ReceivedFrame) {
    handle(&packet, in: frame, byteCount: UInt32(truncatingIfNeeded: packet.byteCount))
  }

  /// The stages see the first buffer, and the length of the whole packet.
  @inline(__always)
  mutating func handle(_ packet: inout MutableRawSpan, in frame: ReceivedFrame, followedBy rest: FollowingBuffers) {
    handle(&packet, in: frame, byteCount: UInt32(truncatingIfNeeded: packet.byteCount) &+ rest.byteCount)
  }

  @inline(__always)
  private mutating func handle(_ packet: inout MutableRawSpan, in frame: ReceivedFrame, byteCount: UInt32) {
    let metadata = frame.takeMetadata()
    let isOurs = metadata.first == SLUICE_METADATA_MAGIC  // struct sluice_metadata: magic, slot, timestamp
    var context = PacketContext(
      slot: isOurs ? metadata.second : PacketContext.unknownSlot, byteCount: byteCount,
      timestampNanoseconds: isOurs ? metadata.last : now)
    _ = pipeline.process(&packet, &context)
  }
}

/// Everything a packet thread owns.
struct QueueState: ~Copyable {
  var socket: XDPSocket
  var pool: FramePool
  var entry = PipelineEntry()

  /// The frames are where the books say. Between batches all that are not in the pool are with the kernel.
  var areFramesConserved: Bool { socket.frames(pool: pool).areConserved }
}

/// Takes up to `limit` packets from the receive ring through the pipeline and their frames back to the pool.
///
/// The hot root. The attributes make the compiler prove that nothing below it allocates, counts references or locks.
/// They are unofficial; the disassembly of the release code is checked as well (Tests/Checks/hot-path.sh), for which the
/// root stays a function of its own: a call per batch.
@_noAllocation @_noLocks @inline(never)
func processBatch(_ queue: inout QueueState, limit: UInt32) -> UInt32 {
  queue.socket.receive(limit: limit, pool: &queue.pool, into: &queue.entry)
}

/// Gives the free frames back to the kernel.
@_noAllocation @_noLocks @inline(never)
func refill(_ queue: inout QueueState) {
  queue.socket.refill(from: &queue.pool)
}

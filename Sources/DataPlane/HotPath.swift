import CSluiceABI
import XSK

// One file: in debug builds the compiler's proof about processBatch sees no bodies in other files of the module.

/// What is known of a packet besides its bytes. Stages may change it for those behind them.
public struct PacketContext: BitwiseCopyable, Hashable, Sendable {
  /// Counter slot of the rule that sent it here; ``unknownSlot`` if the program didn't say.
  public var slot: UInt32
  /// Of the whole packet.
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

  /// A packet in several buffers, of which `packet` is the first. A stage without this sees the first one only.
  mutating func process(
    _ packet: inout MutableRawSpan, followedBy rest: FollowingBuffers, _ context: inout PacketContext
  ) -> Verdict
}

extension PacketStage where Self: ~Copyable {
  @inlinable public mutating func process(
    _ packet: inout MutableRawSpan, followedBy rest: FollowingBuffers, _ context: inout PacketContext
  ) -> Verdict { process(&packet, &context) }
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

  @inlinable public mutating func process(
    _ packet: inout MutableRawSpan, followedBy rest: FollowingBuffers, _ context: inout PacketContext
  ) -> Verdict {
    guard first.process(&packet, followedBy: rest, &context) == .proceed else { return .finish }
    return second.process(&packet, followedBy: rest, &context)
  }
}

/// Counts packets and bytes.
public struct TrafficCount: PacketStage, ~Copyable {
  public var packets: UInt64 = 0
  public var bytes: UInt64 = 0

  @inlinable public init() {}

  @inlinable public mutating func process(_ packet: inout MutableRawSpan, _ context: inout PacketContext) -> Verdict {
    packets &+= 1
    bytes &+= UInt64(context.byteCount)
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

  @inlinable public mutating func process(
    _ packet: inout MutableRawSpan, followedBy rest: FollowingBuffers, _ context: inout PacketContext
  ) -> Verdict {
    taps.append(
      packet, followedBy: rest, slot: context.slot, timestampNanoseconds: context.timestampNanoseconds)
    return .proceed
  }
}

/// Picks one of every so many packets for the stages that look at samples.
public struct Sampler: PacketStage, ~Copyable {
  @usableFromInline let every: UInt32
  @usableFromInline var position: UInt32 = 0

  /// - Parameter every: 0 and 1: all packets.
  public init(every: UInt32) { self.every = every }

  @inlinable public mutating func process(_ packet: inout MutableRawSpan, _ context: inout PacketContext) -> Verdict {
    if every <= 1 { return .proceed }
    context.isSampled = position == 0  // the first of each group
    position = position &+ 1 == every ? 0 : position &+ 1
    return .proceed
  }
}

/// Offers what rules capture on a wire to the captures that run on the side it came from, and keeps it from the other.
public struct WireCapture: PacketStage, ~Copyable {
  public var first = Taps()
  public var second = Taps()
  @usableFromInline let passesUncaptured: Bool
  /// Packets of the present batch, which comes from one side.
  public var captured: UInt64 = 0
  public var passed: UInt64 = 0
  public var dropped: UInt64 = 0

  public init(fallback: CaptureFallback) { passesUncaptured = fallback == .pass }

  @inlinable public mutating func process(_ packet: inout MutableRawSpan, _ context: inout PacketContext) -> Verdict {
    if let verdict = verdictWithoutCapture(context) { return verdict }
    if context.side == 0 {
      first.append(packet, slot: context.slot, timestampNanoseconds: context.timestampNanoseconds)
    } else {
      second.append(packet, slot: context.slot, timestampNanoseconds: context.timestampNanoseconds)
    }
    captured &+= 1
    return .finish
  }

  @inlinable public mutating func process(
    _ packet: inout MutableRawSpan, followedBy rest: FollowingBuffers, _ context: inout PacketContext
  ) -> Verdict {
    if let verdict = verdictWithoutCapture(context) { return verdict }
    let (slot, time) = (context.slot, context.timestampNanoseconds)
    if context.side == 0 {
      first.append(packet, followedBy: rest, slot: slot, timestampNanoseconds: time)
    } else {
      second.append(packet, followedBy: rest, slot: slot, timestampNanoseconds: time)
    }
    captured &+= 1
    return .finish
  }

  /// Nil: a capture wants the packet.
  @inlinable mutating func verdictWithoutCapture(_ context: PacketContext) -> Verdict? {
    if !context.isCaptured { return .proceed }
    guard context.side == 0 ? first.isEmpty : second.isEmpty else { return nil }
    if passesUncaptured {
      passed &+= 1
      return .proceed
    }
    dropped &+= 1
    return .finish
  }
}

/// Wants a copy of every sampled packet on the mirror interface.
public struct MirrorMark: PacketStage, ~Copyable {
  @usableFromInline let isOn: Bool

  public init(isOn: Bool) { self.isOn = isOn }

  @inlinable public mutating func process(_ packet: inout MutableRawSpan, _ context: inout PacketContext) -> Verdict {
    context.wantsMirror = isOn && context.isSampled
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
    var context = context(of: frame, byteCount: UInt32(truncatingIfNeeded: packet.byteCount))
    _ = pipeline.process(&packet, &context)
  }

  @inline(__always)
  mutating func keepsFrame() -> Bool { pipeline.second.taps.takeLent() }

  // Long packets are rare, and the code for them apart leaves that for the others small.
  @inline(never)
  mutating func handle(_ packet: inout MutableRawSpan, in frame: ReceivedFrame, followedBy rest: FollowingBuffers) {
    var context = context(of: frame, byteCount: UInt32(truncatingIfNeeded: packet.byteCount) &+ rest.byteCount)
    _ = pipeline.process(&packet, followedBy: rest, &context)
  }

  @inline(__always)
  private func context(of frame: ReceivedFrame, byteCount: UInt32) -> PacketContext {
    let metadata = frame.takeMetadata()
    let isOurs = metadata.first == SLUICE_METADATA_MAGIC  // struct sluice_metadata: magic, slot, timestamp
    return PacketContext(
      slot: isOurs ? metadata.second : PacketContext.unknownSlot, byteCount: byteCount,
      timestampNanoseconds: isOurs ? metadata.last : now)
  }
}

/// Everything a packet thread owns.
struct QueueState: ~Copyable {
  var socket: XDPSocket
  var pool: FramePool
  var entry = PipelineEntry()
  /// Of frames whose packets a capture's writer has.
  var loan: FrameLoan?

  /// The frames are where the books say. Between batches all that are neither in the pool nor lent are with the kernel.
  var areFramesConserved: Bool {
    var counts = socket.frames(pool: pool)
    counts.held = loan?.count ?? 0
    return counts.areConserved
  }
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

/// Accounts packets to flows where that is wanted.
struct OptionalFlows: PacketStage, ~Copyable {
  var stage: FlowStage?
  private let isOn: Bool

  init(_ stage: consuming FlowStage?) {
    isOn = stage != nil
    self.stage = stage
  }

  mutating func process(_ packet: inout MutableRawSpan, _ context: inout PacketContext) -> Verdict {
    isOn ? stage!.process(&packet, &context) : .proceed
  }
}

/// What every packet of a wire goes through. Flows and mirror also get what a capture keeps.
typealias WirePipeline = Chain<Sampler, Chain<OptionalFlows, Chain<MirrorMark, WireCapture>>>

/// Packets of one side between receiving and transmitting: the thread holds their frames.
struct WireBatch: ~Copyable {
  /// Go on to the other side.
  var outgoing: PacketList
  /// Go to the mirror, too; their frames are in one of the other lists.
  var mirrored: PacketList
  /// End here.
  var ended: PacketList
  var packets: UInt32 = 0
  var bytes: UInt64 = 0
  var outgoingPackets: UInt32 = 0
  var mirroredPackets: UInt32 = 0
  /// Of the longest outgoing or mirrored packet.
  var byteCountMax: UInt32 = 0
  var hasSeveralFrames = false

  init(capacity: UInt32) {
    outgoing = PacketList(capacity: capacity)
    mirrored = PacketList(capacity: capacity)
    ended = PacketList(capacity: capacity)
  }

  @inline(__always)
  mutating func count(byteCount: UInt32, goesOn: Bool, wantsMirror: Bool) {
    packets &+= 1
    bytes &+= UInt64(byteCount)
    if goesOn { outgoingPackets &+= 1 }
    if wantsMirror { mirroredPackets &+= 1 }
    if byteCount > byteCountMax { byteCountMax = byteCount }
  }

  @inline(__always)
  mutating func add(_ buffer: PacketDescriptor, goesOn: Bool, wantsMirror: Bool) {
    if goesOn { outgoing.append(buffer) } else { ended.append(buffer) }
    if wantsMirror { mirrored.append(buffer) }
  }

  /// Ready for the next batch. The lists must have been emptied.
  mutating func reset() {
    assert(outgoing.isEmpty && mirrored.isEmpty && ended.isEmpty, "a batch still holds frames")
    packets = 0
    bytes = 0
    outgoingPackets = 0
    mirroredPackets = 0
    byteCountMax = 0
    hasSeveralFrames = false
  }
}

/// Takes packets of one side, up to `limit` descriptors, through the pipeline into `batch`. Whole packets only. The
/// wire's hot root, as above.
///
/// - Parameters:
///   - now: CLOCK_MONOTONIC, for packets without a time of their own.
///   - reflects: Source and destination address change places.
@_noAllocation @_noLocks @inline(never)
func receiveBatch(
  _ socket: inout XDPSocket, side: UInt8, _ pipeline: inout WirePipeline, into batch: inout WireBatch, limit: UInt32,
  now: UInt64, reflects: Bool
) {
  let available = socket.available(limit: limit)
  var index: UInt32 = 0
  while index < available {
    let first = socket.received(index)
    var rest: FollowingBuffers?
    if first.isContinued {
      rest = socket.followingBuffers(of: index, available: available)
      // Its end is not among them: in the next batch, which has room for it. A packet has 18 buffers at most
      // (MAX_SKB_FRAGS + 1), the smallest batch 32.
      if rest == nil { break }
      batch.hasSeveralFrames = true
    }
    let last = index &+ (rest?.count ?? 0)
    let byteCount = first.byteCount &+ (rest?.byteCount ?? 0)
    let metadata = socket.takeMetadata(of: first)
    let isCaptured = metadata.first == SLUICE_METADATA_MAGIC
    let isOurs = isCaptured || metadata.first == SLUICE_METADATA_FORWARD
    var context = PacketContext(
      slot: isOurs ? metadata.second : PacketContext.unknownSlot, byteCount: byteCount,
      timestampNanoseconds: isCaptured ? metadata.last : now, side: side, isCaptured: isCaptured)
    var packet = socket.bytes(of: first).mutableBytes
    let verdict =
      if let rest { processLong(&pipeline, &packet, rest, &context) } else { pipeline.process(&packet, &context) }
    let goesOn = verdict == .proceed
    if reflects && goesOn { swapAddresses(&packet) }
    batch.count(byteCount: byteCount, goesOn: goesOn, wantsMirror: context.wantsMirror)
    batch.add(first, goesOn: goesOn, wantsMirror: context.wantsMirror)
    while index < last {
      index &+= 1
      batch.add(socket.received(index), goesOn: goesOn, wantsMirror: context.wantsMirror)
    }
    index &+= 1
  }
  socket.releaseReceived(index)
}

/// Long packets are rare: apart, so that the code for the others stays small.
@_noAllocation @_noLocks @inline(never)
func processLong(
  _ pipeline: inout WirePipeline, _ packet: inout MutableRawSpan, _ rest: FollowingBuffers,
  _ context: inout PacketContext
) -> Verdict {
  pipeline.process(&packet, followedBy: rest, &context)
}

/// Source and destination address of an Ethernet frame change places: one shuffle of sixteen bytes.
@_noAllocation @_noLocks @inline(__always)
func swapAddresses(_ packet: inout MutableRawSpan) {
  guard packet.byteCount >= 16 else { return }
  let head = packet.unsafeLoadUnaligned(as: SIMD16<UInt8>.self)
  let swapped = SIMD16<UInt8>(
    head[6], head[7], head[8], head[9], head[10], head[11], head[0], head[1], head[2], head[3], head[4], head[5],
    head[12], head[13], head[14], head[15])
  packet.storeBytes(of: swapped, as: SIMD16<UInt8>.self)
}

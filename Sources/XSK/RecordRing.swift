import LinuxSystem
import Synchronization

/// What a ring did with the packets it was offered: received = filtered + sampled + dropped + put into the ring.
public struct RecordCounters: Hashable, Sendable {
  public var received: UInt64 = 0
  public var filteredOut: UInt64 = 0
  public var sampledOut: UInt64 = 0
  /// The ring was full.
  public var dropped: UInt64 = 0

  public init() {}
}

/// A single-producer single-consumer ring of packets: the way from a packet thread to a thread that may block.
///
/// The packets lie in it as the blocks of a capture file (``PacketBlock``), one behind the other without a gap, also
/// around the ring's end: the consumer writes megabytes at once, of the ring's own memory. The producer
/// (``RecordProducer``) never waits: what doesn't fit is counted. Memory is allocated, and touched, at init only.
public final class RecordRing: @unchecked Sendable {
  // Sendable: atomics and two disjoint sides; each side's thread is named at its calls.
  private let core: UnsafeMutablePointer<RecordRingCore>
  private let region: MirroredRegion
  private let slotBits: UnsafeMutablePointer<UInt64>?
  private let options: PacketOptions
  /// Wakes the consumer.
  public let wake: WakeSignal
  private let retired = Atomic<Bool>(false)

  /// - Parameters:
  ///   - byteCount: A power of two, at least 4096 and a page. See ``PacketBlock/byteCount(captured:options:)``.
  ///   - options: What the blocks' options are, by slot; shared by the rings of a capture.
  ///   - queue: Written into every block; nil: not.
  ///   - timeOffset: See ``setTimeOffset(_:)``.
  public init(
    byteCount: Int, admission: RecordAdmission, options: PacketOptions, queue: UInt32? = nil, timeOffset: Int64 = 0,
    wake: WakeSignal
  ) throws(SystemError) {
    precondition(byteCount >= 4096 && byteCount & (byteCount - 1) == 0, "a ring's size is a power of two")
    let region = try MirroredRegion(byteCount: byteCount, subject: "record ring")
    let wordCount = Int(RecordAdmission.slotLimit) / 64
    slotBits = admission.slots.map { slots in
      let bits = UnsafeMutablePointer<UInt64>.allocate(capacity: wordCount)
      bits.initialize(repeating: 0, count: wordCount)
      for slot in slots where slot < RecordAdmission.slotLimit { bits[Int(slot >> 6)] |= 1 << UInt64(slot & 63) }
      return bits
    }
    core = .allocate(capacity: 1)
    core.initialize(
      to: RecordRingCore(
        buffer: region.base, byteCount: UInt64(byteCount), slotBits: slotBits, options: options.view, queue: queue,
        admission: admission, timeOffset: timeOffset))
    self.region = region
    self.options = options
    self.wake = wake
  }

  deinit {
    core.deinitialize(count: 1)
    core.deallocate()
    slotBits?.deallocate()
  }

  /// The producing end. The ring must outlive it; one thread uses it.
  public var producer: RecordProducer { RecordProducer(core: core) }

  /// Any thread; exact once ``isRetired``.
  public var counters: RecordCounters {
    var counters = RecordCounters()
    // Received last: what explains a packet is never ahead of the packet.
    counters.filteredOut = core.pointee.filteredOut.load(ordering: .acquiring)
    counters.sampledOut = core.pointee.sampledOut.load(ordering: .acquiring)
    counters.dropped = core.pointee.dropped.load(ordering: .acquiring)
    counters.received = core.pointee.received.load(ordering: .acquiring)
    return counters
  }

  /// The producer is done with the ring and never touches it again.
  public var isRetired: Bool { retired.load(ordering: .acquiring) }

  /// Called by the producer's thread, or by whoever knows that there never was a producer.
  public func retire() {
    retired.store(true, ordering: .releasing)  // the last records and counters come before
    wake.signal()
  }

  /// What is added to packets' timestamps from now on: nanoseconds from CLOCK_MONOTONIC to wall time. Any thread.
  public func setTimeOffset(_ nanoseconds: Int64) { core.pointee.timeOffset.store(nanoseconds, ordering: .relaxed) }

  /// Bytes of blocks to read now. The consumer's thread; on others an estimate.
  public var byteCountToRead: UInt64 {
    core.pointee.tail.load(ordering: .acquiring) &- core.pointee.head.load(ordering: .relaxed)
  }

  /// Nothing to read now. The consumer's thread.
  public var isEmpty: Bool { byteCountToRead == 0 }

  /// Size of the oldest block; nil: nothing to read. The consumer's thread.
  public var firstBlockByteCount: Int? {
    let head = core.pointee.head.load(ordering: .relaxed)
    if core.pointee.tail.load(ordering: .acquiring) == head { return nil }
    return PacketBlock.byteCount(at: UnsafeRawPointer(core.pointee.buffer) + Int(head & (core.pointee.byteCount - 1)))
  }

  /// Hands the oldest blocks to `body`, in one piece and whole: as many as there are within the limits. Their memory is
  /// the producer's again when `body` returns. The consumer's thread.
  ///
  /// - Parameter body: Gets the blocks and their number; not called where not even one is within the limits.
  /// - Returns: The number of blocks.
  @discardableResult
  public func read(packetLimit: UInt64, byteLimit: UInt64, _ body: (RawSpan, UInt64) -> Void) -> UInt64 {
    let head = core.pointee.head.load(ordering: .relaxed)
    let tail = core.pointee.tail.load(ordering: .acquiring)  // pairs with append: the blocks are there
    let start = UnsafeRawPointer(core.pointee.buffer) + Int(head & (core.pointee.byteCount - 1))
    // In bounds: at most one ring's worth, and the region is mapped twice.
    let bytes = UnsafeRawBufferPointer(start: start, count: Int(tail &- head))
    let extent = PacketBlock.measure(bytes.bytes, packetLimit: packetLimit, byteLimit: byteLimit)
    if extent.packets == 0 { return 0 }
    body(UnsafeRawBufferPointer(start: start, count: extent.byteCount).bytes, extent.packets)
    // Our reads come before the producer's reuse.
    core.pointee.head.store(head &+ UInt64(extent.byteCount), ordering: .releasing)
    return extent.packets
  }
}

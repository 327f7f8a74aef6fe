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
/// around the ring's end: the consumer writes megabytes at once, of the ring's own memory. Where it may borrow the
/// packet thread's frames, large packets stay in them, with their blocks around them. The producer (``RecordProducer``)
/// never waits: what doesn't fit is counted. Memory is allocated, and touched, at init only.
public final class RecordRing: @unchecked Sendable {
  // Sendable: atomics and two disjoint sides; each side's thread is named at its calls.
  private let core: UnsafeMutablePointer<RecordRingCore>
  private let region: MirroredRegion
  private let slotBits: UnsafeMutablePointer<Atomic<UInt64>>?
  private let options: PacketOptions
  /// From whom it borrows; nil: all packets are copied.
  private let lender: FrameLender?
  /// The consumer's.
  private var pieces = GatherList()
  /// Wakes the consumer.
  public let wake: WakeSignal
  private let retired = Atomic<Bool>(false)

  /// - Parameters:
  ///   - byteCount: A power of two, at least 4096 and a page. See ``PacketBlock/byteCount(captured:options:)``.
  ///   - options: What the blocks' options are, by slot; shared by the rings of a capture.
  ///   - queue: Written into every block; nil: not.
  ///   - timeOffset: See ``setTimeOffset(_:)``.
  ///   - lender: Of the packet thread that the ring will be attached to. It lends to the first ring that asks.
  public init(
    byteCount: Int, admission: RecordAdmission, options: PacketOptions, queue: UInt32? = nil, timeOffset: Int64 = 0,
    lender: FrameLender? = nil, wake: WakeSignal
  ) throws(SystemError) {
    precondition(byteCount >= 4096 && byteCount & (byteCount - 1) == 0, "a ring's size is a power of two")
    let region = try MirroredRegion(byteCount: byteCount, subject: "record ring")
    slotBits = admission.slots.map { slots in
      let words = RecordRing.words(of: slots)
      let bits = UnsafeMutablePointer<Atomic<UInt64>>.allocate(capacity: words.count)
      for (index, word) in words.enumerated() { (bits + index).initialize(to: Atomic(word)) }
      return bits
    }
    let loan = lender?.borrow()
    self.lender = loan == nil ? nil : lender
    core = .allocate(capacity: 1)
    core.initialize(
      to: RecordRingCore(
        buffer: region.base, byteCount: UInt64(byteCount), slotBits: slotBits, options: options.view, queue: queue,
        admission: admission, timeOffset: timeOffset, loan: loan))
    self.region = region
    self.options = options
    self.wake = wake
  }

  deinit {
    if let lender {
      // What nobody read. The producer let go of the ring before, and the consumer just now.
      while read(packetLimit: .max, byteLimit: .max, { _, _ in }) > 0 {}
      lender.endBorrowing()
    }
    core.deinitialize(count: 1)
    core.deallocate()
    slotBits?.deinitialize(count: Int(RecordAdmission.slotLimit) / 64)
    slotBits?.deallocate()
  }

  private static func words(of slots: Set<UInt32>) -> [UInt64] {
    var words = [UInt64](repeating: 0, count: Int(RecordAdmission.slotLimit) / 64)
    for slot in slots where slot < RecordAdmission.slotLimit { words[Int(slot >> 6)] |= 1 << UInt64(slot & 63) }
    return words
  }

  /// Other slots in place of those of ``RecordAdmission/slots``, word by word: what is in both stays. No effect on a ring that takes
  /// every slot. Any thread, one at a time.
  public func admit(_ slots: Set<UInt32>) {
    guard let slotBits else { return }
    for (index, word) in RecordRing.words(of: slots).enumerated() { slotBits[index].store(word, ordering: .relaxed) }
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
    let entry = UnsafeRawPointer(core.pointee.buffer) + Int(head & (core.pointee.byteCount - 1))
    return LentBlock.place(at: entry)?.byteCount ?? PacketBlock.byteCount(at: entry)
  }

  /// Hands the oldest blocks to `body`, whole: as many as there are within the limits and as a ``LinuxSystem/GatherList``
  /// takes, each in one of its pieces. Their memory is the producer's again when `body` returns. The consumer's thread.
  ///
  /// - Parameter body: Gets the blocks and their number; not called where not even one is within the limits.
  /// - Returns: The number of blocks.
  @discardableResult
  public func read(
    packetLimit: UInt64, byteLimit: UInt64, _ body: (borrowing GatherList, UInt64) -> Void
  ) -> UInt64 {
    let head = core.pointee.head.load(ordering: .relaxed)
    let end = Int(core.pointee.tail.load(ordering: .acquiring) &- head)  // pairs with append: the blocks are there
    // In bounds: at most one ring's worth, and the region is mapped twice.
    let start = UnsafeRawPointer(core.pointee.buffer) + Int(head & (core.pointee.byteCount - 1))
    let limit = Int(clamping: byteLimit)
    var (position, packets, lent) = (0, UInt64(0), UInt32(0))
    pieces.removeAll()
    while position < end, packets < packetLimit, !pieces.isFull {
      let entry = start + position
      if let loan = core.pointee.loan, let place = LentBlock.place(at: entry) {
        if pieces.byteCount + place.byteCount > limit { break }
        pieces.append(UnsafeRawPointer(loan.pointee.base) + Int(place.offset), byteCount: place.byteCount)
        loan.pointee.note(place.offset, at: lent)
        lent += 1
        position += LentBlock.byteCount
      } else {
        let size = PacketBlock.byteCount(at: entry)
        if pieces.byteCount + size > limit { break }
        pieces.append(entry, byteCount: size)
        position += size
      }
      packets += 1
    }
    if packets == 0 { return 0 }
    body(pieces, packets)
    // Our reads come before the producer's reuse.
    core.pointee.loan?.pointee.giveBack(lent)
    core.pointee.head.store(head &+ UInt64(position), ordering: .releasing)
    return packets
  }
}

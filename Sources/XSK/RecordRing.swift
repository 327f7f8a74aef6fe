import LinuxSystem
import Synchronization

/// Which packets a ``RecordRing`` takes, and how much of each.
public struct RecordAdmission: Hashable, Sendable {
  /// Rule slots; nil: packets of every slot, also of unknown ones.
  public var slots: Set<UInt32>?
  /// One of so many admitted packets is kept, the first of each group; 0 and 1: all.
  public var sampleEvery: UInt32
  /// Bytes kept of a packet.
  public var snapByteCount: UInt32

  /// Slots from here on never match ``slots``.
  @inlinable public static var slotLimit: UInt32 { 4096 }

  public init(slots: Set<UInt32>? = nil, sampleEvery: UInt32 = 1, snapByteCount: UInt32 = 262_144) {
    self.slots = slots
    self.sampleEvery = sampleEvery
    self.snapByteCount = snapByteCount
  }
}

/// What a ring did with the packets it was offered: received = filtered + sampled + dropped + put into the ring.
public struct RecordCounters: Hashable, Sendable {
  public var received: UInt64 = 0
  public var filteredOut: UInt64 = 0
  public var sampledOut: UInt64 = 0
  /// The ring was full.
  public var dropped: UInt64 = 0

  public init() {}
}

/// A packet's record in the ring; its captured bytes follow.
public struct RecordHeader: BitwiseCopyable, Hashable, Sendable {
  /// Of the whole record, a multiple of 8.
  @usableFromInline var recordByteCount: UInt32
  /// Of the packet, kept. ``skip`` marks the unused end of the buffer.
  public var capturedByteCount: UInt32
  /// Of the packet as received.
  public var originalByteCount: UInt32
  public var slot: UInt32
  /// CLOCK_MONOTONIC.
  public var timestampNanoseconds: UInt64

  @inlinable static var skip: UInt32 { .max }

  @inlinable init(
    recordByteCount: UInt32, capturedByteCount: UInt32, originalByteCount: UInt32, slot: UInt32,
    timestampNanoseconds: UInt64
  ) {
    self.recordByteCount = recordByteCount
    self.capturedByteCount = capturedByteCount
    self.originalByteCount = originalByteCount
    self.slot = slot
    self.timestampNanoseconds = timestampNanoseconds
  }
}

/// The two ends' shared state. Heap memory of its ring; cache lines of the two threads apart.
@usableFromInline struct RecordRingCore: ~Copyable {
  @usableFromInline let buffer: UnsafeMutableRawPointer
  @usableFromInline let byteCount: UInt64
  @usableFromInline let slotBits: UnsafeMutablePointer<UInt64>?
  @usableFromInline let sampleEvery: UInt32
  @usableFromInline let snapByteCount: UInt32
  // The producer's.
  @usableFromInline let tail = Atomic<UInt64>(0)
  @usableFromInline var cachedHead: UInt64 = 0
  @usableFromInline var sampledSinceKept: UInt32 = 0
  @usableFromInline let received = Atomic<UInt64>(0)
  @usableFromInline let filteredOut = Atomic<UInt64>(0)
  @usableFromInline let sampledOut = Atomic<UInt64>(0)
  @usableFromInline let dropped = Atomic<UInt64>(0)
  private let gap = InlineArray<8, UInt64>(repeating: 0)
  // The consumer's.
  @usableFromInline let head = Atomic<UInt64>(0)

  init(
    buffer: UnsafeMutableRawPointer, byteCount: UInt64, slotBits: UnsafeMutablePointer<UInt64>?, sampleEvery: UInt32,
    snapByteCount: UInt32
  ) {
    self.buffer = buffer
    self.byteCount = byteCount
    self.slotBits = slotBits
    self.sampleEvery = sampleEvery
    self.snapByteCount = snapByteCount
  }
}

/// A single-producer single-consumer ring of packet records: the way from a packet thread to a thread that may block.
///
/// The producer (``RecordProducer``) never waits: what doesn't fit is counted. Memory is allocated at init only.
public final class RecordRing: @unchecked Sendable {
  // Sendable: atomics and two disjoint sides; each side's thread is named at its calls.
  private let core: UnsafeMutablePointer<RecordRingCore>
  private let region: MappedRegion
  private let slotBits: UnsafeMutablePointer<UInt64>?
  /// Wakes the consumer.
  public let wake: WakeSignal
  private let retired = Atomic<Bool>(false)

  /// - Parameter byteCount: A power of two, at least 4096. A packet needs its captured bytes + 31 at most.
  public init(byteCount: Int, admission: RecordAdmission, wake: WakeSignal) throws(SystemError) {
    precondition(byteCount >= 4096 && byteCount & (byteCount - 1) == 0, "a ring's size is a power of two")
    let region = try MappedRegion(anonymous: byteCount, subject: "record ring")
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
        buffer: region.base, byteCount: UInt64(byteCount), slotBits: slotBits,
        sampleEvery: max(admission.sampleEvery, 1), snapByteCount: admission.snapByteCount))
    self.region = region
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

  /// Nothing to read now. The consumer's thread.
  public var isEmpty: Bool {
    core.pointee.tail.load(ordering: .acquiring) == core.pointee.head.load(ordering: .relaxed)
  }

  /// Hands up to `limit` records to `body`, oldest first; their bytes are valid during its call. The consumer's thread.
  public func drain(limit: Int, _ body: (RecordHeader, RawSpan) -> Void) -> Int {
    let core = core
    var head = core.pointee.head.load(ordering: .relaxed)
    let tail = core.pointee.tail.load(ordering: .acquiring)  // pairs with append: records are there
    var count = 0
    while head != tail, count < limit {
      let record = core.pointee.buffer + Int(head & (core.pointee.byteCount - 1))
      // A skip marker may be as short as 8 bytes: its two words are read alone.
      let recordByteCount = record.load(as: UInt32.self)
      if record.load(fromByteOffset: 4, as: UInt32.self) != RecordHeader.skip {
        let header = record.load(as: RecordHeader.self)
        let bytes = UnsafeRawBufferPointer(
          start: record + MemoryLayout<RecordHeader>.size, count: Int(header.capturedByteCount))
        body(header, bytes.bytes)
        count += 1
      }
      head &+= UInt64(recordByteCount)
      core.pointee.head.store(head, ordering: .releasing)  // our reads come before the producer's reuse
    }
    return count
  }
}

/// The producing end of a ``RecordRing``. One thread; the ring must outlive it.
public struct RecordProducer: BitwiseCopyable {
  @usableFromInline let core: UnsafeMutablePointer<RecordRingCore>

  @usableFromInline init(core: UnsafeMutablePointer<RecordRingCore>) { self.core = core }

  /// Counts the packet and, if it is admitted and there is room, copies it. Never waits, allocates or locks.
  ///
  /// - Returns: Whether there is a new record.
  @inlinable @_noAllocation @_noLocks
  public func append(_ packet: borrowing MutableRawSpan, slot: UInt32, timestampNanoseconds: UInt64) -> Bool {
    RecordProducer.increment(core.pointee.received)
    if let bits = core.pointee.slotBits {
      // In bounds: slotLimit bits were allocated.
      if slot >= RecordAdmission.slotLimit || bits[Int(slot >> 6)] & (1 << UInt64(slot & 63)) == 0 {
        RecordProducer.increment(core.pointee.filteredOut)
        return false
      }
    }
    if core.pointee.sampleEvery > 1 {
      let position = core.pointee.sampledSinceKept
      core.pointee.sampledSinceKept = position &+ 1 == core.pointee.sampleEvery ? 0 : position &+ 1
      if position != 0 {
        RecordProducer.increment(core.pointee.sampledOut)
        return false
      }
    }
    let original = UInt32(truncatingIfNeeded: packet.byteCount)
    let captured = min(original, core.pointee.snapByteCount)
    let needed = (UInt64(captured) &+ UInt64(MemoryLayout<RecordHeader>.size) &+ 7) & ~7
    guard let record = reserve(needed) else {
      RecordProducer.increment(core.pointee.dropped)
      return false
    }
    record.storeBytes(
      of: RecordHeader(
        recordByteCount: UInt32(truncatingIfNeeded: needed), capturedByteCount: captured, originalByteCount: original,
        slot: slot, timestampNanoseconds: timestampNanoseconds), as: RecordHeader.self)
    packet.withUnsafeBytes {
      if let source = $0.baseAddress {
        (record + MemoryLayout<RecordHeader>.size).copyMemory(
          from: source, byteCount: Int(truncatingIfNeeded: captured))
      }
    }
    let tail = core.pointee.tail.load(ordering: .relaxed) &+ needed
    core.pointee.tail.store(tail, ordering: .releasing)  // the record is there before the index says so
    return true
  }

  /// Room for a record in one piece; skips the end of the buffer if it is too short. Nil: the ring is full.
  @inlinable
  func reserve(_ needed: UInt64) -> UnsafeMutableRawPointer? {
    let byteCount = core.pointee.byteCount
    let tail = core.pointee.tail.load(ordering: .relaxed)
    let offset = tail & (byteCount &- 1)
    let toEnd = byteCount &- offset
    let total = toEnd < needed ? toEnd &+ needed : needed
    if byteCount &- (tail &- core.pointee.cachedHead) < total {
      core.pointee.cachedHead = core.pointee.head.load(ordering: .acquiring)  // pairs with drain: records are read
      if byteCount &- (tail &- core.pointee.cachedHead) < total { return nil }
    }
    let end = core.pointee.buffer + Int(truncatingIfNeeded: offset)
    if toEnd >= needed { return end }
    // Offsets are multiples of 8: there is always room for the marker's two words.
    end.storeBytes(of: UInt32(truncatingIfNeeded: toEnd), as: UInt32.self)
    end.storeBytes(of: RecordHeader.skip, toByteOffset: 4, as: UInt32.self)
    core.pointee.tail.store(tail &+ toEnd, ordering: .releasing)
    return core.pointee.buffer
  }

  /// One writer: a plain load and store, no locked instruction.
  @inlinable @inline(__always)
  static func increment(_ counter: borrowing Atomic<UInt64>) {
    counter.store(counter.load(ordering: .relaxed) &+ 1, ordering: .releasing)
  }
}

/// Wakes one sleeping thread, at the price of one load where it is awake.
public final class WakeSignal: Sendable {
  fileprivate let event: EventDescriptor
  private let isAsleep = Atomic<Bool>(false)

  public init() throws(SystemError) { event = try EventDescriptor() }

  /// Wakes the sleeper, asleep or about to be. Any thread.
  public func signal() { event.signal() }

  /// Wakes the sleeper if it sleeps. To be called after the news was published.
  public func signalIfAsleep() {
    atomicMemoryFence(ordering: .sequentiallyConsistent)  // pairs with sleep: one of the two sees the other
    if isAsleep.load(ordering: .relaxed), isAsleep.exchange(false, ordering: .relaxed) { event.signal() }
  }

  /// Sleeps until a signal or the time is over, unless `hasNews` says otherwise after the intention to sleep is known.
  public func sleep(timeoutMilliseconds: CInt, unless hasNews: () -> Bool) throws(SystemError) {
    isAsleep.store(true, ordering: .relaxed)
    atomicMemoryFence(ordering: .sequentiallyConsistent)
    if !hasNews() { try event.wait(timeoutMilliseconds: timeoutMilliseconds) }
    isAsleep.store(false, ordering: .relaxed)
    event.clear()
  }
}

extension WakeSignal {
  /// Lets news gather for a while; only ``signal()`` ends it early.
  public func nap(milliseconds: CInt) throws(SystemError) {
    try event.wait(timeoutMilliseconds: milliseconds)
    event.clear()
  }
}

extension [UInt8] {
  /// Appends a copy of the bytes.
  package mutating func append(_ span: RawSpan) { span.withUnsafeBytes { append(contentsOf: $0) } }
}

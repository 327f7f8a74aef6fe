import Synchronization

// One file: in debug builds the compiler's proof about append sees no bodies in other files of the module.

/// Which packets a ``RecordRing`` takes, and how much of each.
public struct RecordAdmission: Hashable, Sendable {
  /// Rule slots; nil: packets of every slot, also of unknown ones.
  public var slots: Set<UInt32>?
  /// One of so many admitted packets is kept, the first of each group; 0 and 1: all.
  public var sampleEvery: UInt32
  /// Bytes kept of a packet.
  public var snapByteCount: UInt32

  /// Slots from here on never match ``slots``.
  @inlinable public static var slotLimit: UInt32 { 131_072 }

  public init(slots: Set<UInt32>? = nil, sampleEvery: UInt32 = 1, snapByteCount: UInt32 = 262_144) {
    self.slots = slots
    self.sampleEvery = sampleEvery
    self.snapByteCount = snapByteCount
  }
}

/// The two ends' shared state. Heap memory of its ring; cache lines of the two threads apart.
@usableFromInline struct RecordRingCore: ~Copyable {
  @usableFromInline let buffer: UnsafeMutableRawPointer
  @usableFromInline let byteCount: UInt64
  @usableFromInline let slotBits: UnsafeMutablePointer<Atomic<UInt64>>?
  @usableFromInline let options: PacketOptionsView
  /// The epb_queue option, as it stands in the block; 0: none.
  @usableFromInline let queueOption: UInt64
  @usableFromInline let sampleEvery: UInt32
  @usableFromInline let snapByteCount: UInt32
  /// Where frames are lent to the consumer; nil: packets are copied.
  @usableFromInline let loan: UnsafeMutablePointer<FrameLoanCore>?
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
  @usableFromInline let timeOffset: Atomic<Int64>

  init(
    buffer: UnsafeMutableRawPointer, byteCount: UInt64, slotBits: UnsafeMutablePointer<Atomic<UInt64>>?,
    options: PacketOptionsView, queue: UInt32?, admission: RecordAdmission, timeOffset: Int64,
    loan: UnsafeMutablePointer<FrameLoanCore>?
  ) {
    self.buffer = buffer
    self.byteCount = byteCount
    self.slotBits = slotBits
    self.options = options
    queueOption = queue.map { UInt64($0) << 32 | 4 << 16 | 6 } ?? 0
    sampleEvery = max(admission.sampleEvery, 1)
    snapByteCount = admission.snapByteCount
    self.loan = loan
    self.timeOffset = Atomic(timeOffset)
  }
}

/// What became of a packet that was offered to a ring.
@frozen public enum RecordOutcome: Sendable {
  /// Not wanted, or dropped.
  case none
  case copied
  /// Its frame is the consumer's, until ``FrameLoan/takeBack(into:)`` has it.
  case lent
}

/// The producing end of a ``RecordRing``. One thread; the ring must outlive it.
public struct RecordProducer: BitwiseCopyable {
  @usableFromInline let core: UnsafeMutablePointer<RecordRingCore>

  @usableFromInline init(core: UnsafeMutablePointer<RecordRingCore>) { self.core = core }

  /// Packets of fewer bytes are copied where frames are lent, too: that is soon done, and needs no entry of its own in a
  /// list of pieces to write.
  @inlinable public static var lentByteCountMin: UInt32 { 512 }

  /// Counts the packet and, if it is admitted and there is room, lays its block. Never waits, allocates or locks.
  ///
  /// - Parameter timestampNanoseconds: CLOCK_MONOTONIC.
  @inlinable @_noAllocation @_noLocks
  public func append(_ packet: borrowing MutableRawSpan, slot: UInt32, timestampNanoseconds: UInt64) -> RecordOutcome {
    guard admits(slot: slot) else { return .none }
    let original = UInt32(truncatingIfNeeded: packet.byteCount)
    if original >= RecordProducer.lentByteCountMin, core.pointee.loan != nil, original <= core.pointee.snapByteCount {
      let isLent = packet.withUnsafeBytes { lend($0, slot: slot, timestampNanoseconds: timestampNanoseconds) }
      if isLent { return .lent }
    }
    guard
      let place = open(slot: slot, original: original, timestampNanoseconds: timestampNanoseconds)
    else { return .none }
    packet.withUnsafeBytes {
      if let source = $0.baseAddress { ByteCopy.copy(source, to: place.bytes, byteCount: place.captured) }
    }
    close(place)
    return .copied
  }

  /// Lays the block around a whole packet, in its frame, and an entry for it into the ring. False where that cannot be:
  /// too many frames are lent, the frame is too small, the packet is elsewhere, or the ring is full.
  @inlinable @inline(never) @_noAllocation @_noLocks
  func lend(_ packet: UnsafeRawBufferPointer, slot: UInt32, timestampNanoseconds: UInt64) -> Bool {
    guard let loan = core.pointee.loan, let start = packet.baseAddress else { return false }
    let original = UInt32(truncatingIfNeeded: packet.count)
    let padded = (packet.count &+ 3) & ~3
    let options = core.pointee.options.options(of: slot)
    let size = blockByteCount(padded: padded, options: options.byteCount)
    guard
      loan.pointee.canLend(start, before: PacketBlock.headerByteCount, behind: size &- PacketBlock.headerByteCount),
      let entry = reserve(UInt64(truncatingIfNeeded: LentBlock.byteCount))
    else { return false }
    // In bounds: canLend has seen that the block is in the packet's frame, which is ours.
    let bytes = UnsafeMutableRawPointer(mutating: start)
    (bytes + packet.count).storeBytes(of: 0 as UInt32, as: UInt32.self)  // padding; the length comes after it at least
    lay(
      around: bytes, captured: original, original: original, padded: padded, options: options, size: size,
      timestampNanoseconds: timestampNanoseconds)
    let offset = UInt(bitPattern: start) &- UInt(bitPattern: loan.pointee.base) &- UInt(PacketBlock.headerByteCount)
    entry.storeBytes(of: UInt64(LentBlock.type) | UInt64(LentBlock.byteCount) << 32, as: UInt64.self)
    entry.storeBytes(of: LentBlock.pack(offset: offset, byteCount: size), toByteOffset: 8, as: UInt64.self)
    loan.pointee.lent &+= 1
    publish(LentBlock.byteCount)
    return true
  }

  /// As above, of a packet in several buffers: `packet` is the first, `rest` has the others.
  @inlinable @_noAllocation @_noLocks
  public func append(
    _ packet: borrowing MutableRawSpan, followedBy rest: FollowingBuffers, slot: UInt32, timestampNanoseconds: UInt64
  ) -> RecordOutcome {
    guard admits(slot: slot) else { return .none }
    let original = UInt32(truncatingIfNeeded: packet.byteCount) &+ rest.byteCount
    guard
      let place = open(slot: slot, original: original, timestampNanoseconds: timestampNanoseconds)
    else { return .none }
    var done = min(packet.byteCount, place.captured)
    packet.withUnsafeBytes {
      if let source = $0.baseAddress { ByteCopy.copy(source, to: place.bytes, byteCount: done) }
    }
    var index: UInt32 = 0
    while done < place.captured, index < rest.count {
      let bytes = rest[index]
      let count = min(bytes.count, place.captured &- done)
      if let source = bytes.baseAddress { ByteCopy.copy(source, to: place.bytes + done, byteCount: count) }
      done &+= count
      index &+= 1
    }
    close(place)
    return .copied
  }

  /// Counts a packet; true if filter and sampling want it.
  @inlinable @inline(__always)
  func admits(slot: UInt32) -> Bool {
    RecordProducer.increment(core.pointee.received)
    if let bits = core.pointee.slotBits {
      // In bounds: slotLimit bits were allocated.
      if slot >= RecordAdmission.slotLimit || bits[Int(slot >> 6)].load(ordering: .relaxed) & (1 << UInt64(slot & 63)) == 0 {
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
    return true
  }

  /// Lays everything of a block but the packet's bytes; nil, and counted, where the ring is full.
  @inlinable @inline(__always)
  func open(slot: UInt32, original: UInt32, timestampNanoseconds: UInt64) -> OpenBlock? {
    let captured = min(original, core.pointee.snapByteCount)
    let options = core.pointee.options.options(of: slot)
    let padded = (Int(truncatingIfNeeded: captured) &+ 3) & ~3
    let needed = blockByteCount(padded: padded, options: options.byteCount)
    guard let block = reserve(UInt64(truncatingIfNeeded: needed)) else {
      RecordProducer.increment(core.pointee.dropped)
      return nil
    }
    // The packet's last word may end in padding. Without a packet it is the original length, which comes after it.
    block.storeBytes(of: 0 as UInt32, toByteOffset: PacketBlock.headerByteCount &+ padded &- 4, as: UInt32.self)
    let bytes = block + PacketBlock.headerByteCount
    lay(
      around: bytes, captured: captured, original: original, padded: padded, options: options, size: needed,
      timestampNanoseconds: timestampNanoseconds)
    return OpenBlock(bytes: bytes, captured: Int(truncatingIfNeeded: captured), blockByteCount: needed)
  }

  @inlinable @inline(__always)
  func blockByteCount(padded: Int, options: Int) -> Int {
    PacketBlock.overheadByteCount &+ padded &+ (core.pointee.queueOption == 0 ? 0 : 8) &+ options
  }

  /// What stands in a block before and behind the packet's bytes, which begin at `bytes`.
  @inlinable @inline(__always)
  func lay(
    around bytes: UnsafeMutableRawPointer, captured: UInt32, original: UInt32, padded: Int,
    options: (bytes: UnsafeRawPointer, byteCount: Int), size: Int, timestampNanoseconds: UInt64
  ) {
    let time = timestampNanoseconds &+ UInt64(bitPattern: core.pointee.timeOffset.load(ordering: .relaxed))
    let count = UInt32(truncatingIfNeeded: size)
    let block = bytes - PacketBlock.headerByteCount
    block.storeBytes(of: UInt64(PacketBlock.type) | UInt64(count) << 32, as: UInt64.self)
    block.storeBytes(of: time & 0xffff_ffff_0000_0000, toByteOffset: 8, as: UInt64.self)  // interface 0, upper half
    block.storeBytes(of: time & 0xffff_ffff | UInt64(captured) << 32, toByteOffset: 16, as: UInt64.self)
    block.storeBytes(of: original, toByteOffset: 24, as: UInt32.self)
    var end = bytes + padded
    if core.pointee.queueOption != 0 {
      end.storeBytes(of: core.pointee.queueOption, as: UInt64.self)
      end += 8
    }
    ByteCopy.copyWords(options.bytes, to: end, byteCount: options.byteCount)
    (end + options.byteCount).storeBytes(of: count, as: UInt32.self)
  }

  /// The packet's bytes are there: the consumer may see the block.
  @inlinable @inline(__always)
  func close(_ block: OpenBlock) { publish(block.blockByteCount) }

  /// The consumer may see the next `byteCount` bytes of the ring, and what they name.
  @inlinable @inline(__always)
  func publish(_ byteCount: Int) {
    let tail = core.pointee.tail.load(ordering: .relaxed) &+ UInt64(truncatingIfNeeded: byteCount)
    core.pointee.tail.store(tail, ordering: .releasing)  // the block is there before the index says so
  }

  /// Room for a block, in one piece: the region is mapped twice. Nil: the ring is full.
  @inlinable @inline(__always)
  func reserve(_ needed: UInt64) -> UnsafeMutableRawPointer? {
    let byteCount = core.pointee.byteCount
    let tail = core.pointee.tail.load(ordering: .relaxed)
    if byteCount &- (tail &- core.pointee.cachedHead) < needed {
      core.pointee.cachedHead = core.pointee.head.load(ordering: .acquiring)  // pairs with read: the blocks are read
      if byteCount &- (tail &- core.pointee.cachedHead) < needed { return nil }
    }
    return core.pointee.buffer + Int(truncatingIfNeeded: tail & (byteCount &- 1))
  }

  /// One writer: a plain load and store, no locked instruction.
  @inlinable @inline(__always)
  static func increment(_ counter: borrowing Atomic<UInt64>) {
    counter.store(counter.load(ordering: .relaxed) &+ 1, ordering: .releasing)
  }
}

/// A block of the ring whose packet is still to come.
@usableFromInline struct OpenBlock: BitwiseCopyable {
  /// Where the packet goes.
  @usableFromInline var bytes: UnsafeMutableRawPointer
  /// Bytes of it that are kept.
  @usableFromInline var captured: Int
  @usableFromInline var blockByteCount: Int

  @inlinable init(bytes: UnsafeMutableRawPointer, captured: Int, blockByteCount: Int) {
    self.bytes = bytes
    self.captured = captured
    self.blockByteCount = blockByteCount
  }
}

/// Copies without a call: a packet of 64 bytes is four loads and four stores.
@usableFromInline enum ByteCopy {
  /// Exactly so many bytes; the two do not overlap.
  @inlinable @inline(__always)
  static func copy(_ source: UnsafeRawPointer, to target: UnsafeMutableRawPointer, byteCount: Int) {
    var done = 0
    while done &+ 64 <= byteCount {
      let first = (source + done).loadUnaligned(as: SIMD16<UInt8>.self)
      let second = (source + done).loadUnaligned(fromByteOffset: 16, as: SIMD16<UInt8>.self)
      let third = (source + done).loadUnaligned(fromByteOffset: 32, as: SIMD16<UInt8>.self)
      let fourth = (source + done).loadUnaligned(fromByteOffset: 48, as: SIMD16<UInt8>.self)
      (target + done).storeBytes(of: first, as: SIMD16<UInt8>.self)
      (target + done).storeBytes(of: second, toByteOffset: 16, as: SIMD16<UInt8>.self)
      (target + done).storeBytes(of: third, toByteOffset: 32, as: SIMD16<UInt8>.self)
      (target + done).storeBytes(of: fourth, toByteOffset: 48, as: SIMD16<UInt8>.self)
      done &+= 64
    }
    while done &+ 8 <= byteCount {
      (target + done).storeBytes(of: (source + done).loadUnaligned(as: UInt64.self), as: UInt64.self)
      done &+= 8
    }
    if byteCount & 4 != 0 {
      (target + done).storeBytes(of: (source + done).loadUnaligned(as: UInt32.self), as: UInt32.self)
      done &+= 4
    }
    if byteCount & 2 != 0 {
      (target + done).storeBytes(of: (source + done).loadUnaligned(as: UInt16.self), as: UInt16.self)
      done &+= 2
    }
    if byteCount & 1 != 0 { (target + done).storeBytes(of: (source + done).load(as: UInt8.self), as: UInt8.self) }
  }

  /// A multiple of four bytes.
  @inlinable @inline(__always)
  static func copyWords(_ source: UnsafeRawPointer, to target: UnsafeMutableRawPointer, byteCount: Int) {
    var done = 0
    while done < byteCount {
      (target + done).storeBytes(of: (source + done).loadUnaligned(as: UInt32.self), as: UInt32.self)
      done &+= 4
    }
  }
}

/// A packet thread's view of ``PacketOptions``.
@usableFromInline struct PacketOptionsView: BitwiseCopyable {
  @usableFromInline let entries: UnsafePointer<Atomic<UInt32>>
  @usableFromInline let lists: UnsafeMutableRawPointer

  init(entries: UnsafePointer<Atomic<UInt32>>, lists: UnsafeMutableRawPointer) {
    self.entries = entries
    self.lists = lists
  }

  @inlinable @inline(__always)
  func options(of slot: UInt32) -> (bytes: UnsafeRawPointer, byteCount: Int) {
    var place: UInt32 = 0
    if slot < RecordAdmission.slotLimit {
      place = entries[Int(slot)].load(ordering: .acquiring)  // pairs with set
    }
    let list = UnsafeRawPointer(lists) + Int(place) &* 4
    return (list + 4, Int(truncatingIfNeeded: list.load(as: UInt32.self)))
  }
}

extension PacketBlock {
  @inlinable static var type: UInt32 { 6 }
  /// Up to the packet's first byte.
  @inlinable static var headerByteCount: Int { 28 }
  /// All but packet and options.
  @inlinable static var overheadByteCount: Int { 32 }
}

/// A flow in the table: one cache line.
@frozen
@usableFromInline struct FlowEntry: BitwiseCopyable {
  @usableFromInline var key: FlowKey
  @usableFromInline var firstNanoseconds: UInt64
  /// Bytes 44 bits, TCP flags 8, the duration's upper 12.
  @usableFromInline var upper: UInt64
  /// Packets 32 bits, the duration's lower 32. The duration is nanoseconds from the first packet to the last.
  @usableFromInline var lower: UInt64

  @inlinable @inline(__always)
  init(key: FlowKey, byteCount: UInt32, tcpFlags: UInt8, now: UInt64) {
    self.key = key
    firstNanoseconds = now
    upper = UInt64(byteCount) << 20 | UInt64(tcpFlags) << 12
    lower = 1 << 32
  }

  /// What stands in a slot that is not taken: its key is no packet's.
  @inlinable static var free: FlowEntry {
    FlowEntry(key: FlowKey(first: 0, second: 0, third: 0, fourth: 0, rest: 0), byteCount: 0, tcpFlags: 0, now: 0)
  }

  @inlinable var packets: UInt64 { lower >> 32 }
  @inlinable var bytes: UInt64 { upper >> 20 }
  @inlinable var tcpFlags: UInt8 { UInt8(truncatingIfNeeded: upper >> 12) }
  @inlinable var duration: UInt64 { (upper & 0xfff) << 32 | lower & 0xffff_ffff }
  @inlinable var lastNanoseconds: UInt64 { firstNanoseconds &+ duration }

  /// A packet more could overflow a field. Far before: 2³¹ packets or 8 TiB.
  @inlinable var isNearlyFull: Bool { (upper | lower) >> 63 != 0 }

  /// FIN or RST was seen. Other protocols have no flags.
  @inlinable var isEnding: Bool { tcpFlags & 0x05 != 0 }

  @inlinable @inline(__always)
  mutating func add(byteCount: UInt32, tcpFlags: UInt8, duration: UInt64) {
    let bytesAndFlags = (upper &+ UInt64(byteCount) << 20) | UInt64(tcpFlags) << 12
    upper = bytesAndFlags & ~0xfff | duration >> 32
    lower = (lower >> 32 &+ 1) << 32 | duration & 0xffff_ffff
  }

  @inlinable func record(_ reason: FlowEndReason) -> FlowRecord {
    FlowRecord(
      key: key, packets: packets, bytes: bytes, firstNanoseconds: firstNanoseconds, lastNanoseconds: lastNanoseconds,
      tcpFlags: tcpFlags, endReason: reason)
  }
}

/// The memory of a ``FlowTable``: slots for flows, and one bit for each that is taken. Allocated at init only.
///
/// The one file of the room with pointers. They are to this value's own memory, and every index is masked to it.
@frozen
@usableFromInline struct FlowMemory: ~Copyable {
  @usableFromInline let slots: UnsafeMutablePointer<FlowEntry>
  @usableFromInline let occupied: UnsafeMutablePointer<UInt64>
  @usableFromInline let mask: Int

  /// - Parameter slotCount: A power of two, at least 64.
  @usableFromInline init(slotCount: Int) {
    precondition(slotCount >= 64 && slotCount & (slotCount - 1) == 0, "the number of slots is a power of two")
    precondition(MemoryLayout<FlowEntry>.size == 64, "a flow is one cache line")
    // Aligned to huge pages where that fills some, so that whoever asks the kernel for them can have them.
    let byteCount = slotCount * 64
    let memory = UnsafeMutableRawPointer.allocate(byteCount: byteCount, alignment: byteCount < 2 << 20 ? 64 : 2 << 20)
    slots = memory.bindMemory(to: FlowEntry.self, capacity: slotCount)
    slots.initialize(repeating: FlowEntry.free, count: slotCount)  // touches every page now, not under traffic
    occupied = .allocate(capacity: slotCount / 64)
    occupied.initialize(repeating: 0, count: slotCount / 64)
    mask = slotCount - 1
  }

  deinit {
    slots.deallocate()
    occupied.deallocate()
  }

  @inlinable var slotCount: Int { mask &+ 1 }
  /// Words of ``occupied``.
  @inlinable var wordCount: Int { slotCount / 64 }

  /// The slot at `index`, which wraps.
  @inlinable subscript(index: Int) -> FlowEntry {
    @inline(__always) unsafeAddress { UnsafePointer(slots + (index & mask)) }
    @inline(__always) nonmutating unsafeMutableAddress { slots + (index & mask) }
  }

  @inlinable @inline(__always)
  func isTaken(_ index: Int) -> Bool {
    let index = index & mask
    return occupied[index >> 6] & 1 << UInt64(index & 63) != 0
  }

  @inlinable func take(_ index: Int) {
    let index = index & mask
    occupied[index >> 6] |= 1 << UInt64(index & 63)
  }

  @inlinable func release(_ index: Int) {
    let index = index & mask
    occupied[index >> 6] &= ~(1 << UInt64(index & 63))
    slots[index] = FlowEntry.free
  }

  /// The taken slots among the 64 that begin at 64 × `word`.
  @inlinable func takenBits(_ word: Int) -> UInt64 { occupied[word & (mask >> 6)] }
}

extension FlowTable {
  /// Lends the table's memory, for advice to the kernel about its pages. Nobody writes through it.
  public borrowing func withMemory(_ body: (UnsafeRawBufferPointer) -> Void) {
    body(UnsafeRawBufferPointer(start: memory.slots, count: memory.slotCount * 64))
  }
}

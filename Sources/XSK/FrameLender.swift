import LinuxSystem
import Synchronization

/// Lends a packet thread's frames, with the packets in them, to one thread that may block, which gives them back: large
/// packets reach a file without having been copied.
///
/// The packet thread has the lending end, ``loan``; the borrower is a ``RecordRing``, at most one at a time. What is
/// lent belongs to neither pool nor rings: ``FrameCounts/held``. Keeps the memory, also when the packet thread has
/// ended.
public final class FrameLender: @unchecked Sendable {
  // Sendable: atomics and two disjoint sides; each side's thread is named at its calls.
  private let memory: UMEM
  private let core: UnsafeMutablePointer<FrameLoanCore>
  private let isBorrowed = Atomic<Bool>(false)

  /// Half of the frames may be away at a time: the kernel has the others.
  ///
  /// - Parameter memory: Of aligned frames.
  public init(_ memory: UMEM) {
    let geometry = memory.geometry
    precondition(!geometry.isUnaligned, "a block around a packet stays in its frame where frames are aligned")
    self.memory = memory
    core = .allocate(capacity: 1)
    core.initialize(
      to: FrameLoanCore(
        base: memory.base, byteCount: UInt(memory.byteCount), frameByteCount: UInt(geometry.frameByteCount),
        limit: geometry.frameCount / 2))
  }

  deinit {
    core.deinitialize(count: 1)
    core.deallocate()
  }

  /// The lending end, for the packet thread; the lender must outlive it.
  public var loan: FrameLoan { FrameLoan(core: core) }

  /// For a ring that borrows from now on, on any thread. Nil: another one does.
  func borrow() -> UnsafeMutablePointer<FrameLoanCore>? {
    isBorrowed.exchange(true, ordering: .acquiringAndReleasing) ? nil : core
  }

  /// The ring has given everything back and borrows no more.
  func endBorrowing() { isBorrowed.store(false, ordering: .releasing) }
}

/// The packet thread's end of a ``FrameLender``.
public struct FrameLoan: BitwiseCopyable {
  @usableFromInline let core: UnsafeMutablePointer<FrameLoanCore>

  @usableFromInline init(core: UnsafeMutablePointer<FrameLoanCore>) { self.core = core }

  /// Frames that are away, or given back and not taken yet.
  @inlinable public var count: UInt32 { core.pointee.lent }

  /// Puts what was given back into the pool.
  @inlinable public func takeBack(into pool: inout FramePool) {
    if core.pointee.lent == 0 { return }
    let end = core.pointee.returnedTail.load(ordering: .acquiring)  // pairs with giveBack: the borrower is done with them
    while core.pointee.returnedHead != end {
      pool.put(core.pointee.returned[Int(core.pointee.returnedHead & core.pointee.mask)])
      core.pointee.returnedHead &+= 1
      core.pointee.lent &-= 1
    }
  }
}

/// Both ends' shared state. Heap memory of its lender; the borrower's index on a cache line of its own.
@usableFromInline struct FrameLoanCore: ~Copyable {
  @usableFromInline let base: UnsafeMutableRawPointer
  @usableFromInline let byteCount: UInt
  @usableFromInline let frameByteCount: UInt
  @usableFromInline let limit: UInt32
  // Addresses that come back; as many places as can be lent at a time.
  @usableFromInline let returned: UnsafeMutablePointer<UInt64>
  @usableFromInline let mask: UInt32
  // The packet thread's.
  @usableFromInline var lent: UInt32 = 0
  @usableFromInline var returnedHead: UInt32 = 0
  private let gap = InlineArray<16, UInt64>(repeating: 0)
  // The borrower's.
  @usableFromInline let returnedTail = Atomic<UInt32>(0)

  init(base: UnsafeMutableRawPointer, byteCount: UInt, frameByteCount: UInt, limit: UInt32) {
    self.base = base
    self.byteCount = byteCount
    self.frameByteCount = frameByteCount
    self.limit = limit
    var places: UInt32 = 1
    while places < limit { places <<= 1 }
    mask = places - 1
    returned = .allocate(capacity: Int(places))
    returned.initialize(repeating: 0, count: Int(places))
  }

  deinit { returned.deallocate() }

  /// A packet at `start` can go with a block around it: its frame has so many bytes before and, from the packet's first
  /// byte on, behind it.
  @inlinable @inline(__always) @_noAllocation @_noLocks
  func canLend(_ start: UnsafeRawPointer, before: Int, behind: Int) -> Bool {
    if lent >= limit { return false }
    let offset = UInt(bitPattern: start) &- UInt(bitPattern: base)
    if offset >= byteCount { return false }
    let place = Int(bitPattern: offset & (frameByteCount &- 1))
    return place >= before && place &+ behind <= Int(bitPattern: frameByteCount)
  }

  /// The borrower notes an address that comes back, `index` after those given back so far.
  func note(_ address: UInt64, at index: UInt32) {
    returned[Int((returnedTail.load(ordering: .relaxed) &+ index) & mask)] = address
  }

  /// The borrower is done with the next `count` noted addresses.
  func giveBack(_ count: UInt32) {
    if count == 0 { return }
    returnedTail.store(returnedTail.load(ordering: .relaxed) &+ count, ordering: .releasing)
  }
}

/// What stands in a ring for a block that lies in a lent frame: a type that no block has, and where it is.
@usableFromInline enum LentBlock {
  @inlinable static var type: UInt32 { @_noAllocation @_noLocks get { .max } }
  @inlinable static var byteCount: Int { @_noAllocation @_noLocks get { 16 } }

  /// Offset in the memory, and length.
  @inlinable @_noAllocation @_noLocks static func pack(offset: UInt, byteCount: Int) -> UInt64 {
    UInt64(offset) | UInt64(truncatingIfNeeded: byteCount) << 48
  }

  static func place(at entry: UnsafeRawPointer) -> (offset: UInt64, byteCount: Int)? {
    if entry.loadUnaligned(as: UInt32.self) != type { return nil }
    let word = entry.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
    return (word & 0xffff_ffff_ffff, Int(word >> 48))
  }
}

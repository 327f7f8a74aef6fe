import Synchronization

/// Where control threads hang record rings into a running packet thread, without a lock on its side.
///
/// A slot is one atomic word: a retained ring's address and two bits. The control thread puts a ring into an empty
/// slot; the packet thread adopts it (bit 0); a control thread asks for it back (bit 1); the packet thread retires it
/// and
/// empties the slot. A ring that was never adopted is taken back at once.
public final class TapBoard: Sendable {
  public enum Attachment: Hashable, Sendable {
    case attached
    /// All ``TapBoard/slotCount`` slots are taken.
    case full
    /// The packet thread has ended.
    case closed
  }

  public static var slotCount: Int { 4 }

  private let slots: InlineSlots
  private let changes = Atomic<UInt32>(0)

  private static var empty: UInt { 0 }
  private static var adoptedBit: UInt { 1 }
  private static var detachBit: UInt { 2 }
  private static var closed: UInt { .max }

  public init() { slots = InlineSlots() }

  /// Any thread. The packet thread uses the ring from its next batch on.
  public func attach(_ ring: RecordRing) -> Attachment {
    let reference = Unmanaged.passRetained(ring)
    let word = UInt(bitPattern: reference.toOpaque())
    for index in 0..<TapBoard.slotCount {
      let outcome = slots[index].pointee.compareExchange(
        expected: TapBoard.empty, desired: word, successOrdering: .acquiringAndReleasing, failureOrdering: .relaxed)
      if outcome.exchanged {
        changes.wrappingAdd(1, ordering: .releasing)
        return .attached
      }
      if outcome.original == TapBoard.closed {
        reference.release()
        return .closed
      }
    }
    reference.release()
    return .full
  }

  /// Asks for the ring back; it ``RecordRing/isRetired`` soon, if the packet thread is awake. Any thread, any number of
  /// times.
  public func detach(_ ring: RecordRing) {
    let reference = Unmanaged.passUnretained(ring)
    let word = UInt(bitPattern: reference.toOpaque())
    for index in 0..<TapBoard.slotCount {
      let unadopted = slots[index].pointee.compareExchange(
        expected: word, desired: TapBoard.empty, successOrdering: .acquiringAndReleasing, failureOrdering: .relaxed)
      if unadopted.exchanged {
        ring.retire()
        reference.release()
        return
      }
      let adopted = word | TapBoard.adoptedBit
      let asked = slots[index].pointee.compareExchange(
        expected: adopted, desired: adopted | TapBoard.detachBit, successOrdering: .acquiringAndReleasing,
        failureOrdering: .relaxed)
      if asked.exchanged {
        changes.wrappingAdd(1, ordering: .releasing)
        return
      }
    }
  }

  /// Brings the packet thread's view up to date. One load if nothing changed.
  @inline(__always)
  public func refresh(_ taps: inout Taps) {
    let seen = changes.load(ordering: .acquiring)
    if seen != taps.seen { rebuild(&taps, seen: seen) }
  }

  private func rebuild(_ taps: inout Taps, seen: UInt32) {
    taps.seen = seen
    taps.count = 0
    for index in 0..<TapBoard.slotCount {
      let word = slots[index].pointee.load(ordering: .acquiring)
      if word == TapBoard.empty { continue }
      if word & TapBoard.detachBit != 0 {
        slots[index].pointee.store(TapBoard.empty, ordering: .releasing)
        TapBoard.retire(word)
      } else if word & TapBoard.adoptedBit != 0 {
        taps.add(word & ~TapBoard.adoptedBit)
      } else {
        let adopted = slots[index].pointee.compareExchange(
          expected: word, desired: word | TapBoard.adoptedBit, successOrdering: .acquiringAndReleasing,
          failureOrdering: .relaxed)
        if adopted.exchanged { taps.add(word) }  // else: taken back in between
      }
    }
  }

  /// The packet thread ends: retires all rings and refuses new ones.
  public func close(_ taps: inout Taps) {
    taps.count = 0
    for index in 0..<TapBoard.slotCount {
      let word = slots[index].pointee.exchange(TapBoard.closed, ordering: .acquiringAndReleasing)
      if word != TapBoard.empty, word != TapBoard.closed { TapBoard.retire(word) }
    }
  }

  deinit {
    for index in 0..<TapBoard.slotCount {
      let word = slots[index].pointee.load(ordering: .acquiring)
      if word != TapBoard.empty, word != TapBoard.closed { TapBoard.retire(word) }
    }
  }

  private static func retire(_ word: UInt) {
    // The word was made from a retained reference and left its slot just now.
    guard let address = UnsafeRawPointer(bitPattern: word & ~(adoptedBit | detachBit)) else { return }
    let ring = Unmanaged<RecordRing>.fromOpaque(address).takeRetainedValue()
    ring.retire()
  }

  private struct InlineSlots: ~Copyable, @unchecked Sendable {
    // Sendable: atomics only.
    private let words: UnsafeMutablePointer<Atomic<UInt>>

    init() {
      words = .allocate(capacity: TapBoard.slotCount)
      for index in 0..<TapBoard.slotCount { (words + index).initialize(to: Atomic(TapBoard.empty)) }
    }

    deinit {
      words.deinitialize(count: TapBoard.slotCount)
      words.deallocate()
    }

    /// Valid while this value lives.
    subscript(index: Int) -> UnsafePointer<Atomic<UInt>> {
      precondition(index >= 0 && index < TapBoard.slotCount, "no such slot")
      return UnsafePointer(words + index)
    }
  }
}

/// The packet thread's view of a ``TapBoard``. Its rings are kept alive by their slots until it retires them.
public struct Taps: ~Copyable {
  @usableFromInline var producers = InlineArray<4, RecordProducer?>(repeating: nil)
  private var rings = InlineArray<4, Unmanaged<RecordRing>?>(repeating: nil)
  @usableFromInline var count = 0
  fileprivate var seen: UInt32 = 0
  @usableFromInline var hasNewRecords = false
  @usableFromInline var hasLent = false

  public init() {}

  /// No ring is attached.
  @inlinable public var isEmpty: Bool { count == 0 }

  fileprivate mutating func add(_ word: UInt) {
    guard let address = UnsafeRawPointer(bitPattern: word) else { return }
    let reference = Unmanaged<RecordRing>.fromOpaque(address)
    rings[count] = reference
    producers[count] = reference.takeUnretainedValue().producer
    count += 1
  }

  /// Offers a packet to every ring.
  @inlinable @_noAllocation @_noLocks
  public mutating func append(_ packet: borrowing MutableRawSpan, slot: UInt32, timestampNanoseconds: UInt64) {
    var index = 0
    while index < count {
      if let producer = producers[index] {
        note(producer.append(packet, slot: slot, timestampNanoseconds: timestampNanoseconds))
      }
      index &+= 1
    }
  }

  @inlinable @inline(__always)
  mutating func note(_ outcome: RecordOutcome) {
    switch outcome {
    case .none: break
    case .copied: hasNewRecords = true
    case .lent:
      hasNewRecords = true
      hasLent = true  // and is in place for the other rings, who copy it
    }
  }

  /// Whether the last packet's frame was lent to a ring's consumer; asked once for each packet.
  @inlinable @_noAllocation @_noLocks
  public mutating func takeLent() -> Bool {
    if !hasLent { return false }
    hasLent = false
    return true
  }

  /// As above, a packet in several buffers: whole.
  @inlinable @_noAllocation @_noLocks
  public mutating func append(
    _ packet: borrowing MutableRawSpan, followedBy rest: FollowingBuffers, slot: UInt32, timestampNanoseconds: UInt64
  ) {
    var index = 0
    while index < count {
      if let producer = producers[index] {
        note(producer.append(packet, followedBy: rest, slot: slot, timestampNanoseconds: timestampNanoseconds))
      }
      index &+= 1
    }
  }

  /// Wakes sleeping consumers of rings that got records since the last call.
  public mutating func wakeConsumers() {
    if !hasNewRecords { return }
    hasNewRecords = false
    for index in 0..<count { rings[index]?._withUnsafeGuaranteedRef { $0.wake.signalIfAsleep() } }
  }
}

import Synchronization

/// The two ends' shared state; cache lines of the two threads apart.
@usableFromInline struct ValueRingCore<Element: BitwiseCopyable>: ~Copyable {
  @usableFromInline let slots: UnsafeMutablePointer<Element>
  @usableFromInline let mask: UInt64
  // The producer's.
  @usableFromInline let tail = Atomic<UInt64>(0)
  @usableFromInline var cachedHead: UInt64 = 0
  private let gap = InlineArray<16, UInt64>(repeating: 0)
  // The consumer's.
  @usableFromInline let head = Atomic<UInt64>(0)

  init(capacity: Int) {
    slots = .allocate(capacity: capacity)
    mask = UInt64(capacity - 1)
  }

  deinit { slots.deallocate() }
}

/// A single-producer single-consumer ring of plain values: the way from a packet thread to a thread that may block.
///
/// The producer (``ValueProducer``) never waits, allocates or locks. Memory is allocated at init only.
public final class ValueRing<Element: BitwiseCopyable & Sendable>: @unchecked Sendable {
  // Sendable: atomics and two disjoint sides; each side's thread is named at its calls.
  private let core: UnsafeMutablePointer<ValueRingCore<Element>>
  public let capacity: Int

  /// - Parameter capacity: A power of two.
  public init(capacity: Int) {
    precondition(capacity > 0 && capacity & (capacity - 1) == 0, "a ring's size is a power of two")
    self.capacity = capacity
    core = .allocate(capacity: 1)
    core.initialize(to: ValueRingCore(capacity: capacity))
  }

  deinit {
    core.deinitialize(count: 1)
    core.deallocate()
  }

  /// The producing end. The ring must outlive it; one thread uses it.
  public var producer: ValueProducer<Element> { ValueProducer(core: core) }

  /// Nothing to read now. Any thread.
  public var isEmpty: Bool {
    core.pointee.tail.load(ordering: .acquiring) == core.pointee.head.load(ordering: .acquiring)
  }

  /// Hands up to `limit` values to `body`, oldest first. The consumer's thread.
  public func drain(limit: Int, _ body: (Element) -> Void) -> Int {
    let core = core
    let head = core.pointee.head.load(ordering: .relaxed)
    let tail = core.pointee.tail.load(ordering: .acquiring)  // pairs with append: the values are there
    let count = Int(min(tail &- head, UInt64(max(limit, 0))))
    for index in 0..<UInt64(count) {
      body(core.pointee.slots[Int((head &+ index) & core.pointee.mask)])
      core.pointee.head.store(head &+ index &+ 1, ordering: .releasing)  // read before the producer's reuse
    }
    return count
  }
}

/// The producing end of a ``ValueRing``. One thread; the ring must outlive it.
public struct ValueProducer<Element: BitwiseCopyable>: BitwiseCopyable {
  @usableFromInline let core: UnsafeMutablePointer<ValueRingCore<Element>>

  @usableFromInline init(core: UnsafeMutablePointer<ValueRingCore<Element>>) { self.core = core }

  /// Puts a value in. False: the ring is full.
  @inlinable
  public func append(_ value: Element) -> Bool {
    let tail = core.pointee.tail.load(ordering: .relaxed)
    if tail &- core.pointee.cachedHead > core.pointee.mask {
      core.pointee.cachedHead = core.pointee.head.load(ordering: .acquiring)  // pairs with drain: values are read
      if tail &- core.pointee.cachedHead > core.pointee.mask { return false }
    }
    core.pointee.slots[Int(truncatingIfNeeded: tail & core.pointee.mask)] = value
    core.pointee.tail.store(tail &+ 1, ordering: .releasing)  // the value is there before the index says so
    return true
  }

  @inlinable public var capacity: Int { Int(truncatingIfNeeded: core.pointee.mask &+ 1) }

  /// Values that fit now, at least.
  @inlinable
  public var room: Int {
    core.pointee.cachedHead = core.pointee.head.load(ordering: .acquiring)
    let used = core.pointee.tail.load(ordering: .relaxed) &- core.pointee.cachedHead
    return Int(truncatingIfNeeded: core.pointee.mask &+ 1 &- used)
  }
}

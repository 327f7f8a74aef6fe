import Synchronization

/// One direction of an AF_XDP ring where the kernel produces and we consume (receive, completion).
///
/// One thread owns this value; the kernel is the only producer. The memory must outlive it. Indices are free-running
/// 32-bit numbers that wrap; entry `i` is slot `i & mask`.
public struct ConsumerRing<Entry: BitwiseCopyable>: ~Copyable {
  @usableFromInline let producer: UnsafePointer<Atomic<UInt32>>  // the kernel's
  @usableFromInline let consumer: UnsafePointer<Atomic<UInt32>>  // ours
  @usableFromInline let slots: UnsafePointer<Entry>
  @usableFromInline let mask: UInt32
  @usableFromInline var cachedProducer: UInt32
  @usableFromInline var cachedConsumer: UInt32

  /// Over memory laid out by the kernel, or by a test.
  ///
  /// - Parameter entryCount: A power of two.
  public init(
    producer: UnsafeRawPointer, consumer: UnsafeRawPointer, slots: UnsafeRawPointer, entryCount: UInt32
  ) {
    precondition(entryCount > 0 && entryCount & (entryCount - 1) == 0, "a ring has a power of two of entries")
    // Atomic<UInt32> has the layout of UInt32.
    self.producer = producer.assumingMemoryBound(to: Atomic<UInt32>.self)
    self.consumer = consumer.assumingMemoryBound(to: Atomic<UInt32>.self)
    self.slots = slots.assumingMemoryBound(to: Entry.self)
    mask = entryCount - 1
    cachedConsumer = self.consumer.pointee.load(ordering: .relaxed)
    cachedProducer = cachedConsumer
  }

  /// Entries that can be read now, at most `limit`. Looks at the kernel's index only when all known ones are consumed.
  @inlinable public mutating func available(limit: UInt32) -> UInt32 {
    if cachedProducer == cachedConsumer {
      cachedProducer = producer.pointee.load(ordering: .acquiring)  // pairs with the kernel's release: entries are there
    }
    let count = cachedProducer &- cachedConsumer
    return count < limit ? count : limit
  }

  /// Entry `index` of the available ones.
  @inlinable public subscript(index: UInt32) -> Entry { slots[Int((cachedConsumer &+ index) & mask)] }

  /// Gives the first `count` available entries back to the producer.
  @inlinable public mutating func release(_ count: UInt32) {
    assert(count <= cachedProducer &- cachedConsumer, "released more entries than were available")
    cachedConsumer &+= count
    consumer.pointee.store(cachedConsumer, ordering: .releasing)  // our reads come before the kernel's reuse
  }

  /// Entries in the ring now, as both sides' indices say.
  @inlinable public var occupancy: UInt32 { producer.pointee.load(ordering: .acquiring) &- cachedConsumer }

  public var entryCount: UInt32 { mask &+ 1 }
}

/// One direction of an AF_XDP ring where we produce and the kernel consumes (fill, transmit).
///
/// One thread owns this value; the kernel is the only consumer. The memory must outlive it.
public struct ProducerRing<Entry: BitwiseCopyable>: ~Copyable {
  @usableFromInline let producer: UnsafePointer<Atomic<UInt32>>  // ours
  @usableFromInline let consumer: UnsafePointer<Atomic<UInt32>>  // the kernel's
  @usableFromInline let flags: UnsafePointer<Atomic<UInt32>>
  @usableFromInline let slots: UnsafeMutablePointer<Entry>
  @usableFromInline let mask: UInt32
  @usableFromInline var cachedProducer: UInt32
  @usableFromInline var cachedConsumer: UInt32

  /// - Parameters:
  ///   - flags: Where the kernel says XDP_RING_NEED_WAKEUP.
  ///   - entryCount: A power of two.
  public init(
    producer: UnsafeRawPointer, consumer: UnsafeRawPointer, flags: UnsafeRawPointer, slots: UnsafeMutableRawPointer,
    entryCount: UInt32
  ) {
    precondition(entryCount > 0 && entryCount & (entryCount - 1) == 0, "a ring has a power of two of entries")
    self.producer = producer.assumingMemoryBound(to: Atomic<UInt32>.self)
    self.consumer = consumer.assumingMemoryBound(to: Atomic<UInt32>.self)
    self.flags = flags.assumingMemoryBound(to: Atomic<UInt32>.self)
    self.slots = slots.assumingMemoryBound(to: Entry.self)
    mask = entryCount - 1
    cachedProducer = self.producer.pointee.load(ordering: .relaxed)
    cachedConsumer = self.consumer.pointee.load(ordering: .acquiring)
  }

  /// Entries that can be written now, at most `limit`. Looks at the kernel's index only when the known room is short.
  @inlinable public mutating func room(limit: UInt32) -> UInt32 {
    var free = entryCount &- (cachedProducer &- cachedConsumer)
    if free < limit {
      cachedConsumer = consumer.pointee.load(ordering: .acquiring)  // pairs with the kernel's release: slots are read
      free = entryCount &- (cachedProducer &- cachedConsumer)
    }
    return free < limit ? free : limit
  }

  /// Entry `index` of the room; not seen by the kernel before ``submit(_:)``.
  @inlinable public subscript(index: UInt32) -> Entry {
    get { slots[Int((cachedProducer &+ index) & mask)] }
    nonmutating set { slots[Int((cachedProducer &+ index) & mask)] = newValue }
  }

  /// Hands the first `count` entries of the room to the kernel.
  @inlinable public mutating func submit(_ count: UInt32) {
    assert(count <= entryCount &- (cachedProducer &- cachedConsumer), "submitted more entries than there was room for")
    cachedProducer &+= count
    producer.pointee.store(cachedProducer, ordering: .releasing)  // the entries are there before the index says so
  }

  /// The kernel sleeps and wants a system call before it looks at the ring again.
  @inlinable public var needsWakeup: Bool { flags.pointee.load(ordering: .relaxed) & 1 != 0 }

  /// Entries that the kernel has not taken yet.
  @inlinable public var occupancy: UInt32 { cachedProducer &- consumer.pointee.load(ordering: .acquiring) }

  @inlinable public var entryCount: UInt32 { mask &+ 1 }
}

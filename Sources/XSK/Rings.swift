import Synchronization

// Memory order. Either side of a ring may run on another CPU, also a weakly ordered one (arm64), so each index that
// hands something over is stored with release and loaded with acquire:
//
//   consumer ring   kernel writes entry, stores producer (release)  ->  we load producer (acquire), read entry
//                   we read entry, store consumer (release)         ->  kernel loads consumer (acquire), overwrites entry
//   producer ring   we write entry, store producer (release)        ->  kernel loads producer (acquire), reads entry
//                   kernel reads entry, stores consumer (release)   ->  we load consumer (acquire), overwrite entry
//
// The release on the way back is as needed as the other: without it the CPU may still be reading an entry when its slot
// already counts as free. The same pairs order the bytes of a packet with the descriptor that points to them. On x86-64
// all four are plain moves; on arm64 they are ldar or ldapr, and stlr: no full barrier anywhere. Each of our own
// indices has one writer, this value, which therefore keeps it in `cached…` and never loads it back. The flags word is
// a hint that orders nothing: a wake-up that is seen late is one batch late, and every sleep is bounded.

/// One direction of an AF_XDP ring where the kernel produces and we consume (receive, completion).
///
/// One thread owns this value; the kernel is the only producer. The memory must outlive it. Indices are free-running
/// 32-bit numbers that wrap; entry `i` is slot `i & mask`.
public struct ConsumerRing<Entry: BitwiseCopyable>: ~Copyable {
  @usableFromInline let producer: UnsafePointer<Atomic<UInt32>>  // the kernel's
  @usableFromInline let consumer: UnsafePointer<Atomic<UInt32>>  // ours
  @usableFromInline let slots: UnsafePointer<Entry>
  @usableFromInline let mask: UInt32
  @usableFromInline let byteMask: UInt32
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
    byteMask = mask * UInt32(MemoryLayout<Entry>.stride)
    cachedConsumer = self.consumer.pointee.load(ordering: .relaxed)
    cachedProducer = cachedConsumer
  }

  /// Entries that can be read now, at most `limit`. Looks at the kernel's index only when all known ones are consumed.
  @inlinable public mutating func available(limit: UInt32) -> UInt32 {
    if cachedProducer == cachedConsumer { refresh() }
    let count = cachedProducer &- cachedConsumer
    return count < limit ? count : limit
  }

  /// Looks at the kernel's index.
  @inlinable public mutating func refresh() {
    cachedProducer = producer.pointee.load(ordering: .acquiring)  // pairs with the kernel's release: entries are there
  }

  /// Entry `index` of the available ones.
  @inlinable public subscript(index: UInt32) -> Entry {
    (UnsafeRawPointer(slots) + offset(of: cachedConsumer &+ index)).load(as: Entry.self)
  }

  /// Where in `slots` an index is, in bytes: scaled before it is masked, so that a loop counts it up by itself. In
  /// bounds: an entry's stride is a power of two.
  @inlinable func offset(of index: UInt32) -> Int {
    Int(truncatingIfNeeded: (index &* UInt32(truncatingIfNeeded: MemoryLayout<Entry>.stride)) & byteMask)
  }

  /// Entries from entry `index` on that lie side by side: up to the end of the memory, where the ring wraps.
  @inlinable func run(from index: UInt32, limit: UInt32) -> (start: UnsafePointer<Entry>, count: UInt32) {
    let slot = (cachedConsumer &+ index) & mask
    return (slots + Int(slot), min(limit, mask &+ 1 &- slot))
  }

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
  @usableFromInline let byteMask: UInt32
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
    byteMask = mask * UInt32(MemoryLayout<Entry>.stride)
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
    get { (UnsafeRawPointer(slots) + offset(of: cachedProducer &+ index)).load(as: Entry.self) }
    nonmutating set {
      (UnsafeMutableRawPointer(slots) + offset(of: cachedProducer &+ index)).storeBytes(of: newValue, as: Entry.self)
    }
  }

  /// Where in `slots` an index is, in bytes: scaled before it is masked, so that a loop counts it up by itself. In
  /// bounds: an entry's stride is a power of two.
  @inlinable func offset(of index: UInt32) -> Int {
    Int(truncatingIfNeeded: (index &* UInt32(truncatingIfNeeded: MemoryLayout<Entry>.stride)) & byteMask)
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

extension ProducerRing<UInt64> {
  /// Moves free frames into the ring, as many as it has room for, and hands them to the kernel. Returns how many.
  @inlinable mutating func fill(from pool: inout FramePool) -> UInt32 {
    let count = room(limit: pool.count)
    if count == 0 { return 0 }
    let first = cachedProducer & mask
    let beforeWrap = min(count, entryCount &- first)
    pool.move(beforeWrap, to: slots + Int(first))
    pool.move(count &- beforeWrap, to: slots)
    submit(count)
    return count
  }
}

extension ConsumerRing<UInt64> {
  /// Returns the frames of up to `limit` entries to the pool, and the entries to the kernel. Returns how many.
  @inlinable mutating func drain(into pool: inout FramePool, limit: UInt32) -> UInt32 {
    let count = available(limit: limit)
    if count == 0 { return 0 }
    let first = run(from: 0, limit: count)
    pool.put(first.count, from: first.start)
    pool.put(count &- first.count, from: slots)
    release(count)
    return count
  }
}

import LinuxSystem
import Synchronization

/// Fill ring and receive ring that an XDP program serves in the kernel's place: it copies packets into the frames itself, and
/// tells of them here, in memory that it shares with us.
///
/// To the owner of an ``XDPSocket`` they are rings like any other; only a sleep is ended by ``wakeupDescriptor`` instead of
/// the socket. One socket uses them, once. Another thread may read ``losses()``.
public final class ProgramRings: @unchecked Sendable {
  // Sendable: the indices belong to the rings' owner, which is one thread; the others are read atomically.

  /// Where in the shared memory everything lies, in bytes.
  public struct Layout: Hashable, Sendable {
    public var fillProducer: Int
    public var fillConsumer: Int
    /// A 32-bit word that is always 0.
    public var fillFlags: Int
    public var fill: Int
    public var receiveProducer: Int
    public var receiveConsumer: Int
    public var receive: Int
    /// 32 bits: the program makes them 0 when it wakes us.
    public var isAsleep: Int
    /// 64 bits each, counted by the program: see ``Losses``.
    public var noFrame: Int
    public var ringFull: Int
    public var tooLong: Int

    public init(
      fillProducer: Int, fillConsumer: Int, fillFlags: Int, fill: Int, receiveProducer: Int, receiveConsumer: Int,
      receive: Int, isAsleep: Int, noFrame: Int, ringFull: Int, tooLong: Int
    ) {
      self.fillProducer = fillProducer
      self.fillConsumer = fillConsumer
      self.fillFlags = fillFlags
      self.fill = fill
      self.receiveProducer = receiveProducer
      self.receiveConsumer = receiveConsumer
      self.receive = receive
      self.isAsleep = isAsleep
      self.noFrame = noFrame
      self.ringFull = ringFull
      self.tooLong = tooLong
    }
  }

  /// Packets that the program dropped.
  public struct Losses: Hashable, Sendable {
    /// The fill ring was empty.
    public var noFrame: UInt64 = 0
    public var ringFull: UInt64 = 0
    /// Longer than a frame, where packets may not have several, or than as many as they may have.
    public var tooLong: UInt64 = 0
  }

  public let entryCount: UInt32
  /// Readable once the program wants to end a sleep.
  public var wakeupDescriptor: CInt { wakeups.rawValue }
  private let region: MappedRegion
  private let layout: Layout
  private let wakeups: OwnedDescriptor
  private let consumed: MappedRegion
  private let produced: MappedRegion

  /// - Parameters:
  ///   - region: Shared with the program, zeroed.
  ///   - entryCount: Of each ring, a power of two.
  ///   - wakeups: A BPF ring buffer (BPF_MAP_TYPE_RINGBUF) that the program writes a record into to wake us.
  public init(
    over region: consuming MappedRegion, _ layout: Layout, entryCount: UInt32, wakeups: consuming OwnedDescriptor
  ) throws(SystemError) {
    precondition(layout.receive + Int(entryCount) * MemoryLayout<PacketDescriptor>.stride <= region.byteCount, "rings fit")
    // A page with the consumer's position, one with the producer's, then the records (kernel/bpf/ringbuf.c).
    let page = MappedRegion.systemPageByteCount
    consumed = try MappedRegion(sharing: wakeups, byteCount: page, subject: "wake-ups")
    produced = try MappedRegion(sharing: wakeups, offset: page, byteCount: page, isWritable: false, subject: "wake-ups")
    self.region = region
    self.layout = layout
    self.entryCount = entryCount
    self.wakeups = wakeups
  }

  // The rings must not outlive this object.
  func fillRing() -> ProducerRing<UInt64> {
    ProducerRing(
      producer: region.base + layout.fillProducer, consumer: region.base + layout.fillConsumer,
      flags: region.base + layout.fillFlags, slots: region.base + layout.fill, entryCount: entryCount)
  }

  func receiveRing() -> ConsumerRing<PacketDescriptor> {
    ConsumerRing(
      producer: region.base + layout.receiveProducer, consumer: region.base + layout.receiveConsumer,
      slots: region.base + layout.receive, entryCount: entryCount)
  }

  /// From now on a packet makes ``wakeupDescriptor`` readable. One may have come before the program saw this: look at the
  /// ring afterwards, and once more after a moment, before a long sleep. (The program has no barrier between a packet and
  /// its look for a sleeper; what it stored is seen by others after a moment all the same.)
  public func announceSleep() {
    sleepWord.pointee.store(1, ordering: .relaxed)
    atomicMemoryFence(ordering: .sequentiallyConsistent)
  }

  /// Awake: the program need not wake us any more.
  public func endSleep() {
    sleepWord.pointee.store(0, ordering: .relaxed)
    let end = produced.base.assumingMemoryBound(to: Atomic<UInt64>.self).pointee.load(ordering: .acquiring)
    consumed.base.assumingMemoryBound(to: Atomic<UInt64>.self).pointee.store(end, ordering: .releasing)
  }

  /// Any thread.
  public func losses() -> Losses {
    Losses(noFrame: count(layout.noFrame), ringFull: count(layout.ringFull), tooLong: count(layout.tooLong))
  }

  private var sleepWord: UnsafeMutablePointer<Atomic<UInt32>> {
    (region.base + layout.isAsleep).assumingMemoryBound(to: Atomic<UInt32>.self)
  }

  private func count(_ offset: Int) -> UInt64 {
    (region.base + offset).assumingMemoryBound(to: Atomic<UInt64>.self).pointee.load(ordering: .relaxed)
  }
}

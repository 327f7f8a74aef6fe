import CLinuxShims
import Glibc
import LinuxSystem

/// An AF_XDP socket that receives the packets of one queue of one interface, with the memory they land in.
///
/// One thread owns this value and makes every call on it; ``descriptor`` may be put into an XSKMAP by anyone while the
/// value lives. Packets arrive once an XDP program redirects them through that map. Closing is the deinit's; the kernel
/// frees the queue some 20 ms later, which is why binding retries on EBUSY.
public struct XDPSocket: ~Copyable {
  @usableFromInline var receiveRing: ConsumerRing<ReceiveDescriptor>
  @usableFromInline var fillRing: ProducerRing<UInt64>
  /// Frames handed to the kernel and not received back.
  @usableFromInline var outstanding: UInt32
  @usableFromInline let frameBase: UnsafeMutableRawPointer
  @usableFromInline let frameByteCount: UInt64
  private let mappings: RingMappings
  public let descriptor: OwnedDescriptor
  public let memory: UMEM
  /// Packets are written into the frames by the device itself.
  public let isZeroCopy: Bool
  /// Why packets are copied; nil with zero-copy.
  public let copyReason: String?
  /// How long the queue stayed busy with a socket that was closed before, or another bind.
  public let bindRetries: Int

  public enum ZeroCopyMode: Hashable, Sendable {
    /// Zero-copy where the driver can, else copies.
    case auto
    /// Fails where the driver can't.
    case required
    case off
  }

  public struct Options: Hashable, Sendable {
    public var zeroCopy: ZeroCopyMode
    /// Entries of the fill ring: a power of two. Nil: room for all frames.
    public var fillEntryCount: UInt32?
    /// Entries of the receive ring: a power of two. Nil: as the fill ring, so that it never overflows first.
    public var receiveEntryCount: UInt32?
    /// How long a busy queue is tried again.
    public var bindTimeoutMilliseconds: UInt32

    public init(
      zeroCopy: ZeroCopyMode = .auto, fillEntryCount: UInt32? = nil, receiveEntryCount: UInt32? = nil,
      bindTimeoutMilliseconds: UInt32 = 500
    ) {
      self.zeroCopy = zeroCopy
      self.fillEntryCount = fillEntryCount
      self.receiveEntryCount = receiveEntryCount
      self.bindTimeoutMilliseconds = bindTimeoutMilliseconds
    }
  }

  /// Opens, fills the fill ring from `pool`, then binds: from the first packet on there are frames.
  ///
  /// When it throws, frames that `pool` lent are back. Typical errors, each with its remedy: EPERM (CAP_NET_RAW), EBUSY
  /// (the queue has another socket), EINVAL (no such queue), EOPNOTSUPP (zero-copy required of a driver that has none),
  /// ENETDOWN, ENOBUFS (memory lock limit).
  public init(
    memory: consuming UMEM, pool: inout FramePool, interface: NetworkInterface, queue: UInt32,
    options: Options = Options()
  ) throws(SystemError) {
    let subject = "\(interface.name) queue \(queue)"
    let fillEntryCount = options.fillEntryCount ?? XDPSocket.powerOfTwo(atLeast: memory.geometry.frameCount)
    let receiveEntryCount = options.receiveEntryCount ?? fillEntryCount
    for count in [fillEntryCount, receiveEntryCount] where count == 0 || count & (count - 1) != 0 {
      throw SystemError(
        operation: "make ring", code: EINVAL, subject: subject, remedy: "\(count) entries is not a power of two")
    }
    let descriptor = try OwnedDescriptor.socket(family: AF_XDP, type: CInt(SOCK_RAW.rawValue), needs: .netRaw)
    try SocketSetup.register(memory, on: descriptor, subject: subject)
    let mappings = try RingMappings(
      descriptor, fillEntryCount: fillEntryCount, receiveEntryCount: receiveEntryCount, subject: subject)
    var fillRing = mappings.fillRing()
    let receiveRing = mappings.receiveRing()
    let filled = XDPSocket.fill(&fillRing, from: &pool)
    let mode: (isZeroCopy: Bool, reason: String?, retries: Int)
    do throws(SystemError) {
      mode = try SocketSetup.bind(descriptor, interface: interface, queue: queue, options: options, subject: subject)
    } catch {
      // Not bound: the kernel took none of them.
      for index in 0..<filled { pool.put(fillRing[index &- filled]) }
      throw error
    }
    frameBase = memory.base
    frameByteCount = UInt64(memory.geometry.frameByteCount)
    self.fillRing = fillRing
    self.receiveRing = receiveRing
    outstanding = filled
    self.mappings = mappings
    self.descriptor = descriptor
    self.memory = memory
    isZeroCopy = mode.isZeroCopy
    copyReason = mode.reason
    bindRetries = mode.retries
  }

  private static func powerOfTwo(atLeast count: UInt32) -> UInt32 {
    count <= 1 ? 1 : 1 << UInt32(32 - (count - 1).leadingZeroBitCount)
  }

  @inlinable static func fill(_ ring: inout ProducerRing<UInt64>, from pool: inout FramePool) -> UInt32 {
    let count = ring.room(limit: pool.count)
    var index: UInt32 = 0
    while index < count {
      ring[index] = pool.take()
      index &+= 1
    }
    if count > 0 { ring.submit(count) }
    return count
  }
}

/// An entry of the receive ring, as `struct xdp_desc`.
public struct ReceiveDescriptor: BitwiseCopyable, Hashable, Sendable {
  /// Offset of the packet in the UMEM.
  public var address: UInt64
  public var byteCount: UInt32
  public var options: UInt32

  public init(address: UInt64, byteCount: UInt32, options: UInt32) {
    self.address = address
    self.byteCount = byteCount
    self.options = options
  }
}

/// The 16 bytes in front of a packet, where an XDP program may have left something (`bpf_xdp_adjust_meta`).
public struct FrameMetadata: BitwiseCopyable, Hashable, Sendable {
  public var first: UInt32
  public var second: UInt32
  public var last: UInt64

  @inlinable public init(first: UInt32, second: UInt32, last: UInt64) {
    self.first = first
    self.second = second
    self.last = last
  }
}

/// Takes packets one by one. Conform a concrete noncopyable struct: calls to it are then direct, often inlined.
public protocol FrameHandler: ~Copyable {
  /// - Parameters:
  ///   - packet: The bytes of the packet; valid during the call.
  ///   - metadata: What stood in front of it. Stale or meaningless unless the program vouches for it.
  mutating func handle(_ packet: inout MutableRawSpan, metadata: FrameMetadata)
}

extension XDPSocket {
  /// Hands up to `limit` received packets to `handler` and their frames to `pool`. No system call, lock or allocation.
  ///
  /// - Returns: How many. 0: nothing there; wait for ``descriptor`` to be readable.
  @inlinable
  public mutating func receive<Handler: FrameHandler & ~Copyable>(
    limit: UInt32, pool: inout FramePool, into handler: inout Handler
  ) -> UInt32 {
    let count = receiveRing.available(limit: limit)
    if count == 0 { return 0 }
    var index: UInt32 = 0
    while index < count {
      let entry = receiveRing[index]
      let offset = Int(truncatingIfNeeded: entry.address)
      // The kernel is the only producer of entries: packet and the 256 bytes before it lie in one frame of ours.
      assert(offset >= 16 && offset + Int(entry.byteCount) <= memory.byteCount, "entry outside the UMEM")
      let start = frameBase + offset
      let metadata = (start - 16).loadUnaligned(as: FrameMetadata.self)
      // A frame comes back with its old headroom when a driver has no metadata: the next reader must not believe it.
      if metadata.first != 0 { (start - 16).storeBytes(of: 0, as: UInt32.self) }
      let bytes = UnsafeMutableRawBufferPointer(start: start, count: Int(truncatingIfNeeded: entry.byteCount))
      var packet = bytes.mutableBytes
      handler.handle(&packet, metadata: metadata)
      pool.put(entry.address)
      index &+= 1
    }
    receiveRing.release(count)
    outstanding &-= count
    return count
  }

  /// Gives free frames to the kernel, as many as the fill ring has room for. Returns how many.
  @inlinable
  @discardableResult
  public mutating func refill(from pool: inout FramePool) -> UInt32 {
    let count = XDPSocket.fill(&fillRing, from: &pool)
    outstanding &+= count
    return count
  }

  /// The driver waits for a call before it looks at the fill ring; ``wake()`` or poll(2) is one.
  @inlinable public var needsWakeup: Bool { fillRing.needsWakeup }

  /// Makes the driver look at the fill ring. Mutating, because a borrowing call copies the whole value first.
  public mutating func wake() { _ = recv(descriptor.rawValue, nil, 0, CInt(MSG_DONTWAIT)) }

  /// Where the frames are now.
  public func frames(pool: borrowing FramePool) -> FrameCounts {
    let receiveSeen = receiveRing.occupancy  // before the fill ring: see FrameCounts
    return FrameCounts(
      total: memory.geometry.frameCount, pool: pool.count, outstanding: outstanding, fillSeen: fillRing.occupancy,
      receiveSeen: receiveSeen)
  }

  /// The kernel's counters of this socket.
  public func statistics() throws(SystemError) -> XDPStatistics {
    try XDPStatistics.read(descriptor: descriptor.rawValue)
  }
}

/// Where the frames of a UMEM are.
public struct FrameCounts: Hashable, Sendable {
  public var total: UInt32
  /// Free, ours.
  public var pool: UInt32
  /// In the fill ring, for the kernel to take.
  public var fill: UInt32
  /// In the receive ring, with packets for us.
  public var receive: UInt32
  /// With the kernel: taken from the fill ring and not delivered yet.
  public var inFlight: UInt32

  /// From what each side's books say.
  ///
  /// The kernel publishes packets in the receive ring before it publishes that it took their frames from the fill ring:
  /// for a moment both rings show a frame. It is where it can be received, so the fill ring's number gives way.
  ///
  /// - Parameters:
  ///   - outstanding: Frames handed to the kernel and not received back, by our own count.
  ///   - fillSeen: Entries of the fill ring, by its indices, read after `receiveSeen`.
  ///   - receiveSeen: Entries of the receive ring, by its indices.
  public init(total: UInt32, pool: UInt32, outstanding: UInt32, fillSeen: UInt32, receiveSeen: UInt32) {
    self.total = total
    self.pool = pool
    receive = receiveSeen
    // More in the receive ring than the kernel was given: nothing to make up for, the sum shall show it.
    let notReceived = outstanding >= receiveSeen ? outstanding - receiveSeen : 0
    fill = min(fillSeen, notReceived)
    inFlight = notReceived - fill
  }

  /// Every frame is in exactly one place.
  public var areConserved: Bool { pool &+ fill &+ receive &+ inFlight == total }
}

/// `struct xdp_statistics`: why packets for the socket were lost.
public struct XDPStatistics: Hashable, Sendable {
  /// Dropped for other reasons, for example longer than a frame.
  public var rxDropped: UInt64 = 0
  public var rxInvalidDescriptors: UInt64 = 0
  /// We were too slow.
  public var rxRingFull: UInt64 = 0
  /// There was no frame to put a packet into.
  public var rxFillRingEmpty: UInt64 = 0

  public init() {}

  /// Of a socket that somebody else owns and keeps open during the call. Any thread.
  public static func read(descriptor: CInt) throws(SystemError) -> XDPStatistics {
    let raw: xdp_statistics = try SocketSetup.option(
      XDP_STATISTICS, of: descriptor, initial: xdp_statistics(), operation: "read XDP statistics", subject: "")
    var statistics = XDPStatistics()
    statistics.rxDropped = raw.rx_dropped
    statistics.rxInvalidDescriptors = raw.rx_invalid_descs
    statistics.rxRingFull = raw.rx_ring_full
    statistics.rxFillRingEmpty = raw.rx_fill_ring_empty_descs
    return statistics
  }
}

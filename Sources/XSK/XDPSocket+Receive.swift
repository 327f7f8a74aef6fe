import CLinuxShims

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

/// The frame in which a packet came. Valid during the call that gets it.
public struct ReceivedFrame {
  @usableFromInline let start: UnsafeMutableRawPointer

  @inlinable init(start: UnsafeMutableRawPointer) { self.start = start }

  /// What stood in front of the packet; its first word is zero afterwards. Stale or meaningless unless the program
  /// vouches for it: take it from every packet or from none.
  @inlinable public func takeMetadata() -> FrameMetadata {
    // In bounds: 256 bytes in front of each packet belong to its frame.
    let metadata = (start - 16).loadUnaligned(as: FrameMetadata.self)
    // A frame comes back with its old headroom when a driver has no metadata: the next reader must not believe it.
    if metadata.first != 0 { (start - 16).storeBytes(of: 0, as: UInt32.self) }
    return metadata
  }
}

/// The buffers of a packet behind its first one, in order. Valid during the call that gets it.
public struct FollowingBuffers {
  @usableFromInline let slots: UnsafePointer<PacketDescriptor>
  @usableFromInline let mask: UInt32
  @usableFromInline let first: UInt32
  @usableFromInline let frameBase: UnsafeMutableRawPointer
  /// 0 for a packet in one buffer.
  public let count: UInt32
  /// Bytes of all of them.
  public let byteCount: UInt32

  @inlinable init(
    slots: UnsafePointer<PacketDescriptor>, mask: UInt32, first: UInt32, frameBase: UnsafeMutableRawPointer,
    count: UInt32, byteCount: UInt32
  ) {
    self.slots = slots
    self.mask = mask
    self.first = first
    self.frameBase = frameBase
    self.count = count
    self.byteCount = byteCount
  }

  /// The bytes of buffer `index`, below ``count``.
  @inlinable public subscript(index: UInt32) -> UnsafeMutableRawBufferPointer {
    // For the proof of those in other files who read a packet through.
    @_noAllocation @_noLocks get {
      precondition(index < count, "a packet has fewer buffers")
      let packet = slots[Int((first &+ index) & mask)]
      return UnsafeMutableRawBufferPointer(
        start: frameBase + PacketDescriptor.offset(of: packet.address),
        count: Int(truncatingIfNeeded: packet.byteCount))
    }
  }
}

/// Takes packets one by one. Conform a concrete noncopyable struct: calls to it are then direct, often inlined.
public protocol FrameHandler: ~Copyable {
  /// A packet in one buffer; unless the other requirement is met, too, also the first buffer of a longer one.
  ///
  /// - Parameters:
  ///   - packet: The bytes of the packet; valid during the call.
  ///   - frame: Knows what stood in front of it.
  mutating func handle(_ packet: inout MutableRawSpan, in frame: ReceivedFrame)

  /// A packet in several buffers, from a socket that uses fragments.
  mutating func handle(_ packet: inout MutableRawSpan, in frame: ReceivedFrame, followedBy rest: FollowingBuffers)

  /// Whether it keeps the frame of the packet in one buffer that it was just handed: the frame is then not put into the
  /// pool, and it is up to the handler that it gets there some day. Asked once after each such packet.
  mutating func keepsFrame() -> Bool
}

extension FrameHandler where Self: ~Copyable {
  @inlinable
  public mutating func handle(
    _ packet: inout MutableRawSpan, in frame: ReceivedFrame, followedBy rest: FollowingBuffers
  ) { handle(&packet, in: frame) }

  @inlinable public mutating func keepsFrame() -> Bool { false }
}

extension XDPSocket {
  /// Hands up to `limit` received packets to `handler`, and their frames to `pool` unless it keeps them. No system call, lock or allocation.
  ///
  /// - Returns: How many packets. 0: nothing there; wait for ``descriptor`` to be readable.
  @inlinable
  public mutating func receive<Handler: FrameHandler & ~Copyable>(
    limit: UInt32, pool: inout FramePool, into handler: inout Handler
  ) -> UInt32 {
    if usesFragments { return receiveBuffers(limit: limit, pool: &pool, into: &handler) }
    let count = receiveRing.available(limit: limit)
    if count == 0 { return 0 }
    let place = pool.placeToPut(count)
    let frameMask = pool.frameMask
    var done: UInt32 = 0
    var kept: UInt32 = 0
    while done < count {
      let run = receiveRing.run(from: done, limit: count &- done)
      let end = Int(truncatingIfNeeded: run.count)
      var index = 0
      while index < end {
        let entry = run.start[index]
        checkBounds(entry, headroom: 16)
        let start = start(of: entry.address)
        // The kernel is the only producer of entries: packet and the 256 bytes before it lie in one frame of ours.
        let bytes = UnsafeMutableRawBufferPointer(start: start, count: Int(truncatingIfNeeded: entry.byteCount))
        var packet = bytes.mutableBytes
        handler.handle(&packet, in: ReceivedFrame(start: start))
        // As Int: where frames were kept before, `done` alone may be less than `kept`.
        let position = Int(truncatingIfNeeded: done) &- Int(truncatingIfNeeded: kept) &+ index
        index &+= 1
        if handler.keepsFrame() {
          kept &+= 1
          continue
        }
        let frame = entry.address & frameMask
        pool.markReturned(frame)
        place[position] = frame
      }
      done &+= run.count
    }
    pool.didPut(count &- kept)
    releaseReceived(count)
    return count
  }

  /// As above where packets may have several buffers: hands over whole packets only.
  @inlinable
  mutating func receiveBuffers<Handler: FrameHandler & ~Copyable>(
    limit: UInt32, pool: inout FramePool, into handler: inout Handler
  ) -> UInt32 {
    // A packet has at most as many buffers as the ring has entries.
    let available = availableBuffers()
    let place = pool.placeToPut(available)
    var packets: UInt32 = 0
    var index: UInt32 = 0
    var kept: UInt32 = 0
    while packets < limit {
      let rest = followingBuffers(of: index, available: available)
      guard let rest else { break }
      let entry = receiveRing[index]
      checkBounds(entry, headroom: 16)
      let start = start(of: entry.address)
      let bytes = UnsafeMutableRawBufferPointer(start: start, count: Int(truncatingIfNeeded: entry.byteCount))
      var packet = bytes.mutableBytes
      if rest.count == 0 {
        handler.handle(&packet, in: ReceivedFrame(start: start))
        if handler.keepsFrame() {
          kept &+= 1
          packets &+= 1
          index &+= 1
          continue
        }
      } else {
        handler.handle(&packet, in: ReceivedFrame(start: start), followedBy: rest)
      }
      let end = index &+ 1 &+ rest.count
      while index < end {
        let frame = receiveRing[index].address & pool.frameMask
        pool.markReturned(frame)
        place[Int(truncatingIfNeeded: index &- kept)] = frame
        index &+= 1
      }
      packets &+= 1
    }
    if index == 0 { return 0 }
    pool.didPut(index &- kept)
    releaseReceived(index)
    return packets
  }

  /// Received descriptors that can be read now: all there are, also those that came since the last look.
  @inlinable public mutating func availableBuffers() -> UInt32 {
    receiveRing.refresh()
    return receiveRing.available(limit: .max)
  }

  /// The buffers behind descriptor `index`; nil while the packet's last one is not among the `available`.
  @inlinable public func followingBuffers(of index: UInt32, available: UInt32) -> FollowingBuffers? {
    var last = index
    var byteCount: UInt32 = 0
    while true {
      if last >= available { return nil }
      let entry = receiveRing[last]
      if last > index { byteCount &+= entry.byteCount }
      if !entry.isContinued { break }
      last &+= 1
    }
    return FollowingBuffers(
      slots: receiveRing.slots, mask: receiveRing.mask, first: receiveRing.cachedConsumer &+ index &+ 1,
      frameBase: frameBase, count: last &- index, byteCount: byteCount)
  }
}

// Received packets whose frames the caller keeps, to transmit them or to return them to the pool itself.
extension XDPSocket {
  /// Received descriptors that can be read now, at most `limit`. No system call. With fragments a packet may have more
  /// of them: its last one may not be among the `limit`.
  @inlinable public mutating func available(limit: UInt32) -> UInt32 { receiveRing.available(limit: limit) }

  /// Descriptor `index` of the available ones.
  @inlinable public func received(_ index: UInt32) -> PacketDescriptor { receiveRing[index] }

  /// Has the CPU fetch what is in front of the available packets, `limit` at most, and their first bytes: another CPU's caches
  /// may have them, and many at a time come sooner than one after the other. For packets that are read at once; no system call.
  public mutating func prefetch(limit: UInt32) {
    let count = receiveRing.available(limit: limit)
    receiveRing.slots.withMemoryRebound(to: xdp_desc.self, capacity: Int(receiveRing.entryCount)) {
      sluice_prefetch(frameBase, $0, receiveRing.cachedConsumer, count, receiveRing.mask)
    }
  }

  /// The first `count` available descriptors are read: their frames are the caller's, to submit for transmission on any
  /// socket of the memory or to put into the pool, each exactly once.
  @inlinable public mutating func releaseReceived(_ count: UInt32) {
    receiveRing.release(count)
    outstanding &-= count
  }

  /// The bytes that a descriptor of this memory names. Valid while the frame is the caller's.
  @inlinable public func bytes(of packet: PacketDescriptor) -> UnsafeMutableRawBufferPointer {
    checkBounds(packet)
    return UnsafeMutableRawBufferPointer(
      start: start(of: packet.address), count: Int(truncatingIfNeeded: packet.byteCount))
  }

  /// What stood in front of a received packet, once: see ``ReceivedFrame/takeMetadata()``.
  @inlinable public func takeMetadata(of packet: PacketDescriptor) -> FrameMetadata {
    checkBounds(packet, headroom: 16)
    return ReceivedFrame(start: start(of: packet.address)).takeMetadata()
  }
}

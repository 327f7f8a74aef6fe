/// Descriptors of packets whose frames the owner holds, between receiving and transmitting. One thread; memory is fixed.
public struct PacketList: ~Copyable {
  @usableFromInline let entries: UnsafeMutablePointer<PacketDescriptor>
  public let capacity: UInt32
  @inlinable public var count: UInt32 { used }
  @usableFromInline var used: UInt32 = 0

  public init(capacity: UInt32) {
    self.capacity = capacity
    entries = .allocate(capacity: Int(max(capacity, 1)))
  }

  deinit { entries.deallocate() }

  @inlinable public var isEmpty: Bool { used == 0 }

  /// There must be room.
  @inlinable public mutating func append(_ packet: PacketDescriptor) {
    precondition(used < capacity, "a packet list ran over")
    entries[Int(used)] = packet
    used &+= 1
  }

  /// Descriptor `index`, below ``count``, oldest first.
  @inlinable public subscript(index: UInt32) -> PacketDescriptor {
    assert(index < used, "no such descriptor")
    return entries[Int(index)]
  }

  /// Forgets the descriptors: their frames went elsewhere.
  @inlinable public mutating func removeAll() { used = 0 }

  /// Returns the frames from descriptor `first` on to the pool, and forgets all.
  @inlinable public mutating func giveBack(to pool: inout FramePool, from first: UInt32 = 0) {
    var index = first
    while index < used {
      pool.put(entries[Int(index)].address)
      index &+= 1
    }
    used = 0
  }
}

extension XDPSocket {
  /// Submits the first `count` descriptors of the list, for which there is room, for transmission.
  @inlinable public mutating func submitTransmit(_ list: borrowing PacketList, count: UInt32) {
    var index: UInt32 = 0
    while index < count {
      setTransmit(index, list[index])
      index &+= 1
    }
    submitTransmit(count)
  }

  /// Copies a packet, or one buffer of it, into a free frame of the same memory. The pool must not be empty.
  @inlinable public func copy(_ packet: PacketDescriptor, from pool: inout FramePool) -> PacketDescriptor {
    let headroom = UInt64(UMEM.Geometry.kernelHeadroomByteCount)
    let frame = PacketDescriptor(
      // An unaligned frame is told from its address only while the offset stands in the upper bits.
      address: pool.take() &+ (memory.geometry.isUnaligned ? headroom &<< 48 : headroom), byteCount: packet.byteCount,
      options: packet.options & PacketDescriptor.continued)
    // A packet in a frame of this memory has as much room behind the kernel's headroom of another.
    bytes(of: frame).copyMemory(from: UnsafeRawBufferPointer(bytes(of: packet)))
    return frame
  }
}

/// A packet, or one buffer of a packet of several: an entry of a receive or transmit ring, as `struct xdp_desc`.
public struct PacketDescriptor: BitwiseCopyable, Hashable, Sendable {
  /// Offset of the bytes in the UMEM; with unaligned frames the frame's offset, and the bytes' offset in it in the
  /// upper 16 bits.
  public var address: UInt64
  public var byteCount: UInt32
  /// Bits of ``continued`` and ``hasTransmitMetadata``.
  public var options: UInt32

  @inlinable public init(address: UInt64, byteCount: UInt32, options: UInt32 = 0) {
    self.address = address
    self.byteCount = byteCount
    self.options = options
  }

  /// XDP_PKT_CONTD: the packet goes on in the next descriptor.
  @inlinable public static var continued: UInt32 { 1 }
  /// XDP_TX_METADATA: the kernel shall read the ``TransmitMetadata`` in front of the packet.
  @inlinable public static var hasTransmitMetadata: UInt32 { 2 }

  /// The packet goes on in the next descriptor.
  @inlinable public var isContinued: Bool { options & PacketDescriptor.continued != 0 }

  /// Offset in the memory of the byte that an address means: the frame's, plus what unaligned frames keep in the upper
  /// 16 bits. Aligned ones have zero there; a branch that tells them apart costs as much as the addition.
  @inlinable @_noAllocation @_noLocks static func offset(of address: UInt64) -> Int {
    Int(truncatingIfNeeded: (address & FramePool.unalignedMask) &+ (address &>> 48))
  }
}

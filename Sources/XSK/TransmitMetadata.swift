import CLinuxShims

/// What the kernel or the device shall do with one packet (`struct xsk_tx_metadata`).
///
/// The memory's geometry must keep room for it in front of the packet.
public struct TransmitMetadata: Hashable, Sendable {
  /// The Internet checksum from byte `start` of the packet to its end, to be put at `start + offset`, where the sum of
  /// the pseudo header stands.
  public struct Checksum: Hashable, Sendable {
    public var start: UInt16
    public var offset: UInt16

    public init(start: UInt16, offset: UInt16) {
      self.start = start
      self.offset = offset
    }
  }

  public var checksum: Checksum?
  /// The device shall say when the packet left: ``XDPSocket/transmitTimestamp(of:)``. Only zero-copy drivers do.
  public var wantsTimestamp: Bool

  public init(checksum: Checksum? = nil, wantsTimestamp: Bool = false) {
    self.checksum = checksum
    self.wantsTimestamp = wantsTimestamp
  }
}

extension XDPSocket {
  /// Writes what is wanted in front of a packet of a frame that the caller holds; the descriptor to transmit it with.
  public mutating func request(_ metadata: TransmitMetadata, for packet: PacketDescriptor) -> PacketDescriptor {
    let head = transmitMetadata(of: packet)
    var flags: UInt64 = metadata.wantsTimestamp ? UInt64(SLUICE_XDP_TXMD_FLAGS_TIMESTAMP) : 0
    if metadata.checksum != nil { flags |= UInt64(SLUICE_XDP_TXMD_FLAGS_CHECKSUM) }
    head.storeBytes(of: flags, as: UInt64.self)
    head.storeBytes(of: metadata.checksum?.start ?? 0, toByteOffset: 8, as: UInt16.self)
    head.storeBytes(of: metadata.checksum?.offset ?? 0, toByteOffset: 10, as: UInt16.self)
    head.storeBytes(of: 0, toByteOffset: 12, as: UInt32.self)
    var packet = packet
    packet.options |= PacketDescriptor.hasTransmitMetadata
    return packet
  }

  /// When a packet left whose metadata asked for it, in nanoseconds of the device's clock; 0: it said nothing. After
  /// its frame came out of the completion ring and before anything else is put into it.
  public func transmitTimestamp(of packet: PacketDescriptor) -> UInt64 {
    transmitMetadata(of: packet).loadUnaligned(fromByteOffset: 8, as: UInt64.self)
  }

  private func transmitMetadata(of packet: PacketDescriptor) -> UnsafeMutableRawPointer {
    let byteCount = Int(memory.geometry.transmitMetadataByteCount)
    let offset = PacketDescriptor.offset(of: packet.address)
    precondition(byteCount > 0 && offset >= byteCount, "the memory has no room for metadata in front of the packet")
    return frameBase + (offset - byteCount)
  }
}

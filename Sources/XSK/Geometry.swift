import LinuxSystem

extension UMEM {
  /// How a UMEM is cut.
  public struct Geometry: Hashable, Sendable {
    /// 1 to ``frameCountMax``.
    public var frameCount: UInt32
    /// 2048 or 4096; with unaligned frames anything from 2048 to 4096.
    public var frameByteCount: UInt32
    /// Bytes kept free in front of each packet, besides the kernel's 256.
    public var headroomByteCount: UInt32
    /// XDP_UMEM_UNALIGNED_CHUNK_FLAG: frames of any size, any offset. Zero-copy drivers want huge pages for it, since a
    /// frame may then cross a page.
    public var isUnaligned: Bool
    /// Bytes in front of a packet to transmit that belong to its ``TransmitMetadata``: 0 for none, else a multiple of 8
    /// from 16 to 248 (Linux 6.8).
    public var transmitMetadataByteCount: UInt32
    /// XDP_UMEM_TX_SW_CSUM: in copy mode the kernel computes requested checksums itself, where a device would.
    public var computesChecksumsInSoftware: Bool

    public static var frameCountMax: UInt32 { 1 << 20 }
    /// XDP_PACKET_HEADROOM: the kernel keeps it free in every frame.
    public static var kernelHeadroomByteCount: UInt32 { 256 }

    public init(
      frameCount: UInt32 = 8192, frameByteCount: UInt32 = 2048, headroomByteCount: UInt32 = 0, isUnaligned: Bool = false,
      transmitMetadataByteCount: UInt32 = 0, computesChecksumsInSoftware: Bool = false
    ) {
      self.frameCount = frameCount
      self.frameByteCount = frameByteCount
      self.headroomByteCount = headroomByteCount
      self.isUnaligned = isUnaligned
      self.transmitMetadataByteCount = transmitMetadataByteCount
      self.computesChecksumsInSoftware = computesChecksumsInSoftware
    }

    /// The smaller frame that holds a packet of an interface with this MTU (Ethernet header and two tags added);
    /// 4096 where none does: longer packets are then dropped by the kernel and counted as `rxDropped`, unless they may
    /// come in several buffers.
    public static func frameByteCount(forMTU mtu: UInt32) -> UInt32 {
      Geometry(frameByteCount: 2048).holdsPackets(ofMTU: mtu) ? 2048 : 4096
    }

    /// Whether a frame holds every packet of an interface with this MTU, with Ethernet header and two tags.
    public func holdsPackets(ofMTU mtu: UInt32) -> Bool { UInt64(mtu) + 22 <= UInt64(packetByteCountMax) }

    /// The longest packet that fits into one frame.
    public var packetByteCountMax: UInt32 {
      frameByteCount - min(frameByteCount, headroomByteCount + Geometry.kernelHeadroomByteCount)
    }

    /// Bytes of all frames.
    public var byteCount: Int { Int(frameCount) * Int(frameByteCount) }

    func validate(subject: String) throws(SystemError) {
      let remedy: String
      if !(1...Geometry.frameCountMax).contains(frameCount) {
        remedy = "1 to \(Geometry.frameCountMax) frames, not \(frameCount)"
      } else if !isUnaligned && frameByteCount != 2048 && frameByteCount != 4096 {
        remedy = "aligned frames of 2048 or 4096 bytes, not \(frameByteCount)"
      } else if !(2048...4096).contains(frameByteCount) {
        remedy = "unaligned frames of 2048 to 4096 bytes, not \(frameByteCount)"
      } else if headroomByteCount > frameByteCount - Geometry.kernelHeadroomByteCount - 64 {
        remedy = "a headroom of \(headroomByteCount) bytes leaves no room for a packet"
      } else if transmitMetadataByteCount != 0
        && (!(16...248).contains(transmitMetadataByteCount) || transmitMetadataByteCount % 8 != 0)
      {
        remedy = "transmit metadata of 16 to 248 bytes, a multiple of 8, not \(transmitMetadataByteCount)"
      } else {
        return
      }
      throw SystemError(operation: "make UMEM", code: 22, subject: subject, remedy: remedy)  // EINVAL
    }
  }
}

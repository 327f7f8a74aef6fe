import CLinuxShims
import LinuxSystem

/// Memory that the kernel puts packets into: frames of equal size.
///
/// Owned by one socket. Placed on a NUMA node before first touch; huge pages where there are enough.
public struct UMEM: ~Copyable, @unchecked Sendable {
  // Sendable: as MappedRegion, whose address `base` repeats.
  /// How a UMEM is cut.
  public struct Geometry: Hashable, Sendable {
    /// 1 to ``frameCountMax``.
    public var frameCount: UInt32
    /// 2048 or 4096.
    public var frameByteCount: UInt32
    /// Bytes kept free in front of each packet, besides the kernel's 256.
    public var headroomByteCount: UInt32

    public static var frameCountMax: UInt32 { 1 << 20 }
    /// XDP_PACKET_HEADROOM: the kernel keeps it free in every frame.
    public static var kernelHeadroomByteCount: UInt32 { 256 }

    public init(frameCount: UInt32 = 8192, frameByteCount: UInt32 = 2048, headroomByteCount: UInt32 = 0) {
      self.frameCount = frameCount
      self.frameByteCount = frameByteCount
      self.headroomByteCount = headroomByteCount
    }

    /// The smaller frame that holds a packet of an interface with this MTU (Ethernet header and two tags added);
    /// 4096 where none does: longer packets are then dropped by the kernel and counted as `rxDropped`.
    public static func frameByteCount(forMTU mtu: UInt32) -> UInt32 {
      UInt64(mtu) + 22 + UInt64(kernelHeadroomByteCount) <= 2048 ? 2048 : 4096
    }

    /// The longest packet that fits.
    public var packetByteCountMax: UInt32 {
      frameByteCount - min(frameByteCount, headroomByteCount + Geometry.kernelHeadroomByteCount)
    }

    func validate(subject: String) throws(SystemError) {
      let remedy: String
      if !(1...Geometry.frameCountMax).contains(frameCount) {
        remedy = "1 to \(Geometry.frameCountMax) frames, not \(frameCount)"
      } else if frameByteCount != 2048 && frameByteCount != 4096 {
        remedy = "frames of 2048 or 4096 bytes, not \(frameByteCount)"
      } else if headroomByteCount > frameByteCount - Geometry.kernelHeadroomByteCount - 64 {
        remedy = "a headroom of \(headroomByteCount) bytes leaves no room for a packet"
      } else {
        return
      }
      throw SystemError(operation: "make UMEM", code: 22, subject: subject, remedy: remedy)  // EINVAL
    }
  }

  public let geometry: Geometry
  @usableFromInline let region: MappedRegion
  @usableFromInline let base: UnsafeMutableRawPointer
  /// Where it lies, as the kernel confirmed.
  public let placement: NUMAPlacement
  public var hasHugePages: Bool { region.isHuge }
  /// Why it has no huge pages although they were wanted; nil otherwise.
  public var hugePageRefusal: SystemError? { region.hugePageRefusal }

  /// Allocates and touches the memory. To be called on the thread that will use it.
  ///
  /// - Parameter numaNode: The interface's node; nil or negative: no preference.
  public init(
    geometry: Geometry, numaNode: Int? = nil, wantsHugePages: Bool = true, subject: String = "UMEM"
  ) throws(SystemError) {
    try geometry.validate(subject: subject)
    let byteCount = Int(geometry.frameCount) * Int(geometry.frameByteCount)
    let region = try MappedRegion(anonymous: byteCount, wantsHugePages: wantsHugePages, subject: subject)
    placement = NUMA.place(region, onNode: numaNode)
    self.geometry = geometry
    base = region.base
    self.region = region
  }

  /// Bytes of the frames, without the rest of the last page.
  @inlinable public var byteCount: Int { Int(geometry.frameCount) * Int(geometry.frameByteCount) }

  /// A pool of all its frames.
  public func makePool() -> FramePool {
    FramePool(frameCount: geometry.frameCount, frameByteCount: geometry.frameByteCount)
  }
}

import LinuxSystem

/// Memory that the kernel puts packets into: frames of equal size.
///
/// Shared by the sockets of several queues and interfaces. Placed on a NUMA node before first touch; huge pages where
/// there are enough. Any thread may hold it; the frames belong to the one thread that has pool and sockets.
public final class UMEM: @unchecked Sendable {
  // Sendable: immutable, but for the bytes of the frames, which the owner of pool and sockets alone touches.
  public let geometry: Geometry
  /// Where it lies, as the kernel confirmed.
  public let placement: NUMAPlacement
  private let region: MappedRegion
  let base: UnsafeMutableRawPointer  // the region's, which lives as long

  public var hasHugePages: Bool { region.isHuge }
  /// Why it has no huge pages although they were wanted; nil otherwise.
  public let hugePageRefusal: SystemError?

  /// Allocates and touches the memory. To be called on the thread that will use it.
  ///
  /// - Parameter numaNode: The interface's node; nil or negative: no preference.
  public convenience init(
    geometry: Geometry, numaNode: Int? = nil, wantsHugePages: Bool = true, subject: String = "UMEM"
  ) throws(SystemError) {
    try geometry.validate(subject: subject)
    var region = try MappedRegion(
      anonymous: geometry.byteCount, wantsHugePages: wantsHugePages, subject: subject)
    var refusal = region.hugePageRefusal
    var placed: NUMAPlacement
    do throws(SystemError) {
      placed = try NUMA.place(region, onNode: numaNode)
    } catch {
      guard region.isHuge else { throw error }
      refusal = error
      region = try MappedRegion(anonymous: geometry.byteCount, subject: subject)
      placed = try NUMA.place(region, onNode: numaNode)
    }
    self.init(geometry: geometry, region: region, placement: placed, hugePageRefusal: refusal)
  }

  /// Over memory that is there already and shared with somebody else, such as a mapped BPF array, from its first byte
  /// on.
  ///
  /// - Parameter region: At least as large as the geometry's frames, else EINVAL.
  public convenience init(geometry: Geometry, over region: consuming MappedRegion, subject: String = "UMEM") throws(SystemError) {
    try geometry.validate(subject: subject)
    if region.byteCount < geometry.byteCount {
      throw SystemError(
        operation: "make UMEM", code: 22, subject: subject,  // EINVAL
        remedy: "\(geometry.byteCount) bytes of frames do not fit into \(region.byteCount)")
    }
    self.init(
      geometry: geometry, region: region, placement: Topology.nodes().count <= 1 ? .singleNode : .unspecified,
      hugePageRefusal: nil)
  }

  private init(
    geometry: Geometry, region: consuming MappedRegion, placement: NUMAPlacement, hugePageRefusal: SystemError?
  ) {
    self.geometry = geometry
    self.placement = placement
    self.hugePageRefusal = hugePageRefusal
    base = region.base
    self.region = region
  }

  /// Bytes of the frames, without the rest of the last page.
  public var byteCount: Int { geometry.byteCount }

  /// A pool of all its frames. One per UMEM: a second one would hand out the same frames.
  public func makePool() -> FramePool {
    FramePool(
      frameCount: geometry.frameCount, frameByteCount: geometry.frameByteCount, isUnaligned: geometry.isUnaligned)
  }
}

import CSluiceABI
import CXDP
import Glibc
import LinuxSystem

/// Receives the packets of one queue in the kernel's place: copies them into the frames of an AF_XDP socket, in memory that it
/// shares with user space, and tells of them in rings there.
///
/// For drivers without zero-copy: it saves all that a redirect and the socket cost beside the copy. ``InterfaceProgram`` calls
/// it; or it is attached by itself, with ``attach(interfaceIndex:)``. Any thread may use it. Frames, rings and program go with
/// the value, and with whatever has mapped them or calls it.
public final class ReceiverProgram: Sendable {
  /// How the memory is laid out.
  public struct Shape: Hashable, Sendable {
    public var frameCount: UInt32
    /// Of a frame: all of them fit into what ``LiveTransmitter`` can send from.
    public var frameByteCount: UInt32
    /// From a frame's begin to its packet.
    public var packetOffset: UInt32
    /// Of each ring, a power of two.
    public var entryCount: UInt32
    /// A packet longer than a frame comes in several; else it is dropped and counted.
    public var takesFragments: Bool
    /// The program hands indices over with barriers, which x86-64 does without.
    public var isWeaklyOrdered = Shape.machineIsWeaklyOrdered

    #if arch(x86_64)
      private static let machineIsWeaklyOrdered = false
    #else
      private static let machineIsWeaklyOrdered = true
    #endif

    public init(
      frameCount: UInt32, frameByteCount: UInt32, packetOffset: UInt32, entryCount: UInt32, takesFragments: Bool
    ) {
      self.frameCount = frameCount
      self.frameByteCount = frameByteCount
      self.packetOffset = packetOffset
      self.entryCount = entryCount
      self.takesFragments = takesFragments
    }

    /// Of the map `rings`.
    public var ringByteCount: Int { MemoryLayout<sluice_receiver_rings>.size + Int(entryCount) * 24 }
  }

  public let shape: Shape
  /// The program, for a BPF_MAP_TYPE_PROG_ARRAY of one that decides before it.
  public var programDescriptor: CInt { descriptor.rawValue }
  private let descriptor: OwnedDescriptor
  private let memory: BPFMap
  private let rings: BPFMap
  private let wakeups: BPFMap

  /// Loads it, with frames of its own. What it takes must come one packet at a time: see ``refusal(of:)``.
  public convenience init(_ shape: Shape) throws(ProgramError) {
    try self.init(shape, framesOf: { _ throws(ProgramError) in })
  }

  /// The same with frames that `live` sends out of, of which it has as many.
  public convenience init(_ shape: Shape, sharing live: borrowing LiveTransmitter) throws(ProgramError) {
    let frames = live.frames.descriptor.rawValue
    try self.init(shape, framesOf: { (object) throws(ProgramError) in try object.reuse(frames, as: "memory") })
  }

  private init(_ shape: Shape, framesOf takeFrames: (ProgramObject) throws(ProgramError) -> Void) throws(ProgramError) {
    precondition(shape.entryCount > 0 && shape.entryCount & (shape.entryCount - 1) == 0, "a ring has a power of two of entries")
    precondition(shape.packetOffset >= 16 && shape.packetOffset + 14 <= shape.frameByteCount, "a frame holds a packet and metadata")
    let byteCount = try LiveTransmitter.memoryByteCount(
      frameCount: Int(shape.frameCount), frameByteCount: Int(shape.frameByteCount))
    let object = try ProgramObject(
      PackageResources.sluice_receiver_bpf_o, programName: "sluice_receiver",
      constants: sluice_receiver_constants(
        byte_count: UInt32(byteCount), frame_byte_count: shape.frameByteCount, packet_offset: shape.packetOffset,
        entry_mask: shape.entryCount - 1, has_frags: ProgramLoader.kernelHasFrags ? 1 : 0,
        takes_fragments: shape.takesFragments ? 1 : 0, is_weakly_ordered: shape.isWeaklyOrdered ? 1 : 0))
    try object.setFrameByteCount(byteCount)
    try takeFrames(object)
    try object.setValueByteCount(shape.ringByteCount, of: "rings")
    try object.setMaxEntries(UInt32(MappedRegion.systemPageByteCount), of: "wakeups")
    // As the program that calls it: the kernel wants both alike.
    if ProgramLoader.kernelHasFrags { try object.setFragsSupport() }
    try object.loadWithFrames()
    memory = try object.map("memory")
    rings = try object.map("rings")
    wakeups = try object.map("wakeups")
    descriptor = try object.program()
    self.shape = shape
  }

  /// Drivers that run the program for a queue's packets in that queue's NAPI context alone, one packet after the other. A tap
  /// device's packets come from whoever writes them, a bond's from several ports, hv_netvsc's also from its virtual function.
  private static let orderlyDrivers: Set<String> = ["veth", "virtio_net", "ena", "gve", "vmxnet3", "bnxt_en"]

  /// Why a receiver may not take an interface's packets; nil: it may. It has no lock, so that those of one queue must come one
  /// at a time.
  public static func refusal(of interface: NetworkInterface) -> String? {
    if !ProgramLoader.kernelHasReceivers { return "needs Linux 6.7" }
    let driver = ((try? interface.driver()) ?? nil) ?? interface.kind
    if !orderlyDrivers.contains(driver) {
      return "driver \(driver.isEmpty ? "unknown" : driver) is not known to hand over the packets of a queue one at a time"
    }
    return interface.numaNode() >= 0 && Topology.nodes().count > 1 ? "its frames would not lie on the device's NUMA node" : nil
  }

  /// The frames, mapped once more: for ``UMEM``. Their addresses are offsets in it.
  public func mapFrames() throws(ProgramError) -> MappedRegion {
    try memory.share(Int(shape.frameCount) * Int(shape.frameByteCount))
  }

  /// The rings: a `struct sluice_receiver_rings`, the fill ring's entries, the receive ring's.
  public func mapRings() throws(ProgramError) -> MappedRegion { try rings.share(shape.ringByteCount) }

  /// The ring buffer in which the program writes to end a sleep.
  public func wakeupBuffer() throws(ProgramError) -> OwnedDescriptor {
    do throws(SystemError) { return try wakeups.descriptor.duplicate() } catch { throw .system(error) }
  }

  /// Attaches it natively, without a program that decides before it: every packet of the interface, which has one receive
  /// queue, is received while the value lives.
  public func attach(interfaceIndex: UInt32) throws(ProgramError) -> Attachment {
    let raw = descriptor.rawValue
    return Attachment(
      link: OwnedDescriptor(
        owning: try checkBPF("attach receiver to interface", "\(interfaceIndex)") {
          sluice_xdp_link_create(raw, CInt(interfaceIndex), UInt32(XDP_FLAGS_DRV_MODE))
        }))
  }

  /// A receiver on an interface of its own.
  public final class Attachment: Sendable {
    private let link: OwnedDescriptor

    init(link: consuming OwnedDescriptor) { self.link = link }
  }
}

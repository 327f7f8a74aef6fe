import CSluiceABI
import CXDP
import Glibc
import LinuxSystem

/// Sends frames out of an interface by XDP live frames (`BPF_F_TEST_XDP_LIVE_FRAMES`, Linux 5.18): no socket and no skb.
///
/// The output device must take XDP frames (`NDO_XMIT` among its XDP features; a veth does while its peer runs an XDP
/// program or has GRO on). One thread owns it. ``send(_:)`` blocks while the kernel sends.
public final class TrafficGenerator {
  /// Longest frame, bytes.
  public static let frameByteCountMax = Int(SLUICE_GENERATOR_FRAME_BYTES)
  public static let frameCountMax = Int(SLUICE_GENERATOR_FRAMES_MAX)

  /// What became of the frames so far.
  public struct State: Hashable, Sendable {
    /// Handed to the output interface, which may still drop them: see its transmit statistics.
    public var redirected: UInt64
    /// Could not be built.
    public var failed: UInt64
  }

  /// Frames that go to the device in one bulk; 64 beats 256 by half on veth, for the cache's sake.
  private static let bulk: UInt32 = 64
  /// Marks a run: no packet that the attached program receives comes from there.
  private static let loopbackIndex: UInt32 = 1

  /// Why each call costs tens of milliseconds more than it must; nil if all is well.
  public let slowReason: String?

  private let program: OwnedDescriptor
  private let state: BPFMap
  private let dispatcherAnchor: DispatcherAnchor?
  private let template: [UInt8]

  /// - Parameters:
  ///   - interfaceIndex: Where the frames leave.
  ///   - frames: Sent in turn; 14 ... ``frameByteCountMax`` bytes each, at most ``frameCountMax``.
  public init(interfaceIndex: UInt32, frames: [[UInt8]]) throws(ProgramError) {
    precondition(!frames.isEmpty && frames.count <= TrafficGenerator.frameCountMax, "1 ... frameCountMax frames")
    precondition(
      frames.allSatisfy { 14...TrafficGenerator.frameByteCountMax ~= $0.count }, "frames of 14 ... the longest bytes")
    let object = try ProgramObject(
      PackageResources.sluice_generator_bpf_o, programName: "sluice_generate",
      constants: sluice_generator_constants(frame_count: UInt32(frames.count), marker_ifindex: TrafficGenerator.loopbackIndex))
    try object.setMaxEntries(UInt32(frames.count), of: "frames")
    try object.setFragsSupport()
    try object.load()
    let map = try object.map("frames")
    for (index, frame) in frames.enumerated() { try map.update(UInt32(index), toFrame: frame) }
    try object.map("output").update(UInt32(0), to: interfaceIndex)
    let program = try object.program()
    let state = try object.map(".data.sluice")
    let anchor: DispatcherAnchor?
    do throws(ProgramError) {
      anchor = try DispatcherAnchor(program)
      slowReason = nil
    } catch {
      anchor = nil
      slowReason = error.description
    }
    dispatcherAnchor = anchor
    self.program = program
    self.state = state
    template = Array(repeating: 0, count: 64)
  }

  /// Sends `count` frames, the next in turn. Fewer where a signal interrupts: ``readState()`` says how many.
  public func send(_ count: UInt32) throws(ProgramError) {
    guard count > 0 else { return }
    let result = template.withUnsafeBytes { bytes in
      sluice_test_run_live(
        program.rawValue, bytes.baseAddress, UInt32(bytes.count), TrafficGenerator.loopbackIndex, CInt(count),
        min(count, TrafficGenerator.bulk))
    }
    guard result == 0 || result == -EINTR else {
      throw .system(
        systemError("send live frames", "", code: -result, remedy: result == -EINVAL ? "needs Linux 5.18" : nil))
    }
  }

  public func readState() throws(ProgramError) -> State {
    let value: sluice_generator_state = try state.value(UInt32(0))
    return State(redirected: value.redirected, failed: value.failed)
  }
}

extension BPFMap {
  /// Stores a `struct frame` of bpf/sluice_generator.bpf.c: 32-bit length, then the bytes.
  fileprivate borrowing func update(_ index: UInt32, toFrame frame: [UInt8]) throws(ProgramError) {
    var bytes = withUnsafeBytes(of: UInt32(frame.count)) { Array($0) } + frame
    bytes += Array(repeating: 0, count: 4 + TrafficGenerator.frameByteCountMax - bytes.count)
    try update(index, toBytes: bytes)
  }
}

/// Keeps a program attached to a tap device of this process.
///
/// The kernel calls XDP programs through a trampoline that knows the attached ones (kernel/bpf/dispatcher.c). A test run of
/// a program that is attached nowhere changes the trampoline and waits for an RCU grace period, twice a call: 25 to 35 ms.
/// The device, never up, goes with the descriptor, also when the process is killed.
private final class DispatcherAnchor {
  private let tap: OwnedDescriptor
  private let link: OwnedDescriptor

  init(_ program: borrowing OwnedDescriptor) throws(ProgramError) {
    let raw = open("/dev/net/tun", O_RDWR | O_CLOEXEC)
    guard raw >= 0 else { throw .system(systemError("open", "/dev/net/tun", code: errno)) }
    let tap = OwnedDescriptor(owning: raw)
    // struct ifreq: 16 bytes of name, then 16 bits of flags: IFF_TAP | IFF_NO_PI (linux/if_tun.h).
    var request = Array("sluicegen%d".utf8) + Array(repeating: 0, count: 40 - 11)
    request[16] = 0x02
    request[17] = 0x10
    let setInterface: UInt = 0x4004_54ca  // TUNSETIFF
    guard ioctl(raw, setInterface, &request) == 0 else {
      throw .system(systemError("make tap device", "sluicegen", code: errno))
    }
    let name = String(decoding: request.prefix(16).prefix { $0 != 0 }, as: UTF8.self)
    let index = if_nametoindex(name)
    let programDescriptor = program.rawValue
    link = OwnedDescriptor(
      owning: try checkBPF("attach generator to", name) {
        sluice_xdp_link_create(programDescriptor, CInt(index), UInt32(XDP_FLAGS_DRV_MODE))
      })
    self.tap = tap
  }
}

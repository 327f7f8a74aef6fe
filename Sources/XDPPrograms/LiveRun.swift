import CSluiceABI
import CXDP
import Glibc
import LinuxSystem

/// A loaded program that runs with live frames, and what keeps each run cheap. One thread at a time.
///
/// The kernel calls XDP programs through a trampoline that knows the attached ones (kernel/bpf/dispatcher.c). A test run of
/// a program that is attached nowhere changes the trampoline and waits for an RCU grace period, twice a call: 25 to 35 ms.
/// So the program is attached to a tap device, never up, which goes with its descriptor, also when the process is killed.
final class LiveRun {
  /// Frames that the kernel builds and sends in one bulk. On veth, 64-byte frames, 1024 a call: 64 is best for the caches.
  static let bulk: UInt32 = 64

  /// Why each run costs tens of milliseconds more than it must; nil if all is well.
  let slowReason: String?
  private let program: OwnedDescriptor
  private let anchor: DispatcherAnchor?
  private let request: UnsafeMutablePointer<sluice_live_run>

  init(_ program: consuming OwnedDescriptor) {
    var anchor: DispatcherAnchor?
    do throws(ProgramError) {
      anchor = try DispatcherAnchor(program.rawValue)
      slowReason = nil
    } catch {
      slowReason = error.description
    }
    self.anchor = anchor
    request = .allocate(capacity: 1)
    sluice_live_run_prepare(request, program.rawValue)  // initialises all of it
    self.program = program
  }

  deinit { request.deallocate() }

  /// Runs the program so many times; fewer where a signal comes: the program's own state says how many.
  ///
  /// - Parameter byteCount: Of the page's frame at first; frames of this length need no adjustment.
  /// - Returns: Whether it ran so often.
  func run(_ count: UInt32, byteCount: UInt32) throws(ProgramError) -> Bool {
    let result = sluice_live_run(request, count, byteCount, min(count, LiveRun.bulk))
    if result == 0 { return true }
    if result == -EINTR { return false }
    throw .system(
      systemError("send live frames", "", code: -result, remedy: result == -EINVAL ? "needs Linux 5.18" : nil))
  }
}

/// Keeps a program attached to a tap device of this process.
private final class DispatcherAnchor {
  private let tap: OwnedDescriptor
  private let link: OwnedDescriptor

  init(_ program: CInt) throws(ProgramError) {
    let raw = open("/dev/net/tun", O_RDWR | O_CLOEXEC)
    guard raw >= 0 else { throw .system(systemError("open", "/dev/net/tun", code: errno)) }
    let tap = OwnedDescriptor(owning: raw)
    // struct ifreq: 16 bytes of name, then 16 bits of flags: IFF_TAP | IFF_NO_PI (linux/if_tun.h).
    let pattern = Array("sluicelive%d".utf8)
    var request = pattern + Array(repeating: 0, count: 40 - pattern.count)
    request[16] = 0x02
    request[17] = 0x10
    let setInterface: UInt = 0x4004_54ca  // TUNSETIFF
    guard ioctl(raw, setInterface, &request) == 0 else {
      throw .system(systemError("make tap device", "sluicelive", code: errno))
    }
    let name = String(decoding: request.prefix(16).prefix { $0 != 0 }, as: UTF8.self)
    let index = if_nametoindex(name)
    link = OwnedDescriptor(
      owning: try checkBPF("attach live frames to", name) {
        sluice_xdp_link_create(program, CInt(index), UInt32(XDP_FLAGS_DRV_MODE))
      })
    self.tap = tap
  }
}

extension ProgramObject {
  /// Makes room in the map `memory` for so many bytes of frames, before ``load()``.
  func setFrameByteCount(_ byteCount: Int) throws(ProgramError) {
    try setValueByteCount(byteCount + Int(SLUICE_LIVE_SLACK), of: "memory")
  }

  /// Loads it; kernels before 6.7 have no map values above 4 MiB.
  func loadWithFrames() throws(ProgramError) {
    do throws(ProgramError) {
      try load()
    } catch {
      guard case .system(let error) = error, error.code == E2BIG else { throw error }
      throw .system(error.withRemedy("frames of more than 4 MiB together need Linux 6.7"))
    }
  }
}

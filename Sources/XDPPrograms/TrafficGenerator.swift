import CSluiceABI
import CXDP
import Glibc
import LinuxSystem

/// Sends frames out of an interface by XDP live frames (`BPF_F_TEST_XDP_LIVE_FRAMES`, Linux 5.18): no socket and no skb.
///
/// The output device must take XDP frames: see ``NetworkInterface/redirectRefusal()``. One thread owns it, and ``send(_:)``
/// blocks while the kernel sends; several generators run at once on several CPUs.
public final class TrafficGenerator {
  /// Longest frame, bytes.
  public static let frameByteCountMax = Int(SLUICE_LIVE_FRAME_BYTES)
  public static let frameCountMax = Int(SLUICE_GENERATOR_FRAMES_MAX)
  /// Bytes of a stamp in a frame.
  public static let stampByteCount = MemoryLayout<sluice_stamp>.size
  /// Streams that a sink tells apart.
  public static let streamCountMax = Int(SLUICE_STREAMS_MAX)

  /// What became of the frames so far.
  public struct State: Hashable, Sendable {
    /// Handed to the output interface, which may still drop them: see its transmit statistics.
    public var redirected: UInt64
    /// Could not be built.
    public var failed: UInt64
  }

  /// Why each call costs tens of milliseconds more than it must; nil if all is well.
  public var slowReason: String? { run.slowReason }

  private let run: LiveRun
  private let state: UnsafeMutablePointer<sluice_generator_state>
  private let stateRegion: MappedRegion
  /// The most frequent length: frames of it need no adjustment.
  private let usualByteCount: UInt32

  /// - Parameters:
  ///   - interfaceIndex: Where the frames leave.
  ///   - frames: Sent in turn; 14 ... ``frameByteCountMax`` bytes each, at most ``frameCountMax``.
  ///   - stampOffset: Where a `struct sluice_stamp` is written into every frame, over what is there; it must fit in each.
  ///     nil: frames leave as they are.
  ///   - stream: In its stamps, below ``streamCountMax``: its own among generators whose frames one sink measures.
  public init(
    interfaceIndex: UInt32, frames: [[UInt8]], stampOffset: Int? = nil, stream: Int = 0
  ) throws(ProgramError) {
    precondition(0..<TrafficGenerator.streamCountMax ~= stream, "a stream that a sink can tell apart")
    precondition(!frames.isEmpty && frames.count <= TrafficGenerator.frameCountMax, "1 ... frameCountMax frames")
    let least = max(14, (stampOffset ?? 0) + (stampOffset == nil ? 0 : TrafficGenerator.stampByteCount))
    precondition(
      frames.allSatisfy { least...TrafficGenerator.frameByteCountMax ~= $0.count }, "frames of 14 ... the longest bytes")
    precondition(stampOffset ?? 0 >= 0, "a stamp lies in the frame")
    let memory = FrameMemory(frames)
    let object = try ProgramObject(
      PackageResources.sluice_generator_bpf_o, programName: "sluice_generate",
      constants: sluice_generator_constants(
        byte_count: UInt32(memory.byteCount), frame_count: UInt32(frames.count), stamp_offset: UInt32(stampOffset ?? 0),
        has_stamp: stampOffset == nil ? 0 : 1, stream: UInt32(stream)))
    try object.setFrameByteCount(memory.byteCount)
    try object.setMaxEntries(UInt32(frames.count), of: "frames")
    try object.setFragsSupport()
    try object.loadWithFrames()
    try memory.store(frames, in: try object.map("memory"), places: try object.map("frames"))
    try object.map("output").update(UInt32(0), to: interfaceIndex)
    let region = try object.map(".bss").share(MemoryLayout<sluice_generator_state>.size)
    let program = try object.program()
    run = LiveRun(program)
    state = region.base.assumingMemoryBound(to: sluice_generator_state.self)  // the section has that one variable
    stateRegion = region
    usualByteCount = memory.usualByteCount
  }

  /// How long ``send(_:)`` rests where the kernel has too many pools. It looks after them once a second.
  private static let restMicroseconds: UInt32 = 20_000

  /// Sends `count` frames, the next in turn. Fewer where a signal interrupts, and none where the frames of 65,534 calls
  /// before are still on their way: each call's pool has an identity until its last frame is back (net/core/xdp.c,
  /// `__mem_id_cyclic_get`). It then takes some milliseconds. ``readState()`` says how many left.
  public func send(_ count: UInt32) throws(ProgramError) {
    guard count > 0 else { return }
    do throws(ProgramError) {
      _ = try run.run(count, byteCount: usualByteCount)
    } catch {
      guard case .system(let cause) = error, cause.code == ENOSPC else { throw error }
      usleep(TrafficGenerator.restMicroseconds)
    }
  }

  public func readState() throws(ProgramError) -> State {
    State(redirected: state.pointee.redirected, failed: state.pointee.failed)
  }
}

/// Where frames lie in one map value: one behind the other, equal ones once, so that the caches hold many.
private struct FrameMemory {
  private(set) var byteCount = 0
  private(set) var usualByteCount: UInt32 = 0
  /// As the program reads them: address:32 | length:16.
  private var descriptors: [UInt64] = []

  init(_ frames: [[UInt8]]) {
    var places: [[UInt8]: Int] = [:]
    var lengths: [Int: Int] = [:]
    descriptors.reserveCapacity(frames.count)
    for frame in frames {
      let place = places[frame] ?? byteCount
      if place == byteCount {
        places[frame] = place
        byteCount += (frame.count + 63) & ~63  // whole cache lines
      }
      lengths[frame.count, default: 0] += 1
      descriptors.append(UInt64(place) | UInt64(frame.count) << 32)
    }
    usualByteCount = UInt32(lengths.max { $0.value < $1.value }?.key ?? 64)
  }

  func store(
    _ frames: [[UInt8]], in memory: borrowing BPFMap, places: borrowing BPFMap
  ) throws(ProgramError) {
    let bytes = try memory.share(byteCount)
    let table = try places.share(8 * descriptors.count)
    for (index, descriptor) in descriptors.enumerated() {
      let place = Int(descriptor & 0xffff_ffff)
      frames[index].withUnsafeBytes {
        UnsafeMutableRawBufferPointer(start: bytes.base + place, count: $0.count).copyMemory(from: $0)
      }
      table.base.storeBytes(of: descriptor, toByteOffset: 8 * index, as: UInt64.self)
    }
  }
}

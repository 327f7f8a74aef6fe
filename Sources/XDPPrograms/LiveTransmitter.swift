import CSluiceABI
import CXDP
import Glibc
import LinuxSystem

/// Sends frames out of memory that it shares with an AF_XDP socket, by XDP live frames: one system call for thousands, no
/// skb, no completions. Interfaces must be able to take XDP frames: ``NetworkInterface/redirectRefusal()``.
///
/// One thread owns it. Each has a program of its own and a tap device, `sluiceliveN`, in the namespace of its maker.
public struct LiveTransmitter: ~Copyable {
  /// Longest frame, bytes.
  public static let byteCountMax = Int(SLUICE_LIVE_FRAME_BYTES)
  public static let portCountMax = Int(SLUICE_TRANSMIT_PORTS_MAX)
  /// Frames that wait for ``flush()`` at most.
  public static let capacity = UInt32(SLUICE_TRANSMIT_QUEUE_ENTRIES)
  /// The verifier follows offsets up to 2^29.
  private static let memoryByteCountMax = 256 << 20

  /// What became of the frames.
  public struct Counters: Hashable, Sendable {
    /// Handed to the port's interface, which may still drop them: see ``NetworkInterface/redirectedFrameDrops()``.
    public var redirected: UInt64
    /// Of no possible place or length, or for a port whose interface is gone.
    public var failed: UInt64
    /// System calls that a signal cut short; the frames that it kept went with the next one.
    public var interruptions: UInt64
  }

  /// Why each flush costs tens of milliseconds more than it must; nil if all is well.
  public var slowReason: String? { run.slowReason }

  @usableFromInline let queue: UnsafeMutablePointer<UInt64>
  @usableFromInline var produced: UInt32 = 0
  @usableFromInline var consumed: UInt32 = 0
  private let shared: UnsafeMutablePointer<sluice_transmit>
  private let sharedRegion: MappedRegion
  let frames: BPFMap
  private let frameBytes: Int
  private let run: LiveRun
  private var interruptions: UInt64 = 0

  /// - Parameters:
  ///   - frameByteCount: Of a frame's place in the memory; what is sent lies in it. Throws above 256 MiB for all frames.
  ///   - ports: Interface index of each port, in the caller's network namespace. Must be able: ``NetworkInterface/redirectRefusal()``.
  ///   - checksPorts: Throws where a port is not able now. False: the caller watches them, and sends only to those that are.
  public init(
    frameCount: Int, frameByteCount: Int, ports: [UInt32], checksPorts: Bool = true
  ) throws(ProgramError) {
    precondition(1...LiveTransmitter.portCountMax ~= ports.count, "1 ... portCountMax ports")
    let byteCount = try LiveTransmitter.memoryByteCount(frameCount: frameCount, frameByteCount: frameByteCount)
    if checksPorts {
      for port in ports { try LiveTransmitter.check(port) }
    }
    let object = try ProgramObject(
      PackageResources.sluice_transmit_bpf_o, programName: "sluice_transmit",
      constants: sluice_transmit_constants(byte_count: UInt32(byteCount)))
    try object.setFrameByteCount(byteCount)
    try object.setMaxEntries(UInt32(ports.count), of: "ports")
    try object.setFragsSupport()
    try object.loadWithFrames()
    let devices = try object.map("ports")
    for (port, index) in ports.enumerated() { try devices.update(UInt32(port), to: index) }
    let frames = try object.map("memory")
    let region = try object.map(".bss").share(MemoryLayout<sluice_transmit>.size)
    let program = try object.program()
    run = LiveRun(program)
    shared = region.base.assumingMemoryBound(to: sluice_transmit.self)  // the section has that one variable
    queue = (region.base + LiveTransmitter.queueOffset).assumingMemoryBound(to: UInt64.self)
    sharedRegion = region
    self.frames = frames
    frameBytes = byteCount
  }

  /// Of `sluice_transmit.queue`, which Swift imports as a tuple of 8192; the header asserts it.
  private static let queueOffset = 128

  /// Bytes of the memory; throws where the program could not reach all of it.
  static func memoryByteCount(frameCount: Int, frameByteCount: Int) throws(ProgramError) -> Int {
    precondition(frameCount > 0 && frameByteCount > 0, "memory has a size")
    let (byteCount, overflows) = frameCount.multipliedReportingOverflow(by: frameByteCount)
    if !overflows, byteCount <= memoryByteCountMax { return byteCount }
    throw .system(
      systemError(
        "make memory for live frames", "", code: EINVAL,
        remedy: "\(frameCount) frames of \(frameByteCount) bytes are more than \(memoryByteCountMax >> 20) MiB: "
          + "they need shorter rings or a smaller MTU"))
  }

  private static func check(_ port: UInt32) throws(ProgramError) {
    let interface: NetworkInterface
    let reason: String?
    do throws(SystemError) {
      interface = try NetworkInterface.indexed(port)
      reason = try interface.redirectRefusal()
    } catch {
      throw .system(error)
    }
    if let reason { throw .cannotTransmit(interface: interface.name, reason: reason) }
  }

  /// The memory that frames are sent from, mapped once more: for ``UMEM``. Frame addresses are offsets in it.
  public func mapFrames() throws(ProgramError) -> MappedRegion { try frames.share(frameBytes) }

  /// Frames that can be put in before the next ``flush()``.
  @inlinable public var room: UInt32 { LiveTransmitter.capacity &- (produced &- consumed) }

  /// Puts a frame in, to leave at the next ``flush()``; needs ``room``.
  ///
  /// - Parameters:
  ///   - address: Of its first byte, from the memory's begin.
  ///   - byteCount: 14 ... ``byteCountMax``; others fail, and are counted.
  @inlinable public mutating func enqueue(address: UInt64, byteCount: UInt32, port: UInt16) {
    precondition(room > 0, "flush before the queue is full")
    // Inside the mapping: the index is below the capacity, a power of two.
    queue[Int(produced & (LiveTransmitter.capacity &- 1))] =
      UInt64(UInt32(truncatingIfNeeded: address)) | UInt64(min(byteCount, 0xffff)) << 32 | UInt64(port) << 48
    produced &+= 1
  }

  /// Sends what was put in, in order. When it returns, or throws, the frames are copied and their memory is free; where it
  /// throws, frames that were not taken are given up and counted in `failed`.
  public mutating func flush() throws(ProgramError) {
    while produced != consumed {
      let first = queue[Int(consumed & (LiveTransmitter.capacity &- 1))]
      // Of the first frame's length: where all are alike, none needs an adjustment.
      let byteCount = min(max(UInt32(truncatingIfNeeded: first >> 32) & 0xffff, 14), UInt32(SLUICE_LIVE_FRAME_BYTES))
      let before = consumed
      do throws(ProgramError) {
        if try !run.run(produced &- consumed, byteCount: byteCount) { interruptions &+= 1 }
        consumed = shared.pointee.consumed  // fewer after a signal: the rest follows
      } catch {
        consumed = shared.pointee.consumed
        // Short of memory for a moment: what was taken was taken, and the rest may go now.
        if case .system(let cause) = error, cause.code == ENOMEM, consumed != before { continue }
        shared.pointee.failed &+= UInt64(produced &- consumed)
        shared.pointee.consumed = produced
        consumed = produced
        throw error
      }
    }
  }

  public var counters: Counters {
    Counters(
      redirected: shared.pointee.redirected, failed: shared.pointee.failed, interruptions: interruptions)
  }
}

extension BPFMap {
  /// Its first bytes, mapped. For arrays with BPF_F_MMAPABLE.
  func share(_ byteCount: Int) throws(ProgramError) -> MappedRegion {
    do throws(SystemError) {
      return try MappedRegion(sharing: descriptor, byteCount: byteCount, subject: "BPF map \(name)")
    } catch {
      throw .system(error)
    }
  }
}

import Glibc
import LinuxSystem

/// The kernel's side of a socket over rings in ordinary memory: what tests and measurements put in its place.
///
/// One thread owns this value and the socket.
package struct KernelSide: ~Copyable {
  package var fill: ConsumerRing<UInt64>
  package var receive: ProducerRing<PacketDescriptor>
  package var transmit: ConsumerRing<PacketDescriptor>
  package var completion: ProducerRing<UInt64>
}

extension XDPSocket {
  /// A socket whose rings lie in ordinary memory, filled from `pool`: no kernel, no interface. ``descriptor`` is a
  /// datagram socket that goes nowhere.
  ///
  /// - Parameter start: Where all ring indices start.
  package init(
    inMemory memory: UMEM, pool: inout FramePool, options: Options = Options(), startingAt start: UInt32 = 0
  ) throws(SystemError) {
    let sizes = RingSizes(options, frameCount: memory.geometry.frameCount)
    precondition(sizes.defect == nil, "rings have powers of two of entries")
    let descriptor = try OwnedDescriptor.socket(family: AF_UNIX, type: CInt(SOCK_DGRAM.rawValue))
    let mappings = try RingMappings(inMemory: sizes, startingAt: start)
    var fillRing = mappings.fillRing()
    let filled = fillRing.fill(from: &pool)
    self.init(
      memory: memory, descriptor: descriptor, mappings: mappings, fillRing: fillRing, filled: filled, options: options,
      mode: SocketSetup.Mode(isZeroCopy: false, copyReason: "there is no device", bindRetries: 0))
  }

  /// To be asked for once, right after the socket was made.
  package func kernelSide() -> KernelSide { mappings.kernelSide() }
}

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
  /// Packets that left so far.
  package private(set) var transmittedCount = 0

  /// What the kernel adds to a frame's address for its headroom.
  private let headroom: UInt64

  init(
    headroom: UInt64, fill: consuming ConsumerRing<UInt64>, receive: consuming ProducerRing<PacketDescriptor>,
    transmit: consuming ConsumerRing<PacketDescriptor>, completion: consuming ProducerRing<UInt64>
  ) {
    self.headroom = headroom
    self.fill = fill
    self.receive = receive
    self.transmit = transmit
    self.completion = completion
  }

  /// Puts up to `limit` packets into frames of the fill ring, behind the kernel's headroom. Returns how many found a
  /// frame and room in the receive ring.
  package mutating func deliver(_ limit: UInt32, byteCount: UInt32, options: UInt32 = 0) -> UInt32 {
    let count = receive.room(limit: fill.available(limit: limit))
    for index in 0..<count {
      receive[index] = PacketDescriptor(address: fill[index] &+ headroom, byteCount: byteCount, options: options)
    }
    fill.release(count)
    receive.submit(count)
    return count
  }

  /// Takes up to `limit` packets out of the transmit ring, as far as their completions find room. Returns how many.
  @discardableResult
  package mutating func transmitAll(limit: UInt32 = .max) -> UInt32 {
    let count = completion.room(limit: transmit.available(limit: limit))
    for index in 0..<count { completion[index] = transmit[index].address }
    transmit.release(count)
    completion.submit(count)
    transmittedCount += Int(count)
    return count
  }
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
  package func kernelSide() -> KernelSide {
    let headroom = UInt64(UMEM.Geometry.kernelHeadroomByteCount)
    return mappings.kernelSide(headroom: memory.geometry.isUnaligned ? headroom << 48 : headroom)
  }
}

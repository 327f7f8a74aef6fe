import XSK

// The concrete hot roots that are measured: the loops that a packet thread runs, over the public functions of XSK.

/// Packets per batch.
let batchLimit: UInt32 = 64

/// Counts packets and bytes.
struct TrafficMeter: FrameHandler, ~Copyable {
  var packets: UInt64 = 0
  var bytes: UInt64 = 0

  @inline(__always)
  mutating func handle(_ packet: inout MutableRawSpan, in frame: ReceivedFrame) {
    packets &+= 1
    bytes &+= UInt64(truncatingIfNeeded: packet.byteCount)
  }
}

/// A batch is received, counted and dropped; its frames go back to the kernel.
@_noAllocation @_noLocks
@inline(never)
func processBatchDropping(_ socket: inout XDPSocket, _ pool: inout FramePool, _ meter: inout TrafficMeter) {
  _ = socket.receive(limit: batchLimit, pool: &pool, into: &meter)
  socket.refill(from: &pool)
}

/// A batch is received and sent back with source and destination address swapped; frames that left go back to the
/// kernel.
@_noAllocation @_noLocks
@inline(never)
func processBatchReflecting(_ socket: inout XDPSocket, _ pool: inout FramePool) {
  let count = socket.transmitRoom(limit: socket.available(limit: batchLimit))
  var index: UInt32 = 0
  while index < count {
    let packet = socket.received(index)
    var bytes = socket.bytes(of: packet).mutableBytes
    swapAddresses(&bytes)
    socket.setTransmit(index, packet)
    index &+= 1
  }
  socket.releaseReceived(count)
  socket.submitTransmit(count)
  socket.reclaim(into: &pool)
  socket.refill(from: &pool)
}

/// Source and destination address of an Ethernet header change places: one shuffle of sixteen bytes.
@inline(__always)
private func swapAddresses(_ packet: inout MutableRawSpan) {
  guard packet.byteCount >= 16 else { return }
  let head = packet.unsafeLoadUnaligned(as: SIMD16<UInt8>.self)
  let swapped = SIMD16<UInt8>(
    head[6], head[7], head[8], head[9], head[10], head[11], head[0], head[1], head[2], head[3], head[4], head[5],
    head[12], head[13], head[14], head[15])
  packet.storeBytes(of: swapped, as: SIMD16<UInt8>.self)
}

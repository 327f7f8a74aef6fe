import LinuxSystem
import XSK

/// Sends every packet of a queue back to where it came from, until so many have been.
///
/// - Parameter insert: Puts the socket into the XSKMAP of the interface's XDP program.
func reflect(
  _ packetCount: Int, on interface: NetworkInterface, queue: UInt32, insert: (CInt) throws -> Void
) throws {
  // On the thread that will run the loop, so that the memory lands on its NUMA node.
  let memory = try UMEM(
    geometry: .init(frameCount: 1024, frameByteCount: UMEM.Geometry.frameByteCount(forMTU: interface.mtu)),
    numaNode: interface.numaNode())
  var pool = memory.makePool()
  var socket = try XDPSocket(
    memory: memory, pool: &pool, interface: interface, queue: queue,
    options: .init(fillEntryCount: 512, transmitEntryCount: 512))
  try insert(socket.descriptor.rawValue)

  var left = packetCount
  while left > 0 {
    // As many as there are, and as the transmit ring has room for: their frames are ours now.
    let count = socket.transmitRoom(limit: socket.available(limit: 64))
    for index in 0..<count {
      let packet = socket.received(index)
      let bytes = socket.bytes(of: packet)
      for offset in 0..<6 { bytes.swapAt(offset, offset + 6) }  // source and destination address
      socket.setTransmit(index, packet)
    }
    socket.releaseReceived(count)
    socket.submitTransmit(count)
    left -= Int(count)
    // The only system calls: one to send a batch, one to wake a driver that wants it.
    while socket.transmitPending > 0 { try socket.kick() }
    socket.reclaim(into: &pool)
    socket.refill(from: &pool)
    if socket.needsWakeup { socket.wake() }
  }
}

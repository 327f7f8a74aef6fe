import LinuxSystem
import NetworkSupport
import Packets
import XDPPrograms

extension Stack {
  /// Sends frames of UDP to these ports in turn out of `lan1`, `count` in all.
  ///
  /// A few at a time, until `lan0` has counted them: the ring of a veth holds 256, and on a busy machine the kernel may
  /// leave it to another thread to empty it.
  func send(_ count: UInt32, ports: [UInt16]) throws {
    try namespace.perform {
      let generator = try Stack.generator(ports: ports)
      func arrived() throws -> UInt64 { try NetworkInterface.named("lan0").statistics.rxPackets }
      var left = count
      while left > 0 {
        let part = min(left, 128)
        let before = try arrived()
        try generator.send(part)
        // Without an XDP program `lan0` may count otherwise: then this only slows the sender down.
        _ = eventually(seconds: 0.02) { ((try? arrived()) ?? .max) &- before >= UInt64(part) }
        left -= part
      }
    }
  }

  /// To be used inside the namespace.
  static func generator(ports: [UInt16]) throws -> TrafficGenerator {
    let source = IPAddress.v4(IPv4Address(192, 0, 2, 1))
    let destination = IPAddress.v4(IPv4Address(198, 51, 100, 7))
    let frames = ports.map { port in
      var packet = PacketBuilder(from: source, to: destination, .udp(source: 4000, destination: port))
      packet.paddedByteCount = 64
      return packet.build()
    }
    return try TrafficGenerator(interfaceIndex: NetworkInterface.named("lan1").index, frames: frames)
  }
}

import LinuxSystem
import NetworkSupport
import Packets
import XDPPrograms

extension Stack {
  /// Sends frames of UDP to these ports in turn out of `lan1`, `count` in all.
  func send(_ count: UInt32, ports: [UInt16]) throws {
    try namespace.perform { try Stack.generator(ports: ports).send(count) }
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

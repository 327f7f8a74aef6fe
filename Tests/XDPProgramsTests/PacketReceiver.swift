import CLinuxShims
import Glibc
import LinuxSystem

/// Receives the frames of ethertype 0x88b5 (local experiments) that reach the stack of one interface. One thread.
final class PacketReceiver {
  private let socket: OwnedDescriptor

  /// In the caller's network namespace; from here on nothing is missed that fits in 64 MiB.
  init(_ interface: NetworkInterface) throws {
    let ethertype: UInt16 = 0x88b5
    socket = try OwnedDescriptor.socket(
      family: AF_PACKET, type: CInt(SOCK_RAW.rawValue), protocol: CInt(ethertype.bigEndian))
    let raw = socket.rawValue
    var space: CInt = 64 << 20
    let forced: CInt = 33  // SO_RCVBUFFORCE
    try check("size buffer") { setsockopt(raw, SOL_SOCKET, forced, &space, socklen_t(MemoryLayout<CInt>.size)) }
    var address = sockaddr_ll()
    address.sll_family = UInt16(AF_PACKET)
    address.sll_protocol = ethertype.bigEndian
    address.sll_ifindex = CInt(interface.index)
    try check("bind", interface.name) {
      withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          bind(raw, $0, socklen_t(MemoryLayout<sockaddr_ll>.size))
        }
      }
    }
  }

  /// The next `count` frames, fewer where none comes for two seconds.
  func receive(_ count: Int) throws -> [[UInt8]] {
    let raw = socket.rawValue
    var frames: [[UInt8]] = []
    var buffer = [UInt8](repeating: 0, count: 9000)
    while frames.count < count {
      guard try Poll.wait(raw, -1, timeoutMilliseconds: 2000).first.hasEvent else { break }
      let length = try check("receive") { buffer.withUnsafeMutableBytes { recv(raw, $0.baseAddress, $0.count, 0) } }
      frames.append(Array(buffer.prefix(length)))
    }
    return frames
  }
}

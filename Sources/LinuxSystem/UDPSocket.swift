import Glibc

/// A connected UDP socket that never blocks. Belongs to the network namespace of the thread that made it.
/// Any thread may use it.
public final class UDPSocket: Sendable {
  private let descriptor: OwnedDescriptor

  /// - Parameters:
  ///   - address: In wire order, 4 or 16 bytes.
  ///   - subject: Names the peer in errors.
  public init(connectedTo address: [UInt8], port: UInt16, subject: String) throws(SystemError) {
    precondition(address.count == 4 || address.count == 16, "an address has 4 or 16 bytes")
    let family = address.count == 4 ? AF_INET : AF_INET6
    let descriptor = try OwnedDescriptor.socket(
      family: family, type: CInt(SOCK_DGRAM.rawValue | SOCK_NONBLOCK.rawValue))
    let raw = descriptor.rawValue
    try check("connect", subject) {
      if address.count == 4 {
        var peer = sockaddr_in()
        peer.sin_family = sa_family_t(AF_INET)
        peer.sin_port = port.bigEndian
        withUnsafeMutableBytes(of: &peer.sin_addr) { $0.copyBytes(from: address) }
        return UDPSocket.connect(raw, &peer)
      }
      var peer = sockaddr_in6()
      peer.sin6_family = sa_family_t(AF_INET6)
      peer.sin6_port = port.bigEndian
      withUnsafeMutableBytes(of: &peer.sin6_addr) { $0.copyBytes(from: address) }
      return UDPSocket.connect(raw, &peer)
    }
    self.descriptor = descriptor
  }

  private static func connect<Peer>(_ descriptor: CInt, _ peer: inout Peer) -> CInt {
    // A socket address of a family is a sockaddr to the kernel, which is told its size.
    withUnsafeBytes(of: &peer) {
      Glibc.connect(descriptor, $0.assumingMemoryBound(to: sockaddr.self).baseAddress, socklen_t($0.count))
    }
  }

  /// Sends one datagram.
  ///
  /// - Returns: 0, or the `errno`: ECONNREFUSED reports an earlier datagram, and this one is not sent either.
  public func send(_ bytes: [UInt8]) -> CInt {
    let raw = descriptor.rawValue
    let sendFlags = CInt(MSG_NOSIGNAL)
    while true {
      let result = bytes.withUnsafeBytes { Glibc.send(raw, $0.baseAddress, $0.count, sendFlags) }
      if result >= 0 { return 0 }
      let code = errno
      if code != EINTR { return code }
    }
  }

  /// What became of earlier datagrams as far as the network said so: 0, or an `errno`. Reading clears it.
  public func takePendingError() -> CInt { Poll.socketError(descriptor.rawValue) }

  /// Blocks until a datagram can be sent, or the time is over.
  public func waitUntilWritable(timeoutMilliseconds: CInt) {
    var entry = pollfd(fd: descriptor.rawValue, events: Int16(POLLOUT), revents: 0)
    _ = poll(&entry, 1, timeoutMilliseconds)
  }
}

import Glibc

/// A connected datagram socket that never blocks. Any thread. Closed when released.
///
/// The only place here with pointers: each is to a local value that outlives the call it is given to.
final class DatagramSocket: Sendable {
  private let descriptor: CInt

  private init(owning descriptor: CInt) { self.descriptor = descriptor }

  deinit { close(descriptor) }

  /// To the unix socket `path`, absolute.
  convenience init(unixPath path: String) throws(LogError) {
    var address = sockaddr_un()
    let bytes = Array(path.utf8)
    guard bytes.first == UInt8(ascii: "/"), bytes.count < MemoryLayout.size(ofValue: address.sun_path),
      !bytes.contains(0)
    else { throw LogError("\(path) is not the path of a unix socket") }
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
    let descriptor = try Self.open(family: AF_UNIX)
    let result = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    guard result == 0 else {
      let reason = String(cString: strerror(errno))
      close(descriptor)
      throw LogError("cannot connect to \(path): \(reason)")
    }
    self.init(owning: descriptor)
  }

  /// To a UDP port; the name is resolved now, once.
  convenience init(udpHost host: String, port: UInt16) throws(LogError) {
    var hints = addrinfo()
    hints.ai_socktype = CInt(SOCK_DGRAM.rawValue)
    var list: UnsafeMutablePointer<addrinfo>?
    let failure = getaddrinfo(host, String(port), &hints, &list)
    guard failure == 0 else {
      throw LogError("cannot resolve \(host): \(String(cString: gai_strerror(failure)))")
    }
    defer { freeaddrinfo(list) }
    var reason = "it has no address"
    var next = list
    while let entry = next?.pointee {
      let descriptor = try Self.open(family: entry.ai_family)
      if connect(descriptor, entry.ai_addr, entry.ai_addrlen) == 0 {
        self.init(owning: descriptor)
        return
      }
      reason = String(cString: strerror(errno))
      close(descriptor)
      next = entry.ai_next
    }
    throw LogError("cannot send to \(host):\(port): \(reason)")
  }

  private static func open(family: CInt) throws(LogError) -> CInt {
    let type = CInt(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
    let descriptor = socket(family, type, 0)
    guard descriptor >= 0 else { throw LogError("cannot make a socket: \(String(cString: strerror(errno)))") }
    return descriptor
  }

  /// 0, or the errno of a failed send.
  func send(_ bytes: [UInt8]) -> CInt {
    while true {
      let count = bytes.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, CInt(MSG_NOSIGNAL)) }
      if count >= 0 { return 0 }
      if errno != EINTR { return errno }
    }
  }
}

/// Why logging can't be set up as asked.
public struct LogError: Error, Hashable, Sendable, CustomStringConvertible {
  public let description: String
  public init(_ description: String) { self.description = description }
}

import Foundation

/// What servers of the tests' own need, whichever they are.
enum TestServer {
  /// Of 127.0.0.1; another process may take it before the server does.
  static func freePort() throws -> Int {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let bound = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, length) == 0 && getsockname(descriptor, $0, &length) == 0
      }
    }
    guard bound else { throw DatabaseSupportError(description: "no free port on 127.0.0.1") }
    return Int(UInt16(bigEndian: address.sin_port))
  }

  /// Servers refuse to run as root and to use files of others.
  static func handOver(_ path: String, to user: String, package: String) throws {
    guard geteuid() == 0 else { return }
    guard let entry = getpwnam(user) else {
      throw DatabaseSupportError(description: "there is no user \(user): install the package \(package)")
    }
    guard chown(path, entry.pointee.pw_uid, entry.pointee.pw_gid) == 0 else {
      throw DatabaseSupportError(description: "cannot give \(path) to \(user)")
    }
  }
}

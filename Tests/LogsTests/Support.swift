import Foundation
import Logging

@testable import Logs

/// The reading end of a socket that a destination writes to.
final class Receiver {
  let descriptor: Int32
  let path: String?
  private(set) var port: UInt16 = 0

  /// A unix datagram socket at a path of its own.
  init(unix: Void = ()) throws {
    let path = NSTemporaryDirectory() + "sluice-log-\(getpid())-\(UInt32.random(in: 0 ... .max))"
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    self.path = path
    descriptor = try Self.bound(&address, family: AF_UNIX)
  }

  /// A UDP socket on 127.0.0.1 at a free port.
  init(udp: Void) throws {
    path = nil
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    descriptor = try Self.bound(&address, family: AF_INET)
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { _ = getsockname(descriptor, $0, &length) }
    }
    port = UInt16(bigEndian: address.sin_port)
  }

  deinit {
    close(descriptor)
    if let path { unlink(path) }
  }

  private static func bound<Address>(_ address: inout Address, family: Int32) throws -> Int32 {
    let descriptor = socket(family, Int32(SOCK_DGRAM.rawValue), 0)
    let size = socklen_t(MemoryLayout<Address>.size)
    let result = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, size) }
    }
    guard descriptor >= 0, result == 0 else { throw POSIXError(.init(rawValue: errno) ?? .EIO) }
    var limit = timeval(tv_sec: 10, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    return descriptor
  }

  /// The next datagram; nil after 10 seconds without one.
  func next() -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: 200_000)
    let count = recv(descriptor, &bytes, bytes.count, 0)
    return count < 0 ? nil : Array(bytes[..<count])
  }
}

/// Reads what a destination writes to a pipe.
func written(_ body: (Int32) throws -> Void) throws -> String {
  let pipe = Pipe()
  try body(pipe.fileHandleForWriting.fileDescriptor)
  try pipe.fileHandleForWriting.close()
  return String(decoding: try pipe.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
}

func record(
  _ message: Logger.Message, level: Logger.Level = .info, _ metadata: Logger.Metadata = [:], label: String = "test"
) -> LogRecord {
  LogRecord(
    LogEvent(
      level: level, message: message, metadata: nil, source: "s", file: "F.swift", function: "f()", line: 7),
    label: label, metadata: metadata, time: LogTime(seconds: 1_795_230_245, microseconds: 678_901))
}

/// Texts that try to be more than a text.
let hostileTexts = [
  "plain\n2026-01-01T00:00:00.000Z CRITICAL forged: line", "\u{1b}[2J\u{1b}[31mred", "a\r\nb", "\u{0}", "\u{85}x",
  "\u{2028}", "\u{202e}gnp.exe", "x\u{7f}", "]\"\\", "\" level=critical", "ünï", "",
  String(repeating: "é", count: 40_000),
]

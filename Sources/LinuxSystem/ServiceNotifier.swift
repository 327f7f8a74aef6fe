import Glibc

/// Tells the service manager how the service fares (sd_notify(3)): datagrams to the socket in `NOTIFY_SOCKET`.
///
/// Without a service manager every message goes nowhere. Any thread.
public struct ServiceNotifier: Sendable {
  /// Path of the socket; a leading `@` means the abstract namespace. Nil: nobody listens.
  public let socketPath: String?
  /// The manager expects ``watchdog()`` at least this often, in microseconds; nil if it doesn't.
  public let watchdogMicroseconds: UInt64?

  /// From `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` of this process.
  public static func fromEnvironment() -> ServiceNotifier {
    let variable = { (name: String) in getenv(name).map { String(cString: $0) } }
    let isForUs = variable("WATCHDOG_PID").map { $0 == "\(getpid())" } ?? true
    return ServiceNotifier(
      socketPath: variable("NOTIFY_SOCKET"),
      watchdogMicroseconds: isForUs ? variable("WATCHDOG_USEC").flatMap { UInt64($0) } : nil)
  }

  public init(socketPath: String?, watchdogMicroseconds: UInt64? = nil) {
    self.socketPath = socketPath.flatMap { $0.isEmpty ? nil : $0 }
    self.watchdogMicroseconds = watchdogMicroseconds.flatMap { $0 > 0 ? $0 : nil }
  }

  /// Start-up is complete.
  public func ready(status: String = "") throws(SystemError) {
    try send("READY=1" + (status.isEmpty ? "" : "\n" + line("STATUS", status)))
  }

  /// Shutdown has begun.
  public func stopping() throws(SystemError) { try send("STOPPING=1") }

  /// One line for `systemctl status`.
  public func status(_ text: String) throws(SystemError) { try send(line("STATUS", text)) }

  /// The service is alive.
  public func watchdog() throws(SystemError) { try send("WATCHDOG=1") }

  private func line(_ key: String, _ text: String) -> String {
    "\(key)=" + String(text.map { $0.isNewline ? " " : $0 })
  }

  private func send(_ message: String) throws(SystemError) {
    guard let socketPath else { return }
    var address = sockaddr_un()
    var path = Array(socketPath.utf8)
    let isAbstract = path.first == UInt8(ascii: "@")
    guard path.count < MemoryLayout.size(ofValue: address.sun_path), isAbstract || path.first == UInt8(ascii: "/")
    else {
      throw SystemError(
        operation: "notify", code: EINVAL, subject: socketPath, remedy: "NOTIFY_SOCKET is no socket path")
    }
    if isAbstract { path[0] = 0 }
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path) }
    let headByteCount = MemoryLayout<sockaddr_un>.offset(of: \.sun_path) ?? 2
    // An abstract name ends with the length, a path with its NUL.
    let length = socklen_t(headByteCount + path.count + (isAbstract ? 0 : 1))
    let socket = try OwnedDescriptor.socket(family: AF_UNIX, type: CInt(SOCK_DGRAM.rawValue))
    let raw = socket.rawValue
    let bytes = Array(message.utf8)
    try check("notify", socketPath) {
      withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
          bytes.withUnsafeBytes { sendto(raw, $0.baseAddress, $0.count, CInt(MSG_NOSIGNAL), address, length) }
        }
      }
    }
  }
}

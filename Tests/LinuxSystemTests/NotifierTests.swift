import Glibc
import LinuxSystem
import NetworkSupport
import Testing

@Suite("Service notifier")
struct NotifierTests {
  /// A datagram socket bound to a path, or to an abstract name behind `@`.
  private struct Listener: ~Copyable {
    let socket: OwnedDescriptor

    init(_ name: String) throws {
      let socket = try OwnedDescriptor.socket(family: AF_UNIX, type: CInt(SOCK_DGRAM.rawValue))
      var address = sockaddr_un()
      address.sun_family = sa_family_t(AF_UNIX)
      var path = Array(name.utf8)
      if path[0] == UInt8(ascii: "@") { path[0] = 0 }
      withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path) }
      let raw = socket.rawValue
      let length = socklen_t(2 + path.count)
      try check("bind", name) {
        withUnsafePointer(to: &address) {
          $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(raw, $0, length) }
        }
      }
      self.socket = socket
    }

    func receive() -> String {
      var bytes = [UInt8](repeating: 0, count: 1000)
      let count = recv(socket.rawValue, &bytes, bytes.count, CInt(MSG_DONTWAIT))
      return String(decoding: bytes.prefix(max(count, 0)), as: UTF8.self)
    }
  }

  @Test("Messages arrive as the protocol has them, by path and by abstract name", arguments: [false, true])
  func messages(isAbstract: Bool) throws {
    try withTemporaryDirectory { directory in
      let name = isAbstract ? "@sluice-test-\(getpid())-\(SystemClock.monotonicNanoseconds())" : "\(directory)/notify"
      let listener = try Listener(name)
      let notifier = ServiceNotifier(socketPath: name)
      try notifier.ready()
      #expect(listener.receive() == "READY=1")
      try notifier.ready(status: "two interfaces")
      #expect(listener.receive() == "READY=1\nSTATUS=two interfaces")
      try notifier.status("one\nREADY=1")
      #expect(listener.receive() == "STATUS=one READY=1")
      try notifier.watchdog()
      #expect(listener.receive() == "WATCHDOG=1")
      try notifier.stopping()
      #expect(listener.receive() == "STOPPING=1")
    }
  }

  @Test("Without a socket nothing happens; a wrong one is an error")
  func absent() throws {
    for path in [nil, ""] { try ServiceNotifier(socketPath: path).ready() }
    #expect(throws: SystemError.self) { try ServiceNotifier(socketPath: "/nowhere/socket").ready() }
    #expect(throws: SystemError.self) { try ServiceNotifier(socketPath: "relative").ready() }
    #expect(throws: SystemError.self) {
      try ServiceNotifier(socketPath: "/" + String(repeating: "x", count: 200)).ready()
    }
    #expect(ServiceNotifier(socketPath: nil, watchdogMicroseconds: 0).watchdogMicroseconds == nil)
  }
}

import CLinuxShims
import Glibc
import LinuxSystem

/// A network namespace with a veth pair in it, for the calling thread while `body` runs; threads that `body` starts live in
/// it too. No neighbour discovery among the packets of the test.
public func withTestNetwork<R>(queues: Int = 1, _ body: (TestNetwork) throws -> R) throws -> R {
  let namespace = try NetworkNamespace()
  try namespace.run("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")
  try namespace.makePair("near", "far", options: "numrxqueues \(queues) numtxqueues \(queues)")
  return try namespace.perform { try body(TestNetwork()) }
}

/// Waits until the condition holds. False: it still doesn't after the deadline.
public func eventually(seconds: Double = 10, _ condition: () -> Bool) -> Bool {
  let deadline = SystemClock.monotonicNanoseconds() + UInt64(seconds * 1e9)
  while !condition() {
    if SystemClock.monotonicNanoseconds() > deadline { return false }
    usleep(500)
  }
  return true
}

public struct TestNetwork: Sendable {
  /// The end under test.
  public func near() throws -> NetworkInterface { try NetworkInterface.named("near") }
  /// The end that sends.
  public func far() throws -> NetworkInterface { try NetworkInterface.named("far") }
}

/// Sends raw frames out of an interface.
public struct FrameSender: ~Copyable {
  private let socket: OwnedDescriptor
  private var address = sockaddr_ll()

  public init(interface: NetworkInterface) throws {
    socket = try OwnedDescriptor.socket(family: AF_PACKET, type: CInt(SOCK_RAW.rawValue))
    address.sll_family = UInt16(AF_PACKET)
    address.sll_ifindex = CInt(interface.index)
    address.sll_halen = 6
  }

  public mutating func send(_ frame: [UInt8]) throws {
    let raw = socket.rawValue
    try check("send", "frame") {
      withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
          frame.withUnsafeBytes {
            sendto(raw, $0.baseAddress, $0.count, 0, address, socklen_t(MemoryLayout<sockaddr_ll>.size))
          }
        }
      }
    }
  }
}

/// A frame of ethertype 0x88b5 (local experiments): byte 14 is the slot that ``RedirectProgram`` reports, the next four
/// the number.
public func testFrame(slot: UInt8, number: UInt32, byteCount: Int = 64) -> [UInt8] {
  var frame: [UInt8] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5, slot]
  for shift in [24, 16, 8, 0] as [UInt32] { frame.append(UInt8(truncatingIfNeeded: number >> shift)) }
  while frame.count < byteCount { frame.append(UInt8(truncatingIfNeeded: frame.count)) }
  return frame
}

/// What a test waited for in vain, in words.
public struct TestFailure: Error, CustomStringConvertible {
  public let description: String

  public init(_ description: String) { self.description = description }
}

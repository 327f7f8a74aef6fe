import CLinuxShims
import Glibc
import LinuxSystem

/// A network namespace of the calling thread with a veth pair in it. It has no name and goes with its last user, also
/// when
/// the process is killed.
///
/// `body` runs on this thread and must not suspend; threads that it starts live in the namespace too.
public func withTestNetwork<R>(queues: Int = 1, _ body: (TestNetwork) throws -> R) throws -> R {
  let home = try OwnedDescriptor.open("/proc/thread-self/ns/net", flags: O_RDONLY)
  try check("unshare", "network namespace", needs: .sysAdmin) { sluice_enter_new_network_namespace() }
  defer { _ = sluice_enter_network_namespace(home.rawValue) }
  // No neighbour discovery among the packets of the test.
  try run("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6")
  let size = "numrxqueues \(queues) numtxqueues \(queues)"
  try run("ip link add near \(size) type veth peer name far \(size) && ip link set near up && ip link set far up")
  return try body(TestNetwork())
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

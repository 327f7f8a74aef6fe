import CLinuxShims
import Glibc

/// What drivers and sysfs know about an interface beyond rtnetlink.
extension NetworkInterface {
  /// Name of the driver (ETHTOOL_GDRVINFO): `ixgbe`, `veth`; nil where the interface has no such answer (loopback).
  public func driver() throws(SystemError) -> String? {
    let socket = try OwnedDescriptor.socket(family: AF_INET, type: CInt(SOCK_DGRAM.rawValue))
    let raw = socket.rawValue
    var text = [CChar](repeating: 0, count: 32)
    do throws(SystemError) {
      try check("read driver of", name) {
        text.withUnsafeMutableBufferPointer { sluice_ethtool_driver(raw, name, $0.baseAddress, $0.count) }
      }
    } catch {
      if error.code == EOPNOTSUPP { return nil }
      throw error
    }
    return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  /// Receive queues in use: channels with receive rings (ETHTOOL_GCHANNELS), or those allocated where the driver
  /// doesn't say. At least 1.
  public func receiveQueueCount() throws(SystemError) -> UInt32 {
    let socket = try OwnedDescriptor.socket(family: AF_INET, type: CInt(SOCK_DGRAM.rawValue))
    let raw = socket.rawValue
    var count: UInt32 = 0
    do throws(SystemError) {
      try check("read channels of", name) { sluice_ethtool_channels(raw, name, &count) }
    } catch {
      if error.code != EOPNOTSUPP { throw error }
    }
    return count > 0 ? count : max(rxQueueCount, 1)
  }

  /// The NUMA node its device is attached to; -1 where there is no device or the machine has one node.
  public func numaNode() -> Int {
    // A virtio device has none itself; the PCI device that it is on has.
    for path in ["device/numa_node", "device/../numa_node"] {
      if let text = try? SmallFile.readText("/sys/class/net/\(name)/\(path)"), let node = Int(text) { return node }
    }
    return -1
  }

  /// What the interface can do with XDP; nil on kernels that don't tell (before 6.3).
  public func xdpFeatures() throws(SystemError) -> XDPFeatures? {
    let socket = try NetlinkSocket(protocol: NETLINK_GENERIC)
    guard let family = try NetworkInterface.genericFamily("netdev", over: socket) else { return nil }
    let fixed = genlmsghdr(cmd: UInt8(SLUICE_NETDEV_CMD_DEV_GET), version: 1, reserved: 0)
    var request = NetlinkMessage(type: family, flags: 0, fixed: fixed)
    request.append(attribute: Int(SLUICE_NETDEV_A_DEV_IFINDEX), index)
    let replies = try socket.exchange(request, operation: "read XDP features of", subject: name)
    return replies.lazy.flatMap { NetlinkAttributes($0.payload.dropFirst(MemoryLayout<genlmsghdr>.size)) }
      .first { $0.type == Int(SLUICE_NETDEV_A_DEV_XDP_FEATURES) }
      .map { XDPFeatures(rawValue: $0.bytes.loadUnaligned()) }
  }

  /// The number of a generic netlink family; nil if the kernel has none of that name.
  private static func genericFamily(
    _ name: String, over socket: borrowing NetlinkSocket
  ) throws(SystemError) -> UInt16? {
    let fixed = genlmsghdr(cmd: UInt8(CTRL_CMD_GETFAMILY), version: 1, reserved: 0)
    var request = NetlinkMessage(type: UInt16(GENL_ID_CTRL), flags: 0, fixed: fixed)
    request.append(attribute: Int(CTRL_ATTR_FAMILY_NAME), name)
    do throws(SystemError) {
      let replies = try socket.exchange(request, operation: "find netlink family", subject: name)
      return replies.lazy.flatMap { NetlinkAttributes($0.payload.dropFirst(MemoryLayout<genlmsghdr>.size)) }
        .first { $0.type == Int(CTRL_ATTR_FAMILY_ID) }?.bytes.loadUnaligned()
    } catch {
      if error.code == ENOENT { return nil }
      throw error
    }
  }
}

/// What an interface's driver can do with XDP (`enum netdev_xdp_act`).
public struct XDPFeatures: OptionSet, Hashable, Sendable {
  public let rawValue: UInt64

  public init(rawValue: UInt64) { self.rawValue = rawValue }

  /// Native pass, drop, abort and transmit.
  public static let basic = XDPFeatures(rawValue: 1)
  public static let redirect = XDPFeatures(rawValue: 2)
  /// Can be the target of a redirect. A veth only while its peer has an XDP program or GRO on.
  public static let transmitRedirected = XDPFeatures(rawValue: 4)
  public static let zeroCopy = XDPFeatures(rawValue: 8)
  public static let offload = XDPFeatures(rawValue: 16)
  /// Packets in several buffers.
  public static let fragments = XDPFeatures(rawValue: 32)
  public static let transmitRedirectedFragments = XDPFeatures(rawValue: 64)
}

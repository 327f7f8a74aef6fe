import CLinuxShims
import Glibc

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

extension NetworkInterface {
  /// What the interface can do with XDP; nil on kernels that don't tell (before 6.3).
  public func xdpFeatures() throws(SystemError) -> XDPFeatures? {
    let socket = try NetlinkSocket(protocol: NETLINK_GENERIC)
    guard let family = try GenericFamily.find("netdev", over: socket) else { return nil }
    let fixed = genlmsghdr(cmd: UInt8(SLUICE_NETDEV_CMD_DEV_GET), version: 1, reserved: 0)
    var request = NetlinkMessage(type: family.number, flags: 0, fixed: fixed)
    request.append(attribute: Int(SLUICE_NETDEV_A_DEV_IFINDEX), index)
    let replies = try socket.exchange(request, operation: "read XDP features of", subject: name)
    return replies.lazy.flatMap { NetlinkAttributes($0.payload.dropFirst(MemoryLayout<genlmsghdr>.size)) }
      .first { $0.type == Int(SLUICE_NETDEV_A_DEV_XDP_FEATURES) }
      .map { XDPFeatures(rawValue: $0.bytes.loadUnaligned()) }
  }

  /// Why the interface takes no XDP frames from elsewhere (redirected or live ones), in words, with what would help; nil if
  /// it takes them. As things are now: see ``XDPFeatureMonitor``.
  public func redirectRefusal() throws(SystemError) -> String? {
    guard let features = try xdpFeatures() else { return "the kernel doesn't tell what \(name) can do; needs Linux 6.3" }
    if features.contains(.transmitRedirected) { return nil }
    if isLoopback { return "it is the loopback interface" }
    if kind == "veth" {
      return "its peer runs no XDP program and has GRO off; attach one there, or: ethtool -K PEER gro on"
    }
    if features.isEmpty { return "its driver knows no XDP" }
    return "its driver takes them only while an XDP program is attached to it, or not at all"
  }
}

/// A generic netlink family of the running kernel.
struct GenericFamily {
  let number: UInt16
  /// Numbers of its multicast groups, by name.
  let groups: [String: UInt32]

  /// nil if the kernel has none of that name.
  static func find(_ name: String, over socket: borrowing NetlinkSocket) throws(SystemError) -> GenericFamily? {
    let fixed = genlmsghdr(cmd: UInt8(CTRL_CMD_GETFAMILY), version: 1, reserved: 0)
    var request = NetlinkMessage(type: UInt16(GENL_ID_CTRL), flags: 0, fixed: fixed)
    request.append(attribute: Int(CTRL_ATTR_FAMILY_NAME), name)
    let replies: [NetlinkReply]
    do throws(SystemError) {
      replies = try socket.exchange(request, operation: "find netlink family", subject: name)
    } catch {
      if error.code == ENOENT { return nil }
      throw error
    }
    var number: UInt16?
    var groups: [String: UInt32] = [:]
    for reply in replies {
      for (type, bytes) in NetlinkAttributes(reply.payload.dropFirst(MemoryLayout<genlmsghdr>.size)) {
        if type == Int(CTRL_ATTR_FAMILY_ID) { number = bytes.loadUnaligned() }
        guard type == Int(CTRL_ATTR_MCAST_GROUPS) else { continue }
        for group in NetlinkAttributes(bytes) {
          let fields = Array(NetlinkAttributes(group.bytes))
          guard let name = fields.first(where: { $0.type == Int(CTRL_ATTR_MCAST_GRP_NAME) }),
            let identifier = fields.first(where: { $0.type == Int(CTRL_ATTR_MCAST_GRP_ID) })
          else { continue }
          groups[name.bytes.netlinkText] = identifier.bytes.loadUnaligned()
        }
      }
    }
    return number.map { GenericFamily(number: $0, groups: groups) }
  }
}

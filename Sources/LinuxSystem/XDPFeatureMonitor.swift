import CLinuxShims
import Glibc

/// News of what interfaces can do with XDP.
public enum XDPFeatureEvent: Hashable, Sendable {
  /// How it is now: after a program came or went at a veth's peer, a driver's setting changed, or the interface appeared.
  case changed(interfaceIndex: UInt32, XDPFeatures)
  case removed(interfaceIndex: UInt32)
  /// The kernel had more news than the socket could hold: ask each interface again.
  case overrun
}

/// Watches the XDP features of the interfaces in the network namespace of the thread that made it (generic netlink family
/// `netdev`, group `mgmt`; Linux 6.3). One thread waits, any thread may stop.
public final class XDPFeatureMonitor: Sendable {
  private let socket: NetlinkSocket
  private let stopped: EventDescriptor
  private let family: UInt16

  /// From here on no news is missed. EOPNOTSUPP where the kernel has none to tell.
  public init() throws(SystemError) {
    let socket = try NetlinkSocket(protocol: NETLINK_GENERIC)
    guard let family = try GenericFamily.find("netdev", over: socket), let group = family.groups[SLUICE_NETDEV_MCGRP_MGMT]
    else {
      throw SystemError(operation: "watch XDP features", code: EOPNOTSUPP, subject: "", remedy: "needs Linux 6.3")
    }
    let raw = socket.descriptor.rawValue
    var number = group
    try check("join netlink group", SLUICE_NETDEV_MCGRP_MGMT) {
      setsockopt(raw, SOL_NETLINK, CInt(NETLINK_ADD_MEMBERSHIP), &number, socklen_t(MemoryLayout<UInt32>.size))
    }
    stopped = try EventDescriptor()
    self.family = family.number
    self.socket = socket
  }

  /// Blocks until there is news, the time is over (empty) or ``stop()`` was called (nil).
  public func wait(timeoutMilliseconds: CInt = -1) throws(SystemError) -> [XDPFeatureEvent]? {
    let ready = try Poll.wait(
      socket.descriptor.rawValue, stopped.descriptor.rawValue, timeoutMilliseconds: timeoutMilliseconds)
    if ready.second.hasEvent { return nil }
    if !ready.first.hasEvent { return [] }
    do throws(SystemError) {
      return NetlinkSocket.split(try socket.receive("watch XDP features", "")).compactMap { header, payload in
        header.nlmsg_type == family ? XDPFeatureMonitor.event(payload) : nil
      }
    } catch {
      if error.code == ENOBUFS { return [.overrun] }
      throw error
    }
  }

  private static func event(_ payload: ArraySlice<UInt8>) -> XDPFeatureEvent? {
    let command = CInt(payload.loadUnaligned(as: genlmsghdr.self).cmd)
    let attributes = Array(NetlinkAttributes(payload.dropFirst(MemoryLayout<genlmsghdr>.size)))
    func value(_ type: CInt) -> ArraySlice<UInt8>? { attributes.first { $0.type == Int(type) }?.bytes }
    guard let index: UInt32 = value(SLUICE_NETDEV_A_DEV_IFINDEX)?.loadUnaligned() else { return nil }
    switch command {
    case SLUICE_NETDEV_CMD_DEV_DEL_NTF: return .removed(interfaceIndex: index)
    case SLUICE_NETDEV_CMD_DEV_ADD_NTF, SLUICE_NETDEV_CMD_DEV_CHANGE_NTF:
      return value(SLUICE_NETDEV_A_DEV_XDP_FEATURES).map {
        .changed(interfaceIndex: index, XDPFeatures(rawValue: $0.loadUnaligned()))
      }
    default: return nil
    }
  }

  /// Ends the wait, now and for ever. Any thread.
  public func stop() { stopped.signal() }
}

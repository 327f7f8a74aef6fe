import CLinuxShims
import Glibc

extension NetworkInterface {
  /// Itself, or the bridge, bond, VLAN or other interface above it, if a default route leads there: what this interface
  /// sends may then leave the machine's own networks.
  ///
  /// Routes of both families and of all tables of the calling thread's network namespace count, also as one of several
  /// next hops. Nil: there is none.
  public func defaultRouteCarrier() throws(SystemError) -> NetworkInterface? {
    let carriers = try NetworkInterface.defaultRouteIndices()
    if carriers.isEmpty { return nil }
    let all = try NetworkInterface.all()
    var seen: Set<UInt32> = []
    var waiting = [self]
    while let interface = waiting.popLast() {
      guard seen.insert(interface.index).inserted else { continue }
      if carriers.contains(interface.index) { return interface }
      waiting += all.filter { $0.index == interface.masterIndex || $0.lowerIndex == interface.index }
    }
    return nil
  }

  /// Indices of the interfaces that default routes lead to (RTM_GETROUTE, rtnetlink(7)).
  private static func defaultRouteIndices() throws(SystemError) -> Set<UInt32> {
    let socket = try NetlinkSocket(protocol: NETLINK_ROUTE)
    let request = NetlinkMessage(type: UInt16(RTM_GETROUTE), flags: Int(NLM_F_DUMP), fixed: rtmsg())
    let replies = try socket.exchange(request, operation: "list routes", subject: "", keeping: isDefaultRoute)
    return replies.reduce(into: []) { indices, reply in
      for (type, bytes) in NetlinkAttributes(reply.payload.dropFirst(MemoryLayout<rtmsg>.size)) {
        switch type {
        case Int(RTA_OIF.rawValue): indices.insert(bytes.loadUnaligned())
        case Int(RTA_MULTIPATH.rawValue): indices.formUnion(nextHopIndices(bytes))
        default: break
        }
      }
    }
  }

  private static func isDefaultRoute(_ reply: NetlinkReply) -> Bool {
    let route: rtmsg = reply.payload.loadUnaligned()
    return reply.type == UInt16(RTM_NEWROUTE) && [AF_INET, AF_INET6].contains(CInt(route.rtm_family))
      && route.rtm_dst_len == 0 && route.rtm_type == UInt8(RTN_UNICAST)
  }

  /// Of `struct rtnexthop`s one after the other, each with its attributes behind it.
  private static func nextHopIndices(_ bytes: ArraySlice<UInt8>) -> [UInt32] {
    var indices: [UInt32] = []
    var rest = bytes
    while rest.count >= MemoryLayout<rtnexthop>.size {
      let hop: rtnexthop = rest.loadUnaligned()
      guard hop.rtnh_len >= MemoryLayout<rtnexthop>.size else { break }
      indices.append(UInt32(bitPattern: hop.rtnh_ifindex))
      rest = rest.dropFirst((Int(hop.rtnh_len) + 3) & ~3)
    }
    return indices
  }
}

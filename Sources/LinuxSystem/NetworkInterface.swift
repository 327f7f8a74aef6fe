import CLinuxShims
import Glibc

/// A network interface as rtnetlink shows it at one moment. A value: read it again for news.
public struct NetworkInterface: Hashable, Sendable {
  public var index: UInt32
  public var name: String
  /// Hardware address, 6 bytes for Ethernet; empty where there is none.
  public var hardwareAddress: [UInt8]
  public var mtu: UInt32
  /// Administratively up.
  public var isUp: Bool
  public var hasCarrier: Bool
  public var isLoopback: Bool
  public var operationalState: OperationalState
  /// Queues the driver allocated; how many are in use says ``receiveQueueCount()``.
  public var rxQueueCount: UInt32
  public var txQueueCount: UInt32
  /// rtnetlink's kind: `veth`, `bridge`, …; empty for hardware.
  public var kind: String
  /// The bridge, bond or VRF that this is a port of.
  public var masterIndex: UInt32?
  /// The interface of this namespace that this one is made on, as a VLAN or macvlan is. A veth is made on none.
  public var lowerIndex: UInt32?
  public var statistics: LinkStatistics
  /// The attached XDP program; nil if there is none.
  public var xdp: XDPAttachment?

  /// What is given to it leaves now: it is up and has a carrier.
  public var sends: Bool { isUp && hasCarrier }

  /// `02:00:5e:10:00:01`.
  public var mac: String {
    hardwareAddress.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined(separator: ":")
  }

  /// IF_OPER_*, RFC 2863.
  public enum OperationalState: UInt8, Hashable, Sendable {
    case unknown, notPresent, down, lowerLayerDown, testing, dormant, up
  }
}

/// Counters of the interface since it exists (`rtnl_link_stats64`).
public struct LinkStatistics: Hashable, Sendable {
  public var rxPackets: UInt64 = 0
  public var rxBytes: UInt64 = 0
  public var rxErrors: UInt64 = 0
  public var rxDropped: UInt64 = 0
  public var txPackets: UInt64 = 0
  public var txBytes: UInt64 = 0
  public var txErrors: UInt64 = 0
  public var txDropped: UInt64 = 0

  public init() {}
}

/// An XDP program on an interface, whoever attached it.
public struct XDPAttachment: Hashable, Sendable {
  public enum Mode: UInt8, Hashable, Sendable {
    case native = 1
    case generic = 2
    case offloaded = 3
    /// Programs in more than one mode.
    case multiple = 4
  }
  public var mode: Mode
  /// For ``Mode/multiple`` that of the native one, or of the generic one if there is no native one.
  public var programID: UInt32
}

extension NetworkInterface {
  /// All interfaces of the calling thread's network namespace, by index.
  public static func all() throws(SystemError) -> [NetworkInterface] {
    let socket = try NetlinkSocket(protocol: NETLINK_ROUTE)
    let request = NetlinkMessage(type: UInt16(RTM_GETLINK), flags: Int(NLM_F_DUMP), fixed: ifinfomsg())
    return try socket.exchange(request, operation: "list interfaces", subject: "")
      .compactMap(NetworkInterface.init(reply:)).sorted { $0.index < $1.index }
  }

  /// The interface of that name in the calling thread's network namespace; ENODEV if there is none.
  public static func named(_ name: String) throws(SystemError) -> NetworkInterface {
    guard (1..<Int(IF_NAMESIZE)).contains(name.utf8.count), !name.utf8.contains(0) else {
      throw SystemError(operation: "find interface", code: ENODEV, subject: name)
    }
    var request = NetlinkMessage(type: UInt16(RTM_GETLINK), flags: 0, fixed: ifinfomsg())
    request.append(attribute: Int(IFLA_IFNAME), name)
    return try find(request, subject: name)
  }

  /// The interface of that index; ENODEV if there is none.
  public static func indexed(_ index: UInt32) throws(SystemError) -> NetworkInterface {
    guard let number = Int32(exactly: index), number > 0 else {
      throw SystemError(operation: "find interface", code: ENODEV, subject: "index \(index)")
    }
    var message = ifinfomsg()
    message.ifi_index = number
    let request = NetlinkMessage(type: UInt16(RTM_GETLINK), flags: 0, fixed: message)
    return try find(request, subject: "index \(index)")
  }

  private static func find(_ request: NetlinkMessage, subject: String) throws(SystemError) -> NetworkInterface {
    let socket = try NetlinkSocket(protocol: NETLINK_ROUTE)
    let replies = try socket.exchange(request, operation: "find interface", subject: subject)
    guard let interface = replies.lazy.compactMap(NetworkInterface.init(reply:)).first else {
      throw SystemError(operation: "find interface", code: ENODEV, subject: subject)
    }
    return interface
  }

  /// From RTM_NEWLINK or RTM_DELLINK; nil for anything else.
  init?(reply: NetlinkReply) {
    guard reply.type == UInt16(RTM_NEWLINK) || reply.type == UInt16(RTM_DELLINK) else { return nil }
    let headerByteCount = MemoryLayout<ifinfomsg>.size
    guard reply.payload.count >= headerByteCount else { return nil }
    let header: ifinfomsg = reply.payload.loadUnaligned()
    self.init(
      index: UInt32(header.ifi_index), name: "", hardwareAddress: [], mtu: 0,
      isUp: header.ifi_flags & UInt32(IFF_UP) != 0, hasCarrier: header.ifi_flags & (1 << 16) != 0,  // IFF_LOWER_UP
      isLoopback: header.ifi_flags & UInt32(IFF_LOOPBACK) != 0, operationalState: .unknown, rxQueueCount: 1,
      txQueueCount: 1, kind: "", masterIndex: nil, lowerIndex: nil, statistics: LinkStatistics(), xdp: nil)
    var isLinkElsewhere = false
    for (type, bytes) in NetlinkAttributes(reply.payload.dropFirst(headerByteCount)) {
      if type == Int(IFLA_LINK_NETNSID) { isLinkElsewhere = true }
      take(type, bytes)
    }
    // A veth's link is its peer; one that is made on nothing names itself.
    if isLinkElsewhere || kind == "veth" || lowerIndex == index { lowerIndex = nil }
    if name.isEmpty { return nil }
  }

  private mutating func take(_ attribute: Int, _ bytes: ArraySlice<UInt8>) {
    switch attribute {
    case Int(IFLA_IFNAME): name = bytes.netlinkText
    case Int(IFLA_ADDRESS): hardwareAddress = Array(bytes)
    case Int(IFLA_MASTER): masterIndex = bytes.loadUnaligned()
    case Int(IFLA_LINK): lowerIndex = bytes.loadUnaligned()
    case Int(IFLA_MTU): mtu = bytes.loadUnaligned()
    case Int(IFLA_OPERSTATE): operationalState = OperationalState(rawValue: bytes.first ?? 0) ?? .unknown
    case Int(IFLA_NUM_RX_QUEUES): rxQueueCount = bytes.loadUnaligned()
    case Int(IFLA_NUM_TX_QUEUES): txQueueCount = bytes.loadUnaligned()
    case Int(IFLA_STATS64): statistics = LinkStatistics(bytes.loadUnaligned(as: rtnl_link_stats64.self))
    case Int(IFLA_XDP): xdp = XDPAttachment(nested: bytes)
    case Int(IFLA_LINKINFO):
      kind = NetlinkAttributes(bytes).first { $0.type == Int(IFLA_INFO_KIND) }?.bytes.netlinkText ?? ""
    default: break
    }
  }
}

extension LinkStatistics {
  init(_ raw: rtnl_link_stats64) {
    rxPackets = raw.rx_packets
    rxBytes = raw.rx_bytes
    rxErrors = raw.rx_errors
    rxDropped = raw.rx_dropped
    txPackets = raw.tx_packets
    txBytes = raw.tx_bytes
    txErrors = raw.tx_errors
    txDropped = raw.tx_dropped
  }
}

extension XDPAttachment {
  init?(nested bytes: ArraySlice<UInt8>) {
    var mode: Mode?
    var identifiers: [Int: UInt32] = [:]
    for (type, value) in NetlinkAttributes(bytes) {
      if type == Int(IFLA_XDP_ATTACHED) {
        mode = Mode(rawValue: value.first ?? 0)
      } else if value.count == 4 {
        identifiers[type] = value.loadUnaligned()
      }
    }
    guard let mode else { return nil }
    let preference = [IFLA_XDP_PROG_ID, IFLA_XDP_DRV_PROG_ID, IFLA_XDP_SKB_PROG_ID, IFLA_XDP_HW_PROG_ID]
    let programID = preference.lazy.compactMap { identifiers[Int($0)] }.first { $0 != 0 }
    self.init(mode: mode, programID: programID ?? 0)
  }
}

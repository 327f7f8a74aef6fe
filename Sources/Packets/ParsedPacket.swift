/// What rules can see of a packet.
public struct ParsedPacket: Hashable, Sendable {
  /// What the Ethernet frame carries. The raw values are the bits SLUICE_FAMILY_* of the ABI.
  public enum Family: UInt8, Hashable, Sendable, CaseIterable {
    case ipv4 = 1
    case ipv6 = 2
    /// Everything else: ARP, LLDP, a third VLAN tag, a frame too short to say.
    case other = 4
  }

  /// What part of a datagram the packet is. An IPv6 fragment header with offset 0 and no more fragments is ``none``.
  public enum Fragment: Hashable, Sendable, CaseIterable {
    case none
    /// Begins the datagram; more follow. Shows the ports.
    case first
    /// Begins later in the datagram. Shows no ports.
    case later
  }

  /// The ports of TCP or UDP.
  public struct Ports: Hashable, Sendable {
    public var source: UInt16
    public var destination: UInt16
    public init(source: UInt16, destination: UInt16) {
      self.source = source
      self.destination = destination
    }
  }

  /// Type and code of an ICMP or ICMPv6 message.
  public struct ICMPMessage: Hashable, Sendable {
    public var type: UInt8
    public var code: UInt8
    public init(type: UInt8, code: UInt8) {
      self.type = type
      self.code = code
    }
  }

  /// Nil where the frame is too short for an Ethernet header.
  public var sourceMAC: MACAddress?
  public var destinationMAC: MACAddress?
  /// At most two, outermost first.
  public var vlanTags: [VLANTag] = []
  /// Behind the tags; of a third tag, where there is one. Nil where the frame ends before it.
  public var etherType: EtherType?
  public var family = Family.other
  /// Nil for ``Family/other`` and where the IP header is malformed.
  public var source: IPAddress?
  public var destination: IPAddress?
  /// In IPv6 the header after the extensions. Nil where it wasn't reached.
  public var `protocol`: IPProtocol?
  public var fragment = Fragment.none
  /// DSCP and ECN. Like the next three, nil where there is no well-formed IP header.
  public var trafficClass: UInt8?
  /// Time to live, or hop limit.
  public var hopLimit: UInt8?
  /// Bytes of the IP datagram with its header, as the header says; of a jumbogram 65535.
  public var datagramByteCount: UInt16?
  /// Whether the IPv4 header has options, or an IPv6 extension header was seen. A fragment header is none.
  public var hasOptions: Bool?
  /// IPv6's, 20 bits.
  public var flowLabel: UInt32?
  /// Nil unless the packet shows a well-formed TCP or UDP header.
  public var ports: Ports?
  /// The low 9 bits of the TCP header's bytes 12 and 13, FIN the lowest, AE the highest. Nil as the ports are.
  public var tcpFlags: UInt16?
  /// Nil unless the packet shows a well-formed ICMP or ICMPv6 header.
  public var icmp: ICMPMessage?
  /// Why the packet is malformed; then no rule sees it.
  public var malformed: MalformedReason?

  public init() {}
}

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

  /// At most two, outermost first.
  public var vlanTags: [VLANTag] = []
  public var family = Family.other
  /// Nil for ``Family/other`` and where the IP header is malformed.
  public var source: IPAddress?
  public var destination: IPAddress?
  /// In IPv6 the header after the extensions. Nil where it wasn't reached.
  public var `protocol`: IPProtocol?
  public var fragment = Fragment.none
  /// Nil unless the packet shows a well-formed TCP or UDP header.
  public var ports: Ports?
  /// Why the packet is malformed; then no rule sees it.
  public var malformed: MalformedReason?

  public init() {}
}

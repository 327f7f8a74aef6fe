import Packets

/// A frame and what the parser must say about it, written down by hand from the protocols' texts.
public struct PacketFixture: Sendable, CustomStringConvertible {
  public var name: String
  public var bytes: [UInt8]
  public var family: ParsedPacket.Family
  public var `protocol`: IPProtocol?
  public var fragment: ParsedPacket.Fragment
  public var ports: ParsedPacket.Ports?
  public var malformed: MalformedReason?

  public var description: String { name }

  init(
    _ name: String, _ bytes: [UInt8], _ family: ParsedPacket.Family, _ number: IPProtocol? = nil,
    fragment: ParsedPacket.Fragment = .none, ports: ParsedPacket.Ports? = nil, malformed: MalformedReason? = nil
  ) {
    self.name = name
    self.bytes = bytes
    self.family = family
    self.protocol = number
    self.fragment = fragment
    self.ports = ports
    self.malformed = malformed
  }
}

/// The corpus of frames that every parser here is tried with. Names are unique.
public enum PacketFixtures {
  public static let all: [PacketFixture] = wellFormed + fragments + extensions + malformed + truncated

  /// Ports of every fixture that shows some.
  public static let ports = ParsedPacket.Ports(source: 12345, destination: 443)
  public static let source4 = IPv4Address(192, 0, 2, 1)
  public static let destination4 = IPv4Address(198, 51, 100, 7)
  public static let source6 = IPv6Address(value: 0x2001_0db8 << 96 | 0x1)
  public static let destination6 = IPv6Address(value: 0x2001_0db8 << 96 | 0xffff << 64 | 0x7)

  static let tcp = PacketBuilder.Transport.tcp(source: 12345, destination: 443)
  static let udp = PacketBuilder.Transport.udp(source: 12345, destination: 443)
  static let payload: [UInt8] = Array(0..<32)

  static func ipv4(
    _ transport: PacketBuilder.Transport = udp, options: [UInt8] = [], payload: [UInt8] = payload
  ) -> PacketBuilder {
    var header = PacketBuilder.IPv4(source: source4, destination: destination4)
    header.options = options
    return PacketBuilder(network: .ipv4(header), transport: transport, payload: payload)
  }

  static func ipv6(
    _ transport: PacketBuilder.Transport = udp, _ extensions: [IPv6Extension] = [], payload: [UInt8] = payload
  ) -> PacketBuilder {
    var header = PacketBuilder.IPv6(source: source6, destination: destination6)
    header.extensions = extensions
    return PacketBuilder(network: .ipv6(header), transport: transport, payload: payload)
  }

  static func tagged(_ packet: PacketBuilder, _ types: EtherType...) -> [UInt8] {
    var packet = packet
    packet.vlanTags = types.enumerated().map { VLANTag(etherType: $1, id: UInt16(100 + $0), priority: 3) }
    return packet.build()
  }

  static func changed(_ packet: PacketBuilder, _ changes: (Int, UInt8)...) -> [UInt8] {
    var bytes = packet.build()
    for (offset, value) in changes { bytes[offset] = value }
    return bytes
  }

  static let wellFormed: [PacketFixture] = {
    var fixtures: [PacketFixture] = []
    let families: [(String, ParsedPacket.Family, (PacketBuilder.Transport) -> PacketBuilder)] = [
      ("IPv4", .ipv4, { ipv4($0) }), ("IPv6", .ipv6, { ipv6($0) }),
    ]
    for (name, family, make) in families {
      fixtures += [
        .init("\(name) TCP", make(tcp).build(), family, .tcp, ports: ports),
        .init("\(name) UDP", make(udp).build(), family, .udp, ports: ports),
        .init("\(name) ICMP", make(.icmp()).build(), family, .icmp),
        .init("\(name) ICMPv6", make(.icmpv6()).build(), family, .icmpv6),
        .init("\(name) GRE", make(.other(.gre)).build(), family, .gre),
        .init("\(name) ESP", make(.other(.esp)).build(), family, .esp),
        .init("\(name) SCTP shows no ports", make(.other(.sctp)).build(), family, .sctp),
        .init("\(name) no next header", make(.other(.noNextHeader)).build(), family, .noNextHeader),
        .init("\(name) protocol 255", make(.other(.init(rawValue: 255))).build(), family, .init(rawValue: 255)),
        .init("\(name) VLAN", tagged(make(udp), .vlan), family, .udp, ports: ports),
        .init("\(name) service VLAN", tagged(make(tcp), .serviceVLAN), family, .tcp, ports: ports),
        .init("\(name) QinQ", tagged(make(udp), .serviceVLAN, .vlan), family, .udp, ports: ports),
        .init("\(name) old QinQ", tagged(make(udp), .legacyServiceVLAN, .vlan), family, .udp, ports: ports),
        .init("\(name) triple tags", tagged(make(udp), .serviceVLAN, .vlan, .vlan), .other),
        .init("\(name) triple tags cut", Array(tagged(make(udp), .vlan, .vlan, .vlan).prefix(22)), .other),
      ]
    }
    fixtures += [1, 4, 20, 39, 40].map { count in
      let options = Array(repeating: UInt8(1), count: count)
      return .init(
        "IPv4 with \(count) bytes of options", ipv4(tcp, options: options).build(), .ipv4, .tcp, ports: ports)
    }
    for number: IPProtocol in [.hopByHop, .routing, .fragment, .ah, .destinationOptions, .mobility, .hip, .shim6] {
      fixtures.append(.init("IPv4 doesn't walk \(number)", ipv4(.other(number)).build(), .ipv4, number))
    }
    var padded = ipv4(payload: [])
    padded.paddedByteCount = 60
    var padded6 = ipv6(payload: [])
    padded6.paddedByteCount = 90
    return fixtures + [
      .init("IPv4 UDP without payload, padded", padded.build(), .ipv4, .udp, ports: ports),
      .init("IPv6 UDP without payload, padded", padded6.build(), .ipv6, .udp, ports: ports),
      .init("IPv4 UDP without payload", ipv4(payload: []).build(), .ipv4, .udp, ports: ports),
      .init("IPv4 without transport", ipv4(.other(.gre), payload: []).build(), .ipv4, .gre),
      .init("IPv6 without transport", ipv6(.other(.noNextHeader), payload: []).build(), .ipv6, .noNextHeader),
      .init("IPv4 ICMP of 4 bytes", ipv4(.other(.icmp), payload: [8, 0, 0, 0]).build(), .ipv4, .icmp),
      .init("IPv6 ICMPv6 of 4 bytes", ipv6(.other(.icmpv6), payload: [128, 0, 0, 0]).build(), .ipv6, .icmpv6),
      .init(
        "IPv4 TCP all options", changed(ipv4(tcp, payload: Array(repeating: 1, count: 40)), (46, 0xf0)), .ipv4, .tcp,
        ports: ports),
      .init("IPv4 UDP shorter than its datagram", changed(ipv4(), (39, 8)), .ipv4, .udp, ports: ports),
      .init(
        "ARP",
        PacketBuilder(network: .other(.arp), transport: .other(.tcp), payload: Array(repeating: 0, count: 46))
          .build(), .other),
      .init(
        "LLDP",
        PacketBuilder(network: .other(.lldp), transport: .other(.tcp), payload: Array(repeating: 0, count: 46))
          .build(), .other),
      .init(
        "802.3 length",
        PacketBuilder(
          network: .other(.init(rawValue: 46)), transport: .other(.tcp), payload: Array(repeating: 0, count: 46)
        ).build(), .other),
      .init("ethertype without content", Array(changed(ipv4(), (12, 0x88), (13, 0xb5)).prefix(14)), .other),
    ]
  }()

  static let fragments: [PacketFixture] = {
    let parts4 = ipv4(udp).buildFragments(byteCount: 16)
    let parts6 = ipv6(udp).buildFragments(byteCount: 16)
    let partsTCP = ipv4(tcp).buildFragments(byteCount: 24)
    // A later fragment whose bytes look like a header with ports, which they aren't.
    var disguised4 = PacketBuilder.IPv4(source: source4, destination: destination4)
    disguised4.fragmentOffset = 1
    var lastBit = disguised4
    lastBit.fragmentOffset = 0x1fff
    lastBit.moreFragments = true
    func six(_ offset: UInt16, _ more: Bool) -> IPv6Extension { .fragment(offset: offset, moreFragments: more) }
    return [
      .init("IPv4 UDP first fragment", parts4[0], .ipv4, .udp, fragment: .first, ports: ports),
      .init("IPv4 UDP middle fragment", parts4[1], .ipv4, .udp, fragment: .later),
      .init("IPv4 UDP last fragment", parts4[parts4.count - 1], .ipv4, .udp, fragment: .later),
      .init("IPv4 TCP first fragment", partsTCP[0], .ipv4, .tcp, fragment: .first, ports: ports),
      .init("IPv4 TCP last fragment", partsTCP[2], .ipv4, .tcp, fragment: .later),
      .init(
        "IPv4 later fragment that looks like TCP",
        PacketBuilder(network: .ipv4(disguised4), transport: tcp).build(), .ipv4, .tcp, fragment: .later),
      .init(
        "IPv4 greatest fragment offset",
        PacketBuilder(network: .ipv4(lastBit), transport: .other(.tcp), payload: [1]).build(), .ipv4, .tcp,
        fragment: .later),
      .init("IPv4 ICMP first fragment", ipv4(.icmp()).buildFragments(byteCount: 8)[0], .ipv4, .icmp, fragment: .first),
      .init(
        "IPv4 TCP first fragment shorter than TCP", ipv4(tcp).buildFragments(byteCount: 16)[0], .ipv4, .tcp,
        fragment: .first, malformed: .truncatedTransport),
      .init("IPv6 UDP first fragment", parts6[0], .ipv6, .udp, fragment: .first, ports: ports),
      .init("IPv6 UDP last fragment", parts6[parts6.count - 1], .ipv6, .udp, fragment: .later),
      .init("IPv6 atomic fragment", ipv6(tcp, [six(0, false)]).build(), .ipv6, .tcp, ports: ports),
      .init(
        "IPv6 later fragment that looks like TCP", ipv6(tcp, [six(1, false)]).build(), .ipv6, .tcp, fragment: .later),
      .init(
        "IPv6 later fragment without content", ipv6(.other(.tcp), [six(8191, true)], payload: []).build(), .ipv6, .tcp,
        fragment: .later),
      .init(
        "IPv6 later fragment of an extension",
        ipv6(tcp, [six(2, true), .options(.destinationOptions)]).build(), .ipv6, .destinationOptions, fragment: .later),
      .init(
        "IPv6 first fragment behind hop-by-hop, options after it",
        ipv6(udp, [.options(.hopByHop), six(0, true), .options(.destinationOptions)]).build(), .ipv6, .udp,
        fragment: .first, ports: ports),
      .init(
        "IPv6 two fragment headers, the second later", ipv6(udp, [six(0, true), six(5, false)]).build(), .ipv6, .udp,
        fragment: .later),
      .init(
        "IPv6 first fragment shorter than UDP", ipv6(.other(.udp), [six(0, true)], payload: [1, 2, 3]).build(), .ipv6,
        .udp, fragment: .first, malformed: .truncatedTransport),
    ]
  }()

  static let extensions: [PacketFixture] = {
    let every: [(String, IPv6Extension)] = [
      ("hop-by-hop", .options(.hopByHop)), ("routing", .options(.routing, [0, 0, 0, 0, 0, 0])),
      ("fragment", .fragment(offset: 0, moreFragments: false)), ("AH", .authentication()),
      ("destination options", .options(.destinationOptions)), ("mobility", .options(.mobility)),
      ("HIP", .options(.hip)), ("shim6", .options(.shim6)),
    ]
    var fixtures: [PacketFixture] = []
    for (name, header) in every {
      fixtures += [
        .init("IPv6 \(name) TCP", ipv6(tcp, [header]).build(), .ipv6, .tcp, ports: ports),
        .init("IPv6 \(name) ESP", ipv6(.other(.esp), [header]).build(), .ipv6, .esp),
        .init("IPv6 \(name) nothing", ipv6(.other(.noNextHeader), [header], payload: []).build(), .ipv6, .noNextHeader),
      ]
    }
    let long = Array(repeating: UInt8(0), count: 254)
    let eight = every.map(\.1)
    return fixtures + [
      .init("IPv6 all eight extensions", ipv6(udp, eight).build(), .ipv6, .udp, ports: ports),
      .init("IPv6 all eight, backwards", ipv6(udp, eight.reversed()).build(), .ipv6, .udp, ports: ports),
      .init("IPv6 all eight in QinQ", tagged(ipv6(udp, eight), .serviceVLAN, .vlan), .ipv6, .udp, ports: ports),
      .init(
        "IPv6 nine extensions", ipv6(udp, eight + [.options(.destinationOptions)]).build(), .ipv6,
        malformed: .tooManyExtensions),
      .init(
        "IPv6 twenty extensions", ipv6(udp, Array(repeating: .options(.destinationOptions), count: 20)).build(), .ipv6,
        malformed: .tooManyExtensions),
      .init(
        "IPv6 long extensions",
        ipv6(udp, Array(repeating: .options(.destinationOptions, long), count: 4)).build(), .ipv6, .udp, ports: ports),
      .init("IPv6 AH without check value", ipv6(tcp, [.authentication(check: [])]).build(), .ipv6, .tcp, ports: ports),
      .init("IPv6 jumbogram", changed(ipv6(udp, [.options(.hopByHop)]), (18, 0), (19, 0)), .ipv6, .udp, ports: ports),
      .init(
        "IPv6 jumbogram with UDP length 0",
        changed(ipv6(udp, [.options(.hopByHop)]), (18, 0), (19, 0), (66, 0), (67, 0)), .ipv6, .udp, ports: ports),
      .init(
        "IPv6 UDP length 0 without jumbogram", changed(ipv6(udp), (58, 0), (59, 0)), .ipv6, .udp, malformed: .badUDP),
      .init(
        "IPv6 extension longer than the datagram", changed(ipv6(udp, [.options(.destinationOptions)]), (55, 0xff)),
        .ipv6, malformed: .truncatedExtension),
      .init(
        "IPv6 AH longer than the datagram", changed(ipv6(udp, [.authentication()]), (55, 0xff)), .ipv6,
        malformed: .truncatedExtension),
      .init(
        "IPv6 hop-by-hop named, nothing there", changed(ipv6(.other(.gre), payload: []), (20, 60)), .ipv6,
        malformed: .truncatedExtension),
    ]
  }()

  static let malformed: [PacketFixture] = [
    .init("IPv4 version 5", changed(ipv4(), (14, 0x55)), .ipv4, malformed: .badIPv4),
    .init("IPv4 version 6", changed(ipv4(), (14, 0x65)), .ipv4, malformed: .badIPv4),
    .init("IPv4 header of 4 words", changed(ipv4(), (14, 0x44)), .ipv4, malformed: .badIPv4),
    .init("IPv4 header of 0 words", changed(ipv4(), (14, 0x40)), .ipv4, malformed: .badIPv4),
    .init("IPv4 header beyond the packet", changed(ipv4(payload: []), (14, 0x4f)), .ipv4, malformed: .truncatedIPv4),
    .init("IPv4 total length 0", changed(ipv4(), (16, 0), (17, 0)), .ipv4, malformed: .badIPv4),
    .init("IPv4 total length 19", changed(ipv4(), (16, 0), (17, 19)), .ipv4, malformed: .badIPv4),
    .init("IPv4 total length one beyond the packet", changed(ipv4(), (17, 61)), .ipv4, malformed: .badIPv4),
    .init("IPv4 total length 65535", changed(ipv4(), (16, 255), (17, 255)), .ipv4, malformed: .badIPv4),
    .init(
      "IPv4 later fragment with a bad total length", changed(ipv4(), (17, 61), (21, 1)), .ipv4, malformed: .badIPv4),
    .init("IPv6 version 4", changed(ipv6(), (14, 0x40)), .ipv6, malformed: .badIPv6),
    .init("IPv6 version 15", changed(ipv6(), (14, 0xf0)), .ipv6, malformed: .badIPv6),
    .init("IPv6 payload length one beyond the packet", changed(ipv6(), (19, 41)), .ipv6, malformed: .badIPv6),
    .init("IPv6 payload length 65535", changed(ipv6(), (18, 255), (19, 255)), .ipv6, malformed: .badIPv6),
    .init(
      "IPv6 payload length 0 without hop-by-hop", changed(ipv6(), (18, 0), (19, 0)), .ipv6, .udp,
      malformed: .truncatedTransport),
    .init("TCP data offset 4", changed(ipv4(tcp), (46, 0x40)), .ipv4, .tcp, malformed: .badTCP),
    .init("TCP data offset 0", changed(ipv6(tcp), (66, 0x00)), .ipv6, .tcp, malformed: .badTCP),
    .init("TCP data offset beyond the segment", changed(ipv4(tcp), (46, 0xe0)), .ipv4, .tcp, malformed: .badTCP),
    .init(
      "TCP first fragment with its options beyond it",
      changed(ipv4(tcp, payload: Array(repeating: 0, count: 3)), (20, 0x20), (46, 0x60)), .ipv4, .tcp,
      fragment: .first, malformed: .badTCP),
    .init("UDP length 7", changed(ipv4(), (39, 7)), .ipv4, .udp, malformed: .badUDP),
    .init("UDP length 0 over IPv4", changed(ipv4(), (39, 0)), .ipv4, .udp, malformed: .badUDP),
    .init("UDP length one beyond the datagram", changed(ipv4(), (39, 41)), .ipv4, .udp, malformed: .badUDP),
    .init("UDP length 65535", changed(ipv6(), (58, 255), (59, 255)), .ipv6, .udp, malformed: .badUDP),
    .init(
      "UDP length 7 in a first fragment", changed(ipv4(), (20, 0x20), (39, 7)), .ipv4, .udp, fragment: .first,
      malformed: .badUDP),
    .init(
      "ICMPv6 of 3 bytes over IPv4", ipv4(.other(.icmpv6), payload: [1, 2, 3]).build(), .ipv4, .icmpv6,
      malformed: .truncatedTransport),
    .init(
      "ICMP of 3 bytes over IPv6", ipv6(.other(.icmp), payload: [1, 2, 3]).build(), .ipv6, .icmp,
      malformed: .truncatedTransport),
    .init(
      "padding doesn't complete a TCP header",
      {
        var packet = ipv4(.other(.tcp), payload: Array(repeating: 0x50, count: 19))
        packet.paddedByteCount = 60
        return packet.build()
      }(), .ipv4, .tcp, malformed: .truncatedTransport),
  ]
}

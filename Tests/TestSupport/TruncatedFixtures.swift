import Packets

extension PacketFixtures {
  /// Every length that cuts a header: frames cut on the wire, whose lengths then lie, and datagrams that are short and
  /// say so.
  static let truncated: [PacketFixture] = cutFrames + shortDatagrams + cutExtensions

  private static let cutFrames: [PacketFixture] = {
    var fixtures: [PacketFixture] = []
    let frames: [(String, [UInt8], Int, ParsedPacket.Family)] = [
      ("IPv4", ipv4(tcp).build(), 14, .ipv4), ("IPv4 VLAN", tagged(ipv4(udp), .vlan), 18, .ipv4),
      ("IPv4 QinQ", tagged(ipv4(udp), .serviceVLAN, .vlan), 22, .ipv4),
      ("IPv4 options", ipv4(udp, options: Array(repeating: 1, count: 8)).build(), 14, .ipv4),
      ("IPv6", ipv6(tcp).build(), 14, .ipv6), ("IPv6 QinQ", tagged(ipv6(udp), .vlan, .vlan), 22, .ipv6),
      ("IPv6 options", ipv6(udp, [.options(.destinationOptions)]).build(), 14, .ipv6),
    ]
    for (name, frame, start, family) in frames {
      for length in 0..<frame.count {
        let header = family == .ipv6 ? 40 : Int(frame[start] & 0xf) * 4
        let reason: MalformedReason =
          if length < 14 { .truncatedEthernet } else if length < start {
            .truncatedVLAN
          } else if length < start + header {
            family == .ipv4 ? .truncatedIPv4 : .truncatedIPv6
          } else {
            family == .ipv4 ? .badIPv4 : .badIPv6
          }
        fixtures.append(
          .init(
            "\(name) frame cut to \(length) bytes", Array(frame.prefix(length)), length < start ? .other : family,
            malformed: reason))
      }
    }
    return fixtures
  }()

  private static let shortDatagrams: [PacketFixture] = {
    var fixtures: [PacketFixture] = []
    let headers: [(IPProtocol, Int)] = [(.tcp, 20), (.udp, 8), (.icmp, 4), (.icmpv6, 4)]
    for (number, byteCount) in headers {
      for length in 0..<byteCount {
        let segment = Array(repeating: UInt8(0x55), count: length)
        fixtures += [
          .init(
            "IPv4 \(number) of \(length) bytes", ipv4(.other(number), payload: segment).build(), .ipv4, number,
            malformed: .truncatedTransport),
          .init(
            "IPv6 \(number) of \(length) bytes", ipv6(.other(number), payload: segment).build(), .ipv6, number,
            malformed: .truncatedTransport),
        ]
      }
    }
    return fixtures
  }()

  private static let cutExtensions: [PacketFixture] = {
    var fixtures: [PacketFixture] = []
    let headers: [(String, IPv6Extension)] = [
      ("hop-by-hop", .options(.hopByHop, Array(repeating: 0, count: 14))),
      ("routing", .options(.routing, Array(repeating: 0, count: 14))),
      ("fragment", .fragment(offset: 0, moreFragments: true)), ("AH", .authentication()),
      ("destination options", .options(.destinationOptions, Array(repeating: 0, count: 14))),
      ("mobility", .options(.mobility, Array(repeating: 0, count: 14))),
      ("HIP", .options(.hip, Array(repeating: 0, count: 14))),
      ("shim6", .options(.shim6, Array(repeating: 0, count: 14))),
    ]
    for (name, header) in headers {
      let whole = ipv6(.other(.gre), [header], payload: []).build()
      // From 1: payload length 0 with hop-by-hop would be a jumbogram.
      for length in 1..<whole.count - 54 {
        var frame = Array(whole.prefix(54 + length))
        frame[19] = UInt8(length)
        fixtures.append(
          .init("IPv6 \(name) cut to \(length) bytes", frame, .ipv6, malformed: .truncatedExtension))
      }
    }
    return fixtures
  }()
}

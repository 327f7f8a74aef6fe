import Packets
import Rules

/// Frames and rule sets that have to do with each other: drawn from the same few addresses and ports, so that rules
/// match, nearly match and overlap.
public enum RandomCases {
  private static let prefixes4 = [
    "0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "10.1.2.2/31", "192.0.2.0/24", "255.255.255.255", "0.0.0.0",
    "128.0.0.0/1",
  ].map(prefix)
  private static let prefixes6 = [
    "::/0", "2001:db8::/32", "2001:db8:0:1::/64", "2001:db8::1", "2001:db8:0:1::/65", "fe80::/10", "::1", "8000::/1",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
  ].map(prefix)
  private static let ports: [UInt16] = [0, 1, 22, 23, 24, 53, 79, 80, 81, 443, 1023, 1024, 32768, 65534, 65535]
  private static let protocols: [IPProtocol] = [
    .tcp, .tcp, .udp, .udp, .icmp, .icmpv6, .gre, .esp, .ah, .hopByHop, .destinationOptions, .noNextHeader,
    .init(rawValue: 255),
  ]
  private static let interfaces = ["eth0", "eth1", "veth#a", "x,\"y\\"]

  private static func prefix(_ text: String) -> IPPrefix {
    guard let prefix = IPPrefix(text) else { preconditionFailure("\(text) is a prefix") }
    return prefix
  }

  // MARK: rule sets

  /// A rule set without errors.
  public static func ruleSet(rulesUpTo count: Int = 12, using random: inout SeededGenerator) -> RuleSet {
    var set = RuleSet(name: "random", revision: random.chance(50) ? 0 : random.next())
    set.defaultAction = random.pick(Fate.allCases)
    set.malformed.fate = random.pick(Fate.allCases)
    for reason in random.some(MalformedReason.allCases, upTo: 3) {
      set.malformed.exceptions[reason] = random.pick(Fate.allCases)
    }
    for index in 0..<Int.random(in: 0...count, using: &random) {
      set.rules.append(rule(named: "rule-\(index)", using: &random))
    }
    return set
  }

  /// A rule without errors.
  public static func rule(named name: String, using random: inout SeededGenerator) -> Rule {
    let actions: [Action] = [.pass, .drop, .count, .capture, .redirect(interface: random.pick(interfaces))]
    var rule = Rule(name: name, action: random.pick(actions))
    rule.isEnabled = !random.chance(10)
    if random.chance(30) { rule.comment = random.pick(["telnet", "# odd", "  spaced  ", "naïve “text”", "a: b, c"]) }
    repeat { rule.match = match(using: &random) } while rule.validate().contains { $0.severity == .error }
    return rule
  }

  private static func match(using random: inout SeededGenerator) -> Match {
    let families = random.pick([prefixes4, prefixes6, prefixes4 + prefixes6])
    var match = Match()
    if random.chance(50) { match.sources = random.some(families, upTo: 3) }
    if random.chance(50) { match.destinations = random.some(families, upTo: 3) }
    if random.chance(70) {
      match.protocols = random.chance(70) ? random.some([.tcp, .udp], upTo: 2) : random.some(protocols, upTo: 3)
    }
    if random.chance(40) { match.sourcePorts = portRanges(using: &random) }
    if random.chance(40) { match.destinationPorts = portRanges(using: &random) }
    return match
  }

  private static func portRanges(using random: inout SeededGenerator) -> [PortRange] {
    (0..<Int.random(in: 0...3, using: &random)).map { _ in
      let bounds = [random.pick(ports), random.pick(ports)].sorted()
      return random.chance(50) ? PortRange(bounds[0]) : PortRange(low: bounds[0], high: bounds[1])
    }
  }

  // MARK: frames

  /// A frame: mostly well-formed, some with a changed byte or a lost end, some not IP, some mere bytes.
  public static func frame(using random: inout SeededGenerator) -> [UInt8] {
    switch Int.random(in: 0..<20, using: &random) {
    case 0: return random.pick(PacketFixtures.all).bytes
    case 1: return bytes(upTo: 128, using: &random)
    case 2...4: return damaged(packet(using: &random).build(), using: &random)
    case 5: return random.pick(packet(using: &random).buildFragments(byteCount: 24))
    default: return packet(using: &random).build()
    }
  }

  public static func bytes(upTo count: Int, using random: inout SeededGenerator) -> [UInt8] {
    (0..<Int.random(in: 0...count, using: &random)).map { _ in UInt8.random(in: .min ... .max, using: &random) }
  }

  /// `frame` with one to four bytes of its headers changed, or cut, or both.
  public static func damaged(_ frame: [UInt8], using random: inout SeededGenerator) -> [UInt8] {
    var frame = frame
    for _ in 0..<Int.random(in: 0...4, using: &random) where !frame.isEmpty {
      let offset = Int.random(in: 0..<min(frame.count, 100), using: &random)
      frame[offset] =
        random.chance(50) ? UInt8.random(in: .min ... .max, using: &random) : frame[offset] ^ (1 << random.pick(0...7))
    }
    if random.chance(40) { frame.removeLast(Int.random(in: 0...frame.count, using: &random)) }
    return frame
  }

  public static func packet(using random: inout SeededGenerator) -> PacketBuilder {
    let prefixes = random.chance(50) ? prefixes4 : prefixes6
    let (source, destination) = (address(in: prefixes, using: &random), address(in: prefixes, using: &random))
    let (low, high) = (port(using: &random), port(using: &random))
    let transports: [PacketBuilder.Transport] = [
      .tcp(source: low, destination: high), .udp(source: low, destination: high), .icmp(), .icmpv6(),
      .other(random.pick(protocols)),
    ]
    var packet = PacketBuilder(
      from: source, to: destination, random.chance(70) ? transports[Int(low) % 2] : random.pick(transports),
      payload: bytes(upTo: 40, using: &random))
    packet.vlanTags = random.some(
      [VLANTag(id: 1), VLANTag(etherType: .serviceVLAN, id: 2)], upTo: random.chance(80) ? 0 : 3)
    if random.chance(30) { packet.paddedByteCount = 60 }
    switch packet.network {
    case .ipv4(var header):
      header.options = random.chance(20) ? bytes(upTo: 40, using: &random) : []
      if random.chance(15) { header.fragmentOffset = random.pick([0, 1, 185, 8191]) }
      header.moreFragments = random.chance(10)
      packet.network = .ipv4(header)
    case .ipv6(var header):
      header.extensions = random.some(extensions, upTo: random.chance(60) ? 0 : 9)
      packet.network = .ipv6(header)
    case .other:
      break
    }
    if random.chance(3) { packet.network = .other(.arp) }
    return packet
  }

  private static let extensions: [IPv6Extension] = [
    .options(.hopByHop), .options(.routing), .options(.destinationOptions), .options(.mobility), .options(.hip),
    .options(.shim6), .authentication(), .fragment(offset: 0, moreFragments: false),
    .fragment(offset: 0, moreFragments: true), .fragment(offset: 9, moreFragments: true),
    .options(.destinationOptions, Array(repeating: 0, count: 100)),
  ]

  /// The first, the last, or one just outside of a prefix's addresses, or any inside.
  private static func address(in prefixes: [IPPrefix], using random: inout SeededGenerator) -> IPAddress {
    let prefix = random.pick(prefixes)
    let (first, last) = (prefix.address.value, prefix.lastAddress.value)
    let value: UInt128 =
      switch Int.random(in: 0..<5, using: &random) {
      case 0: first
      case 1: last
      case 2: first &- 1
      case 3: last &+ 1
      default: UInt128.random(in: first...last, using: &random)
      }
    return IPAddress(family: prefix.family, value: value)
  }

  private static func port(using random: inout SeededGenerator) -> UInt16 {
    let port = random.pick(ports)
    return random.chance(70) ? port : random.chance(50) ? port &+ 1 : port &- 1
  }
}

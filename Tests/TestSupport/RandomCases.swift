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

  /// A rule set without errors, of rules that are accepted.
  public static func ruleSet(
    rulesUpTo count: Int = 12, using random: inout SeededGenerator, accepting: (Rule) -> Bool = { _ in true }
  ) -> RuleSet {
    var set = RuleSet(name: "random", revision: random.chance(50) ? 0 : random.next())
    set.defaultAction = random.pick(Fate.allCases)
    set.malformed.fate = random.pick(Fate.allCases)
    for reason in random.some(MalformedReason.allCases, upTo: 3) {
      set.malformed.exceptions[reason] = random.pick(Fate.allCases)
    }
    for index in 0..<Int.random(in: 0...count, using: &random) {
      var next = rule(named: "rule-\(index)", using: &random)
      while !accepting(next) { next = rule(named: "rule-\(index)", using: &random) }
      set.rules.append(next)
    }
    return set
  }

  /// A rule without errors.
  public static func rule(named name: String, using random: inout SeededGenerator) -> Rule {
    let actions: [Action] = [.pass, .drop, .count, .capture, .redirect(interface: random.pick(interfaces))]
    var rule = Rule(name: name, action: random.pick(actions))
    rule.isEnabled = !random.chance(10)
    if random.chance(30) { rule.comment = random.pick(["telnet", "# odd", "  spaced  ", "naïve “text”", "a: b, c"]) }
    if random.chance(20) { rule.tags = random.pick([["lab"], ["dmz", "q3.review"]]) }
    if random.chance(20) { rule.owner = random.pick(["net-ops", "the net ops", "a, b # c", "$x", "\"q\\"]) }
    repeat { rule.match = match(using: &random) } while rule.validate().contains { $0.severity == .error }
    return rule
  }

  private static func match(using random: inout SeededGenerator) -> Match {
    let families = random.pick([prefixes4, prefixes6, prefixes4 + prefixes6])
    var match = Match()
    if random.chance(50) { match.sources = condition(random.some(families, upTo: 3), using: &random) }
    if random.chance(50) { match.destinations = condition(random.some(families, upTo: 3), using: &random) }
    if random.chance(70) {
      let numbers = random.chance(70) ? random.some([.tcp, .udp], upTo: 2) : random.some(protocols, upTo: 3)
      match.protocols = condition(numbers, using: &random)
    }
    if random.chance(40) { match.sourcePorts = portRanges(using: &random) }
    if random.chance(40) { match.destinationPorts = portRanges(using: &random) }
    if random.chance(40) { addRareFields(to: &match, using: &random) }
    return match
  }

  private static func addRareFields(to match: inout Match, using random: inout SeededGenerator) {
    for field in random.some(NumberField.allCases, upTo: 2) {
      let ranges = (0..<Int.random(in: 1...2, using: &random)).map { _ in
        let bounds = [number(field, using: &random), number(field, using: &random)].sorted()
        return random.chance(60) ? NumberRange(bounds[0]) : NumberRange(low: bounds[0], high: bounds[1])
      }
      match[field] = condition(ranges, using: &random)
      if field == .icmpTypes || field == .icmpCodes { match.protocols = [random.pick([.icmp, .icmpv6])] }
    }
    if random.chance(20) { match.sourceMACs = condition(random.some(patterns, upTo: 2), using: &random) }
    if random.chance(20) { match.destinationMACs = condition(random.some(patterns, upTo: 2), using: &random) }
    if random.chance(20) {
      match.tcpFlags = condition(
        random.some((0..<3).map { _ in
          TCPFlagTest(set: random.pick([0, 2, 0x12, 0x100, 0x1ff]), mask: random.pick([2, 0x12, 0x102, 0x1ff, 7]))
        }, upTo: 2), using: &random)
      if !match.tcpFlags.isEmpty { match.protocols = [.tcp] }
    }
    if random.chance(20) { match.fragments = condition(random.some(FragmentTest.allCases, upTo: 2), using: &random) }
    if random.chance(15) { match.hasOptions = random.chance(50) }
  }

  /// Numbers that packets here show, and their neighbours.
  private static func number(_ field: NumberField, using random: inout SeededGenerator) -> UInt32 {
    let known: [UInt32] =
      switch field {
      case .queues: [0, 1]
      case .etherTypes: [0x0800, 0x0806, 0x86dd, 0x8100]
      case .vlanIDs, .innerVLANIDs: [1, 2, 3]
      case .vlanPriorities, .innerVLANPriorities: [0, 5]
      case .icmpTypes: [8, 128, 3]
      case .icmpCodes: [0, 1]
      case .dscp: [0, 46]
      case .ecn: [0, 1]
      case .hopLimits: [1, 64]
      case .flowLabels: [0, 0x12345, 0x1_0000]
      case .lengths: [28, 40, 60]
      }
    let number = random.pick(known + [0, field.most])
    return random.chance(80) ? number : min(number + 1, field.most)
  }

  private static let macs = [MACAddress(2, 0, 0, 0, 0, 1), MACAddress(2, 0, 0, 0, 0, 2), MACAddress(value: .max)]
  private static let patterns =
    macs.map { MACPattern($0) } + [
      MACPattern(MACAddress(2, 0, 0, 0, 0, 0), mask: MACAddress(value: 0xffff_ff00_0000)),
      MACPattern(MACAddress(1, 0, 0, 0, 0, 0), mask: MACAddress(1, 0, 0, 0, 0, 0)),
    ]

  private static func condition<Element>(_ elements: [Element], using random: inout SeededGenerator) -> Condition<Element> {
    Condition(elements, isNegated: !elements.isEmpty && random.chance(20))
  }

  private static func portRanges(using random: inout SeededGenerator) -> Condition<PortRange> {
    let ranges = (0..<Int.random(in: 0...3, using: &random)).map { _ in
      let bounds = [random.pick(ports), random.pick(ports)].sorted()
      return random.chance(50) ? PortRange(bounds[0]) : PortRange(low: bounds[0], high: bounds[1])
    }
    return condition(ranges, using: &random)
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
      .tcp(source: low, destination: high, flags: random.pick([2, 0x12, 0x10, 0x102, 0, 0x1ff])),
      .udp(source: low, destination: high), .icmp(type: random.pick([8, 3]), code: random.pick([0, 1])),
      .icmpv6(type: random.pick([128, 3]), code: random.pick([0, 1])), .other(random.pick(protocols)),
    ]
    var packet = PacketBuilder(
      from: source, to: destination, random.chance(70) ? transports[Int(low) % 2] : random.pick(transports),
      payload: bytes(upTo: 40, using: &random))
    packet.vlanTags = random.some(
      [VLANTag(id: 1), VLANTag(etherType: .serviceVLAN, id: 2, priority: 5), VLANTag(id: 4095, priority: 7)],
      upTo: random.chance(80) ? 0 : 3)
    if random.chance(20) { packet.sourceMAC = random.pick(macs) }
    if random.chance(20) { packet.destinationMAC = random.pick(macs) }
    if random.chance(30) { packet.paddedByteCount = 60 }
    switch packet.network {
    case .ipv4(var header):
      header.options = random.chance(20) ? bytes(upTo: 40, using: &random) : []
      if random.chance(15) { header.fragmentOffset = random.pick([0, 1, 185, 8191]) }
      header.moreFragments = random.chance(10)
      header.trafficClass = random.pick([0, 0, 46 << 2, 1, 255])
      header.timeToLive = random.pick([64, 64, 1, 0, 255])
      packet.network = .ipv4(header)
    case .ipv6(var header):
      header.extensions = random.some(extensions, upTo: random.chance(60) ? 0 : 9)
      header.trafficClass = random.pick([0, 0, 46 << 2, 1, 255])
      header.hopLimit = random.pick([64, 64, 1, 0, 255])
      header.flowLabel = random.pick([0, 0, 0x12345, 0x1_0000, 0xf_ffff])
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

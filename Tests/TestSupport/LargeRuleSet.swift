import Packets
import Rules

/// Rule sets of thousands of rules in shapes that classifiers find hard, with packets in and around what they match.
public struct LargeRuleSet {
  public enum Shape: CaseIterable, Sendable {
    /// Prefixes of any length, ports and protocols, all at random.
    case mixed
    /// Each prefix in many others.
    case nested
    /// Both ports in ranges that cross each other.
    case crossingRanges
    /// One list of hosts by one list of ports.
    case grid
    /// Half of the fields of most rules are any.
    case wildcards
    /// Few different matches, many times over.
    case duplicates
    /// Hosts of IPv6 in one /64, and prefixes around it.
    case ipv6
  }

  public let ruleSet: RuleSet

  public init(_ shape: Shape, ruleCount: Int, using random: inout SeededGenerator) {
    var set = RuleSet(name: "large", defaultAction: .pass)
    var matches: [Match] = []
    for index in 0..<ruleCount {
      matches.append(
        shape == .duplicates && index >= 20
          ? matches[Int.random(in: 0..<20, using: &random)] : LargeRuleSet.match(shape, index, using: &random))
    }
    for (index, match) in matches.enumerated() {
      let action: Action = index % 37 == 5 && index < 2000 ? .count : random.pick([.pass, .drop])
      set.rules.append(Rule(name: "r\(index)", match: match, action: action))
    }
    ruleSet = set
  }

  private static func match(_ shape: Shape, _ index: Int, using random: inout SeededGenerator) -> Match {
    func prefix4(_ lengths: ClosedRange<Int>) -> IPPrefix {
      let length = Int.random(in: lengths, using: &random)
      let bits = UInt32.random(in: 0 ... .max, using: &random) & 0x0f0f_ffff
      let address = length == 0 ? 0 : bits & ~(length == 32 ? 0 : UInt32.max >> UInt32(length))
      return IPPrefix("\(IPv4Address(value: address))/\(length)")!
    }
    func range() -> PortRange {
      let ends = (UInt16.random(in: 0 ... .max, using: &random), UInt16.random(in: 0 ... .max, using: &random))
      return PortRange(low: min(ends.0, ends.1), high: max(ends.0, ends.1))
    }
    var match = Match()
    switch shape {
    case .mixed, .duplicates:
      match.sources = [prefix4(0...32)]
      match.destinations = [prefix4(8...32)]
      match.protocols = [random.pick([.tcp, .udp])]
      if random.chance(50) { match.destinationPorts = [random.chance(50) ? range() : PortRange(random.pick([22, 80, 443]))] }
    case .nested:
      // Of 16 chains of prefixes.
      let base = UInt32.random(in: 0..<16, using: &random) << 28 | 0x0a0a_0a0a
      let length = UInt32.random(in: 4...32, using: &random)
      let address = length == 32 ? base : base & ~(UInt32.max >> length)
      match.destinations = [IPPrefix("\(IPv4Address(value: address))/\(length)")!]
      match.protocols = [.tcp]
      if random.chance(70) { match.destinationPorts = [range()] }
    case .crossingRanges:
      match.protocols = [random.pick([.tcp, .udp])]
      match.sourcePorts = [range()]
      match.destinationPorts = [range()]
    case .grid:
      match.sources = [IPPrefix(host: .v4(IPv4Address(value: 0x0a00_0000 + UInt32(index / 40) * 7)))]
      match.protocols = [.tcp]
      match.destinationPorts = [PortRange(UInt16(index % 40) * 3)]
    case .wildcards:
      if random.chance(50) { match.sources = [prefix4(8...24)] }
      if random.chance(50) { match.destinations = [prefix4(8...24)] }
      if random.chance(50) { match.protocols = [random.pick([.tcp, .udp, .icmp, .gre])] }
      // A rule that matches everything would hide the others.
      if match == Match() { match.protocols = [.sctp] }
    case .ipv6:
      let network = UInt128(0x2001_0db8_0000_0001) << 64
      let host = UInt128(UInt64.random(in: 0..<4096, using: &random))
      let length = random.pick([128, 128, 128, 120, 64, 48])
      let address = (network | host) & ~(length == 128 ? 0 : UInt128.max >> UInt128(length))
      match.sources = [IPPrefix("\(IPv6Address(value: address))/\(length)")!]
      if random.chance(50) { match.protocols = [.udp] }
      if !match.protocols.isEmpty { match.destinationPorts = [PortRange(random.pick([53, 123, 443]))] }
    }
    return match
  }

  /// A packet that some rule matches, or just doesn't.
  public func frame(using random: inout SeededGenerator) -> [UInt8] {
    let match = random.pick(ruleSet.rules).match
    let isIPv6 = (match.sources + match.destinations).contains { $0.family == .ipv6 }
    func address(_ prefixes: Condition<IPPrefix>) -> IPAddress {
      let family: IPFamily = isIPv6 ? .ipv6 : .ipv4
      let prefix = prefixes.first
      let noise = UInt128(UInt64.random(in: 0 ... .max, using: &random)) << 64
        | UInt128(UInt64.random(in: 0 ... .max, using: &random))
      let mask = prefix?.mask ?? 0
      var value = (prefix?.address.value ?? 0) | noise & ~mask
      if random.chance(10) { value ^= 1 << UInt128(Int.random(in: 0..<family.bitCount, using: &random)) }
      return IPAddress(family: family, value: value & (UInt128.max >> UInt128(128 - family.bitCount)))
    }
    func port(_ ranges: Condition<PortRange>) -> UInt16 {
      guard let range = ranges.first else { return UInt16.random(in: 0 ... .max, using: &random) }
      let inside = UInt16.random(in: range.low...range.high, using: &random)
      return random.chance(20) ? random.pick([range.low &- 1, range.low, range.high, range.high &+ 1]) : inside
    }
    let (source, destination) = (address(match.sources), address(match.destinations))
    let ports = (port(match.sourcePorts), port(match.destinationPorts))
    let transport: PacketBuilder.Transport =
      switch random.chance(10) ? .gre : match.protocols.first ?? .udp {
      case .tcp: .tcp(source: ports.0, destination: ports.1)
      case .udp: .udp(source: ports.0, destination: ports.1)
      case .icmp where !isIPv6: .icmp()
      case let number: .other(number)
      }
    return PacketBuilder(from: source, to: destination, transport, payload: [0, 0, 0, 0, 0, 0, 0, 0]).build()
  }
}

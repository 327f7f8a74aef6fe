import Packets
import Rules

/// Which packets a rule set is measured with.
public enum RuleTraceKind: String, CaseIterable, Sendable {
  /// For each packet a rule, all alike, and within it any packet.
  case uniform
  /// The same, but the k-th of the shuffled rules comes 1/k as often as the first.
  case zipf
  /// Any packets, whatever the rules.
  case miss
  /// Those of uniform and miss that take longest, each measured by itself.
  case worst
}

/// Makes frames from rules; always the same for one seed.
struct RuleTrace {
  private let rules: [Rule]
  private let family: IPFamily
  private var random: SplitMix
  /// Sums of the rules' weights, for zipf.
  private var weights: [Double] = []

  init(_ ruleSet: RuleSet, kind: RuleTraceKind, seed: UInt64) {
    random = SplitMix(state: seed)
    var rules = ruleSet.flattened.map(\.rule)
    let prefixes = rules.compactMap { $0.match.sources.first ?? $0.match.destinations.first }
    family = prefixes.count { $0.address.family == .ipv6 } * 2 > prefixes.count ? .ipv6 : .ipv4
    if kind == .zipf {
      rules.shuffle(using: &random)
      var sum = 0.0
      weights = rules.indices.map { index in
        sum += 1 / Double(index + 1)
        return sum
      }
    }
    self.rules = rules
  }

  /// A packet of a rule, by the trace's choice of rules.
  mutating func ruleFrame() -> [UInt8] {
    if rules.isEmpty { return anyFrame() }
    guard let total = weights.last else { return frame(for: rules[Int.random(in: rules.indices, using: &random)].match) }
    let point = Double.random(in: 0..<total, using: &random)
    var (low, high) = (0, weights.count - 1)
    while low < high {
      let middle = (low + high) / 2
      if weights[middle] > point { high = middle } else { low = middle + 1 }
    }
    return frame(for: rules[low].match)
  }

  mutating func anyFrame() -> [UInt8] { frame(for: Match()) }

  /// In what the match says of addresses, protocol, ports and flags without negation; else at random.
  private mutating func frame(for match: Match) -> [UInt8] {
    func elements<Element>(_ condition: Condition<Element>) -> [Element] { condition.isNegated ? [] : condition.elements }
    let sources = elements(match.sources)
    let destinations = elements(match.destinations)
    let source = sources.randomElement(using: &random)
    let family = source?.address.family ?? destinations.first?.address.family ?? family
    let destination = destinations.filter { $0.address.family == family }.randomElement(using: &random)
    let number = elements(match.protocols).randomElement(using: &random) ?? (Bool.random(using: &random) ? .tcp : .udp)
    let sourcePort = port(elements(match.sourcePorts))
    let destinationPort = port(elements(match.destinationPorts))
    let flags = elements(match.tcpFlags).randomElement(using: &random)?.set ?? UInt16.random(in: 0..<0x200, using: &random)
    let transport: PacketBuilder.Transport =
      switch number {
      case .tcp: .tcp(source: sourcePort, destination: destinationPort, flags: flags)
      case .udp: .udp(source: sourcePort, destination: destinationPort)
      case .icmp: .icmp(type: UInt8(truncatingIfNeeded: sourcePort), code: UInt8(truncatingIfNeeded: destinationPort))
      case .icmpv6: .icmpv6(type: UInt8(truncatingIfNeeded: sourcePort), code: UInt8(truncatingIfNeeded: destinationPort))
      default: .other(number)
      }
    var packet = PacketBuilder(from: address(in: source, family), to: address(in: destination, family), transport)
    packet.paddedByteCount = 60
    return packet.build()
  }

  private mutating func port(_ ranges: [PortRange]) -> UInt16 {
    guard let range = ranges.randomElement(using: &random) else { return .random(in: 0 ... .max, using: &random) }
    return .random(in: range.low...range.high, using: &random)
  }

  private mutating func address(in prefix: IPPrefix?, _ family: IPFamily) -> IPAddress {
    let bits = UInt128(random.next()) << 64 | UInt128(random.next())
    guard let prefix else { return IPAddress(family: family, value: bits) }
    let free = family.bitCount - prefix.length
    let mask: UInt128 = free == 128 ? .max : (1 << UInt128(free)) - 1
    return IPAddress(family: family, value: prefix.address.value | bits & mask)
  }
}

/// SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", 2014).
struct SplitMix: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}

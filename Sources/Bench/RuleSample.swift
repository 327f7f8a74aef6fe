import Packets
import Rules

/// Rule sets to measure where nobody brings his own, of the kinds that ClassBench tells apart (Taylor, Turner: "ClassBench:
/// A Packet Classification Benchmark", 2007). Always the same for one kind and number of rules.
public enum RuleSample: String, CaseIterable, Sendable {
  /// Many networks of sources, few of destinations, mostly exact destination ports.
  case accessList = "access-list"
  /// Half of the addresses are any, few of both sides at once, and a few ranges of ports on both sides.
  case firewall
  /// As the first, with IPv6.
  case accessListIPv6 = "access-list-v6"

  private static let services: [UInt16] = [
    22, 25, 53, 80, 110, 123, 135, 139, 143, 161, 389, 443, 445, 993, 1433, 1521, 3306, 3389, 8080,
  ]

  /// As in rule sets that people have written, the same few ranges again and again.
  private static let portRanges: [PortRange] = [
    PortRange(low: 1024, high: .max), PortRange(low: 20, high: 21), PortRange(low: 137, high: 139),
    PortRange(low: 161, high: 162), PortRange(low: 1024, high: 4999), PortRange(low: 5900, high: 5910),
    PortRange(low: 6000, high: 6063), PortRange(low: 6881, high: 6999), PortRange(low: 8000, high: 8099),
    PortRange(low: 27_000, high: 27_050), PortRange(low: 33_434, high: 33_534), PortRange(low: 49_152, high: .max),
  ]

  /// - Parameter count: 1 ... ``Rules/Limits/rulesMax``.
  func ruleSet(count: Int) -> RuleSet {
    var random = SplitMix(state: 3)
    let rules = (0..<count).map { index in
      Rule(name: "r\(index + 1)", match: match(using: &random), action: index % 2 == 0 ? .drop : .pass)
    }
    return RuleSet(name: rawValue, defaultAction: .pass, rules: rules)
  }

  private func match(using random: inout SplitMix) -> Match {
    var match = Match()
    func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &random) < percent }
    func number<Number: FixedWidthInteger>(_ range: ClosedRange<Number>) -> Number { .random(in: range, using: &random) }
    /// One of so many networks, and in it a prefix as long as one of these.
    func prefix(networks: UInt32, _ lengths: [Int]) -> IPPrefix {
      let length = lengths.randomElement(using: &random) ?? 32
      let network = number(0...networks - 1)
      if self == .accessListIPv6 {
        let value = 0x2001_0db8 << 96 | UInt128(network) << 80 | UInt128(number(0...UInt64.max))
        return IPPrefix(IPAddress(family: .ipv6, value: value), length: min(128, length * 5 / 2))
      }
      // Networks of 16 bits, spread over the whole space.
      let value = (network &* 0x9e37 & 0xffff) << 16 | number(0...0xffff)
      return IPPrefix(IPAddress(family: .ipv4, value: UInt128(value)), length: length)
    }
    func ports() -> Condition<PortRange> {
      [chance(20) ? RuleSample.portRanges[0] : RuleSample.portRanges.randomElement(using: &random) ?? PortRange(80)]
    }
    let isFirewall = self == .firewall
    if !chance(isFirewall ? 50 : 10) { match.sources = [prefix(networks: 4096, [16, 20, 24, 24, 28, 30, 32, 32])] }
    // Rules of any address to any other are few: there are only so many services.
    let isAnywhere = isFirewall ? chance(match.sources.isEmpty ? 2 : 60) : chance(2)
    if !isAnywhere { match.destinations = [prefix(networks: 64, [24, 27, 28, 30, 32, 32, 32])] }
    if chance(isFirewall ? 90 : 95) {
      match.protocols = [chance(75) ? .tcp : .udp]
      if chance(isFirewall ? 25 : 2) { match.sourcePorts = ports() }
      if chance(isFirewall ? 60 : 85) {
        match.destinationPorts =
          chance(isFirewall ? 35 : 15)
          ? ports() : [PortRange(RuleSample.services.randomElement(using: &random) ?? number(1...9999))]
      }
    } else if match.sources.isEmpty, match.destinations.isEmpty {
      match.protocols = [.icmp]  // a rule that matches everything would hide the others
    }
    return match
  }
}

import Packets
import Rules

/// Rule sets whose sets are too large to be expanded, in shapes that lookups find hard, with packets in and around them.
public struct LargeSetCases {
  public enum Shape: CaseIterable, Sendable {
    /// Hosts of IPv4, many next to each other.
    case hosts
    /// Prefixes of IPv4 of every length, /0 and what holds others among them.
    case nested
    /// The same elements in several sets, at different lengths.
    case shared
    /// Prefixes of IPv6 of every length in a few networks.
    case ipv6
    /// Hosts of IPv6, and networks up to /64.
    case ipv6Hosts
    /// Sets of both families in one condition.
    case both
  }

  public var ruleSet: RuleSet
  /// Of all sets.
  public let elements: [IPPrefix]
  private let byFamily: [IPFamily: [IPPrefix]]

  public init(_ shape: Shape, count: Int, using random: inout SeededGenerator) {
    ruleSet = RuleSet(name: "sets", defaultAction: .pass)
    var pool = (0..<count).map { _ in LargeSetCases.prefix(shape, using: &random) }
    if shape == .nested { pool += [IPPrefix("0.0.0.0/0")!, IPPrefix("10.0.0.0/8")!] }
    if shape == .ipv6 { pool += [IPPrefix("::/0")!, IPPrefix("2001:db8::/32")!] }
    for name in ["a", "b", "c"] {
      for family in IPFamily.allCases {
        var own = pool.filter { $0.family == family && (shape == .shared || random.chance(60)) }
        // What holds everything would leave nothing to see of the others.
        if name != "c" { own.removeAll { $0.length == 0 } }
        if own.isEmpty { continue }
        ruleSet.sets.append(NamedSet(name: name + (family == .ipv4 ? "4" : "6"), family: family, prefixes: own))
      }
    }
    elements = pool
    byFamily = Dictionary(grouping: pool, by: \.family)
    addRules()
  }

  private mutating func addRules() {
    let names = Set(ruleSet.sets.map(\.name))
    func sets(_ wanted: String...) -> [String] { wanted.filter(names.contains) }
    func add(_ name: String, _ action: Action, _ change: (inout Match) -> Void) {
      var rule = Rule(name: name, match: Match(), action: action)
      change(&rule.match)
      if !rule.match.sources.isEmpty || !rule.match.destinations.isEmpty { ruleSet.rules.append(rule) }
    }
    add("count-c", .count) { $0.destinations = Condition([], sets: sets("c4", "c6")) }
    add("udp-from-a", .drop) {
      $0.sources = Condition([], sets: sets("a4", "a6"))
      $0.protocols = [.udp]
      $0.destinationPorts = [PortRange(low: 50, high: 90)]
    }
    add("a-to-b", .drop) {
      $0.sources = Condition([], sets: sets("a4", "a6"))
      $0.destinations = Condition([], sets: sets("b4", "b6"))
    }
    add("in-b-or-net", .drop) { $0.sources = Condition([IPPrefix("172.16.0.0/12")!], sets: sets("b4", "b6")) }
    add("not-a-not-c", .pass) {
      $0.sources = Condition([IPPrefix("10.9.0.0/16")!], sets: sets("a4", "c4", "c6"), isNegated: true)
      $0.protocols = [.tcp]
    }
    add("not-to-b", .drop) { $0.destinations = Condition([], sets: sets("b4", "b6"), isNegated: true) }
  }

  private static func prefix(_ shape: Shape, using random: inout SeededGenerator) -> IPPrefix {
    func ipv4(_ length: Int, _ mask: UInt32) -> IPPrefix {
      let value = 0x0a00_0000 | UInt32.random(in: 0 ... .max, using: &random) & mask
      return IPPrefix(.v4(IPv4Address(value: value)), length: length)
    }
    func ipv6(_ length: Int) -> IPPrefix {
      let network = UInt128(random.pick([0x2001_0db8, 0x2001_0db9, 0x2a00_1450] as [UInt32])) << 96
      // Few free bits in each of several places, so that elements lie in one another.
      let bits = UInt128(UInt64.random(in: 0 ... .max, using: &random) & 0x0f0f_0000_0f0f) << 36
      return IPPrefix(
        .v6(IPv6Address(value: network | bits | UInt128(UInt16.random(in: 0...63, using: &random)))), length: length)
    }
    switch shape {
    case .hosts: return ipv4(32, 0x0003_ffff)
    case .nested: return ipv4(Int.random(in: 8...32, using: &random), 0xf00f_0fff)
    case .shared: return ipv4(random.pick([16, 17, 24, 31, 32]), 0x0001_07ff)
    case .ipv6: return ipv6(Int.random(in: 1...128, using: &random))
    case .ipv6Hosts: return ipv6(random.pick([32, 48, 56, 64, 65, 127, 128, 128, 128]))
    case .both: return random.chance(50) ? ipv4(random.pick([24, 32]), 0x0007_ffff) : ipv6(random.pick([48, 64, 128]))
    }
  }

  /// From and to addresses in elements, at their edges and just beyond, or elsewhere.
  public func frame(using random: inout SeededGenerator) -> [UInt8] {
    let first = address(of: nil, using: &random)
    let second = address(of: first.family, using: &random)
    let port = UInt16(random.pick([40, 50, 70, 90, 91]))
    let transport: PacketBuilder.Transport =
      random.chance(50) ? .udp(source: 1000, destination: port) : .tcp(source: 1000, destination: port, flags: 2)
    return PacketBuilder(from: first, to: second, transport).build()
  }

  private func address(of family: IPFamily?, using random: inout SeededGenerator) -> IPAddress {
    let own = family.map { byFamily[$0] ?? [] } ?? elements
    guard !own.isEmpty, random.chance(85) else {
      return family == .ipv6 ? .v6(IPv6Address(value: 0x2001_0db8 << 96 | 9 << 80)) : .v4(IPv4Address(10, 9, 1, 1))
    }
    let prefix = random.pick(own)
    let free = prefix.family.bitCount - prefix.length
    let inside = free == 0 ? 0 : UInt128.random(in: 0 ... .max, using: &random) >> UInt128(128 - free)
    let most = UInt128.max >> UInt128(128 - prefix.family.bitCount)
    let (first, last) = (prefix.address.value, prefix.lastAddress.value)
    return IPAddress(
      family: prefix.family, value: random.pick([first, last, first | inside, last == most ? last : last + 1]))
  }
}

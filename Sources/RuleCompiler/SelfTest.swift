import Packets
import Rules

/// Packets to try a compiled generation with before it goes live.
public enum SelfTest {
  /// Frames made from the rules: for each rule packets in the corners of what it matches and just outside of each edge,
  /// of another protocol and another family, and a later fragment; before them a fixed set of malformed and non-IP
  /// frames. Always the same for the same rules, no frame twice, at most `limit`; where that is too few for all, every
  /// rule gets its first ones before any gets its last, and of more rules than `limit` that many get some, from the first
  /// to the last at equal distances. `ruleSet` must be valid.
  ///
  /// - Parameter limit: As a rule so many that the reference, which asks rule by rule, is done in some tens of
  ///   milliseconds: 512, and 128 for the largest rule sets.
  public static func packets(for ruleSet: RuleSet, limit: Int? = nil) -> [[UInt8]] {
    let limit = limit ?? min(512, max(128, 2_000_000 / max(1, ruleSet.allRules.count)))
    var frames: [[UInt8]] = []
    var seen: Set<[UInt8]> = []
    func add(_ frame: [UInt8]) {
      if frames.count < limit, seen.insert(frame).inserted { frames.append(frame) }
    }
    fixedFrames.forEach(add)
    if frames.count >= limit { return frames }
    var round = 0
    let rules = ruleSet.sample.flattened
    let room = limit - frames.count
    let chosen = rules.count <= room ? Array(rules.indices) : (0..<room).map { $0 * rules.count / room }
    var lists = chosen.map { Probe.all(for: rules[$0].matches.narrowed) }
    while frames.count < limit, !lists.isEmpty {
      for probes in lists where frames.count < limit { add(probes[round].frame) }
      round += 1
      lists.removeAll { $0.count <= round }
    }
    return frames
  }

  /// Frames that a rule of the own list takes, if none before it does, and such that it just doesn't.
  public static func packets(around rule: Rule, in ruleSet: RuleSet, limit: Int) -> [[UInt8]] {
    let rule = rule.namesOthers ? ruleSet.withFewElements.resolved(rule, keeping: []) : rule
    guard let rule else { return [] }
    return Array(Set(Probe.all(for: [rule.match].narrowed).map(\.frame)).prefix(limit))
  }

  /// Frames that no rule asks for: malformed ones of each reason but `truncated_ethernet`, which BPF_PROG_TEST_RUN
  /// takes for a mistake of its caller, and what isn't IP.
  private static let fixedFrames: [[UInt8]] = {
    let udp4 = Probe(source: selfTestAddress4, destination: selfTestAddress4, protocol: .udp).frame
    let tcp4 = Probe(source: selfTestAddress4, destination: selfTestAddress4, protocol: .tcp).frame
    let udp6 = Probe(source: selfTestAddress6, destination: selfTestAddress6, protocol: .udp).frame
    func changed(_ frame: [UInt8], at offset: Int, to value: UInt8) -> [UInt8] {
      var frame = frame
      frame[offset] = value
      return frame
    }
    var tagged = PacketBuilder(from: selfTestAddress4, to: selfTestAddress4, .udp(source: 1, destination: 2))
    tagged.vlanTags = [VLANTag(id: 1)]
    var chained = PacketBuilder.IPv6(source: .init(value: 1), destination: .init(value: 1))
    chained.extensions = Array(repeating: .options(.destinationOptions), count: PacketParser.ipv6ExtensionsMax + 1)
    let tooMany = PacketBuilder(network: .ipv6(chained), transport: .udp(source: 1, destination: 2)).build()
    var extended = PacketBuilder.IPv6(source: .init(value: 1), destination: .init(value: 1))
    extended.extensions = [.options(.destinationOptions)]
    let withExtension = PacketBuilder(network: .ipv6(extended), transport: .udp(source: 1, destination: 2)).build()
    var arp = PacketBuilder(network: .other(.arp), transport: .other(.tcp), payload: Array(repeating: 0, count: 28))
    arp.paddedByteCount = 60
    var tripleTagged = tagged
    tripleTagged.vlanTags = [VLANTag(etherType: .serviceVLAN, id: 1), VLANTag(id: 2), VLANTag(id: 3)]
    return [
      arp.build(), tagged.build(), tripleTagged.build(),
      Array(tagged.build().prefix(17)),  // truncated_vlan
      Array(udp4.prefix(33)),  // truncated_ipv4
      changed(udp4, at: 14, to: 0x44),  // bad_ipv4: header length
      changed(udp4, at: 16, to: 0xff),  // bad_ipv4: total length
      Array(udp6.prefix(53)),  // truncated_ipv6
      changed(udp6, at: 14, to: 0x40),  // bad_ipv6: version
      changed(withExtension, at: 55, to: 0xff),  // truncated_extension
      tooMany,
      changed(udp4, at: 17, to: 24),  // truncated_transport: total length ends in the UDP header
      changed(tcp4, at: 46, to: 0x40),  // bad_tcp
      changed(udp4, at: 39, to: 7),  // bad_udp
    ]
  }()
}

extension RuleSet {
  /// Of large sets a few elements, which the rules that name them get their packets from.
  fileprivate var withFewElements: RuleSet {
    var sample = self
    for index in sample.sets.indices { sample.sets[index].thinOut(to: Limits.elementsPerFieldMax) }
    return sample
  }

  /// The same, with so few that the flattened rules have not too many together.
  var sample: RuleSet {
    var sample = withFewElements
    var most = Limits.elementsPerFieldMax
    while most > 1, sample.resolvedElementCounts(keeping: []).reduce(0, { $0 + $1.count }) > resolvedElementsMax {
      most /= 4
      for index in sample.sets.indices { sample.sets[index].thinOut(to: most) }
    }
    return sample
  }
}

let selfTestAddress4 = IPAddress.v4(IPv4Address(192, 0, 2, 1))
let selfTestAddress6 = IPAddress.v6(IPv6Address(value: 0x2001_0db8 << 96 | 1))

/// A packet by what rules can ask of it.
struct Probe {
  var source: IPAddress
  var destination: IPAddress
  var `protocol`: IPProtocol
  var sourcePort: UInt16 = 40000
  var destinationPort: UInt16 = 40001
  var rare = RareFields()

  var frame: [UInt8] {
    let transport: PacketBuilder.Transport =
      switch `protocol` {
      case .tcp: .tcp(source: sourcePort, destination: destinationPort, flags: rare.tcpFlags)
      case .udp: .udp(source: sourcePort, destination: destinationPort)
      case .icmp: .icmp(type: rare.icmpType, code: rare.icmpCode)
      case .icmpv6: .icmpv6(type: rare.icmpType, code: rare.icmpCode)
      default: .other(`protocol`)
      }
    var packet = PacketBuilder(from: source, to: destination, transport, payload: Array(repeating: 0, count: 8))
    rare.apply(to: &packet)
    return packet.build()
  }

  /// The probes of one rule, those that tell most first.
  static func all(for match: Match) -> [Probe] {
    let boxes = Box.all(of: match)
    guard let first = boxes.first else { return [] }
    var probes = [first.corner(0), first.corner(0b1111)]
    probes += first.outside()
    probes += RareFields.variations(of: match).map { rare in
      var probe = first.corner(0)
      probe.rare = rare
      return probe
    }
    probes += [first.ofOtherProtocol(than: match.protocols), first.ofOtherFamily()]
    for box in boxes.dropFirst() { probes += [box.corner(0), box.corner(0b1111)] + box.outside() }
    for box in boxes { probes += (1..<15).map(box.corner) }
    return probes
  }
}

/// One combination of a match's elements. Of a negated list they are the elements, too: packets in and around them tell as
/// much.
private struct Box {
  var source: IPPrefix
  var destination: IPPrefix
  var `protocol`: IPProtocol
  var sourcePorts: PortRange
  var destinationPorts: PortRange
  var rare: RareFields

  /// Every element of every list in one box at least, the other fields by turns; not all combinations.
  static func all(of match: Match) -> [Box] {
    let pairs = addressPairs(of: match)
    let protocols = match.protocols.isEmpty ? [.udp] : match.protocols.elements
    let sourcePorts = match.sourcePorts.isEmpty ? [PortRange(40000)] : match.sourcePorts.elements
    let destinationPorts = match.destinationPorts.isEmpty ? [PortRange(40001)] : match.destinationPorts.elements
    let rare = RareFields(satisfying: match)
    guard !pairs.isEmpty else { return [] }
    let count = max(pairs.count, protocols.count, sourcePorts.count, destinationPorts.count)
    return (0..<count).map { index in
      let (source, destination) = pairs[index % pairs.count]
      return Box(
        source: source, destination: destination, protocol: protocols[index % protocols.count],
        sourcePorts: sourcePorts[index % sourcePorts.count],
        destinationPorts: destinationPorts[index % destinationPorts.count], rare: rare)
    }
  }

  private static func addressPairs(of match: Match) -> [(IPPrefix, IPPrefix)] {
    IPFamily.allCases.flatMap { family -> [(IPPrefix, IPPrefix)] in
      let any = [IPPrefix(host: family == .ipv4 ? selfTestAddress4 : selfTestAddress6)]
      func list(_ condition: Condition<IPPrefix>) -> [IPPrefix] {
        let own = condition.elements.filter { $0.family == family }
        return condition.isEmpty || (condition.isNegated && own.isEmpty) ? any : own
      }
      let (sources, destinations) = (list(match.sources), list(match.destinations))
      guard !sources.isEmpty, !destinations.isEmpty else { return [] }
      return (0..<max(sources.count, destinations.count)).map {
        (sources[$0 % sources.count], destinations[$0 % destinations.count])
      }
    }
  }

  /// One of the sixteen corners, by the bits of `index`.
  func corner(_ index: Int) -> Probe {
    Probe(
      source: index & 1 == 0 ? source.address : source.lastAddress,
      destination: index & 2 == 0 ? destination.address : destination.lastAddress,
      protocol: `protocol`,
      sourcePort: index & 4 == 0 ? sourcePorts.low : sourcePorts.high,
      destinationPort: index & 8 == 0 ? destinationPorts.low : destinationPorts.high, rare: rare)
  }

  /// One step beyond each edge that has a beyond.
  func outside() -> [Probe] {
    var probes: [Probe] = []
    func add(_ change: (inout Probe) -> Void) {
      var probe = corner(0)
      change(&probe)
      probes.append(probe)
    }
    for address in neighbours(of: source) { add { $0.source = address } }
    for address in neighbours(of: destination) { add { $0.destination = address } }
    for port in neighbours(of: sourcePorts) { add { $0.sourcePort = port } }
    for port in neighbours(of: destinationPorts) { add { $0.destinationPort = port } }
    return probes
  }

  func ofOtherProtocol(than protocols: Condition<IPProtocol>) -> Probe {
    var probe = corner(0)
    probe.protocol = [.tcp, .udp, .gre].first { !protocols.contains($0) } ?? .icmp
    return probe
  }

  func ofOtherFamily() -> Probe {
    var probe = corner(0)
    let other = source.family == .ipv4 ? selfTestAddress6 : selfTestAddress4
    (probe.source, probe.destination) = (other, other)
    return probe
  }

  private func neighbours(of prefix: IPPrefix) -> [IPAddress] {
    let (family, last) = (prefix.family, prefix.lastAddress.value)
    var result: [IPAddress] = []
    if prefix.address.value > 0 { result.append(IPAddress(family: family, value: prefix.address.value - 1)) }
    if last < UInt128.max >> UInt128(128 - family.bitCount) {
      result.append(IPAddress(family: family, value: last + 1))
    }
    return result
  }

  private func neighbours(of ports: PortRange) -> [UInt16] {
    (ports.low > 0 ? [ports.low - 1] : []) + (ports.high < .max ? [ports.high + 1] : [])
  }
}

extension [Match] {
  /// One match for packets that most of them will let through: of each field what the innermost asks for or, where it asks for
  /// nothing, the next one outwards; of addresses the parts that lie in one another.
  fileprivate var narrowed: Match {
    guard var result = last else { return Match() }
    for outer in dropLast().reversed() {
      for form in outer.conditions where !result.conditions.contains(where: { $0.field == form.field }) {
        // Its own elements were read before.
        try? result.set(form)
      }
      result.sources.narrow(to: outer.sources)
      result.destinations.narrow(to: outer.destinations)
    }
    return result
  }
}

extension Condition<IPPrefix> {
  fileprivate mutating func narrow(to outer: Self) {
    if isNegated || outer.isNegated || outer.isEmpty { return }
    let both = outer.flatMap { wide in
      self.compactMap { wide.contains($0) ? $0 : $0.contains(wide) ? wide : nil }
    }
    if !both.isEmpty { elements = both }
  }
}

import Packets

/// The packets that a match is about, by kind. Kinds without any aren't there.
struct MatchRegions {
  var byKind: [PacketKind: PacketRegion] = [:]

  var isEmpty: Bool { byKind.isEmpty }

  /// Nil: masks of MAC addresses that stand for too many ranges.
  ///
  /// - Parameter interfaces: index by name, of every name in the rule set.
  init?(_ match: Match, interfaces: [String: UInt128]) {
    var common = PacketRegion()
    if !match.interfaces.isEmpty {
      let named = ValueSet(match.interfaces.compactMap { interfaces[$0] })
      common.restrict(.interface, to: match.interfaces.isNegated ? Dimension.interface.all.subtracting(named) : named)
    }
    for (dimension, condition) in [(Dimension.sourceMAC, match.sourceMACs), (.destinationMAC, match.destinationMACs)]
    where !condition.isEmpty {
      var spans: [ValueSet.Span] = []
      for pattern in condition {
        guard let ranges = pattern.ranges else { return nil }
        spans += ranges
      }
      common.restrict(dimension, to: condition.left(of: ValueSet(spans), in: dimension))
    }
    for (field, condition) in match.numbers {
      let dimension = field.dimension
      common.restrict(dimension, to: condition.set(in: dimension) { (UInt128($0.low), UInt128($0.high)) })
      if let tags = field.tagsNeeded { common.restrict(.tags, to: ValueSet(tags, through: 2)) }
    }
    if !match.protocols.isEmpty {
      common.restrict(
        .protocol,
        to: match.protocols.set(in: .protocol) { (UInt128($0.rawValue), UInt128($0.rawValue)) })
    }
    for (dimension, condition) in [(Dimension.firstLane, match.sourcePorts), (.secondLane, match.destinationPorts)]
    where !condition.isEmpty {
      common.restrict(dimension, to: condition.set(in: dimension) { (UInt128($0.low), UInt128($0.high)) })
    }
    if !match.tcpFlags.isEmpty {
      let shown = (0...0x1ff as ClosedRange<UInt16>).filter { flags in match.tcpFlags.contains { $0.contains(flags) } }
      common.restrict(.tcpFlags, to: match.tcpFlags.left(of: ValueSet(shown.map { UInt128($0) }), in: .tcpFlags))
    }
    if !match.fragments.isEmpty {
      let parts: [(ParsedPacket.Fragment, UInt128)] = [(.none, 0), (.first, 1), (.later, 2)]
      let shown = parts.filter { part in match.fragments.contains { $0.contains(part.0) } }.map(\.1)
      common.restrict(.fragment, to: match.fragments.left(of: ValueSet(shown), in: .fragment))
    }
    if let hasOptions = match.hasOptions { common.restrict(.options, to: ValueSet([hasOptions ? 1 : 0])) }
    // The kinds of a family share them.
    func addresses(_ condition: Condition<IPPrefix>) -> [IPFamily: ValueSet] {
      Dictionary(uniqueKeysWithValues: IPFamily.allCases.map { ($0, condition.addresses(of: $0)) })
    }
    let (sources, destinations) = (addresses(match.sources), addresses(match.destinations))
    for kind in PacketKind.all where match.asksOnlyWhat(kind) {
      var region = kind.universe.intersection(common)
      if let family = kind.ipFamily, let source = sources[family], let destination = destinations[family] {
        region.restrict(.source, to: source)
        region.restrict(.destination, to: destination)
      }
      if !region.isEmpty { byKind[kind] = region }
    }
  }
}

extension PacketKind {
  fileprivate var ipFamily: IPFamily? {
    switch family {
    case .ipv4: .ipv4
    case .ipv6: .ipv6
    case .other: nil
    }
  }
}

extension Match {
  /// Whether packets of the kind show every field that it has a condition on.
  fileprivate func asksOnlyWhat(_ kind: PacketKind) -> Bool {
    let asksIP =
      !sources.isEmpty || !destinations.isEmpty || !protocols.isEmpty || !fragments.isEmpty || hasOptions != nil
      || numbers.keys.contains(where: \.isOfIP)
    if asksIP, !kind.isIP { return false }
    if numbers[.flowLabels] != nil, kind.family != .ipv6 { return false }
    if !sourcePorts.isEmpty || !destinationPorts.isEmpty, ![.tcp, .udp].contains(kind.transport) { return false }
    if !tcpFlags.isEmpty, kind.transport != .tcp { return false }
    return numbers[.icmpTypes] == nil && numbers[.icmpCodes] == nil || kind.transport == .icmp
  }
}

extension NumberField {
  fileprivate var dimension: Dimension {
    switch self {
    case .queues: .queue
    case .etherTypes: .etherType
    case .vlanIDs: .vlanID
    case .vlanPriorities: .vlanPriority
    case .innerVLANIDs: .innerVLANID
    case .innerVLANPriorities: .innerVLANPriority
    case .icmpTypes: .firstLane
    case .icmpCodes: .secondLane
    case .dscp: .dscp
    case .ecn: .ecn
    case .hopLimits: .hopLimit
    case .flowLabels: .flowLabel
    case .lengths: .length
    }
  }

  /// How many tags a packet has at least that shows it.
  fileprivate var tagsNeeded: UInt128? {
    switch self {
    case .vlanIDs, .vlanPriorities: 1
    case .innerVLANIDs, .innerVLANPriorities: 2
    default: nil
    }
  }
}

extension Condition {
  /// What its elements' numbers leave.
  fileprivate func left(of set: ValueSet, in dimension: Dimension) -> ValueSet {
    isNegated ? dimension.all.subtracting(set) : set
  }

  fileprivate func set(in dimension: Dimension, _ bounds: (Element) -> (UInt128, UInt128)) -> ValueSet {
    let spans = elements.map { element in
      let (low, high) = bounds(element)
      return ValueSet.Span(low: low, high: high)
    }
    return left(of: ValueSet(spans), in: dimension)
  }
}

extension Condition<IPPrefix> {
  fileprivate func addresses(of family: IPFamily) -> ValueSet {
    let all = ValueSet(0, through: family == .ipv4 ? UInt128(UInt32.max) : .max)
    if isEmpty { return all }
    let own = elements.filter { $0.family == family }
    let set = ValueSet(own.map { ValueSet.Span(low: $0.address.value, high: $0.lastAddress.value) })
    return isNegated ? all.subtracting(set) : set
  }
}

extension MACPattern {
  /// Nil: more than 1024.
  fileprivate var ranges: [ValueSet.Span]? {
    // The lowest free bits make a range; each free bit above an asked one doubles their number.
    let tail = (1 << UInt64(min(mask.value.trailingZeroBitCount, 48))) - 1 as UInt64
    let holes = ~mask.value & 0xffff_ffff_ffff & ~tail
    guard holes.nonzeroBitCount <= 10 else { return nil }
    var bases = [address.value]
    var rest = holes
    while rest != 0 {
      let bit = rest & (0 &- rest)
      bases += bases.map { $0 | bit }
      rest &= ~bit
    }
    return bases.map { ValueSet.Span(low: UInt128($0), high: UInt128($0 | tail)) }
  }
}

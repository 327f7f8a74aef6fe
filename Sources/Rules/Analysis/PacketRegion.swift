import Packets

/// What of a packet rules tell apart, each a number.
enum Dimension: Int, CaseIterable {
  /// Index among the names in the rule set; one more for any other.
  case interface
  case queue, sourceMAC, destinationMAC, etherType
  /// How many tags: 0 to 2.
  case tags
  case vlanID, vlanPriority, innerVLANID, innerVLANPriority
  case source, destination, `protocol`
  /// Source port, or ICMP type.
  case firstLane
  /// Destination port, or ICMP code.
  case secondLane
  case tcpFlags, dscp, ecn, hopLimit, flowLabel, length
  /// 0 no fragment, 1 the first, 2 a later one.
  case fragment
  /// 1: present.
  case options
}

/// Packets that show the same fields.
struct PacketKind: Hashable, Sendable {
  enum Transport: CaseIterable { case tcp, udp, icmp, unknown, laterFragment }

  let family: ParsedPacket.Family
  /// Of IP.
  let transport: Transport

  static let all: [PacketKind] =
    [ParsedPacket.Family.ipv4, .ipv6].flatMap { family in
      Transport.allCases.map { PacketKind(family: family, transport: $0) }
    } + [PacketKind(family: .other, transport: .unknown)]

  var isIP: Bool { family != .other }

  /// What every packet of the kind shows.
  var universe: PacketRegion {
    var region = PacketRegion()
    if family == .other { return region }
    let known: [UInt128] = [1, 6, 17, 58]
    switch transport {
    case .tcp: region.restrict(.protocol, to: ValueSet([6]))
    case .udp: region.restrict(.protocol, to: ValueSet([17]))
    case .icmp:
      region.restrict(.protocol, to: ValueSet([1, 58]))
      // Type and code stand in the lanes.
      region.restrict(.firstLane, to: ValueSet(0, through: 0xff))
      region.restrict(.secondLane, to: ValueSet(0, through: 0xff))
    case .unknown:
      // IPv6 extension headers are walked through; a later fragment can begin with one.
      let shown = (0...255).filter { number in
        !known.contains(number) && !(family == .ipv6 && IPProtocol(rawValue: UInt8(number)).isIPv6Extension)
      }
      region.restrict(.protocol, to: ValueSet(shown))
    case .laterFragment: break
    }
    region.restrict(.fragment, to: transport == .laterFragment ? ValueSet([2]) : ValueSet(0, through: 1))
    region.restrict(.etherType, to: ValueSet([family == .ipv4 ? 0x0800 : 0x86dd]))
    region.restrict(.length, to: ValueSet(family == .ipv4 ? 20 : 40, through: 0xffff))
    return region
  }
}

/// Packets of one kind whose every dimension is in a set: a product.
struct PacketRegion: Hashable, Sendable {
  /// By dimension; nil: any number.
  private var sets: [ValueSet?] = Array(repeating: nil, count: Dimension.allCases.count)

  subscript(dimension: Dimension) -> ValueSet? { sets[dimension.rawValue] }

  private(set) var isEmpty = false

  mutating func restrict(_ dimension: Dimension, to set: ValueSet) {
    let next = sets[dimension.rawValue].map { $0.intersection(set) } ?? set
    sets[dimension.rawValue] = next
    if next.isEmpty { isEmpty = true }
  }

  func isDisjoint(from other: PacketRegion) -> Bool {
    for index in sets.indices {
      guard let own = sets[index], let others = other.sets[index] else { continue }
      if own.isDisjoint(from: others) { return true }
    }
    return false
  }

  func isSubset(of other: PacketRegion) -> Bool {
    for index in sets.indices {
      guard let others = other.sets[index] else { continue }
      guard let own = sets[index], own.isSubset(of: others) else { return false }
    }
    return true
  }

  func intersection(_ other: PacketRegion) -> PacketRegion {
    var result = self
    for dimension in Dimension.allCases { if let set = other[dimension] { result.restrict(dimension, to: set) } }
    return result
  }

  /// Ranges of its sets; those of few aren't counted.
  var spanCount: Int { sets.reduce(0) { $0 + PacketRegion.counted($1?.spans.count ?? 0) } }

  /// Of those that ``subtracting(_:)`` makes, at most.
  func spanCount(subtracting other: PacketRegion) -> Int {
    sets.indices.reduce(0) { total, index in
      guard let removed = other.sets[index], sets[index]?.isInOneSpan(of: removed) != true else { return total }
      return total + 2 * PacketRegion.counted((sets[index]?.spans.count ?? 1) + removed.spans.count)
    }
  }

  private static func counted(_ spanCount: Int) -> Int { spanCount > 64 ? spanCount : 0 }

  /// What of it isn't in `other`, in parts that don't overlap: at most one for each dimension that `other` restricts.
  func subtracting(_ other: PacketRegion) -> [PacketRegion] {
    if isDisjoint(from: other) { return [self] }
    var parts: [PacketRegion] = []
    var inside = self
    for dimension in Dimension.allCases {
      guard let removed = other[dimension] else { continue }
      let outside = (self[dimension] ?? dimension.all).subtracting(removed)
      // All of it is inside, and stays as it is in memory.
      if outside.isEmpty, self[dimension] != nil { continue }
      var part = inside
      part.sets[dimension.rawValue] = outside
      if !outside.isEmpty { parts.append(part) }
      inside.restrict(dimension, to: removed)
    }
    return parts
  }
}

extension Dimension {
  /// Every number that it can be, for rules sets with any number of interfaces.
  var all: ValueSet { ValueSet(0, through: most) }

  private var most: UInt128 {
    switch self {
    case .interface: UInt128(UInt32.max)
    case .queue, .protocol, .hopLimit: 0xff
    case .sourceMAC, .destinationMAC: 0xffff_ffff_ffff
    case .etherType, .firstLane, .secondLane, .length: 0xffff
    case .tags, .fragment: 2
    case .vlanID, .innerVLANID: 0xfff
    case .vlanPriority, .innerVLANPriority: 7
    case .source, .destination: .max
    case .tcpFlags: 0x1ff
    case .dscp: 63
    case .ecn: 3
    case .flowLabel: 0xf_ffff
    case .options: 1
    }
  }
}

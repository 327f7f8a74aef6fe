import CSluiceABI
import Packets
import Rules

/// What one element of a condition asks of the words of a key, and of one lane.
struct Atom: Hashable {
  var header = Ternary()
  /// The link words.
  var destination = Ternary()
  var source = Ternary()
  var lane: Lane?
  var range = NumberRange(low: 0, high: 0)
}

/// A rule's matches, all of which must hold, as combinations of what their conditions allow, for each tree.
///
/// Overlapping and adjacent ranges are joined, prefixes inside others left out, and negated conditions turned into what they
/// leave, before the lists are multiplied with each other.
struct Expansion {
  /// A list of alternatives is longer than ``Limits/entriesMax``, or was on the way, or takes too long to make.
  struct ListTooLong: Error {}

  /// What making the lists takes, in alternatives looked at: lists that leave nothing can take long, too.
  struct Work {
    /// Of one rule: a part of a second.
    static let max = 1 << 26
    private(set) var done = 0

    mutating func spend(_ steps: Int) throws(ListTooLong) {
      done += min(steps, Work.max)
      if done > Work.max { throw ListTooLong() }
    }
  }

  /// The lists of alternatives of one tree, one element of each makes an entry; nil: no packet of the tree can match.
  fileprivate struct Product {
    var sources: [AddressTest]
    var destinations: [AddressTest]
    /// Of each field that is asked for.
    var atoms: [[Atom]]

    var count: Int {
      atoms.reduce(Expansion.times(sources.count, destinations.count)) { Expansion.times($0, $1.count) }
    }
  }

  private var products: [ParsedPacket.Family: Product] = [:]
  /// Then no lists are kept.
  private var isTooLong = false
  private let hasAddresses: Bool
  /// What it took, also where it was given up.
  private(set) var work = Work()

  /// Counts are exact up to here.
  static let countMax = 1 << 62

  fileprivate static func times(_ left: Int, _ right: Int) -> Int {
    let (product, overflows) = left.multipliedReportingOverflow(by: right)
    return overflows ? countMax : min(product, countMax)
  }

  /// - Parameter matches: without sets other than the large ones.
  init(_ matches: [Match], _ large: LargeSets) {
    hasAddresses = matches.contains { !$0.sources.isEmpty || !$0.destinations.isEmpty }
    do throws(ListTooLong) {
      for family in ParsedPacket.Family.allCases { products[family] = try Expansion.product(matches, family, large, &work) }
    } catch {
      products = [:]
      isTooLong = true
    }
  }

  /// What matches an alternative of each list, each once, in the order of the first.
  ///
  /// - Parameter both: What matches both; nil: nothing.
  static func intersections<Alternative: Hashable>(
    of left: [Alternative], and right: [Alternative], _ work: inout Work, _ both: (Alternative, Alternative) -> Alternative?
  ) throws(ListTooLong) -> [Alternative] {
    try work.spend(times(left.count, right.count))
    var seen: Set<Alternative> = []
    var result: [Alternative] = []
    for outer in left {
      for inner in right {
        guard let common = both(outer, inner), seen.insert(common).inserted else { continue }
        if result.count == Limits.entriesMax { throw ListTooLong() }
        result.append(common)
      }
    }
    return result
  }

  private static func product(
    _ matches: [Match], _ family: ParsedPacket.Family, _ large: LargeSets, _ work: inout Work
  ) throws(ListTooLong) -> Product? {
    guard let first = matches.first, var whole = try product(first, family, large, &work) else { return nil }
    for match in matches.dropFirst() {
      guard let next = try product(match, family, large, &work) else { return nil }
      whole.sources = try common(whole.sources, next.sources, &work)
      whole.destinations = try common(whole.destinations, next.destinations, &work)
      for list in next.atoms { try whole.restrict(to: list, &work) }
      if whole.count == 0 { return nil }
    }
    return whole
  }

  /// Of all trees; where the same combinations go to several because the rule asks for no address, they count once.
  /// ``countMax`` where a list is too long.
  var entryCount: Int {
    if isTooLong { return Expansion.countMax }
    let counts = products.values.map(\.count)
    return hasAddresses ? counts.reduce(0) { min($0 + $1, Expansion.countMax) } : counts.max() ?? 0
  }

  func appendEntries(from template: CutRule, to forest: inout Forest) {
    if let product = products[.ipv4] { product.forEach(template, .ipv4) { forest.ipv4.append($0) } }
    if let product = products[.ipv6] { product.forEach(template, .ipv6) { forest.ipv6.append($0) } }
    if let product = products[.other] { product.forEach(template, .ipv4) { forest.other.append($0) } }
  }

  private static func product(
    _ match: Match, _ family: ParsedPacket.Family, _ large: LargeSets, _ work: inout Work
  ) throws(ListTooLong) -> Product? {
    if family == .other, match.isOfIPOnly { return nil }
    var lists: [[Atom]] = []
    for (field, condition) in match.numbers.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
      guard let alternatives = field.atoms(condition, family) else { return nil }
      lists.append(alternatives)
    }
    lists.append(protocolAtoms(match.protocols))
    lists.append(portAtoms(match.sourcePorts, .sourcePort))
    lists.append(portAtoms(match.destinationPorts, .destinationPort))
    lists.append(try flagAtoms(match.tcpFlags, &work))
    lists.append(fragmentAtoms(match.fragments))
    lists.append(try match.sourceMACs.ternaries(&work).map { Atom(source: $0.shifted(Int(SLUICE_LINK_SOURCE))) })
    lists.append(try match.destinationMACs.ternaries(&work).map { Atom(destination: $0.shifted(Int(SLUICE_LINK_DESTINATION))) })
    if let hasOptions = match.hasOptions { lists.append([Atom(header: bit(SLUICE_HEADER_OPTIONS, hasOptions))]) }
    // A field without a condition adds nothing.
    lists.removeAll { $0 == [Atom()] }
    guard let ipFamily = family.ipFamily else {
      return Product(sources: [AddressTest()], destinations: [AddressTest()], atoms: lists).ifNotEmpty
    }
    return Product(
      sources: try addressTests(match.sources, ipFamily, large, &work),
      destinations: try addressTests(match.destinations, ipFamily, large, &work), atoms: lists
    ).ifNotEmpty
  }
}

extension Expansion.Product {
  fileprivate var ifNotEmpty: Self? { count == 0 ? nil : self }

  /// Puts another list of alternatives to the others: into the one that is most about the same bits, so that what excludes
  /// each other goes, or beside them.
  fileprivate mutating func restrict(to list: [Atom], _ work: inout Expansion.Work) throws(Expansion.ListTooLong) {
    let subject = Subject(of: list)
    let shared = atoms.map { Subject(of: $0).sharedCount(with: subject) }
    guard let most = shared.max(), most > 0, let index = shared.firstIndex(of: most) else { return atoms.append(list) }
    atoms[index] = try Expansion.intersections(of: atoms[index], and: list, &work) { $0.intersection($1) }
  }

  /// Each combination as an entry of a tree.
  fileprivate func forEach(_ template: CutRule, _ layout: KeyLayout, _ body: (CutRule) -> Void) {
    for source in sources {
      for destination in destinations {
        var entry = template
        entry.setAddresses(source.prefix, destination.prefix, layout)
        entry.ternaries[layout.sets] = source.sets | destination.sets.shifted(32)
        combine(entry, layout, from: 0, body)
      }
    }
  }

  private func combine(_ entry: CutRule, _ layout: KeyLayout, from index: Int, _ body: (CutRule) -> Void) {
    guard index < atoms.count else { return body(entry) }
    for atom in atoms[index] {
      // Flags, for one, are no later fragment's: with that asked for, too, nothing is left.
      if entry.ternaries[layout.header].contradicts(atom.header) { continue }
      if entry.ternaries[layout.link].contradicts(atom.destination) { continue }
      if entry.ternaries[layout.link + 1].contradicts(atom.source) { continue }
      var next = entry
      next.ternaries[layout.header] = next.ternaries[layout.header] | atom.header
      next.ternaries[layout.link] = next.ternaries[layout.link] | atom.destination
      next.ternaries[layout.link + 1] = next.ternaries[layout.link + 1] | atom.source
      if let lane = atom.lane {
        next.low[lane.rawValue] = max(next.low[lane.rawValue], atom.range.low)
        next.high[lane.rawValue] = min(next.high[lane.rawValue], atom.range.high)
        if next.low[lane.rawValue] > next.high[lane.rawValue] { continue }
      }
      combine(next, layout, from: index + 1, body)
    }
  }
}

extension ParsedPacket.Family {
  fileprivate var ipFamily: IPFamily? {
    switch self {
    case .ipv4: .ipv4
    case .ipv6: .ipv6
    case .other: nil
    }
  }
}

extension Match {
  /// Whether packets that come in by the interface can match.
  func canMatch(_ interface: String) -> Bool {
    interfaces.isEmpty || interfaces.contains(interface) != interfaces.isNegated
  }

  /// Whether it asks for something that only packets of IP have.
  fileprivate var isOfIPOnly: Bool {
    !sources.isEmpty || !destinations.isEmpty || !protocols.isEmpty || !fragments.isEmpty || hasOptions != nil
      || numbers.keys.contains(where: \.isOfIP)
  }
}

// MARK: Conditions

private func bit(_ position: Int32, _ isSet: Bool = true) -> Ternary {
  Ternary(value: isSet ? 1 : 0, mask: 1).shifted(Int(position))
}

extension NumberField {
  /// What is left for packets of a family; nil: nothing.
  fileprivate func atoms(_ condition: Condition<NumberRange>, _ family: ParsedPacket.Family) -> [Atom]? {
    let ranges = condition.ranges(most: most, bounds: { ($0.low, $0.high) })
    func ternaries(_ bitCount: Int) -> [Ternary] { ranges.flatMap { Ternary.covering($0, bitCount: bitCount) } }
    func lane(_ lane: Lane) -> [Atom] { ranges.map { Atom(lane: lane, range: $0) } }
    func header(_ shift: Int32, _ bitCount: Int, with tag: Ternary = Ternary()) -> [Atom] {
      ternaries(bitCount).map { Atom(header: $0.shifted(Int(shift)) | tag) }
    }
    switch self {
    case .icmpTypes: return lane(.sourcePort)
    case .icmpCodes: return lane(.destinationPort)
    case .lengths: return lane(.length)
    case .dscp: return header(SLUICE_HEADER_TRAFFIC_CLASS + 2, 6)
    case .ecn: return header(SLUICE_HEADER_TRAFFIC_CLASS, 2)
    case .hopLimits: return header(SLUICE_HEADER_HOP_LIMIT, 8)
    case .vlanIDs: return header(SLUICE_HEADER_VLAN_ID, 12, with: bit(SLUICE_HEADER_VLAN))
    case .vlanPriorities: return header(SLUICE_HEADER_VLAN_PRIORITY, 3, with: bit(SLUICE_HEADER_VLAN))
    case .innerVLANIDs: return header(SLUICE_HEADER_INNER_VLAN_ID, 12, with: bit(SLUICE_HEADER_INNER_VLAN))
    case .innerVLANPriorities:
      return ternaries(3).map {
        Atom(header: bit(SLUICE_HEADER_INNER_VLAN), source: $0.shifted(Int(SLUICE_LINK_INNER_PRIORITY)))
      }
    case .queues: return ternaries(8).map { Atom(source: $0.shifted(Int(SLUICE_LINK_QUEUE))) }
    case .flowLabels:
      if family != .ipv6 { return nil }
      return ternaries(20).map { label in
        Atom(
          destination: Ternary(value: label.value & 0xffff, mask: label.mask & 0xffff),
          source: Ternary(value: label.value >> 16, mask: label.mask >> 16).shifted(Int(SLUICE_LINK_FLOW_LABEL)))
      }
    case .etherTypes:
      let known: EtherType? = family == .ipv4 ? .ipv4 : family == .ipv6 ? .ipv6 : nil
      if let known { return ranges.contains { $0.contains(UInt32(known.rawValue)) } ? [Atom()] : nil }
      return ternaries(16).map { Atom(destination: $0.shifted(Int(SLUICE_LINK_TYPE))) }
    }
  }
}

private func protocolAtoms(_ condition: Condition<IPProtocol>) -> [Atom] {
  if condition.isEmpty { return [Atom()] }
  let ranges = condition.ranges(most: 0xff) { (UInt32($0.rawValue), UInt32($0.rawValue)) }
  return ranges.flatMap { Ternary.covering($0, bitCount: 8) }.map { Atom(header: $0) }
}

private func portAtoms(_ condition: Condition<PortRange>, _ lane: Lane) -> [Atom] {
  if condition.isEmpty { return [Atom()] }
  return condition.ranges(most: 0xffff) { (UInt32($0.low), UInt32($0.high)) }.map { Atom(lane: lane, range: $0) }
}

/// The first eight flags stand in the header word, the ninth in a link word. A later fragment shows none.
private func flagAtoms(_ condition: Condition<TCPFlagTest>, _ work: inout Expansion.Work) throws(Expansion.ListTooLong) -> [Atom] {
  if condition.isEmpty { return [Atom()] }
  return try condition.ternaries(&work).map { flags in
    Atom(
      header: Ternary(value: flags.value & 0xff, mask: flags.mask & 0xff).shifted(Int(SLUICE_HEADER_TCP_FLAGS))
        | bit(SLUICE_HEADER_LATER_FRAGMENT, false),
      source: Ternary(value: flags.value >> 8, mask: flags.mask >> 8).shifted(Int(SLUICE_LINK_ACCURATE_ECN)))
  }
}

private func fragmentAtoms(_ condition: Condition<FragmentTest>) -> [Atom] {
  if condition.isEmpty { return [Atom()] }
  var classes: Set<FragmentTest> = []
  for test in condition { classes.formUnion(test == .any ? [.first, .later] : [test]) }
  if condition.isNegated { classes = Set([.not, .first, .later]).subtracting(classes) }
  return [FragmentTest.not, .first, .later].filter(classes.contains).map { test in
    Atom(header: bit(SLUICE_HEADER_FRAGMENT, test != .not) | bit(SLUICE_HEADER_LATER_FRAGMENT, test == .later))
  }
}

/// What the alternatives of a list ask for: a lane, or bits of the words.
private struct Subject {
  private let lane: Lane?
  private var header: UInt64 = 0
  private var destination: UInt64 = 0
  private var source: UInt64 = 0

  init(of list: [Atom]) {
    lane = list.first?.lane
    for atom in list {
      header |= atom.header.mask
      destination |= atom.destination.mask
      source |= atom.source.mask
    }
  }

  /// How much both ask for: bits, or 1 for a lane.
  func sharedCount(with other: Subject) -> Int {
    if lane != nil || other.lane != nil { return lane == other.lane ? 1 : 0 }
    return (header & other.header).nonzeroBitCount + (destination & other.destination).nonzeroBitCount
      + (source & other.source).nonzeroBitCount
  }
}

extension Atom {
  /// What matches both; nil: nothing.
  fileprivate func intersection(_ other: Atom) -> Atom? {
    if header.contradicts(other.header) || source.contradicts(other.source)
      || destination.contradicts(other.destination)
    {
      return nil
    }
    var both = Atom(
      header: header | other.header, destination: destination | other.destination, source: source | other.source,
      lane: lane)
    guard lane != nil else { return both }
    let (low, high) = (max(range.low, other.range.low), min(range.high, other.range.high))
    if low > high { return nil }
    both.range = NumberRange(low: low, high: high)
    return both
  }
}

/// The prefixes of one family that are left; `nil` is any. Large sets aside.
func prefixes(_ condition: Condition<IPPrefix>, _ family: IPFamily) -> [IPPrefix?] {
  if condition.isEmpty { return [nil] }
  let own = reduced(condition.filter { $0.family == family })
  return condition.isNegated ? complement(own, family) : own
}

/// The prefixes that aren't inside another one of the list, in its order, each once.
private func reduced(_ prefixes: [IPPrefix]) -> [IPPrefix] {
  if prefixes.count > Limits.elementsPerFieldMax {
    // In order of address and length, what lies in another one comes behind it, and behind nothing that doesn't.
    let keys = prefixes.map { (value: $0.address.value, length: $0.length) }
    let order = keys.indices.sorted { (keys[$0].value, keys[$0].length) < (keys[$1].value, keys[$1].length) }
    var result: [IPPrefix] = []
    for index in order {
      if let last = result.last, last.contains(prefixes[index]) { continue }
      result.append(prefixes[index])
    }
    return result
  }
  return prefixes.enumerated().compactMap { index, prefix in
    let isCovered = prefixes.enumerated().contains { otherIndex, other in
      otherIndex != index && other.contains(prefix) && (other != prefix || otherIndex < index)
    }
    return isCovered ? nil : prefix
  }
}

/// The fewest prefixes that hold every address outside of some that don't overlap. More than ``Limits/entriesMax`` aren't
/// looked for.
private func complement(_ prefixes: [IPPrefix], _ family: IPFamily) -> [IPPrefix] {
  var result: [IPPrefix] = []
  func add(_ network: IPPrefix, _ holes: [IPPrefix]) {
    if result.count > Limits.entriesMax { return }
    if holes.isEmpty { return result.append(network) }
    if holes.contains(where: { $0.length <= network.length }) { return }
    let length = network.length + 1
    let upper = IPAddress(
      family: family, value: network.address.value | 1 << UInt128(family.bitCount - length))
    for half in [IPPrefix(network.address, length: length), IPPrefix(upper, length: length)] {
      add(half, holes.filter { half.contains($0) || $0.contains(half) })
    }
  }
  add(IPPrefix(IPAddress(family: family, value: 0), length: 0), prefixes)
  return result
}

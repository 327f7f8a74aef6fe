import CSluiceABI
import Packets
import Rules

/// Compiles a rule set to the trees that the XDP program walks.
///
/// One entry for each combination of a rule's lists whose addresses are of one family; overlapping and adjacent port
/// ranges are joined and prefixes inside others left out before. Disabled rules have no entries.
///
/// - Parameters:
///   - slots: the counter slot of each rule, 1 ..< SLUICE_SLOTS_MAX; asked once per rule.
///   - interfaceIndex: the kernel's index of an interface, nil if there is none of this name.
///   - captureFallback: where a capture rule matches and no socket takes the packet.
public func compile(
  _ ruleSet: RuleSet, slots: (String) -> UInt32, interfaceIndex: (String) -> UInt32?, generation: UInt64,
  captureFallback: Fate
) throws(CompileError) -> CompiledGeneration {
  do throws(InvalidRuleSet) {
    try ruleSet.checkValid()
  } catch {
    throw .invalid(error)
  }
  let rules = ruleSet.rules.filter(\.isEnabled)
  let entryCount = try checkEntryCount(of: rules)

  var forest = Forest()
  var records: [sluice_rule] = []
  for (index, rule) in rules.enumerated() {
    var record = sluice_rule()
    record.action = rule.action.abiAction
    record.slot = slots(rule.name)
    guard (1..<UInt32(SLUICE_SLOTS_MAX)).contains(record.slot) else {
      throw .slotOutOfRange(rule: rule.name, slot: record.slot)
    }
    if let interface = rule.action.redirectInterface {
      guard let interfaceIndex = interfaceIndex(interface) else {
        throw .unknownInterface(rule: rule.name, interface: interface)
      }
      record.redirect_ifindex = interfaceIndex
    }
    records.append(record)
    // Spread over 32 bits: the trees keep the upper half in their slots.
    let priority = UInt32((UInt64(index) + 1) << 32 / (UInt64(rules.count) + 2))
    Expansion(rule.match).appendEntries(from: CutRule(priority: priority, rule: UInt32(index)), to: &forest)
  }
  let header = GenerationHeader(
    generation: generation, defaultAction: ruleSet.defaultAction, captureFallback: captureFallback,
    malformed: ruleSet.malformed)
  return try CompiledGeneration(
    header: header, rules: records, forest: forest, entryCount: entryCount, ruleNames: rules.map(\.name))
}

/// The entries of each tree, in order of priority.
struct Forest {
  var ipv4: [CutRule] = []
  var ipv6: [CutRule] = []
  var other: [CutRule] = []
}

extension Rule {
  /// Entries that the rule takes in a generation; 0 if it is disabled. For rules that are valid by themselves.
  public var entryCount: Int { isEnabled ? Expansion(match).entryCount : 0 }
}

private func checkEntryCount(of rules: [Rule]) throws(CompileError) -> Int {
  let sizes = rules.map { CompileError.RuleSize(rule: $0.name, entries: $0.entryCount) }
  let count = sizes.reduce(0) { $0 + $1.entries }
  guard count > Limits.entriesMax else { return count }
  let biggest = sizes.enumerated().sorted { ($1.element.entries, $0.offset) < ($0.element.entries, $1.offset) }
  throw .tooManyEntries(count: count, limit: Limits.entriesMax, biggest: biggest.prefix(5).map(\.element))
}

/// The lists of a match, reduced, and their combinations.
private struct Expansion {
  /// Source and destination of one family; nil is any.
  private var addresses: [(source: IPPrefix?, destination: IPPrefix?)]
  private var protocols: [IPProtocol?]
  private var sourcePorts: [PortRange?]
  private var destinationPorts: [PortRange?]

  init(_ match: Match) {
    let sources: [IPPrefix?] = match.sources.isEmpty ? [nil] : reduced(match.sources)
    let destinations: [IPPrefix?] = match.destinations.isEmpty ? [nil] : reduced(match.destinations)
    addresses = sources.flatMap { source in
      destinations.compactMap { destination in
        if let source, let destination, source.family != destination.family { return nil }
        return (source, destination)
      }
    }
    var seen: Set<IPProtocol> = []
    protocols = match.protocols.isEmpty ? [nil] : match.protocols.filter { seen.insert($0).inserted }
    sourcePorts = match.sourcePorts.isEmpty ? [nil] : joined(match.sourcePorts)
    destinationPorts = match.destinationPorts.isEmpty ? [nil] : joined(match.destinationPorts)
  }

  /// At most 64⁵.
  var entryCount: Int { addresses.count * protocols.count * sourcePorts.count * destinationPorts.count }

  func appendEntries(from template: CutRule, to forest: inout Forest) {
    for (source, destination) in addresses {
      for number in protocols {
        for sourcePort in sourcePorts {
          for destinationPort in destinationPorts {
            let ports = (source: sourcePort, destination: destinationPort)
            append(template, source, destination, number, ports, to: &forest)
          }
        }
      }
    }
  }

  /// One combination, to the tree of every family that it can match.
  private func append(
    _ template: CutRule, _ source: IPPrefix?, _ destination: IPPrefix?, _ number: IPProtocol?,
    _ ports: (source: PortRange?, destination: PortRange?), to forest: inout Forest
  ) {
    var entry = template
    entry.restrict(.sourcePort, to: ports.source)
    entry.restrict(.destinationPort, to: ports.destination)
    let family = (source ?? destination)?.family
    let header = number.map { Ternary(value: UInt64($0.rawValue), mask: 0xff) } ?? Ternary()
    if family != .ipv6 {
      var entry = entry
      entry.ternaries[0] = Ternary(high: source.ternary32, low: destination.ternary32)
      entry.ternaries[1] = header
      forest.ipv4.append(entry)
      // A packet of no IP has no protocol, and addresses of zeros, which no rule may take for 0.0.0.0.
      if family == nil, number == nil { forest.other.append(entry) }
    }
    if family != .ipv4 {
      (entry.ternaries[0], entry.ternaries[2]) = source.ternary128
      (entry.ternaries[1], entry.ternaries[3]) = destination.ternary128
      entry.ternaries[4] = header
      forest.ipv6.append(entry)
    }
  }
}

extension CutRule {
  fileprivate mutating func restrict(_ lane: Lane, to ports: PortRange?) {
    guard let ports else { return }
    low[lane.rawValue] = UInt32(ports.low)
    high[lane.rawValue] = UInt32(ports.high)
  }
}

extension Ternary {
  /// Two halves of 32 bits.
  fileprivate init(high: Ternary, low: Ternary) {
    self.init(value: high.value << 32 | low.value, mask: high.mask << 32 | low.mask)
  }
}

extension IPPrefix? {
  /// Of an IPv4 prefix, in the low half; nil is any.
  fileprivate var ternary32: Ternary {
    guard let self else { return Ternary() }
    return Ternary(
      value: UInt64(truncatingIfNeeded: self.address.value), mask: UInt64(truncatingIfNeeded: self.mask))
  }

  /// Of an IPv6 prefix; nil is any.
  fileprivate var ternary128: (high: Ternary, low: Ternary) {
    guard let self else { return (Ternary(), Ternary()) }
    func half(_ shift: UInt128) -> Ternary {
      Ternary(
        value: UInt64(truncatingIfNeeded: self.address.value >> shift),
        mask: UInt64(truncatingIfNeeded: self.mask >> shift))
    }
    return (half(64), half(0))
  }
}

/// The prefixes that aren't inside another one of the list, in its order, each once.
private func reduced(_ prefixes: [IPPrefix]) -> [IPPrefix] {
  prefixes.enumerated().compactMap { index, prefix in
    let isCovered = prefixes.enumerated().contains { otherIndex, other in
      otherIndex != index && other.contains(prefix) && (other != prefix || otherIndex < index)
    }
    return isCovered ? nil : prefix
  }
}

/// The same ports in the fewest ranges, upwards.
private func joined(_ ranges: [PortRange]) -> [PortRange] {
  var result: [PortRange] = []
  for range in ranges.sorted(by: { $0.low < $1.low }) {
    if let last = result.last, Int(range.low) <= Int(last.high) + 1 {
      result[result.count - 1] = PortRange(low: last.low, high: max(last.high, range.high))
    } else {
      result.append(range)
    }
  }
  return result
}

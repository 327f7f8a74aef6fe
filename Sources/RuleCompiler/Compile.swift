import CSluiceABI
import Packets
import Rules

/// Compiles a rule set to the table that the XDP program walks.
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
  try checkEntryCount(of: rules)

  var entries: [sluice_entry] = []
  var names: [String] = []
  for rule in rules {
    var template = sluice_entry()
    template.action = rule.action.abiAction
    template.slot = slots(rule.name)
    guard (1..<UInt32(SLUICE_SLOTS_MAX)).contains(template.slot) else {
      throw .slotOutOfRange(rule: rule.name, slot: template.slot)
    }
    if let interface = rule.action.redirectInterface {
      guard let index = interfaceIndex(interface) else {
        throw .unknownInterface(rule: rule.name, interface: interface)
      }
      template.redirect_ifindex = index
    }
    let expansion = Expansion(rule.match)
    template.next = UInt32(entries.count + expansion.entryCount)
    expansion.appendEntries(from: template, to: &entries)
    while names.count < entries.count { names.append(rule.name) }
  }
  let header = GenerationHeader(
    generation: generation, defaultAction: ruleSet.defaultAction, captureFallback: captureFallback,
    malformed: ruleSet.malformed)
  return CompiledGeneration(header: header, entries: entries, entryRuleNames: names)
}

extension Rule {
  /// Entries that the rule takes in a generation; 0 if it is disabled. For rules that are valid by themselves.
  public var entryCount: Int { isEnabled ? Expansion(match).entryCount : 0 }
}

private func checkEntryCount(of rules: [Rule]) throws(CompileError) {
  let sizes = rules.map { CompileError.RuleSize(rule: $0.name, entries: $0.entryCount) }
  let count = sizes.reduce(0) { $0 + $1.entries }
  guard count > Limits.entriesMax else { return }
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

  func appendEntries(from template: sluice_entry, to entries: inout [sluice_entry]) {
    for (source, destination) in addresses {
      for number in protocols {
        for sourcePort in sourcePorts {
          for destinationPort in destinationPorts {
            var entry = template
            entry.restrict(source: source, destination: destination)
            entry.restrict(protocol: number)
            entry.restrict(sourcePort: sourcePort, destinationPort: destinationPort)
            entries.append(entry)
          }
        }
      }
    }
  }
}

extension sluice_entry {
  fileprivate mutating func restrict(source: IPPrefix?, destination: IPPrefix?) {
    if let source {
      source_value = abiWords(family: source.family, source.address.value)
      source_mask = abiWords(family: source.family, source.mask)
    }
    if let destination {
      destination_value = abiWords(family: destination.family, destination.address.value)
      destination_mask = abiWords(family: destination.family, destination.mask)
    }
    if let family = (source ?? destination)?.family {
      families_excluded = UInt8(SLUICE_FAMILY_IPV4 | SLUICE_FAMILY_IPV6 | SLUICE_FAMILY_OTHER) & ~family.abiFamily
    }
  }

  fileprivate mutating func restrict(protocol number: IPProtocol?) {
    guard let number else { return }
    self.protocol = number.rawValue
    protocol_mask = 0xff
    // A packet of no IP has protocol 0 in the program, which is a number too.
    families_excluded |= UInt8(SLUICE_FAMILY_OTHER)
  }

  fileprivate mutating func restrict(sourcePort: PortRange?, destinationPort: PortRange?) {
    source_port_low = sourcePort.map { UInt32($0.low) } ?? UInt32(SLUICE_ANY_PORT_LOW)
    source_port_high = sourcePort.map { UInt32($0.high) } ?? UInt32(SLUICE_ANY_PORT_HIGH)
    destination_port_low = destinationPort.map { UInt32($0.low) } ?? UInt32(SLUICE_ANY_PORT_LOW)
    destination_port_high = destinationPort.map { UInt32($0.high) } ?? UInt32(SLUICE_ANY_PORT_HIGH)
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

import CSluiceABI
import Packets
import Rules

/// Compiles a rule set to the trees that the XDP program walks.
///
/// One entry for each combination of a rule's conditions, see ``Expansion``, in each place that it is asked in, see
/// `RuleSet.flattened`. Disabled rules have no entries.
///
/// - Parameters:
///   - slots: the counter slot of each rule, 1 ..< SLUICE_SLOTS_MAX; asked once for each place of a rule.
///   - interface: where the packets come in; rules for other interfaces have no entries.
///   - interfaceIndex: the kernel's index of an interface, nil if there is none of this name.
///   - captureFallback: where a capture rule matches and no socket takes the packet.
public func compile(
  _ ruleSet: RuleSet, interface: String = "", slots: (String) -> UInt32, interfaceIndex: (String) -> UInt32?, generation: UInt64,
  captureFallback: Fate
) throws(CompileError) -> CompiledGeneration {
  do throws(InvalidRuleSet) {
    try ruleSet.checkValid()
  } catch {
    throw .invalid(error)
  }
  if !ruleSet.isFlat {
    func compiled(with large: LargeSets) throws(CompileError) -> CompiledGeneration {
      try checkElementCount(of: ruleSet, large)
      return try compile(
        ruleSet.flattened(keeping: large.names), of: ruleSet, large, interface: interface, slots: slots,
        interfaceIndex: interfaceIndex, generation: generation, captureFallback: captureFallback)
    }
    let large = try LargeSets(ruleSet)
    do throws(CompileError) {
      return try compiled(with: large)
    } catch .tooManyEntries(let count, let limit, let biggest) {
      // A set that has shrunk in live tables is still looked up there: what decides must also be what can be compiled.
      let more = try LargeSets(ruleSet, keepsMost: true)
      guard more.sets.count > large.sets.count else {
        throw .tooManyEntries(count: count, limit: limit, biggest: biggest)
      }
      do throws(CompileError) { return try compiled(with: more) } catch .tooManyEntries {
        throw .tooManyEntries(count: count, limit: limit, biggest: biggest)
      }
    }
  }
  let entryCount = try checkEntryCount(of: ruleSet.rules)
  let enabledCount = ruleSet.rules.count { $0.isEnabled }

  var forest = Forest()
  var names: [String] = []
  names.reserveCapacity(enabledCount)
  var header = GenerationHeader(
    generation: generation, defaultAction: ruleSet.defaultAction, captureFallback: captureFallback,
    malformed: ruleSet.malformed)
  for rule in ruleSet.rules where rule.isEnabled {
    names.append(rule.name)
    let verdict = try header.verdict(of: rule, slot: slots(rule.name), interfaceIndex: interfaceIndex)
    let priority = rulePriority(at: names.count - 1, of: enabledCount)
    forest.append(rule.match, CutRule(priority: priority, verdict: verdict), interface: interface)
  }
  return try CompiledGeneration(
    header: header, forest: forest, entryCount: entryCount, ruleNames: names, listedNames: names)
}

/// The priority of a rule by its place. Spread over 32 bits: the trees keep the upper half in their slots, and rules that come
/// later find a gap.
func rulePriority(at index: Int, of count: Int) -> UInt32 {
  UInt32((UInt64(index) + 1) * UInt64(SLUICE_PRIORITY_MAX) / (UInt64(count) + 2))
}

/// The entries of each tree, in order of priority.
struct Forest {
  var ipv4: [CutRule] = []
  var ipv6: [CutRule] = []
  var other: [CutRule] = []

  var entryCount: Int { ipv4.count + ipv6.count + other.count }

  /// With the tree that it is in.
  func forEachEntry(_ body: (CutRule, sluice_tree) -> Void) {
    for entry in ipv4 { body(entry, SLUICE_TREE_IPV4) }
    for entry in ipv6 { body(entry, SLUICE_TREE_IPV6) }
    for entry in other { body(entry, SLUICE_TREE_OTHER) }
  }

  /// What a rule's match comes to for packets of the interface.
  ///
  /// - Parameter most: So many entries, as ``Rule/entryCount`` counts them, may be made.
  /// - Returns: False where they are more: nothing was appended.
  @discardableResult
  mutating func append(
    _ match: Match, _ template: CutRule, interface: String, _ large: LargeSets = LargeSets(), most: Int = .max
  ) -> Bool {
    if match.isPlain, append(plain: match, template) { return true }
    guard match.canMatch(interface) else { return true }
    let expansion = Expansion([match], large)
    guard expansion.entryCount <= most else { return false }
    expansion.appendEntries(from: template, to: &self)
    return true
  }

  /// What the entries look at: of `enum sluice_feature`.
  var features: UInt8 {
    var header: UInt64 = 0
    var link: UInt64 = 0
    var sets: UInt64 = 0
    forEachEntry { entry, tree in
      let layout = KeyLayout(tree)
      header |= entry.ternaries[layout.header].mask
      link |= entry.ternaries[layout.link].mask | entry.ternaries[layout.link + 1].mask
      sets |= entry.ternaries[layout.sets].mask
    }
    var features: UInt32 = 0
    if HeaderBits.networkMask & header != 0 { features |= SLUICE_FEATURE_HEADER.rawValue }
    if HeaderBits.tcpMask & header != 0 { features |= SLUICE_FEATURE_TCP_FLAGS.rawValue }
    // The priority of the inner tag stands in a link word, and comes with its tag.
    if HeaderBits.vlanMask & header != 0 { features |= SLUICE_FEATURE_VLAN.rawValue }
    if link != 0 { features |= SLUICE_FEATURE_LINK.rawValue }
    if UInt32(truncatingIfNeeded: sets) != 0 { features |= SLUICE_FEATURE_SOURCE_SETS.rawValue }
    if sets >> 32 != 0 { features |= SLUICE_FEATURE_DESTINATION_SETS.rawValue }
    return UInt8(features)
  }
}

/// Bits of the header word by what the program must be loaded for.
private enum HeaderBits {
  private static func mask(_ shift: Int32, _ bitCount: UInt64) -> UInt64 { ((1 << bitCount) - 1) << UInt64(shift) }

  static let tcpMask = mask(SLUICE_HEADER_TCP_FLAGS, 8)
  static let networkMask =
    mask(SLUICE_HEADER_TRAFFIC_CLASS, 8) | mask(SLUICE_HEADER_HOP_LIMIT, 8) | mask(SLUICE_HEADER_FRAGMENT, 1)
    | mask(SLUICE_HEADER_LATER_FRAGMENT, 1) | mask(SLUICE_HEADER_OPTIONS, 1)
  static let vlanMask =
    mask(SLUICE_HEADER_VLAN, 1) | mask(SLUICE_HEADER_INNER_VLAN, 1) | mask(SLUICE_HEADER_VLAN_PRIORITY, 3)
    | mask(SLUICE_HEADER_VLAN_ID, 12) | mask(SLUICE_HEADER_INNER_VLAN_ID, 12)
}

extension Rule {
  /// Entries that the rule takes in a generation at most, without what chains and sets bring; 0 if it is disabled. For rules
  /// that are valid by themselves.
  public var entryCount: Int { entryCount(LargeSets()) }

  func entryCount(_ large: LargeSets) -> Int { expansionSize(large).entries }

  /// Its entries, and what it takes to count them.
  fileprivate func expansionSize(_ large: LargeSets) -> (entries: Int, work: Int) {
    if !isEnabled { return (0, 0) }
    if match.isPlain && match.familyOfPrefixes != nil { return (1, 1) }
    let expansion = Expansion([match], large)
    return (expansion.entryCount, expansion.work.done)
  }
}

/// The same for rules in each place that they are asked in.
private func compile(
  _ rules: [FlatRule], of ruleSet: RuleSet, _ large: LargeSets, interface: String, slots: (String) -> UInt32,
  interfaceIndex: (String) -> UInt32?, generation: UInt64, captureFallback: Fate
) throws(CompileError) -> CompiledGeneration {
  let (expansions, entryCount) = try expanded(rules, large)
  var forest = Forest()
  var header = GenerationHeader(
    generation: generation, defaultAction: ruleSet.defaultAction, captureFallback: captureFallback,
    malformed: ruleSet.malformed)
  var counting = try CountedSets(ruleSet, large)
  func priority(_ index: Int) -> UInt32 { rulePriority(at: index, of: rules.count) }
  for (index, flat) in rules.enumerated() {
    let verdict: UInt32
    let slot = flat.isEnd ? nil : slots(flat.rule.name)
    if let slot { counting.note(flat.rule.match, slot: slot) }
    switch flat.continuation {
    case .rule(let next):
      // Behind the last rule that its jump leads to, so that what comes there later is asked.
      verdict = try header.verdict(resumingBehind: priority(next - 1), rule: flat.rule, slot: slot)
    case .defaultAction:
      verdict = try header.verdict(resumingBehind: UInt32(SLUICE_PRIORITY_MAX), rule: flat.rule, slot: slot)
    case nil:
      verdict = try header.verdict(of: flat.rule, slot: slot ?? 0, interfaceIndex: interfaceIndex)
    }
    if flat.matches.allSatisfy({ $0.canMatch(interface) }) {
      expansions[index].appendEntries(from: CutRule(priority: priority(index), verdict: verdict), to: &forest)
    }
  }
  return try CompiledGeneration(
    header: header, forest: forest, large: large, counting: counting, entryCount: entryCount,
    ruleNames: rules.map(\.rule.name), listedNames: rules.map(\.listed))
}

/// Of rules that don't take too many entries together. Once they do, their expansions are only counted, and far beyond the limit
/// not even that: each can take a part of a second.
private func expanded(
  _ rules: [FlatRule], _ large: LargeSets
) throws(CompileError) -> (expansions: [Expansion], entryCount: Int) {
  var expansions: [Expansion] = []
  var sizes: [CompileError.RuleSize] = []
  var count = 0
  var budget = WorkBudget()
  for rule in rules {
    let expansion = Expansion(rule.matches, large)
    try budget.spend(expansion.work.done, on: rule.rule.name)
    sizes.append(CompileError.RuleSize(rule: rule.rule.name, entries: expansion.entryCount))
    count = min(count + expansion.entryCount, Expansion.countMax)
    if count > countedEntriesMax { break }
    if count <= Limits.entriesMax { expansions.append(expansion) } else { expansions = [] }
  }
  return (expansions, try checkEntryCount(sizes))
}

/// What the rules of one set may take together before it is refused: some seconds, in which nothing else is changed.
private struct WorkBudget {
  private static let max = 1 << 28
  private var done = 0
  private var costliest = (rule: "", work: 0)

  mutating func spend(_ work: Int, on rule: String) throws(CompileError) {
    done += work
    if work > costliest.work { costliest = (rule, work) }
    if done > WorkBudget.max { throw .tooCostly(rule: costliest.rule) }
  }
}

/// Entries in chains that are counted before the rest of the rules is not.
private let countedEntriesMax = 16 * Limits.entriesMax

/// Before sets are put in place of their names: so many elements that the rules must take too many entries, one for each.
private func checkElementCount(of ruleSet: RuleSet, _ large: LargeSets) throws(CompileError) {
  let sizes = ruleSet.resolvedElementCounts(keeping: large.names).map { CompileError.RuleSize(rule: $0.rule, entries: $0.count) }
  guard sizes.reduce(0, { min($0 + $1.entries, Expansion.countMax) }) > resolvedElementsMax else { return }
  _ = try checkEntryCount(sizes)
}

/// Elements of sets in the rules of a flattened list, 48 bytes each: 16 for an entry, as prefixes may lie in each other.
let resolvedElementsMax = 16 * Limits.entriesMax

private func checkEntryCount(of rules: RuleList) throws(CompileError) -> Int {
  var count = 0
  var budget = WorkBudget()
  for rule in rules {
    let size = rule.expansionSize(LargeSets())
    count = min(count + size.entries, Expansion.countMax)
    try budget.spend(size.work, on: rule.name)
  }
  guard count > Limits.entriesMax else { return count }
  return try checkEntryCount(rules.map { CompileError.RuleSize(rule: $0.name, entries: $0.entryCount) })
}

/// - Parameter parts: of rules, some of which may be there more than once.
private func checkEntryCount(_ parts: [CompileError.RuleSize]) throws(CompileError) -> Int {
  let count = parts.reduce(0) { min($0 + $1.entries, Expansion.countMax) }
  guard count > Limits.entriesMax else { return count }
  var sizes: [CompileError.RuleSize] = []
  var places: [String: Int] = [:]
  for part in parts {
    if let place = places[part.rule] {
      sizes[place].entries = min(sizes[place].entries + part.entries, Expansion.countMax)
    } else {
      places[part.rule] = sizes.count
      sizes.append(part)
    }
  }
  let biggest = sizes.enumerated().sorted { ($1.element.entries, $0.offset) < ($0.element.entries, $1.offset) }
  throw .tooManyEntries(count: count, limit: Limits.entriesMax, biggest: biggest.prefix(5).map(\.element))
}

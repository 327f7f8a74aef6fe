import CSluiceABI
import Rules

/// A rule of the rule set's own list, with what ``GenerationEditor`` must know of it.
public struct EditedRule {
  /// Enabled and valid. Of sets it names those at most that are in the tables, see ``CompiledGeneration/largeSetNames``.
  public let rule: Rule
  /// Its counter slot, below the program's slot count; of a rule that is new there: cleared.
  public let slot: UInt32
  /// Of the interface that it redirects to.
  public let targetIndex: UInt32?

  public init(_ rule: Rule, slot: UInt32, targetIndex: UInt32? = nil) {
    self.rule = rule
    self.slot = slot
    self.targetIndex = targetIndex
  }
}

/// Changes a live generation by one rule at a time, in the tables, while packets walk them.
///
/// Each packet is decided with the rule or without it, never by half: it meets an entry in one leaf at most, and a leaf is
/// exchanged by one store of its slot. Entries of one rule decide alike, so a packet that meets some of them already and
/// others not yet is decided by the rule all the same. What can't be done so (no room, no gap between two priorities, a leaf that is full, a
/// rule that looks at more than the program reads, or leads into a chain) is refused, and the caller compiles anew. The bounds of
/// the walk hold whatever is inserted: they were proven with every leaf grown to ``recordsMax``.
///
/// One thread at a time; the only one that writes the generation's half.
public struct GenerationEditor {
  /// Why the rule set must be compiled anew instead.
  public enum Refusal: Error, Hashable, Sendable {
    /// The walk's bounds are not proven for trees that grow.
    case notEditable
    /// The rule looks at what the program doesn't read, redirects to where none did, is one rule too many that counts and goes
    /// on, has to do with chains, or takes more than ``GenerationEditor/entriesMax`` entries.
    case needsMore
    /// No priority is left between its neighbours.
    case noGap
    /// A leaf on its way is full, also if it is the rule's own and long; or the tables are; or it is in too many leaves.
    case noRoom
    /// The rule is not there.
    case unknownRule
  }

  /// Of one rule.
  static let entriesMax = 64
  /// A leaf has so many records at most after an insertion.
  static let recordsMax = 16
  /// Children of one cut that a rule goes to; wider ones go to the residual.
  static let childrenMax = 16
  /// Leaves that one rule goes to, and slots that are looked at to find it.
  static let leavesMax = 256
  static let searchMax = 4096

  private let features: UInt8
  private let isEditable: Bool
  private let interface: String
  private let large: LargeSets
  private let targets: [UInt32]
  private let passCountMax: Int
  let builtEnd: Int
  var space: RecordSpace
  /// Of the change under way.
  var way = Way()
  var renewed: [RenewedLeaf] = []
  /// Rules behind which packets go on.
  private var passCount: Int
  /// Of the rules of the own list; of those that lead into chains, from the first to the last there.
  private var priorities: [String: ClosedRange<UInt32>]
  /// Of the rules in the tables, those in chains as often as the chain is led to.
  public private(set) var ruleCount: Int
  /// Whether the tables have a rule that should have gone and could not: only another generation makes that good.
  public private(set) var isTorn = false

  /// - Parameters:
  ///   - interface: As it was compiled for.
  ///   - wordCount: Of the half of the tables that the generation is in.
  public init(_ compiled: CompiledGeneration, interface: String = "", wordCount: Int) {
    features = compiled.features
    isEditable = compiled.isEditable
    self.interface = interface
    large = LargeSets(places: compiled.large)
    targets = compiled.targets
    passCount = compiled.passCount
    passCountMax = compiled.passCountMax
    builtEnd = compiled.words.count + Int(SLUICE_TABLES_HEADER_BYTES) / 8
    space = RecordSpace(from: builtEnd, to: wordCount)
    ruleCount = compiled.ruleNames.count
    priorities = Dictionary(minimumCapacity: compiled.listedNames.count)
    for (index, name) in compiled.listedNames.enumerated() {
      let priority = rulePriority(at: index, of: compiled.listedNames.count)
      let first = priorities[name]?.lowerBound ?? priority
      priorities[name] = first...priority
    }
  }

  /// Behind the last word that it may have written, in the half.
  public var wordEnd: Int { space.next }

  /// Whoever reads what was replaced up to now is gone when the grace period that begins now ends (some 10 ms: not to be
  /// waited for by who edits). One at a time.
  public mutating func beginGracePeriod() { space.beginGracePeriod() }

  /// There is room again where the records were that were replaced before it began.
  public mutating func endGracePeriod() { space.endGracePeriod() }

  /// Whether a rule of the own list is in the tables, or leads to such. What can't match, because of an empty set, is not.
  public func has(_ rule: String) -> Bool { priorities[rule] != nil }

  /// Inserts a rule between two that it has; nil: before the first, behind the last.
  public mutating func insert(
    _ edited: EditedRule, after: String?, before: String?, in memory: some TableMemory
  ) throws(Refusal) {
    guard priorities[edited.rule.name] == nil else { throw .needsMore }
    let priority = try priority(after: after, before: before)
    try checkPasses(of: edited.rule)
    try insert(try sought(edited, priority), memory)
    note(edited.rule, priority)
  }

  /// Removes a rule that is there, as it was compiled or inserted.
  public mutating func remove(_ edited: EditedRule, from memory: some TableMemory) throws(Refusal) {
    try remove(try sought(edited, try priority(of: edited.rule.name)), memory)
    forget(edited.rule)
  }

  /// Puts a rule with the same match in the place of one that is there: each packet is decided by the one or the other.
  public mutating func replace(
    _ old: EditedRule, by new: EditedRule, in memory: some TableMemory
  ) throws(Refusal) {
    precondition(old.rule.match == new.rule.match, "another match has other leaves")
    guard new.rule.name == old.rule.name || priorities[new.rule.name] == nil else { throw .needsMore }
    let priority = try priority(of: old.rule.name)
    try checkPasses(of: new.rule)
    try replace(try sought(old, priority), by: try sought(new, priority), memory)
    forget(old.rule)
    note(new.rule, priority)
  }

  /// Puts a rule between two that are there, and then takes one out, so that each packet is decided by one of them at least.
  /// In between is a grace period: there may be no other.
  ///
  /// - Parameters:
  ///   - after: Neighbours without the rule that goes, as in ``insert(_:after:before:in:)``.
  ///   - waiting: Returns when no packet is under way any more that was at its begin.
  public mutating func exchange(
    _ old: EditedRule, for new: EditedRule, after: String?, before: String?, in memory: some TableMemory, waiting: () -> Void
  ) throws(Refusal) {
    guard new.rule.name == old.rule.name || priorities[new.rule.name] == nil else { throw .needsMore }
    // One that lets packets go on would count them, and the other one would, too.
    guard old.rule.action != .count, new.rule.action != .count else { throw .needsMore }
    let oldPriority = try self.priority(of: old.rule.name)
    // Another one, so that no record of the new rule is one of the old: that would go with it.
    let priority = try priority(after: after, before: before, not: oldPriority)
    let entries = try sought(old, oldPriority)
    try checkRemovable(entries, memory)
    try insert(try sought(new, priority), memory)
    // Who met the new one's leaf before it was there must not miss the old one.
    beginGracePeriod()
    waiting()
    endGracePeriod()
    do throws(Refusal) {
      try remove(entries, memory)
    } catch {
      isTorn = true
      throw .needsMore
    }
    forget(old.rule)
    note(new.rule, priority)
  }

  private mutating func note(_ rule: Rule, _ priority: UInt32) {
    priorities[rule.name] = priority...priority
    ruleCount += 1
    if rule.action == .count { passCount += 1 }
  }

  private mutating func forget(_ rule: Rule) {
    priorities[rule.name] = nil
    ruleCount -= 1
    if rule.action == .count { passCount -= 1 }
  }

  /// Whether there may be one more behind which packets go on.
  private func checkPasses(of rule: Rule) throws(Refusal) {
    guard rule.action == .count else { return }
    guard features & UInt8(SLUICE_FEATURE_COUNT.rawValue) != 0, passCount < passCountMax else { throw .needsMore }
  }

  /// Behind the one, before the other.
  private func priority(after: String?, before: String?, not taken: UInt32? = nil) throws(Refusal) -> UInt32 {
    let low = try after.map { (name) throws(Refusal) in try priorities(of: name).upperBound } ?? 0
    let high = try before.map { (name) throws(Refusal) in try priorities(of: name).lowerBound } ?? UInt32(SLUICE_PRIORITY_MAX)
    guard high > low, high - low >= 2 else { throw .noGap }
    let middle = low + (high - low) / 2
    guard middle == taken else { return middle }
    guard high - low >= 3 else { throw .noGap }
    return middle + 1 < high ? middle + 1 : middle - 1
  }

  private func sought(_ edited: EditedRule, _ priority: UInt32) throws(Refusal) -> [SoughtEntry] {
    guard isEditable, !isTorn else { throw .notEditable }
    let rule = edited.rule
    guard rule.isEnabled, rule.action.chain == nil, rule.action != .leave else { throw .needsMore }
    var verdict =
      edited.slot << UInt32(SLUICE_LABEL_SLOT) | UInt32(rule.action.abiAction) << UInt32(SLUICE_LABEL_ACTION)
    if rule.action.redirectInterface != nil {
      guard let target = targets.firstIndex(where: { $0 == edited.targetIndex }) else { throw .needsMore }
      verdict |= UInt32(target) << UInt32(SLUICE_LABEL_TARGET)
    }
    var forest = Forest()
    let entry = CutRule(priority: priority, verdict: verdict)
    guard forest.append(rule.match, entry, interface: interface, large, most: Self.entriesMax),
      forest.features & ~features == 0, forest.entryCount <= Self.entriesMax
    else { throw .needsMore }
    var result: [SoughtEntry] = []
    result.reserveCapacity(forest.entryCount)
    forest.forEachEntry { result.append(SoughtEntry($0, $1)) }
    return result
  }

  private func priorities(of name: String) throws(Refusal) -> ClosedRange<UInt32> {
    guard let priorities = priorities[name] else { throw .unknownRule }
    return priorities
  }

  /// Of a rule that leads into no chain.
  private func priority(of name: String) throws(Refusal) -> UInt32 { try priorities(of: name).lowerBound }
}

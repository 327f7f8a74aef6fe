import CSluiceABI
import Rules

/// Changes a live generation by one rule at a time, in the tables, while packets walk them.
///
/// Each packet is decided with the rule or without it, never by half: it meets an entry in one leaf at most, and a leaf is
/// exchanged by one store of its slot. Entries of one rule decide alike, so a packet that meets some of them already and
/// others not yet is decided by the rule all the same. What can't be done so (no room, no gap between two priorities, a leaf that is full, a
/// rule that looks at more than the program reads) is refused, and the caller compiles anew. The bounds of the walk hold
/// whatever is inserted: they were proven with every leaf grown to ``recordsMax``.
///
/// One thread at a time; the only one that writes the generation's half.
public struct GenerationEditor {
  /// Why the rule set must be compiled anew instead.
  public enum Refusal: Error, Hashable, Sendable {
    /// The walk's bounds are not proven for trees that grow.
    case notEditable
    /// The rule looks at what the program doesn't read or at sets, redirects, counts and goes on, or takes more than
    /// ``GenerationEditor/entriesMax`` entries.
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
  let builtEnd: Int
  var space: RecordSpace
  private var priorities: [String: UInt32]
  /// Whether the tables have a rule that should have gone and could not: only another generation makes that good.
  public private(set) var isTorn = false

  /// - Parameter wordCount: Of the half of the tables that the generation is in.
  public init(_ compiled: CompiledGeneration, wordCount: Int) {
    features = compiled.features
    isEditable = compiled.isEditable
    builtEnd = compiled.words.count + Int(SLUICE_TABLES_HEADER_BYTES) / 8
    space = RecordSpace(from: builtEnd, to: wordCount)
    priorities = Dictionary(minimumCapacity: compiled.ruleNames.count)
    for (index, name) in compiled.ruleNames.enumerated() {
      priorities[name] = rulePriority(at: index, of: compiled.ruleNames.count)
    }
  }

  /// Behind the last word that it may have written, in the half.
  public var wordEnd: Int { space.next }

  /// Whoever reads what was replaced up to now is gone when the grace period that begins now ends (some 10 ms: not to be
  /// waited for by who edits). One at a time.
  public mutating func beginGracePeriod() { space.beginGracePeriod() }

  /// There is room again where the records were that were replaced before it began.
  public mutating func endGracePeriod() { space.endGracePeriod() }

  /// Inserts an enabled, valid rule between two that are there; nil: before the first, behind the last.
  ///
  /// - Parameter slot: Its counter slot, below the program's slot count, and cleared.
  public mutating func insert(
    _ rule: Rule, slot: UInt32, after: String?, before: String?, interface: String = "",
    in memory: some TableMemory
  ) throws(Refusal) {
    guard priorities[rule.name] == nil else { throw .needsMore }
    let priority = try priority(after: after, before: before)
    try insert(try sought(rule, slot: slot, priority: priority, interface: interface), memory)
    priorities[rule.name] = priority
  }

  /// Removes a rule that is there.
  ///
  /// - Parameters:
  ///   - rule: As it was compiled or inserted.
  ///   - slot: Its counter slot.
  public mutating func remove(
    _ rule: Rule, slot: UInt32, interface: String = "", from memory: some TableMemory
  ) throws(Refusal) {
    let entries = try sought(rule, slot: slot, priority: try priority(of: rule.name), interface: interface)
    try remove(entries, memory)
    priorities[rule.name] = nil
  }

  /// Puts a rule with the same match in the place of one that is there: each packet is decided by the one or the other.
  public mutating func replace(
    _ rule: Rule, slot: UInt32, by new: Rule, newSlot: UInt32, interface: String = "", in memory: some TableMemory
  ) throws(Refusal) {
    precondition(rule.match == new.match, "another match has other leaves")
    guard new.name == rule.name || priorities[new.name] == nil else { throw .needsMore }
    let priority = try priority(of: rule.name)
    let old = try sought(rule, slot: slot, priority: priority, interface: interface)
    try replace(old, by: try sought(new, slot: newSlot, priority: priority, interface: interface), memory)
    priorities[rule.name] = nil
    priorities[new.name] = priority
  }

  /// Puts a rule between two that are there, and then takes one out, so that each packet is decided by one of them at least.
  /// In between is a grace period: there may be no other.
  ///
  /// - Parameters:
  ///   - after: Neighbours without the rule that goes, as in ``insert(_:slot:after:before:interface:in:)``.
  ///   - waiting: Returns when no packet is under way any more that was at its begin.
  public mutating func exchange(
    _ rule: Rule, slot: UInt32, for new: Rule, newSlot: UInt32, after: String?, before: String?, interface: String = "",
    in memory: some TableMemory, waiting: () -> Void
  ) throws(Refusal) {
    guard new.name == rule.name || priorities[new.name] == nil else { throw .needsMore }
    let oldPriority = try self.priority(of: rule.name)
    // Another one, so that no record of the new rule is one of the old: that would go with it.
    let priority = try priority(after: after, before: before, not: oldPriority)
    let old = try sought(rule, slot: slot, priority: oldPriority, interface: interface)
    try checkRemovable(old, memory)
    try insert(try sought(new, slot: newSlot, priority: priority, interface: interface), memory)
    // Who met the new one's leaf before it was there must not miss the old one.
    beginGracePeriod()
    waiting()
    endGracePeriod()
    do throws(Refusal) {
      try remove(old, memory)
    } catch {
      isTorn = true
      throw .needsMore
    }
    priorities[rule.name] = nil
    priorities[new.name] = priority
  }

  /// Behind the one, before the other.
  private func priority(after: String?, before: String?, not taken: UInt32? = nil) throws(Refusal) -> UInt32 {
    let low: UInt32 = if let after { try priority(of: after) } else { 0 }
    let high: UInt32 = if let before { try priority(of: before) } else { UInt32(SLUICE_PRIORITY_MAX) }
    guard high > low, high - low >= 2 else { throw .noGap }
    let middle = low + (high - low) / 2
    guard middle == taken else { return middle }
    guard high - low >= 3 else { throw .noGap }
    return middle + 1 < high ? middle + 1 : middle - 1
  }

  private func sought(
    _ rule: Rule, slot: UInt32, priority: UInt32, interface: String
  ) throws(Refusal) -> [SoughtEntry] {
    guard isEditable, !isTorn else { throw .notEditable }
    guard rule.isEnabled, rule.action != .count, rule.action.redirectInterface == nil, !rule.namesOthers else {
      throw .needsMore
    }
    let verdict = slot << UInt32(SLUICE_LABEL_SLOT) | UInt32(rule.action.abiAction) << UInt32(SLUICE_LABEL_ACTION)
    var forest = Forest()
    forest.append(rule.match, CutRule(priority: priority, verdict: verdict), interface: interface)
    guard forest.features & ~features == 0, forest.entryCount <= Self.entriesMax else { throw .needsMore }
    var result: [SoughtEntry] = []
    for (tree, entries) in forest.trees.enumerated() {
      for entry in entries { result.append(try SoughtEntry(entry, tree)) }
    }
    return result
  }

  private func priority(of name: String) throws(Refusal) -> UInt32 {
    guard let priority = priorities[name] else { throw .unknownRule }
    return priority
  }
}

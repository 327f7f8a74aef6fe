import CSluiceABI
import Rules

/// Changes a live generation by one rule at a time, in the tables, while packets walk them.
///
/// Each packet is decided with the rule or without it, never by half: it meets an entry in one leaf at most, and a leaf is
/// exchanged by one store of its slot. What can't be done so (no room, no gap between two priorities, a leaf that is full, a
/// rule that looks at more than the program reads) is refused, and the caller compiles anew. The bounds of the walk hold
/// whatever is inserted: they were proven with every leaf grown to ``recordsMax``.
///
/// One thread at a time; the only one that writes the generation's half.
public struct GenerationEditor {
  /// Why the rule set must be compiled anew instead.
  public enum Refusal: Error, Hashable, Sendable {
    /// The walk's bounds are not proven for trees that grow.
    case notEditable
    /// The rule looks at what the program doesn't read, redirects, counts and goes on, or takes more than one entry: those
    /// couldn't be taken back together if the last finds no room.
    case needsMore
    /// No priority is left between its neighbours.
    case noGap
    /// A leaf on its way is full, also if it is the rule's own and long; or the tables are; or it is in too many leaves.
    case noRoom
    /// The rule is not there.
    case unknownRule
  }

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
    guard isEditable else { throw .notEditable }
    guard rule.action != .count, rule.action.redirectInterface == nil, rule.isEnabled, priorities[rule.name] == nil else {
      throw .needsMore
    }
    let low: UInt32 = if let after { try priority(of: after) } else { 0 }
    let high: UInt32 = if let before { try priority(of: before) } else { UInt32(SLUICE_PRIORITY_MAX) }
    guard high > low, high - low >= 2 else { throw .noGap }
    let middle = low + (high - low) / 2
    let forest = entries(of: rule, slot: slot, priority: middle, interface: interface)
    guard forest.features & ~features == 0, forest.entryCount <= 1 else { throw .needsMore }
    for (tree, entries) in forest.trees.enumerated() {
      for entry in entries { try insert(entry, tree, memory) }
    }
    priorities[rule.name] = middle
  }

  /// Removes a rule that is there.
  ///
  /// - Parameters:
  ///   - rule: As it was compiled or inserted.
  ///   - slot: Its counter slot.
  public mutating func remove(
    _ rule: Rule, slot: UInt32, interface: String = "", from memory: some TableMemory
  ) throws(Refusal) {
    guard isEditable else { throw .notEditable }
    guard rule.action != .count, rule.action.redirectInterface == nil else { throw .needsMore }
    let forest = entries(of: rule, slot: slot, priority: try priority(of: rule.name), interface: interface)
    guard forest.entryCount <= 1 else { throw .needsMore }
    for (tree, entries) in forest.trees.enumerated() {
      for entry in entries { try remove(entry, tree, memory) }
    }
    priorities[rule.name] = nil
  }

  private func entries(of rule: Rule, slot: UInt32, priority: UInt32, interface: String) -> Forest {
    let verdict = slot << UInt32(SLUICE_LABEL_SLOT) | UInt32(rule.action.abiAction) << UInt32(SLUICE_LABEL_ACTION)
    var forest = Forest()
    forest.append(rule.match, CutRule(priority: priority, verdict: verdict), interface: interface)
    return forest
  }

  private func priority(of name: String) throws(Refusal) -> UInt32 {
    guard let priority = priorities[name] else { throw .unknownRule }
    return priority
  }
}

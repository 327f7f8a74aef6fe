import CSluiceABI
import LinuxSystem
import RuleCompiler
import Rules
import XDPPrograms

extension LiveHalf: TableMemory {}

/// What inserting and deleting one rule takes in tables that are live, single calls on this thread.
struct RuleUpdates {
  /// Nanoseconds, ascending.
  private(set) var inserts: [UInt64] = []
  private(set) var deletes: [UInt64] = []
  /// Updates that need the rule set to be compiled anew.
  private(set) var refused = 0
  /// The rule set without what could not be put back in place.
  private(set) var ruleSet: RuleSet

  private static let count = 4000
  /// Tables that are full wait for grace periods, of some 10 ms each.
  private static let budgetNanoseconds: UInt64 = 5_000_000_000

  /// Of none.
  init(ruleSet: RuleSet) { self.ruleSet = ruleSet }

  /// Takes a rule out and puts it back at its place, one after the other, rules by chance. Afterwards the tables decide by
  /// ``ruleSet``.
  static func measure(
    _ ruleSet: RuleSet, _ generation: CompiledGeneration, _ half: LiveHalf, slots: [String: UInt32], seed: UInt64
  ) throws -> RuleUpdates {
    var editor = GenerationEditor(generation, wordCount: half.wordCount)
    var random = SplitMix(state: seed)
    var updates = RuleUpdates(ruleSet: ruleSet)
    updates.ruleSet.rules.removeAll { !$0.isEnabled }
    if !generation.isEditable { return updates }
    let period = try GracePeriod()
    let start = SystemClock.monotonicNanoseconds()
    for _ in 0..<count where SystemClock.monotonicNanoseconds() - start < budgetNanoseconds {
      let rules = updates.ruleSet.rules
      if rules.isEmpty { break }
      period.turn(&editor)
      let index = Int.random(in: rules.indices, using: &random)
      let rule = rules[index]
      let slot = slots[rule.name] ?? 0
      do throws(GenerationEditor.Refusal) {
        let start = SystemClock.monotonicNanoseconds()
        try editor.remove(EditedRule(rule, slot: slot), from: half)
        let middle = SystemClock.monotonicNanoseconds()
        updates.deletes.append(middle - start)
      } catch {
        updates.refused += 1
        period.wait(&editor)
        continue
      }
      var attempts = 0
      while true {
        do throws(GenerationEditor.Refusal) {
          let start = SystemClock.monotonicNanoseconds()
          try editor.insert(
            EditedRule(rule, slot: slot), after: index > 0 ? rules[index - 1].name : nil,
            before: index + 1 < rules.count ? rules[index + 1].name : nil, in: half)
          updates.inserts.append(SystemClock.monotonicNanoseconds() - start)
          break
        } catch {
          // The tables may be full of records that wait for a grace period.
          attempts += 1
          guard error == .noRoom, attempts < 3 else {
            updates.refused += 1
            updates.ruleSet.rules.remove(at: index)
            break
          }
          period.wait(&editor)
        }
      }
    }
    period.wait(&editor)
    updates.inserts.sort()
    updates.deletes.sort()
    return updates
  }
}

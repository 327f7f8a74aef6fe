import Rules
import Synchronization

/// Rule sets that were found valid lately. One that comes from them by a rule is valid where that rule is: a change of one
/// among a hundred thousand looks at one.
final class ValidRuleSets: Sendable {
  /// Each of another name.
  static let countMax = 4

  /// The latest last.
  private let known = Mutex<[RuleSet]>([])

  /// Throws what makes the set unusable, as ``Rules/RuleSet/check()``.
  func check(_ ruleSet: RuleSet) throws {
    let former = known.withLock { $0.first { $0.name == ruleSet.name } }
    if former.map(ruleSet.isEvidentlyValid(after:)) != true { try ruleSet.check() }
    add(ruleSet)
  }

  func add(_ valid: RuleSet) {
    known.withLock { known in
      known.removeAll { $0.name == valid.name }
      if known.count == Self.countMax { known.removeFirst() }
      known.append(valid)
    }
  }
}

import Packets
import Rules

/// Why a rule set doesn't become a generation.
public enum CompileError: Error, Hashable, Sendable, CustomStringConvertible {
  /// It has errors; see ``RuleSet/validate()``.
  case invalid(InvalidRuleSet)
  /// Its rules expand to more entries than a generation holds. `biggest`: the rules with the most, at most five. Where chains and
  /// sets bring very many, only those up to 16 times the limit may be counted.
  case tooManyEntries(count: Int, limit: Int, biggest: [RuleSize])
  /// Too many steps are needed to find out what the lists of the rules come to; `rule`: the one with the most of those looked at.
  case tooCostly(rule: String)
  /// The rules need a longer walk, or more memory, than the program allows; see SLUICE_STEPS_MAX, SLUICE_CALLS_MAX and
  /// SLUICE_PENDING_SLOTS. `counting`: how many rules count and let packets go on, after each of which the walk begins anew.
  /// `rules`: the first of these, where they are the cause, or of the most rules that no cut of the tree could part.
  case tooComplex(steps: Int, counting: Int, pending: Int, byteCount: Int, rules: [String])
  /// More sets than a packet's addresses are looked up in: SLUICE_SETS_MAX.
  case tooManyLargeSets(count: Int)
  /// Elements of large sets are in each other's way in the tables, which doesn't come about by chance.
  case crowdedSets
  /// Two sets whose elements count get the same number for their names, which doesn't come about by chance.
  case alikeSetNames([String])
  /// A rule redirects to an interface that isn't there.
  case unknownInterface(rule: String, interface: String)
  /// The caller gave a rule a counter slot that isn't one for rules.
  case slotOutOfRange(rule: String, slot: UInt32)

  /// So many rules are named where more are at fault.
  static let namedRulesMax = 5

  public struct RuleSize: Hashable, Sendable {
    public var rule: String
    public var entries: Int
    public init(rule: String, entries: Int) {
      self.rule = rule
      self.entries = entries
    }
  }

  public var description: String {
    switch self {
    case .invalid(let error):
      return error.description
    case .tooManyEntries(let count, let limit, let biggest):
      func text(_ count: Int) -> String { count < Expansion.countMax ? "\(count)" : "far more than \(limit)" }
      let rules = biggest.map { "\($0.rule) (\(text($0.entries)))" }.joined(separator: ", ")
      return "the rules expand to \(text(count)) entries and entries_max is \(limit); a rule takes one for each combination "
        + "of its lists; the biggest are \(rules): use wider prefixes and port ranges there"
    case .tooCostly(let rule):
      return "finding out what the lists of the rules come to takes too long, most of all of \(rule): use shorter lists behind "
        + "`!=`, masks that do not cross, and fewer lists on the way of a jump to other lists"
    case .tooComplex(let steps, let counting, let pending, let byteCount, let rules):
      return "the rules overlap too much: a packet's search could take \(steps) steps with \(pending) branches waiting, once "
        + "more for each of \(counting) counting rules, and \(byteCount >> 20) MiB; allowed are 1024 steps (32,768 for all "
        + "counting rules together), 15 and 511 MiB: use fewer rules whose ranges and prefixes cross, or that count; the first of those at fault "
        + "are \(rules.joined(separator: ", "))"
    case .tooManyLargeSets(let count):
      return "rules name \(count) sets of more than \(Limits.expandedSetElementsMax) elements, or with counters, and large_sets_max is "
        + "\(Limits.largeSetsMax): put some of them together"
    case .crowdedSets:
      return "the elements of the large sets are chosen so that they crowd the same places of the tables: leave some out, or put "
        + "adjacent prefixes together"
    case .alikeSetNames(let names):
      return "the counters of the sets \(names.joined(separator: " and ")) would be mixed up: give one of them another name"
    case .unknownInterface(let rule, let interface):
      return "rule \(rule) redirects to \(ValueTextError.excerpt(interface)), and there is no such interface"
    case .slotOutOfRange(let rule, let slot):
      return "rule \(rule) has counter slot \(slot), which is not one of a rule"
    }
  }
}

public import Packets

/// How far somebody may write rules who was given a part of the network only.
///
/// He may add, change, move and remove rules whose every destination lies in his prefixes and whose action is one of
/// his; every other rule keeps its content and its place among the others, and so does what the set says besides its
/// rules.
/// A rule within the limits decides about packets to his own prefixes only, wherever in the list it stands.
public struct DelegationLimits: Hashable, Sendable, Codable {
  public static let prefixesMax = 64

  /// Nil: any destination, and none at all.
  public var destinations: [IPPrefix]?
  /// Names of ``Action``; nil: any.
  public var actions: [String]?

  public init(destinations: [IPPrefix]? = nil, actions: [String]? = nil) {
    self.destinations = destinations
    self.actions = actions
  }

  /// Whether whoever has these limits could do everything that one with the others could.
  public func covers(_ other: DelegationLimits) -> Bool {
    let destinationsAreCovered =
      destinations.map { own in
        other.destinations.map { others in others.allSatisfy { inner in own.contains { $0.contains(inner) } } } ?? false
      } ?? true
    let actionsAreCovered = actions.map { own in other.actions.map { Set(own).isSuperset(of: $0) } ?? false } ?? true
    return destinationsAreCovered && actionsAreCovered
  }

  /// What of a rule is beyond the limits; empty if nothing is. Paths are relative to the rule.
  public func faults(of rule: Rule) -> [DelegationFault] {
    var faults: [DelegationFault] = []
    if let destinations {
      let allowed = destinations.map(\.description).joined(separator: ", ")
      // All but some addresses are more than anybody's own.
      if rule.match.destinations.isEmpty || rule.match.destinations.isNegated {
        faults.append(
          DelegationFault(path: "match.destinations", message: "must name destinations within \(allowed)"))
      }
      // A set's elements may change without the rule.
      for name in rule.match.destinations.sets {
        faults.append(
          DelegationFault(path: "match.destinations", message: "@\(name) is a set; name prefixes within \(allowed)"))
      }
      let sets = rule.match.destinations.sets.count
      for (index, destination) in rule.match.destinations.elements.enumerated()
      where !destinations.contains(where: { $0.contains(destination) }) {
        faults.append(
          DelegationFault(path: "match.destinations[\(sets + index)]", message: "\(destination) is not within \(allowed)"))
      }
    }
    if let actions, !actions.contains(rule.action.name) {
      faults.append(
        DelegationFault(
          path: "action", message: "\(rule.action.name) is not one of \(actions.joined(separator: ", "))"))
    }
    return faults
  }
}

/// One thing that is beyond somebody's limits, and where.
public struct DelegationFault: Hashable, Sendable, CustomStringConvertible {
  /// `rules[3].match.destinations[0]`; empty for the rule set itself.
  public var path: String
  public var message: String

  public init(path: String, message: String) {
    self.path = path
    self.message = message
  }

  public var description: String { path.isEmpty ? message : "\(path): \(message)" }
}

/// A change of a rule set that its author may not make.
public struct DelegationError: Error, Hashable, Sendable {
  public static let faultsMax = 50

  public let faults: [DelegationFault]

  public init(faults: [DelegationFault]) { self.faults = Array(faults.prefix(Self.faultsMax)) }

  /// The change is of something else than rules.
  public static let notARule = DelegationError(faults: [
    DelegationFault(path: "", message: "only rules within your limits may change, not what the set says besides")
  ])
}

extension RuleSet {
  /// Checks that this set differs from `old` only within at least one of the limits for each rule.
  ///
  /// - Parameters:
  ///   - old: the set before; nil where there was none, and then nothing is within any limits.
  ///   - limits: of the author; not empty.
  public func checkDelegation(from old: RuleSet?, limits: [DelegationLimits]) throws(DelegationError) {
    guard let old else {
      throw DelegationError(faults: [
        DelegationFault(path: "", message: "whose rules are limited to destinations or actions makes no rule sets")
      ])
    }
    func isWithin(_ rule: Rule) -> Bool { limits.contains { $0.faults(of: rule).isEmpty } }
    var faults: [DelegationFault] = []
    var (rest, before) = (self, old)
    (rest.rules, before.rules) = ([], [])
    (rest.revision, before.revision) = (0, 0)
    if rest != before {
      faults += DelegationError.notARule.faults
    }
    let foreign = old.rules.filter { !isWithin($0) }
    let kept = Set(foreign)
    for (index, rule) in rules.enumerated() where !isWithin(rule) && !kept.contains(rule) {
      // Of several limits, those that the rule comes nearest to say most.
      let nearest = limits.map { $0.faults(of: rule) }.min { $0.count < $1.count } ?? []
      faults += nearest.map { DelegationFault(path: "rules[\(index)].\($0.path)", message: $0.message) }
    }
    if faults.isEmpty, rules.filter({ !isWithin($0) }) != foreign {
      faults.append(
        DelegationFault(path: "rules", message: "rules beyond your limits must stay, and in their order"))
    }
    guard faults.isEmpty else { throw DelegationError(faults: faults) }
  }
}

import Packets

/// Where a rule goes in the list.
public enum RulePlacement: Hashable, Sendable {
  case last
  /// Index in the list as it is afterwards, from 0.
  case at(Int)
  case before(String)
  case after(String)
}

/// Why a list of rules wasn't changed.
public enum RuleEditError: Error, Hashable, Sendable, CustomStringConvertible {
  case noSuchRule(String)
  case duplicateName(String)
  /// `positions` are those that there are.
  case positionOutOfRange(Int, positions: Range<Int>)
  case tooManyRules
  /// A rule can't be moved before or after itself.
  case relativeToItself(String)

  public var description: String {
    switch self {
    case .noSuchRule(let name): "there is no rule \"\(ValueTextError.excerpt(name))\""
    case .duplicateName(let name): "there is a rule \"\(ValueTextError.excerpt(name))\" already; names are unique"
    case .positionOutOfRange(let position, let positions):
      "position \(position) does not exist; positions run from \(positions.lowerBound) to \(positions.upperBound - 1)"
    case .tooManyRules: "a rule set has at most \(Limits.rulesMax) rules"
    case .relativeToItself(let name):
      "\"\(ValueTextError.excerpt(name))\" can't be placed before or after itself"
    }
  }
}

extension RuleSet {
  /// Index of the rule of this name in the rule set's own list.
  public func index(ofRule name: String) -> Int? { rules.firstIndex { $0.name == name } }

  /// Adds a rule, and returns where it stands. On an error nothing has changed.
  @discardableResult
  public mutating func insert(_ rule: Rule, _ placement: RulePlacement = .last) throws(RuleEditError) -> Int {
    guard rules.count < Limits.rulesMax else { throw .tooManyRules }
    guard index(ofRule: rule.name) == nil, !isInChain(rule.name) else { throw .duplicateName(rule.name) }
    let index = try index(of: placement, in: rules)
    rules.insert(rule, at: index)
    return index
  }

  /// Removes the rule of this name, and returns it and where it stood.
  @discardableResult
  public mutating func removeRule(_ name: String) throws(RuleEditError) -> (rule: Rule, index: Int) {
    guard let index = index(ofRule: name) else { throw .noSuchRule(name) }
    return (rules.remove(at: index), index)
  }

  /// Puts `rule` in the place of the rule called `name`; it may bring a new name. On an error nothing has changed.
  public mutating func replaceRule(_ name: String, with rule: Rule) throws(RuleEditError) {
    guard let index = index(ofRule: name) else { throw .noSuchRule(name) }
    guard rule.name == name || (self.index(ofRule: rule.name) == nil && !isInChain(rule.name)) else { throw .duplicateName(rule.name) }
    rules[index] = rule
  }

  /// Moves the rule of this name. On an error nothing has changed.
  public mutating func moveRule(_ name: String, _ placement: RulePlacement) throws(RuleEditError) {
    guard let index = index(ofRule: name) else { throw .noSuchRule(name) }
    if placement == .before(name) || placement == .after(name) { throw .relativeToItself(name) }
    var others = rules
    let rule = others.remove(at: index)
    others.insert(rule, at: try self.index(of: placement, in: others))
    rules = others
  }

  private func isInChain(_ name: String) -> Bool {
    chains.contains { chain in chain.rules.contains { $0.name == name } }
  }

  private func index(of placement: RulePlacement, in rules: RuleList) throws(RuleEditError) -> Int {
    switch placement {
    case .last:
      return rules.count
    case .at(let position):
      guard (0...rules.count).contains(position) else {
        throw .positionOutOfRange(position, positions: 0..<rules.count + 1)
      }
      return position
    case .before(let name), .after(let name):
      guard let index = rules.firstIndex(where: { $0.name == name }) else { throw .noSuchRule(name) }
      return placement == .after(name) ? index + 1 : index
    }
  }
}

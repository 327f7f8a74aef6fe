/// One change of the rule set's own list: a rule that goes, one that comes, or one that comes where another goes.
///
/// It speaks of rules by name, so that it means the same in a list from which rules that have ended are gone already.
public struct RuleChange: Hashable, Sendable, Codable {
  /// Nil: none goes.
  public var removed: String?
  /// Nil: none comes. It may have the name of the one that goes.
  public var inserted: Rule?
  /// Before which one it comes, which isn't the one that goes; nil: at the end.
  public var before: String?

  public init(removed: String? = nil, inserted: Rule? = nil, before: String? = nil) {
    self.removed = removed
    self.inserted = inserted
    self.before = before
  }
}

extension RuleSet {
  /// On an error nothing has changed.
  ///
  /// - Returns: Where the rule stood that went, and where the one stands that came.
  @discardableResult
  public mutating func make(_ change: RuleChange) throws(RuleEditError) -> (gone: Int?, come: Int?) {
    var changed = self
    let gone = try change.removed.map { (name) throws(RuleEditError) in try changed.removeRule(name).index }
    let come = try change.inserted.map { (rule) throws(RuleEditError) in
      try changed.insert(rule, change.before.map(RulePlacement.before) ?? .last)
    }
    self = changed
    return (gone, come)
  }

  /// What makes this one's list of rules of the other's, where that is one change; nil: it takes more, or other things differ
  /// than the list and the revision.
  public func ruleChange(from other: RuleSet) -> RuleChange? {
    var same = other
    same.rules = rules
    same.revision = revision
    guard same == self else { return nil }
    let (first, last) = rules.commonEnds(with: other.rules)
    let (come, go) = (rules[first..<rules.count - last], other.rules[first..<other.rules.count - last])
    guard come.count <= 1, go.count <= 1 else { return moved(come, go) }
    let next = first + come.count
    return RuleChange(
      removed: go.first?.name, inserted: come.first, before: next < rules.count && !come.isEmpty ? rules[next].name : nil)
  }

  /// One rule that went to the other end of a part of the list.
  private func moved(_ come: Slice<RuleList>, _ go: Slice<RuleList>) -> RuleChange? {
    guard come.count == go.count, let first = come.first, let last = come.last else { return nil }
    if come.dropFirst().elementsEqual(go.dropLast()), first == go.last {
      return RuleChange(removed: first.name, inserted: first, before: go.first?.name)
    }
    if come.dropLast().elementsEqual(go.dropFirst()), last == go.first {
      return RuleChange(
        removed: last.name, inserted: last, before: come.endIndex < rules.count ? rules[come.endIndex].name : nil)
    }
    return nil
  }
}

extension NamedSet {
  /// As of lists of rules, of the elements with their ends.
  public func commonEnds(with other: NamedSet) -> (first: Int, last: Int) {
    guard kind == other.kind else { return (0, 0) }
    let (mine, others) = (expiries, other.expiries)
    func areSame(_ index: Int, _ otherIndex: Int) -> Bool {
      guard (mine.isEmpty ? nil : mine[index]) == (others.isEmpty ? nil : others[otherIndex]) else { return false }
      return kind == .ports ? ports[index] == other.ports[otherIndex] : prefixes[index] == other.prefixes[otherIndex]
    }
    let most = min(count, other.count)
    var first = 0
    while first < most, areSame(first, first) { first += 1 }
    var last = 0
    while last < most - first, areSame(count - 1 - last, other.count - 1 - last) { last += 1 }
    return (first, last)
  }
}

import Rules

/// What a change of a set does to a rule set: all that it says and that isn't so before.
struct SetEffect {
  let set: String
  /// Elements that are not there before, or go first.
  var new: [SetElement] = []
  /// Those, and such that get another end.
  var inserted: [SetMember] = []
  /// Elements that are there before.
  var removed: [SetElement] = []
  /// Of the rule set afterwards.
  var revision: UInt64

  var changedCount: Int { inserted.count + removed.count }

  private init(_ set: String, revision: UInt64) {
    self.set = set
    self.revision = revision
  }

  init(of change: SetChange, on ruleSet: RuleSet) {
    self.init(change.set, revision: change.toRevision == 0 ? ruleSet.revision : change.toRevision)
    guard let set = ruleSet.sets.first(where: { $0.name == change.set }) else { return }
    removed = change.removed.filter { set.contains($0) }
    let gone = Set(removed)
    func isNew(_ element: SetElement) -> Bool { gone.contains(element) || !set.contains(element) }
    inserted = change.inserted.filter { isNew($0.element) || set.expiry(of: $0.element) != $0.expiry }
    new = inserted.map(\.element).filter(isNew)
  }

  /// What takes it back, from the rule set before it.
  func opposite(on ruleSet: RuleSet) -> SetEffect {
    var result = SetEffect(set, revision: ruleSet.revision)
    guard let set = ruleSet.sets.first(where: { $0.name == result.set }) else { return result }
    let coming = Set(inserted.map(\.element))
    result.removed = coming.filter { !set.contains($0) }
    result.new = removed.filter { !coming.contains($0) }
    let changed = result.new + coming.filter { set.contains($0) }
    result.inserted = changed.map { SetMember($0, set.expiry(of: $0)) }
    return result
  }
}

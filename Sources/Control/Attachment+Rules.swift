import LinuxSystem
import Rules
import RuleCompiler

/// What changes rules in the live tables of an attachment.
struct RuleEditor {
  var generation: GenerationEditor
  /// Of the rules that are live, and of those that went: a packet may be under way that counts there.
  var usedSlots: Set<UInt32>
}

/// A change of the list of rules, and what it comes to on one attachment.
struct PlannedRuleChange {
  /// The rule set as it is afterwards.
  let next: RuleSet
  let slots: SlotTable
  /// Of the rule that goes, and of the one that comes; nil: it is disabled, or there is none.
  let gone: (rule: Rule, slot: UInt32)?
  let come: (rule: Rule, slot: UInt32)?
  /// Whether the slot of the one that comes was another's before.
  let isFreshSlot: Bool
  /// Enabled neighbours of the one that comes, without the one that goes.
  let after: String?
  let before: String?

  var changesExpiry: Bool { gone?.rule.expiry != nil || come?.rule.expiry != nil }
}

extension Attachment {
  /// Nil where rules of what is live can't be changed in place, or the change isn't one that can: it is compiled anew.
  func plan(_ change: RuleChange, to next: RuleSet) -> PlannedRuleChange? {
    guard let ruleSet, live.compiled.isEditable, !needsMore(change) else { return nil }
    if ruleEditor == nil {
      let editor = GenerationEditor(live.compiled, wordCount: program.liveHalf.wordCount)
      ruleEditor = RuleEditor(generation: editor, usedSlots: Set(slots.slots.values))
    }
    var table = slots
    var gone: (Rule, UInt32)?
    if let name = change.removed, let index = ruleSet.index(ofRule: name) {
      let rule = ruleSet.rules[index]
      if rule.isEnabled, let slot = table[name] { gone = (rule, slot) }
      if change.inserted?.name != name { table.remove(name) }
    }
    var come: (Rule, UInt32)?
    var isFresh = false
    if let rule = change.inserted {
      let known = table[rule.name]
      guard let slot = known ?? table.add(rule.name, used: ruleEditor?.usedSlots ?? []), slot < program.slotCount else {
        return nil
      }
      isFresh = known == nil
      if rule.isEnabled { come = (rule, slot) }
    }
    let place = change.inserted.flatMap { next.index(ofRule: $0.name) } ?? 0
    return PlannedRuleChange(
      next: next, slots: table, gone: gone, come: come, isFreshSlot: isFresh,
      after: next.rules[..<place].last(where: \.isEnabled)?.name,
      before: next.rules[place...].dropFirst().first(where: \.isEnabled)?.name)
  }

  /// Sockets, other devices and chains take more than tables.
  private func needsMore(_ change: RuleChange) -> Bool {
    guard let rule = change.inserted, rule.isEnabled else { return false }
    return rule.namesOthers || (rule.action == .capture && !live.needsSockets)
  }

  /// Changes a rule in the live tables, which are then as they are afterwards or as they were.
  ///
  /// - Returns: False where the rule set must be compiled anew, and publishing that makes good what may be half done.
  func changeTables(_ plan: PlannedRuleChange) -> Bool {
    guard var editor = ruleEditor else { return false }
    ruleEditor = nil  // so that what follows changes it where it is
    defer { ruleEditor = editor }
    if plan.isFreshSlot, let slot = plan.come?.slot {
      guard (try? program.clearRuleCounter(slot: slot)) != nil else { return false }
      editor.usedSlots.insert(slot)
    }
    do throws(GenerationEditor.Refusal) {
      do throws(GenerationEditor.Refusal) {
        try change(plan, &editor.generation)
      } catch {
        guard error == .noRoom else { throw error }
        wait(&editor.generation)
        try change(plan, &editor.generation)
      }
      return true
    } catch {
      return false
    }
  }

  private func change(_ plan: PlannedRuleChange, _ editor: inout GenerationEditor) throws(GenerationEditor.Refusal) {
    let tables = LiveTables(half: program.liveHalf)
    switch (plan.gone, plan.come) {
    case (nil, nil): break
    case (let gone?, nil): try editor.remove(gone.rule, slot: gone.slot, interface: interface, from: tables)
    case (nil, let come?):
      try editor.insert(
        come.rule, slot: come.slot, after: plan.after, before: plan.before, interface: interface, in: tables)
    case (let gone?, let come?):
      if gone.rule.match == come.rule.match, isInPlace(gone.rule, plan) {
        try editor.replace(
          gone.rule, slot: gone.slot, by: come.rule, newSlot: come.slot, interface: interface, in: tables)
      } else {
        try editor.exchange(
          gone.rule, slot: gone.slot, for: come.rule, newSlot: come.slot, after: plan.after, before: plan.before,
          interface: interface, in: tables, waiting: Kernel.waitForGracePeriod)
      }
    }
  }

  /// Whether the one that comes is between the neighbours of the one that goes.
  private func isInPlace(_ gone: Rule, _ plan: PlannedRuleChange) -> Bool {
    guard let rules = ruleSet?.rules, let index = ruleSet?.index(ofRule: gone.name) else { return false }
    return rules[..<index].last(where: \.isEnabled)?.name == plan.after
      && rules[index...].dropFirst().first(where: \.isEnabled)?.name == plan.before
  }

  private func wait(_ editor: inout GenerationEditor) {
    editor.beginGracePeriod()
    Kernel.waitForGracePeriod()
    editor.endGracePeriod()
  }
}

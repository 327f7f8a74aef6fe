import LinuxSystem
import Rules
import RuleCompiler

/// What changes rules in the live tables of an attachment.
struct RuleEditor {
  var generation: GenerationEditor
  /// Of the rules that are live, and of those that went: a packet may be under way that counts there.
  var usedSlots: Set<UInt32>
  /// Whether it changed any, or tried to.
  var isUsed = false
}

/// A change of the list of rules, and what it comes to on one attachment.
struct PlannedRuleChange {
  /// The rule set as it is afterwards.
  let next: RuleSet
  /// Name of a rule that is no more.
  let lost: String?
  /// Of the rule that comes, also where it is disabled.
  let slot: UInt32?
  /// The rule that goes, and the one that comes; nil: it is disabled, or there is none.
  let gone: EditedRule?
  let come: EditedRule?
  /// The rule that comes, enabled or not, with a slot that may have been another's before; nil: it has its own.
  let fresh: (name: String, slot: UInt32)?
  /// Enabled neighbours of the one that comes, without the one that goes.
  let after: String?
  let before: String?
  /// Of all rules, afterwards.
  let entryCount: Int
  /// Of the rule that goes or comes, also where it is disabled.
  let changesExpiry: Bool
}

extension Attachment {
  /// What changes rules of what is live; nil: they can't be changed in place.
  func makeRuleEditor() -> RuleEditor? {
    guard ruleSet != nil, live.compiled.isEditable else { return nil }
    return RuleEditor(
      generation: GenerationEditor(live.compiled, interface: interface, wordCount: program.liveHalf.wordCount),
      usedSlots: Set(slots.slots.values))
  }

  /// Nil where rules of what is live can't be changed in place, or the change isn't one that can: it is compiled anew.
  ///
  /// - Parameter places: As ``Rules/RuleSet/make(_:)`` has them, of what is live and of `next`.
  func plan(_ change: RuleChange, to next: RuleSet, _ places: (gone: Int?, come: Int?)) -> PlannedRuleChange? {
    guard let ruleSet, let editor = ruleEditor else { return nil }
    /// Nil: it takes more than tables.
    func edited(_ rule: Rule, _ slot: UInt32) -> EditedRule? {
      guard let resolved = ruleSet.resolved(rule, keeping: live.compiled.largeSetNames), !live.counts(for: rule) else { return nil }
      let target = rule.action.redirectInterface.flatMap { try? NetworkInterface.named($0) }
      return EditedRule(resolved, slot: slot, targetIndex: target?.index)
    }
    var gone: EditedRule?
    if let index = places.gone {
      let rule = ruleSet.rules[index]
      if rule.isEnabled, editor.generation.has(rule.name) {
        // What leads into a chain is there without a slot.
        guard let slot = slots[rule.name], let edited = edited(rule, slot) else { return nil }
        gone = edited
      }
    }
    var come: EditedRule?
    var ownSlot: UInt32?
    var fresh: (name: String, slot: UInt32)?
    if let rule = change.inserted {
      let known = slots[rule.name]
      guard let slot = known ?? slots.free(used: editor.usedSlots), slot < program.slotCount else {
        return nil
      }
      ownSlot = slot
      if known == nil { fresh = (rule.name, slot) }
      // A disabled one must be valid here, too.
      guard rule.action.chain == nil, let edited = edited(rule, slot) else { return nil }
      if rule.isEnabled {
        // Packets that are captured need sockets.
        guard rule.action != .capture || live.needsSockets else { return nil }
        come = edited
      }
    }
    func entryCount(_ edited: EditedRule?) -> Int { edited.map { live.compiled.entryCount(of: $0.rule) } ?? 0 }
    let entries = live.entryCount + entryCount(come) - entryCount(gone)
    guard entries <= Limits.entriesMax, next.ruleCount <= Limits.rulesMax,
      editor.generation.ruleCount < Limits.flattenedRulesMax || come == nil
    else { return nil }
    let neighbours = next.neighbours(of: places.come ?? 0, in: editor.generation)
    return PlannedRuleChange(
      next: next, lost: change.removed == change.inserted?.name ? nil : change.removed, slot: ownSlot, gone: gone, come: come,
      fresh: fresh, after: neighbours.after, before: neighbours.before, entryCount: entries,
      changesExpiry: change.inserted?.expiry != nil || places.gone.map { ruleSet.rules[$0].expiry != nil } == true)
  }

  /// Changes a rule in the live tables, which are then as they are afterwards or as they were.
  ///
  /// - Returns: False where the rule set must be compiled anew, and publishing that makes good what may be half done.
  func changeTables(_ plan: PlannedRuleChange) -> Bool {
    guard var editor = ruleEditor else { return false }
    ruleEditor = nil  // so that what follows changes it where it is
    editor.isUsed = true
    defer { ruleEditor = editor }
    if let slot = plan.fresh?.slot {
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
    case (let gone?, nil): try editor.remove(gone, from: tables)
    case (nil, let come?): try editor.insert(come, after: plan.after, before: plan.before, in: tables)
    case (let gone?, let come?):
      if gone.rule.match == come.rule.match, isInPlace(gone.rule, plan, editor) {
        try editor.replace(gone, by: come, in: tables)
      } else {
        try editor.exchange(
          gone, for: come, after: plan.after, before: plan.before, in: tables, waiting: program.waitForPackets)
      }
    }
  }

  /// Whether the one that comes is between the neighbours of the one that goes.
  private func isInPlace(_ gone: Rule, _ plan: PlannedRuleChange, _ editor: GenerationEditor) -> Bool {
    guard let ruleSet, let index = ruleSet.index(ofRule: gone.name) else { return false }
    return ruleSet.neighbours(of: index, in: editor) == (plan.after, plan.before)
  }

  private func wait(_ editor: inout GenerationEditor) {
    editor.beginGracePeriod()
    program.waitForPackets()
    editor.endGracePeriod()
  }
}

extension RuleSet {
  /// Of the rules in front of one and behind it those next to it that are in the tables.
  fileprivate func neighbours(of index: Int, in editor: GenerationEditor) -> (after: String?, before: String?) {
    func isThere(_ rule: Rule) -> Bool { rule.isEnabled && editor.has(rule.name) }
    return (rules[..<index].last(where: isThere)?.name, rules[index...].dropFirst().first(where: isThere)?.name)
  }
}

import LinuxSystem
import Logging
import RuleCompiler
import Rules

/// A change of the list of rules of an applied rule set.
public struct RuleSetChange: Hashable, Sendable {
  public var ruleSet: String
  /// A time to live begins when the change is made.
  public var change: RuleChange
  /// What the interfaces must run for the change to be made; 0: any revision.
  public var fromRevision: UInt64
  /// What they run from then on; 0: as before.
  public var toRevision: UInt64

  public init(ruleSet: String, change: RuleChange, fromRevision: UInt64 = 0, toRevision: UInt64 = 0) {
    self.ruleSet = ruleSet
    self.change = change
    self.fromRevision = fromRevision
    self.toRevision = toRevision
  }
}

/// Single rules of what is live: in the tables where that can be, and packets see the rule come or go whole.
extension Controller {
  /// Changes one rule of what is live on interfaces. What can't be changed in the live tables is compiled anew. Refused where
  /// the rule set waits for a confirmation: an apply says what becomes of that.
  ///
  /// - Parameter names: Where the rule set is applied; empty: wherever it is.
  public func change(_ change: RuleSetChange, on names: [String]) throws(ControlError) -> [ApplyReport] {
    try checkRunning()
    try check(change.change)
    var change = change
    let now = ExpiryClock.wall
    if var rule = change.change.inserted {
      rule.expiry = rule.expiry?.fixed(atUnixMilliseconds: now)
      change.change.inserted = rule.hasExpired(atUnixMilliseconds: now) ? nil : rule
    }
    let targets = try targets(ofRuleSet: change.ruleSet, names)
    var steps = try steps(of: change, on: targets)
    if try followWallClock(targets) { steps = try self.steps(of: change, on: targets) }
    do throws(ControlError) {
      if let reports = try changeInPlace(change.change, steps) { return reports }
      return try compileAnew(steps)
    } catch {
      undo(steps)
      throw error
    }
  }

  private func steps(of change: RuleSetChange, on targets: [Attachment]) throws(ControlError) -> [Step] {
    try targets.map { (attachment) throws(ControlError) in
      try check(change.fromRevision, isThatOf: attachment)
      guard attachment.trial == nil else {
        throw ControlError(
          .failedPrecondition, "\(attachment.interface): \(change.ruleSet) waits for a confirmation: apply the newest")
      }
      guard let previous = attachment.ruleSet else { throw ControlError(.internal, "a target without a rule set") }
      let (next, places) = try result(of: change, in: previous, attachment)
      return Step(attachment: attachment, previous: previous, next: next, places: places)
    }
  }

  /// The change on one attachment.
  private struct Step {
    let attachment: Attachment
    let previous: RuleSet
    let next: RuleSet
    let places: (gone: Int?, come: Int?)
  }

  private func check(_ change: RuleChange) throws(ControlError) {
    guard change.removed != nil || change.inserted != nil else {
      throw ControlError(.invalidArgument, "a change has a rule that comes, or one that goes")
    }
    let problem = change.inserted?.validate().first { $0.severity == .error }
    if let problem { throw ControlError(.invalidArgument, problem.description) }
  }

  private func result(
    of change: RuleSetChange, in previous: RuleSet, _ attachment: Attachment
  ) throws(ControlError) -> (next: RuleSet, places: (gone: Int?, come: Int?)) {
    var next = previous
    let places: (gone: Int?, come: Int?)
    do throws(RuleEditError) {
      places = try next.make(change.change)
    } catch {
      throw ControlError(.failedPrecondition, "\(attachment.interface): \(error): apply the newest")
    }
    if change.toRevision != 0 { next.revision = change.toRevision }
    return (next, places)
  }

  /// Nil: somewhere it can't be made so, and all are to be compiled anew; some may have it already.
  private func changeInPlace(_ change: RuleChange, _ steps: [Step]) throws(ControlError) -> [ApplyReport]? {
    var plans: [(step: Step, plan: PlannedRuleChange)] = []
    for step in steps {
      guard let plan = step.attachment.plan(change, to: step.next, step.places) else { return nil }
      plans.append((step, plan))
    }
    // On the disk before any is live.
    try keep(
      plans.map { step, plan in
        ChangeJournal.Entry(
          interface: step.attachment.interface, generation: step.attachment.generation, ruleSet: step.next.name,
          revision: step.next.revision, rule: change, slot: plan.slot)
      })
    var reports: [ApplyReport] = []
    for (step, plan) in plans {
      guard let report = changeInPlace(plan, step.attachment) else { return nil }
      reports.append(report)
      journaledRuleWork += step.next.rules.count
    }
    for (step, report) in zip(steps, reports) {
      counted.applied += 1
      counted.lastApplySeconds = report.seconds
      announce(step.next, [report])
    }
    return reports
  }

  private func changeInPlace(_ plan: PlannedRuleChange, _ attachment: Attachment) -> ApplyReport? {
    let start = ContinuousClock.now
    if let fresh = plan.fresh {
      nameSlots([fresh.name: fresh.slot], of: attachment)
      followRules({ [attachment.slots[$0], $0 == fresh.name ? fresh.slot : nil] }, on: attachment.interface)
    }
    guard attachment.changeTables(plan) else { return nil }
    attachment.change(plan)
    let frames: Int
    do throws(ControlError) {
      frames = try selfTest(plan, attachment)
    } catch {
      logger.critical("a change in place is compiled anew", metadata: ["reason": "\(error)"])
      return nil
    }
    if plan.changesExpiry { watchExpiry() }
    return ApplyReport(
      interface: attachment.interface, generation: attachment.generation, entryCount: attachment.live.entryCount,
      selfTestPacketCount: frames, isInPlace: true, seconds: (ContinuousClock.now - start).inSeconds)
  }

  /// Frames around the changed rule, through a copy of the live tables, against the reference.
  private func selfTest(_ plan: PlannedRuleChange, _ attachment: Attachment) throws(ControlError) -> Int {
    guard let rule = plan.come?.rule ?? plan.gone?.rule else { return 0 }
    let snapshot = attachment.snapshot
    let limit = max(Self.framesMin, min(Self.framesMax, Self.comparisonsMax / max(1, plan.next.rules.count)))
    return try snapshot.selfTest(
      with: try selfTest(for: snapshot.compiled), SelfTest.packets(around: rule, in: plan.next, limit: limit))
  }

  private static let framesMin = 4
  private static let framesMax = 32
  /// Of a frame and a rule.
  private static let comparisonsMax = 100_000

  private func compileAnew(_ steps: [Step]) throws(ControlError) -> [ApplyReport] {
    var reports: [ApplyReport] = []
    var left = steps[...]
    while let first = left.first {
      // They differ where rules of one have ended.
      let same = left.filter { $0.next == first.next }
      reports += try apply(first.next, to: same.map(\.attachment.interface), trials: .keep).reports
      left.removeAll { step in same.contains { $0.attachment === step.attachment } }
    }
    return reports
  }

  /// After a failure: whoever has the change already, or half of it, decides again as before.
  private func undo(_ steps: [Step]) {
    for step in steps {
      let isTorn = step.attachment.ruleEditor?.generation.isTorn == true
      guard isTorn || step.attachment.ruleSet != step.previous else { continue }
      do throws(ControlError) {
        _ = try apply(step.previous, to: [step.attachment.interface], trials: .keep)
      } catch {
        tellNotTakenBack(error, step.attachment)
      }
    }
    saveOrWarn()
  }

  func tellNotTakenBack(_ error: ControlError, _ attachment: Attachment) {
    logger.critical(
      "a change that failed could not be taken back",
      metadata: ["interface": "\(attachment.interface)", "error": "\(error)"])
  }
}

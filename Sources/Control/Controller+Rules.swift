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
  /// Changes one rule of what is live on interfaces. What can't be changed in the live tables is compiled anew.
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
    var results: [(attachment: Attachment, next: RuleSet)] = []
    for attachment in targets {
      try check(change.fromRevision, isThatOf: attachment)
      results.append((attachment, try result(of: change, on: attachment)))
    }
    var reports: [ApplyReport] = []
    for (attachment, next) in results { reports.append(try make(change.change, to: next, on: attachment)) }
    return reports
  }

  private func check(_ change: RuleChange) throws(ControlError) {
    guard change.removed != nil || change.inserted != nil else {
      throw ControlError(.invalidArgument, "a change has a rule that comes, or one that goes")
    }
    let problem = change.inserted?.validate().first { $0.severity == .error }
    if let problem { throw ControlError(.invalidArgument, problem.description) }
  }

  private func result(of change: RuleSetChange, on attachment: Attachment) throws(ControlError) -> RuleSet {
    guard var next = attachment.ruleSet else { throw ControlError(.internal, "a target without a rule set") }
    do throws(RuleEditError) {
      try next.make(change.change)
    } catch {
      throw ControlError(.failedPrecondition, "\(attachment.interface): \(error): apply the newest")
    }
    if change.toRevision != 0 { next.revision = change.toRevision }
    return next
  }

  private func make(
    _ change: RuleChange, to next: RuleSet, on attachment: Attachment
  ) throws(ControlError) -> ApplyReport {
    let start = ContinuousClock.now
    guard let previous = attachment.ruleSet, let plan = attachment.plan(change, to: next) else {
      return try compileAnew(next, attachment, orElse: nil)
    }
    // On the disk before it is live.
    let length = try journal.append([
      ChangeJournal.Entry(
        interface: attachment.interface, generation: attachment.generation, ruleSet: next.name, revision: next.revision,
        rule: change, slot: change.inserted.flatMap { plan.slots[$0.name] })
    ])
    guard attachment.changeTables(plan) else {
      let isTorn = attachment.ruleEditor?.generation.isTorn == true
      return try compileAnew(next, attachment, orElse: isTorn ? previous : nil)
    }
    attachment.change(plan)
    let frames: Int
    do throws(ControlError) {
      frames = try selfTest(plan, attachment)
    } catch {
      logger.critical("a change in place is compiled anew", metadata: ["reason": "\(error)"])
      return try compileAnew(next, attachment, orElse: previous)
    }
    journaledRuleWork += next.rules.count
    if length > ChangeJournal.byteCountMax || journaledRuleWork > Self.journaledRuleWorkMax { try save() }
    if plan.changesExpiry { watchExpiry() }
    if plan.isFreshSlot { updateSlotNames(of: attachment) }
    let report = ApplyReport(
      interface: attachment.interface, generation: attachment.generation, entryCount: attachment.live.entryCount,
      selfTestPacketCount: frames, isInPlace: true, seconds: (ContinuousClock.now - start).inSeconds)
    counted.applied += 1
    counted.lastApplySeconds = report.seconds
    announce(next, [report])
    return report
  }

  /// Seconds at the next start.
  private static let journaledRuleWorkMax = 20_000_000

  /// Frames around the changed rule, through a copy of the live tables, against the reference.
  private func selfTest(_ plan: PlannedRuleChange, _ attachment: Attachment) throws(ControlError) -> Int {
    guard let rule = plan.come?.rule ?? plan.gone?.rule else { return 0 }
    let snapshot = attachment.snapshot
    let limit = max(Self.framesMin, min(Self.framesMax, Self.comparisonsMax / max(1, plan.next.rules.count)))
    return try snapshot.selfTest(
      with: try selfTest(for: snapshot.compiled), SelfTest.packets(around: rule, limit: limit))
  }

  private static let framesMin = 4
  private static let framesMax = 32
  /// Of a frame and a rule.
  private static let comparisonsMax = 100_000

  /// - Parameter previous: What is published anew if this fails, where the tables are no longer as they were.
  private func compileAnew(
    _ next: RuleSet, _ attachment: Attachment, orElse previous: RuleSet?
  ) throws(ControlError) -> ApplyReport {
    do throws(ControlError) {
      let reports = try apply(next, to: [attachment.interface], dryRun: false).reports
      guard let report = reports.first else { throw ControlError(.internal, "an apply to one interface without a report") }
      return report
    } catch {
      if let previous { _ = try apply(previous, to: [attachment.interface], dryRun: false) }
      try save()  // the journal may say otherwise
      throw error
    }
  }
}

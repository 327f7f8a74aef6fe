import LinuxSystem
import Logging
import Packets
import RuleCompiler
import Rules
import XDPPrograms

/// Elements that come into a set of an applied rule set, and such that go. Those that go do so first.
public struct SetChange: Hashable, Sendable {
  public var ruleSet: String
  public var set: String
  /// Times to live begin when the change is made. One that is there already ends when it is said here, or never.
  public var inserted: [SetMember]
  public var removed: [SetElement]
  /// What the interfaces must run for the change to be made; 0: any revision.
  public var fromRevision: UInt64
  /// What they run from then on; 0: as before.
  public var toRevision: UInt64

  public init(
    ruleSet: String, set: String, inserted: [SetMember] = [], removed: [SetElement] = [], fromRevision: UInt64 = 0,
    toRevision: UInt64 = 0
  ) {
    self.ruleSet = ruleSet
    self.set = set
    self.inserted = inserted
    self.removed = removed
    self.fromRevision = fromRevision
    self.toRevision = toRevision
  }

  /// Elements of one call; a change of more comes in parts.
  public static let callElementCountMax = 10_000
  /// Of a change in the live tables, element by element; more of them are compiled anew, in less time.
  static let inPlaceElementCountMax = 100_000

  /// What comes with a later part.
  public mutating func add(_ part: SetChange) {
    inserted += part.inserted
    removed += part.removed
  }

  /// Those that come and have ended go instead.
  fileprivate mutating func removeEnded(atUnixMilliseconds now: Int64) {
    let ended = inserted.filter { $0.hasEnded(atUnixMilliseconds: now) }
    if ended.isEmpty { return }
    inserted.removeAll { $0.hasEnded(atUnixMilliseconds: now) }
    removed += ended.map(\.element)
  }
}

/// What a change of a set came to on one interface.
public struct SetChangeReport: Hashable, Sendable {
  public var interface: String
  public var generation: UInt64
  /// Elements that came or went.
  public var changedCount: Int
  /// Of the set, from now on.
  public var elementCount: Int
  /// Whether the live tables were changed; else the rule set was compiled anew.
  public var isInPlace: Bool
  /// CLOCK_REALTIME until when the rule set must be confirmed, or the change goes with it; nil: it stands.
  public var confirmByNanoseconds: UInt64?
  public var seconds: Double
}

extension Controller {
  /// Changes a set of what is live on interfaces: on all or on none. Where the set is large the live tables are changed,
  /// element by element, and packets see each element come or go by itself; else, or where there is no room, the rule set is
  /// compiled anew. What is on trial stays so.
  ///
  /// - Parameter names: Where the rule set is applied; empty: wherever it is.
  public func change(_ change: SetChange, on names: [String]) throws(ControlError) -> [SetChangeReport] {
    try checkRunning()
    guard !change.inserted.isEmpty || !change.removed.isEmpty else {
      throw ControlError(.invalidArgument, "a change has at least one element that comes or goes")
    }
    let now = ExpiryClock.wall
    var change = change
    for index in change.inserted.indices {
      change.inserted[index].expiry = change.inserted[index].expiry?.fixed(atUnixMilliseconds: now)
    }
    change.removeEnded(atUnixMilliseconds: now)
    let targets = try targets(ofRuleSet: change.ruleSet, names)
    for attachment in targets { try check(change, attachment) }
    try followWallClock(targets)
    var reports: [SetChangeReport] = []
    var made: [(attachment: Attachment, opposite: SetEffect)] = []
    do throws(ControlError) {
      for attachment in targets {
        let effect = attachment.live.effect(of: change)
        // The last has nobody behind it who might fail.
        let opposite = attachment === targets.last ? nil : attachment.live.opposite(of: effect)
        reports.append(try make(effect, attachment))
        if let opposite { made.append((attachment, opposite)) }
      }
    } catch {
      undo(made)
      throw error
    }
    return reports
  }

  /// Those that run the rule set: the named ones, or all.
  func targets(ofRuleSet ruleSet: String, _ names: [String]) throws(ControlError) -> [Attachment] {
    if names.isEmpty {
      let all = attachments.values.filter { $0.ruleSet?.name == ruleSet }.sorted { $0.interface < $1.interface }
      guard !all.isEmpty else { throw ControlError(.notFound, "the rule set \(ruleSet) is applied nowhere: apply it") }
      return all
    }
    guard Set(names).count == names.count else { throw ControlError(.invalidArgument, "an interface is named twice") }
    var result: [Attachment] = []
    for name in names {
      guard let attachment = attachments[name] else { throw notAttached(name) }
      guard attachment.ruleSet?.name == ruleSet else {
        throw ControlError(
          .failedPrecondition, "\(name) runs \(attachment.ruleSet?.name ?? "no rule set"), not \(ruleSet): apply it")
      }
      result.append(attachment)
    }
    return result
  }

  private func check(_ change: SetChange, _ attachment: Attachment) throws(ControlError) {
    guard let ruleSet = attachment.ruleSet else { return }
    guard let set = ruleSet.sets.first(where: { $0.name == change.set }) else {
      throw ControlError(.notFound, "the rule set \(ruleSet.name) has no set \(change.set) on \(attachment.interface)")
    }
    try check(change.fromRevision, isThatOf: attachment)
    for element in change.inserted.map(\.element) + change.removed where !element.fits(set.kind) {
      throw ControlError(.invalidArgument, "\(element.text) is no element of \(change.set), whose type is \(set.kind.rawValue)")
    }
    let effect = attachment.live.effect(of: change)
    let more = Set(effect.new).count - effect.removed.count
    let total = ruleSet.sets.reduce(more) { $0 + $1.count }
    guard more <= 0 || total <= Limits.setElementsMax else {
      throw ControlError(
        .resourceExhausted, "the sets of \(ruleSet.name) would have \(total) elements and set_elements_max is \(Limits.setElementsMax)")
    }
    let counted = ruleSet.sets.reduce(more) { $0 + ($1.hasCounters ? $1.count : 0) }
    guard more <= 0 || !set.hasCounters || counted <= Limits.countedElementsMax else {
      throw ControlError(
        .resourceExhausted,
        "\(counted) elements of \(ruleSet.name) would count and counted_elements_max is \(Limits.countedElementsMax)")
    }
  }

  /// - Parameter revision: 0: any will do.
  func check(_ revision: UInt64, isThatOf attachment: Attachment) throws(ControlError) {
    guard let ruleSet = attachment.ruleSet, revision != 0, revision != ruleSet.revision else { return }
    throw ControlError(
      .failedPrecondition, "\(attachment.interface) runs revision \(ruleSet.revision) of \(ruleSet.name), and the change is "
        + "one of revision \(revision): apply the newest")
  }

  private func make(_ effect: SetEffect, _ attachment: Attachment) throws(ControlError) -> SetChangeReport {
    let start = ContinuousClock.now
    let isInPlace = try makeInPlace(effect, attachment, isKept: true)
    if !isInPlace { try compileAnew(effect, attachment) }
    let report = SetChangeReport(
      interface: attachment.interface, generation: attachment.generation, changedCount: effect.changedCount,
      elementCount: attachment.ruleSet?.sets.first { $0.name == effect.set }?.count ?? 0, isInPlace: isInPlace,
      confirmByNanoseconds: attachment.trial?.deadlineNanoseconds, seconds: (ContinuousClock.now - start).inSeconds)
    logger.info(
      "changed a set", metadata: [
        "interface": "\(report.interface)", "rule_set": "\(attachment.ruleSet?.name ?? "")", "set": "\(effect.set)",
        "inserted": "\(effect.inserted.count)", "removed": "\(effect.removed.count)", "in_place": "\(isInPlace)",
      ])
    return report
  }

  /// - Parameter isKept: It is on the disk before it is live.
  /// - Returns: False where it can't be made so, and nothing has changed.
  private func makeInPlace(_ effect: SetEffect, _ attachment: Attachment, isKept: Bool) throws(ControlError) -> Bool {
    // Elements that only get another end are written down as well, and the journal has its room.
    guard effect.changedCount <= SetChange.inPlaceElementCountMax else { return false }
    guard effect.new.isEmpty && effect.removed.isEmpty || attachment.canChange(effect.set) else { return false }
    if isKept {
      try keep([
        ChangeJournal.Entry(
          interface: attachment.interface, generation: attachment.generation, ruleSet: attachment.ruleSet?.name ?? "",
          revision: effect.revision, set: effect.set, inserted: effect.inserted.map(\.text), removed: effect.removed.map(\.text))
      ])
    }
    guard attachment.changeTables(effect.set, inserted: effect.new, removed: effect.removed) else { return false }
    attachment.make(effect)
    watchExpiry()
    return true
  }

  private func compileAnew(_ effect: SetEffect, _ attachment: Attachment) throws(ControlError) {
    guard var ruleSet = attachment.ruleSet else { return }
    ruleSet.change(effect.set, inserted: effect.inserted, removed: effect.removed, revision: effect.revision)
    _ = try apply(ruleSet, to: [attachment.interface], trials: .keep)
  }

  /// After a failure: whoever has the change already is as before. Live first, as after a failure the disk may be what failed.
  private func undo(_ made: [(attachment: Attachment, opposite: SetEffect)]) {
    for (attachment, opposite) in made.reversed() {
      do throws(ControlError) {
        if try !makeInPlace(opposite, attachment, isKept: false) { try compileAnew(opposite, attachment) }
      } catch {
        tellNotTakenBack(error, attachment)
      }
    }
    saveOrWarn()  // the journal may say otherwise
  }
}

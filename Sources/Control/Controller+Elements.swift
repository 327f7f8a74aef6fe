import LinuxSystem
import Logging
import Rules

/// Elements of an attachment's sets that have ended.
struct EndedElements: Hashable {
  /// Of what was applied last.
  private(set) var count: UInt64 = 0
  /// Of which no event has told yet.
  private(set) var untold = 0
  /// Their sets.
  private(set) var sets: Set<String> = []
  /// When the last event was.
  private var told: ContinuousClock.Instant?

  /// At most one event in so long.
  static let quiet = Duration.seconds(10)

  mutating func add(_ more: Int, of set: String) {
    if more == 0 { return }
    count += UInt64(more)
    untold += more
    sets.insert(set)
  }

  /// Something else is applied.
  mutating func begin(with count: Int) { self.count = UInt64(count) }

  /// - Parameter isLast: No more will follow for the time being.
  func isTime(at now: ContinuousClock.Instant, isLast: Bool) -> Bool {
    untold > 0 && (isLast || told.map { $0.duration(to: now) >= Self.quiet } ?? true)
  }

  mutating func tell(at now: ContinuousClock.Instant) {
    (untold, sets, told) = (0, [], now)
  }
}

/// Elements of sets that end: those of large sets go from the live tables one by one, and nothing is compiled.
extension Controller {
  /// Takes out what has ended by now. Live first: the next daemon leaves out the same by the clock.
  ///
  /// - Returns: False where that takes another generation: a set is small, and its elements stand in the rules, or there is no
  ///   room in the tables.
  func endElements(on attachment: Attachment, atUnixMilliseconds now: Int64) throws(ControlError) -> Bool {
    let ended = attachment.live.endedElements(atUnixMilliseconds: now)
    for (set, _) in ended where attachment.live.isNamed(set) {
      guard attachment.canChange(set) else { return false }
    }
    for (set, elements) in ended {
      if attachment.canChange(set) {
        // Where other sets share them it takes room.
        guard attachment.changeTables(set, inserted: [], removed: elements) else { return false }
      } else {
        attachment.forgetCounters(of: set, elements)
      }
    }
    var entries: [ChangeJournal.Entry] = []
    for (set, elements) in ended {
      entries.append(
        ChangeJournal.Entry(
          interface: attachment.interface, generation: attachment.generation, ruleSet: attachment.ruleSet?.name ?? "",
          revision: attachment.ruleSet?.revision ?? 0, set: set, endedAt: now))
      count(elements.count, endedIn: set, of: attachment)
    }
    attachment.removeEnded(of: ended.map(\.set), atUnixMilliseconds: now)
    if entries.isEmpty { return true }
    do throws(ControlError) {
      try keep(entries)
    } catch {
      logger.warning("elements that have ended stay in the journal for now", metadata: ["error": "\(error)"])
    }
    return true
  }

  func count(_ elementCount: Int, endedIn set: String, of attachment: Attachment) {
    attachment.endedElements.add(elementCount, of: set)
    counted.elementsEnded += UInt64(elementCount)
  }

  /// Says so, for many at once.
  func tellEndedElements(of attachment: Attachment, isLast: Bool = false) {
    let now = ContinuousClock.now
    let ended = attachment.endedElements
    guard ended.isTime(at: now, isLast: isLast || attachment.live.due == nil) else { return }
    attachment.endedElements.tell(at: now)
    let names = ended.sets.sorted().joined(separator: ", ")
    let name = attachment.ruleSet?.name ?? ""
    let revision = attachment.ruleSet?.revision ?? 0
    logger.notice(
      "elements ended", metadata: [
        "interface": "\(attachment.interface)", "rule_set": "\(name)", "sets": "\(names)", "elements": "\(ended.untold)",
      ])
    events.publish(
      .elementExpired, interface: attachment.interface,
      ended.untold == 1 ? "an element of \(names) has ended" : "\(ended.untold) elements of \(names) have ended",
      fields: [
        "rule_set": name, "revision": "\(revision)", "generation": "\(attachment.generation)", "sets": names,
        "element_count": "\(ended.untold)",
      ])
  }
}

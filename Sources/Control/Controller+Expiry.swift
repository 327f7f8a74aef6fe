import LinuxSystem
import Logging
import Rules

/// What time it is for the rules of one attachment and for the elements of its sets.
///
/// The wall clock decides, and beside it a clock that nobody sets, from when the rules were applied: whichever is ahead. So a
/// wall clock that is set forward ends rules at their moment, and one that is set back makes none live longer than it
/// was given when it was applied.
struct ExpiryClock: Hashable, Sendable {
  private let wallMilliseconds: Int64
  private let instant: ContinuousClock.Instant

  init(wallMilliseconds: Int64 = ExpiryClock.wall, instant: ContinuousClock.Instant = .now) {
    self.wallMilliseconds = wallMilliseconds
    self.instant = instant
  }

  /// CLOCK_REALTIME in milliseconds.
  static var wall: Int64 { Int64(clamping: SystemClock.realtimeNanoseconds() / 1_000_000) }

  func now(wallMilliseconds wall: Int64 = ExpiryClock.wall, instant now: ContinuousClock.Instant = .now) -> Int64 {
    let passed = instant.duration(to: now).components
    return max(wall, wallMilliseconds + passed.seconds * 1000 + passed.attoseconds / 1_000_000_000_000_000)
  }

  /// Whether the wall clock was set back.
  func isAhead(wallMilliseconds wall: Int64 = ExpiryClock.wall, instant now: ContinuousClock.Instant = .now) -> Bool {
    self.now(wallMilliseconds: wall, instant: now) - wall > Self.lookMilliseconds
  }

  /// The longest that nobody looks at the wall clock, which may be set meanwhile.
  static let lookMilliseconds: Int64 = 1000

  /// How long to sleep until a rule's moment, or the next look.
  func pause(until moment: Int64) -> Duration {
    let now = now()
    return .milliseconds(moment <= now ? 0 : min(moment - now, Self.lookMilliseconds))
  }
}

/// Rules and elements of sets that end are taken out of what is live by the daemon alone: neither API nor database is asked. The moments are in
/// the state file with the rules, so a daemon that wasn't there leaves out at its start what ended meanwhile.
extension Controller {
  /// Called after every change of what is live.
  func watchExpiry() { watchExpiry(after: nil) }

  private func watchExpiry(after retry: Duration?) {
    expiryWatch?.cancel()
    expiryWatch = nil
    guard !isShuttingDown, let next = attachments.values.compactMap(pause(of:)).min() else { return }
    let pause = max(next, retry ?? .zero)
    expiryWatch = Task { [weak self] in
      do { try await Task.sleep(for: pause, tolerance: .zero, clock: .continuous) } catch { return }
      await self?.endExpired()
    }
  }

  /// Nil: nothing of it ends.
  private func pause(of attachment: Attachment) -> Duration? {
    let rules = attachment.live.nextExpiry.map { attachment.expiryClock.pause(until: $0.unixMilliseconds) }
    let elements = attachment.live.elementEnd.map {
      max(attachment.expiryClock.pause(until: $0), ContinuousClock.now.duration(to: attachment.elementsRestUntil))
    }
    return [rules, elements].compactMap(\.self).min()
  }

  private func endExpired() {
    guard !isShuttingDown else { return }
    var retry: Duration?
    for attachment in attachments.values.sorted(by: { $0.interface < $1.interface }) {
      do throws(ControlError) {
        try endExpired(on: attachment)
      } catch {
        logger.critical(
          "could not take out rules or elements that have ended; trying again",
          metadata: ["interface": "\(attachment.interface)", "error": "\(error)"])
        retry = .seconds(1)
      }
      tellEndedElements(of: attachment)
    }
    watchExpiry(after: retry)
  }

  private func endExpired(on attachment: Attachment) throws(ControlError) {
    let start = ContinuousClock.now
    let now = attachment.expiryClock.now()
    if let next = attachment.live.nextExpiry, next.unixMilliseconds <= now {
      return try endRules(on: attachment, atUnixMilliseconds: now)
    }
    guard let end = attachment.live.elementEnd, end <= now, attachment.elementsRestUntil <= start else { return }
    if try !endElements(on: attachment, atUnixMilliseconds: now) { try endRules(on: attachment, atUnixMilliseconds: now) }
    // Where they end one after the other, this takes a twentieth of the time.
    let taken = start.duration(to: .now)
    attachment.elementsRestUntil = .now + min(taken * 20, .seconds(1))
  }

  /// Before new ends are told by the wall clock. Where that was set back, at boot say, what has ended by the attachment's own clock
  /// goes, and then both say the same: else what comes now would end too early, by as much. Whether that was so on any of them;
  /// once nothing speaks against the change any more.
  @discardableResult
  func followWallClock(_ attachments: [Attachment]) throws(ControlError) -> Bool {
    let behind = attachments.filter { $0.expiryClock.isAhead() }
    for attachment in behind {
      attachment.elementsRestUntil = .now
      try endExpired(on: attachment)
      attachment.expiryClock = ExpiryClock()
    }
    return !behind.isEmpty
  }

  /// By a new generation. Live first: unlike an apply it needs nothing on the disk, since the next daemon leaves out the
  /// same rules by the clock.
  private func endRules(on attachment: Attachment, atUnixMilliseconds now: Int64) throws(ControlError) {
    guard let ruleSet = attachment.ruleSet else { return }
    let (left, expired, _) = ruleSet.expiring(atUnixMilliseconds: now)
    let elements = attachment.live.endedElements(atUnixMilliseconds: now)
    let next = try attachment.prepare(left, try interfaceIndices(), mayMissTargets: true)
    try publish([(attachment, next)])
    report(expired, of: ruleSet, on: attachment)
    for (set, ended) in elements { count(ended.count, endedIn: set, of: attachment) }
    saveGenerationOrWarn()
  }

  /// Counts them and says so; their names are those of ``expiredNamesMax`` at most.
  func report(_ expired: [Rule], of ruleSet: RuleSet, on attachment: Attachment) {
    guard !expired.isEmpty else { return }
    attachment.expiredRuleCount += expired.count
    counted.rulesExpired += UInt64(expired.count)
    let names = Controller.names(of: expired)
    logger.notice(
      "rules ended", metadata: [
        "interface": "\(attachment.interface)", "rule_set": "\(ruleSet.name)", "revision": "\(ruleSet.revision)",
        "rules": "\(names)",
      ])
    events.publish(
      .ruleExpired, interface: attachment.interface,
      "\(expired.count == 1 ? "the rule \(names) has" : "\(expired.count) rules have") ended",
      fields: [
        "rule_set": ruleSet.name, "revision": "\(ruleSet.revision)", "generation": "\(attachment.generation)",
        "rules": names, "rule_count": "\(expired.count)",
      ])
  }

  private static let expiredNamesMax = 32

  static func names(of rules: [Rule]) -> String {
    let names = rules.prefix(expiredNamesMax).map(\.name).joined(separator: ", ")
    return rules.count > expiredNamesMax ? names + ", …" : names
  }
}

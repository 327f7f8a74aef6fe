import LinuxSystem
import Logging
import Rules

/// A rule set that stands only if somebody confirms it.
struct Trial: Hashable, Sendable, Codable {
  static let secondsRange: ClosedRange<UInt32> = 5...86_400

  /// What comes back otherwise; nil: nothing was applied before, everything passes.
  @InTextForm var previous: RuleSet?
  var windowSeconds: UInt32
  /// CLOCK_REALTIME, for people and for the next daemon. This one goes by a clock that nobody sets.
  var deadlineNanoseconds: UInt64

  init(previous: RuleSet?, windowSeconds: UInt32) {
    self.previous = previous
    self.windowSeconds = windowSeconds
    deadlineNanoseconds = SystemClock.realtimeNanoseconds() + UInt64(windowSeconds) * 1_000_000_000
  }

  /// What is left after a restart: never more than the whole window, whatever became of the wall clock meanwhile.
  func remaining(atNanoseconds now: UInt64) -> Duration {
    let left = deadlineNanoseconds > now ? deadlineNanoseconds - now : 0
    return .nanoseconds(Int64(min(left, UInt64(windowSeconds) * 1_000_000_000)))
  }
}

/// Which rule set, and which revision of it, somebody decides about: another one may wait when his call comes.
public struct TrialSubject: Hashable, Sendable {
  public var ruleSet: String
  public var revision: UInt64

  /// Nil where `ruleSet` is empty: whatever waits.
  public init?(_ ruleSet: String, _ revision: UInt64) {
    guard !ruleSet.isEmpty else { return nil }
    (self.ruleSet, self.revision) = (ruleSet, revision)
  }
}

/// What an apply does to the trials of its interfaces.
enum TrialChange: Equatable {
  /// What is on trial is so with what is applied now, for the time that is left.
  case keep
  /// What is applied stands, and so does what was on trial.
  case end
  case begin(seconds: UInt32)
}

/// Commits that undo themselves. The daemon alone decides: whoever locked himself out, or the API and its database with
/// him, waits until the time is over.
extension Controller {
  /// Before the state is saved.
  ///
  /// - Returns: What undoes this.
  func change(_ trials: TrialChange, on attachments: [Attachment]) -> () -> Void {
    let before = attachments.map { ($0, $0.trial) }
    for attachment in attachments {
      switch trials {
      case .keep: break
      case .end: attachment.trial = nil
      case .begin(let seconds):
        // A second trial keeps what was confirmed last.
        attachment.trial = Trial(
          previous: attachment.trial.map(\.previous) ?? attachment.ruleSet, windowSeconds: seconds)
      }
    }
    return { for (attachment, trial) in before { attachment.trial = trial } }
  }

  /// After it is live.
  func watchTrials(of attachments: [Attachment]) {
    for attachment in attachments {
      trialDeadlines[attachment.interface] = attachment.trial.map { .now + .seconds(Int64($0.windowSeconds)) }
    }
    watchTrials()
  }

  /// From the state file: what is overdue goes back at once.
  func resumeTrials(_ saved: [DaemonState.Attachment]) {
    let now = SystemClock.realtimeNanoseconds()
    for attachment in saved {
      trialDeadlines[attachment.interface] = attachment.trial.map { .now + $0.remaining(atNanoseconds: now) }
    }
    watchTrials()
  }

  func forgetTrial(of interface: String) {
    trialDeadlines[interface] = nil
    watchTrials()
  }

  private func watchTrials() {
    trialWatch?.cancel()
    guard !isShuttingDown, let next = trialDeadlines.values.min() else { return }
    trialWatch = Task { [weak self] in
      do { try await Task.sleep(until: next, clock: .continuous) } catch { return }
      await self?.endOverdueTrials()
    }
  }

  private func endOverdueTrials() {
    guard !isShuttingDown else { return }
    let now = ContinuousClock.now
    for (interface, deadline) in trialDeadlines.sorted(by: { $0.key < $1.key }) where deadline <= now {
      do throws(ControlError) {
        try goBack(interface, "it was not confirmed in time")
      } catch {
        logger.critical(
          "could not go back to what was confirmed; trying again",
          metadata: ["interface": "\(interface)", "error": "\(error)"])
        trialDeadlines[interface] = now + .seconds(1)
      }
    }
    watchTrials()
  }

  /// What is on trial on these interfaces stands from now on; all or nothing.
  ///
  /// - Parameter subject: Refused where something else waits; nil: whatever waits.
  public func confirm(_ names: [String], expecting subject: TrialSubject? = nil) throws(ControlError) {
    let onTrial = try onTrial(names, subject)
    let before = onTrial.map { ($0, $0.trial) }
    for attachment in onTrial { attachment.trial = nil }
    do throws(ControlError) {
      try save()
    } catch {
      for (attachment, trial) in before { attachment.trial = trial }
      throw error
    }
    for attachment in onTrial {
      trialDeadlines[attachment.interface] = nil
      report(.confirmed, attachment, "the rule set stands")
    }
    watchTrials()
  }

  /// Goes back now on these interfaces.
  public func withdraw(_ names: [String], expecting subject: TrialSubject? = nil) throws(ControlError) {
    for attachment in try onTrial(names, subject) { try goBack(attachment.interface, "it was withdrawn") }
    watchTrials()
  }

  private func onTrial(_ names: [String], _ subject: TrialSubject?) throws(ControlError) -> [Attachment] {
    try checkRunning()
    guard !names.isEmpty else { throw ControlError(.invalidArgument, "name at least one attached interface") }
    var found: [Attachment] = []
    for name in Set(names).sorted() {
      guard let attachment = attachments[name] else { throw notAttached(name) }
      guard attachment.trial != nil else {
        throw ControlError(
          .failedPrecondition, "nothing on \(name) waits for a confirmation: it stands, or the time was over")
      }
      if let subject, TrialSubject(attachment.ruleSet?.name ?? "", attachment.ruleSet?.revision ?? 0) != subject {
        throw ControlError(
          .failedPrecondition,
          "not \(subject.ruleSet) revision \(subject.revision) waits on \(name), but "
            + "\(attachment.ruleSet.map(Self.title) ?? "no rules"): somebody applied it meanwhile")
      }
      found.append(attachment)
    }
    return found
  }

  /// By a new generation: counters belong to rules, and the slots of rules that were gone may have been others' meanwhile.
  private func goBack(_ name: String, _ why: String) throws(ControlError) {
    guard let attachment = attachments[name] else {
      try goBackWhileAway(name)
      return
    }
    guard let trial = attachment.trial else {
      trialDeadlines[name] = nil
      return
    }
    let now = ExpiryClock.wall
    let previous = trial.previous?.expiring(atUnixMilliseconds: now)
    let next = try attachment.prepare(previous?.left, try interfaceIndices(), mayMissTargets: true)
    if next.needsSockets, userPath(of: attachment) == nil { openQueuesOrWarn(of: attachment) }
    // Live first: it needs nothing on the disk, which may be full. A publish that fails leaves the trial, also in the state file.
    try publish([(attachment, next)])
    attachment.trial = nil
    trialDeadlines[name] = nil
    saveGenerationOrWarn()
    warnOfMissingTargets(attachment)
    attachment.expiryClock = ExpiryClock(wallMilliseconds: now)
    attachment.expiredRuleCount = previous?.expired.count ?? 0
    tellEndedElements(of: attachment, isLast: true)
    attachment.endedElements.begin(with: previous?.elementCount ?? 0)
    watchExpiry()
    counted.rolledBack += 1
    report(.rolledBack, attachment, "\(why): back to \(trial.previous.map(Self.title) ?? "no rules")")
  }

  /// The interface is not there: what comes back with it is what was confirmed.
  private func goBackWhileAway(_ name: String) throws(ControlError) {
    guard let saved = dormant[name], let trial = saved.trial else {
      trialDeadlines[name] = nil
      return
    }
    dormant[name]?.ruleSet = trial.previous
    dormant[name]?.trial = nil
    do throws(ControlError) {
      try save()
    } catch {
      dormant[name] = saved
      throw error
    }
    trialDeadlines[name] = nil
    counted.rolledBack += 1
    events.publish(.rolledBack, interface: name, "not confirmed in time, while the interface was away")
  }

  private func report(_ kind: ControlEvent.Kind, _ attachment: Attachment, _ message: String) {
    logger.notice(
      kind == .confirmed ? "confirmed" : "rolled back",
      metadata: [
        "interface": "\(attachment.interface)", "rule_set": "\(attachment.ruleSet?.name ?? "")",
        "revision": "\(attachment.ruleSet?.revision ?? 0)", "reason": "\(message)",
      ])
    events.publish(
      kind, interface: attachment.interface, message,
      fields: [
        "rule_set": attachment.ruleSet?.name ?? "", "revision": "\(attachment.ruleSet?.revision ?? 0)",
        "generation": "\(attachment.generation)",
      ])
  }

  private static func title(_ ruleSet: RuleSet) -> String { "\(ruleSet.name) revision \(ruleSet.revision)" }
}

import LinuxSystem
import RuleCompiler
import Logging
import Rules
import XDPPrograms

extension Controller {
  /// Validates, compiles, self-tests and publishes a rule set on attached interfaces, without rules that have ended. Nothing is published unless every
  /// interface can take it; if a publication fails all the same, those before it get their previous generation back.
  ///
  /// - Parameter seconds: Unless it is confirmed within this time, what stood before comes back by itself; 0: it stands.
  public func apply(
    _ ruleSet: RuleSet, to names: [String], dryRun: Bool, confirmWithin seconds: UInt32 = 0
  ) throws(ControlError) -> (reports: [ApplyReport], warnings: [String]) {
    try apply(ruleSet, to: names, dryRun: dryRun, trials: seconds == 0 ? .end : .begin(seconds: seconds))
  }

  func apply(
    _ ruleSet: RuleSet, to names: [String], dryRun: Bool = false, trials: TrialChange
  ) throws(ControlError) -> (reports: [ApplyReport], warnings: [String]) {
    try checkRunning()
    do throws(ControlError) {
      if case .begin(let seconds) = trials, !Trial.secondsRange.contains(seconds) {
        throw ControlError(
          .invalidArgument, "confirm_within_seconds: \(Trial.secondsRange.lowerBound) to "
            + "\(Trial.secondsRange.upperBound), or 0 for what stands at once")
      }
      var accepted = ruleSet
      let now = ExpiryClock.wall
      accepted.fixExpiry(atUnixMilliseconds: now)
      let (left, expired, endedCount) = accepted.expiring(atUnixMilliseconds: now)
      var outcome = try carryOut(left, names, dryRun: dryRun, trials)
      if !expired.isEmpty {
        outcome.warnings.append(
          "\(expired.count) of its rules had ended before, and are not applied: \(Controller.names(of: expired))")
      }
      if endedCount > 0 {
        outcome.warnings.append("\(endedCount) elements of its sets had ended before, and are not applied")
      }
      if !dryRun {
        for attachment in names.compactMap({ attachments[$0] }) {
          attachment.expiryClock = ExpiryClock(wallMilliseconds: now)
          attachment.expiredRuleCount = expired.count
          tellEndedElements(of: attachment, isLast: true)
          attachment.endedElements.begin(with: endedCount)
        }
        watchExpiry()
      }
      return outcome
    } catch {
      logger.warning(
        "refused a rule set", metadata: [
          "rule_set": "\(ruleSet.name)", "revision": "\(ruleSet.revision)", "reason": "\(error)",
        ])
      if !dryRun {
        counted.refused += 1
        // One for each, as of what is applied: who may read of one interface only reads of that one.
        for name in Set(names).sorted().prefix(Self.refusedEventsMax) {
          events.publish(
            .refused, interface: name, error.message,
            fields: ["rule_set": ruleSet.name, "revision": "\(ruleSet.revision)"])
        }
      }
      throw error
    }
  }

  private static let refusedEventsMax = 64

  private func carryOut(
    _ ruleSet: RuleSet, _ names: [String], dryRun: Bool, _ trials: TrialChange
  ) throws(ControlError) -> (reports: [ApplyReport], warnings: [String]) {
    guard !names.isEmpty else { throw ControlError(.invalidArgument, "name at least one attached interface") }
    guard Set(names).count == names.count else { throw ControlError(.invalidArgument, "an interface is named twice") }
    let start = ContinuousClock.now
    let indices = try interfaceIndices()
    var plan: [(attachment: Attachment, next: PreparedGeneration)] = []
    for name in names {
      guard let attachment = attachments[name] else { throw notAttached(name) }
      plan.append((attachment, try attachment.prepare(ruleSet, indices)))
    }
    // The generations differ between interfaces only in what the self-test doesn't see: slots and numbers are checked by
    // the first, which stands for all that decide the same.
    var tested: [PreparedGeneration.Meaning: Int] = [:]
    for step in plan where tested[step.next.meaning] == nil {
      tested[step.next.meaning] = try step.next.selfTest(with: try selfTest(for: step.next.compiled))
    }
    let warnings = ruleSet.validate().map(\.description) + redirectWarnings(ruleSet)
    if !dryRun {
      if plan.contains(where: { $0.next.needsSockets }) {
        for step in plan where step.next.needsSockets {
          // The threads of a wire have their sockets open.
          if userPath(of: step.attachment) == nil { try openQueues(of: step.attachment) }
        }
      }
      let undoTrials = change(trials, on: plan.map(\.attachment))
      do throws(ControlError) {
        try save(after: plan)
        try publish(plan)
      } catch {
        undoTrials()
        saveGenerationOrWarn()
        throw error
      }
      if trials != .keep { watchTrials(of: plan.map(\.attachment)) }
    }
    let seconds = (ContinuousClock.now - start).inSeconds
    let reports = plan.map { step in
      ApplyReport(
        interface: step.attachment.interface, generation: step.next.compiled.generation,
        entryCount: step.next.entryCount,
        selfTestPacketCount: tested[step.next.meaning] ?? 0, seconds: seconds)
    }
    if !dryRun {
      counted.applied += 1
      counted.lastApplySeconds = seconds
      announce(ruleSet, reports)
    }
    return (reports, warnings)
  }

  func publish(_ plan: [(attachment: Attachment, next: PreparedGeneration)]) throws(ControlError) {
    var done: [(attachment: Attachment, previous: PreparedGeneration)] = []
    for step in plan {
      let previous = (step.attachment, step.attachment.snapshot)
      nameSlots(step.next.slots.slots, of: step.attachment)
      followRules({ [step.attachment.slots[$0], step.next.slots[$0]] }, on: step.attachment.interface)
      do throws(ControlError) {
        try step.attachment.publish(step.next)
        done.append(previous)
      } catch {
        for (attachment, generation) in done.reversed() { goBack(attachment, generation) }
        saveGenerationOrWarn()
        throw error
      }
    }
    for step in plan {
      if !step.next.needsSockets, step.attachment.options.zeroCopy != .required { closeQueuesIfIdle(of: step.attachment) }
    }
  }

  private func goBack(_ attachment: Attachment, _ previous: PreparedGeneration) {
    do throws(ControlError) {
      try attachment.goBack(to: previous)
    } catch {
      logger.critical(
        "could not go back to the previous generation",
        metadata: ["interface": "\(attachment.interface)", "error": "\(error)"])
    }
  }

  func announce(_ ruleSet: RuleSet, _ reports: [ApplyReport]) {
    for report in reports {
      logger.notice(
        "applied", metadata: [
          "interface": "\(report.interface)", "rule_set": "\(ruleSet.name)", "revision": "\(ruleSet.revision)",
          "generation": "\(report.generation)", "entries": "\(report.entryCount)",
        ])
      events.publish(
        .applied, interface: report.interface, "generation \(report.generation) is live",
        fields: [
          "rule_set": ruleSet.name, "revision": "\(ruleSet.revision)", "generation": "\(report.generation)",
        ])
    }
  }

  /// A redirect to a device that can't transmit XDP frames loses every packet, without a counter of the kernel's.
  private func redirectWarnings(_ ruleSet: RuleSet) -> [String] {
    let targets = Set(ruleSet.allRules.filter(\.isEnabled).compactMap(\.action.redirectInterface)).sorted()
    return targets.compactMap { target in
      guard let features = try? NetworkInterface.named(target).xdpFeatures(),
        !features.contains(.transmitRedirected)
      else { return nil }
      return "\(target) cannot transmit redirected packets now, they would be lost: attach an XDP program to it or, "
        + "for a veth, to its peer (or turn GRO on there)"
    }
  }

  /// Loads the program to try generations with, so that the first apply doesn't wait some tenths of a second for the kernel's
  /// verifier. If it fails, the apply tells why.
  public func prepareSelfTest() {
    guard selfTestProgram == nil, !isShuttingDown else { return }
    selfTestProgram = try? SelfTestProgram(generationByteCount: Controller.selfTestByteCount)
  }

  /// Of some ten thousand rules.
  private static let selfTestByteCount = 2 << 20

  /// A program to try generations of so many bytes with; made anew where the one that is there is too small.
  func selfTest(for compiled: CompiledGeneration) throws(ControlError) -> SelfTestProgram {
    let byteCount = compiled.words.count * 8
    if let selfTestProgram, selfTestProgram.generationByteCountMax >= byteCount { return selfTestProgram }
    let program = try translating { () throws(ProgramError) in
      try SelfTestProgram(generationByteCount: byteCount)
    }
    selfTestProgram = program
    return program
  }

  /// The applied rule set of an interface.
  public func ruleSet(of name: String) throws(ControlError) -> (ruleSet: RuleSet, generation: UInt64) {
    guard let attachment = attachments[name] else { throw notAttached(name) }
    guard let ruleSet = attachment.ruleSet else {
      throw ControlError(.notFound, "\(name) is attached and no rule set is applied to it")
    }
    return (ruleSet, attachment.generation)
  }
}

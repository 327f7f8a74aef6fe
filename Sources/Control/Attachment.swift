import CSluiceABI
import LinuxSystem
import Packets
import RuleCompiler
import Rules
import XDPPrograms

/// One attached interface: its program, what is live on it, and its queues to user space. The control actor owns it.
final class Attachment {
  let interface: String
  let options: AttachmentOptions
  let program: InterfaceProgram
  let attachedAtNanoseconds: UInt64
  let warnings: [String]
  /// What the interface was renamed to; nil: it has its name.
  var otherName: String?
  /// The one source of what is live.
  private(set) var live: PreparedGeneration
  var queues: QueueSet?
  /// Nil: what is live stands.
  var trial: Trial?
  /// Nil: the tables are as they were published, but for what the other changed.
  var setEditor: SetEditor?
  /// Made with what is live, so that its first change needn't wait for it; nil: its rules can't be changed in place.
  var ruleEditor: RuleEditor?
  /// What time it is for the rules that are live.
  var expiryClock = ExpiryClock()
  /// Rules of what was applied last that have ended.
  var expiredRuleCount = 0
  /// Elements of its sets that have.
  var endedElements = EndedElements()
  /// Elements that end are left alone until then.
  var elementsRestUntil = ContinuousClock.now

  /// Attaches, deciding by `first` from the first packet on unless the pins of an earlier daemon still decide.
  init(
    as name: String, interface: NetworkInterface, options: AttachmentOptions, pins: PinDirectory?,
    first: PreparedGeneration, attachedAtNanoseconds: UInt64, warnings: [String]
  ) throws(ControlError) {
    program = try translating { () throws(ProgramError) in
      try first.compiled.withUnsafeBytes { (bytes) throws(ProgramError) in
        try InterfaceProgram(
          interface: interface.name, index: interface.index, options: options.program, pins: pins, generation: bytes,
          elements: first.countedElements(after: nil))
      }
    }
    self.interface = name
    if interface.name != name { otherName = interface.name }
    self.options = options
    self.attachedAtNanoseconds = attachedAtNanoseconds
    live = first
    var warnings = warnings
    if let reason = program.fallbackReason {
      warnings.append("attached in generic mode, which is much slower: \(reason)")
    }
    if !program.supportsFrags {
      warnings.append("the kernel has no xdp.frags (5.18): native mode refuses jumbo frames")
    }
    self.warnings = warnings
    ruleEditor = makeRuleEditor()
  }

  var ruleSet: RuleSet? { live.applied }
  var slots: SlotTable { live.slots }
  var generation: UInt64 { live.compiled.generation }

  /// Makes a generation live; the previous one stays if that fails.
  func publish(_ next: PreparedGeneration) throws(ControlError) {
    let countsDefaultAnew = !next.hasDefaultOf(live)
    try translating { () throws(ProgramError) in
      for slot in next.freshSlots { try program.clearRuleCounter(slot: slot) }
    }
    try goBack(to: next)
    // Counted by what was live until now; a failure leaves its count to the new one.
    if countsDefaultAnew { try? program.clearRuleCounter(slot: UInt32(SLUICE_SLOT_DEFAULT)) }
  }

  /// The generation behind the live one. Nothing is live yet.
  ///
  /// - Parameters: As of ``PreparedGeneration``.
  func prepare(
    _ ruleSet: RuleSet?, _ interfaceIndices: [String: UInt32], mayMissTargets: Bool = false
  ) throws(ControlError) -> PreparedGeneration {
    try PreparedGeneration(
      ruleSet, interface: interface, generation: generation + 1, previous: slots, options: options,
      interfaceIndices: interfaceIndices, mayMissTargets: mayMissTargets)
  }

  /// Makes a generation live that was live before, its rules' counters as they are.
  func goBack(to previous: PreparedGeneration) throws(ControlError) {
    try translating { () throws(ProgramError) in
      try previous.compiled.withUnsafeBytes { (bytes) throws(ProgramError) in
        try program.publish(
          bytes, redirectTargets: previous.redirectTargets, elements: previous.countedElements(after: live))
      }
    }
    setEditor = nil
    live = previous
    ruleEditor = makeRuleEditor()
  }

  /// What is live, with what was changed in its tables.
  var snapshot: PreparedGeneration {
    var snapshot = live
    let changed = ruleEditor.flatMap { $0.isUsed ? $0.generation : nil }
    if setEditor != nil || changed != nil { snapshot.refresh(from: LiveTables(half: program.liveHalf), changedBy: changed) }
    return snapshot
  }

  /// What the rules pass goes to the kernel's stack. An interface that is gone needs no leading.
  func leadToStack() throws(ControlError) {
    try translating { () throws(ProgramError) in
      if try program.path() != .stack { try program.setPath(.stack) }
    }
  }

  /// After ``changeTables(_:inserted:removed:)``: the rule set has the same elements.
  func make(_ effect: SetEffect) { live.make(effect) }

  /// After ``changeTables(_:)``.
  func change(_ plan: PlannedRuleChange) { live.change(plan) }

  /// After those that had ended were taken out of the tables.
  func removeEnded(of sets: [String], atUnixMilliseconds now: Int64) {
    live.removeEnded(of: sets, atUnixMilliseconds: now)
  }

  var state: DaemonState.Attachment { state(with: live) }

  /// The state as it is once `next` is live.
  func state(with next: PreparedGeneration) -> DaemonState.Attachment {
    DaemonState.Attachment(
      interface: interface, options: options, ruleSet: next.applied, slots: next.slots,
      generation: next.compiled.generation, attachedAtNanoseconds: attachedAtNanoseconds, trial: trial)
  }

  private var renamed: [String] {
    otherName.map { ["the interface is called \($0) now: detach this one and attach that, or give it its name again"] } ?? []
  }

  var report: AttachmentReport {
    let rules = live.nextExpiry
    let elements = ruleSet?.nextElementEnd
    let next = [rules?.unixMilliseconds, elements?.unixMilliseconds].compactMap(\.self).min()
    return AttachmentReport(
      interface: interface, options: options, isNative: program.isNative, fallbackReason: program.fallbackReason,
      isInDispatcher: program.isInDispatcher, programIdentifier: program.programIdentifier, generation: generation,
      ruleSet: ruleSet?.name, revision: ruleSet?.revision ?? 0, queues: queues?.reports ?? [],
      warnings: warnings + program.warnings + renamed + (queues?.warnings ?? []),
      attachedAtNanoseconds: attachedAtNanoseconds,
      trial: trial.map {
        TrialReport(
          confirmByNanoseconds: $0.deadlineNanoseconds, previousRuleSet: $0.previous?.name,
          previousRevision: $0.previous?.revision ?? 0)
      },
      expiringRules: rules?.ruleCount ?? 0, expiringElements: elements?.elementCount ?? 0,
      nextExpiryNanoseconds: next.map { UInt64(clamping: $0) &* 1_000_000 } ?? 0,
      expiredRules: expiredRuleCount, endedElements: endedElements.count)
  }

  /// Of packets that followed the interface's path; zeros where they can't be read.
  var forwardedCounters: ForwardedCounters {
    guard let all = try? program.interfaceCounters() else { return ForwardedCounters() }
    return ForwardedCounters(
      forwarded: all[Int(SLUICE_COUNTER_FORWARD.rawValue)],
      fallback: all[Int(SLUICE_COUNTER_FORWARD_FALLBACK.rawValue)],
      failed: all[Int(SLUICE_COUNTER_FORWARD_FAILED.rawValue)])
  }

  func counters() throws(ControlError) -> CountersReport {
    try translating { () throws(ProgramError) in
      let all = try program.interfaceCounters()
      func named(_ name: String, _ index: Int) -> NamedCount { NamedCount(name: name, count: all[index]) }
      func count(_ name: String, _ counter: sluice_interface_counter) -> NamedCount { named(name, Int(counter.rawValue)) }
      var rules: [CountersReport.RuleCount] = []
      for rule in ruleSet?.countedRules ?? [] {
        guard let slot = slots[rule.name] else { continue }
        let counter = try program.ruleCounter(slot: slot)
        rules.append(.init(rule: rule.name, action: rule.action.name, count: counter))
      }
      let fate = ruleSet?.defaultAction ?? .pass
      rules.append(
        .init(
          rule: "default", action: fate.rawValue,
          count: try program.ruleCounter(slot: UInt32(SLUICE_SLOT_DEFAULT))))
      return CountersReport(
        interface: interface, ruleSet: ruleSet?.name, revision: ruleSet?.revision ?? 0, generation: generation,
        rules: rules,
        actions: [
          count("pass", SLUICE_COUNTER_PASS), count("drop", SLUICE_COUNTER_DROP),
          count("capture", SLUICE_COUNTER_CAPTURE), count("redirect", SLUICE_COUNTER_REDIRECT),
          count("forward", SLUICE_COUNTER_FORWARD),
        ],
        events: [
          count("capture_fallback", SLUICE_COUNTER_CAPTURE_FALLBACK),
          count("redirect_failed", SLUICE_COUNTER_REDIRECT_FAILED),
          count("no_generation", SLUICE_COUNTER_NO_GENERATION),
          count("forward_failed", SLUICE_COUNTER_FORWARD_FAILED),
          count("forward_fallback", SLUICE_COUNTER_FORWARD_FALLBACK),
          count("broken_walk", SLUICE_COUNTER_BROKEN_WALK),
        ],
        malformed: MalformedReason.allCases.map {
          named($0.rawValue, Int(SLUICE_COUNTER_MALFORMED.rawValue) + $0.index)
        })
    }
  }
}

import Glibc
import LinuxSystem
import Logging
import Rules
import XDPPrograms

/// Where the daemon keeps its things, and what it may do.
public struct ControlSettings: Hashable, Sendable {
  /// Holds the state file and the lock; made if missing.
  public var stateDirectory: String
  /// Captures are written below it and nowhere else; made if missing.
  public var captureDirectory: String
  /// Mount point of the BPF file system for pins.
  public var bpffs: String
  /// Of packet threads whose attachment or wire doesn't say otherwise.
  public var worker: WorkerOptions

  public init(
    stateDirectory: String, captureDirectory: String, bpffs: String = "/sys/fs/bpf",
    worker: WorkerOptions = WorkerOptions(wait: .adaptive)
  ) {
    self.stateDirectory = stateDirectory
    self.captureDirectory = captureDirectory
    self.bpffs = bpffs
    self.worker = worker
  }
}

/// Everything the daemon does to interfaces, one request at a time: attach, apply, capture, report, restore.
///
/// A request either succeeds whole or leaves everything as it was; what was applied is on the disk before it is live.
/// Packets never wait for it: they are decided by the kernel program and by the queue threads.
public actor Controller {
  public nonisolated let events = EventBus()
  public nonisolated let settings: ControlSettings
  public nonisolated let startedAtNanoseconds = SystemClock.realtimeNanoseconds()

  let store: StateStore
  let journal: ChangeJournal
  /// Of the state file that was written last, or was to be.
  private(set) var stateNumber: UInt64 = 0
  /// What making the rule changes of the journal again takes, in rules that are looked at.
  var journaledRuleWork = 0
  let logger: Logger
  var attachments: [String: Attachment] = [:]
  var captures = CaptureTable()
  /// The state file lacks a generation that is live: the journal can't tell of changes of it.
  var isStateBehind = false
  /// Whether captures may begin that go to their callers.
  var takesStreams = true
  /// Attachments in the state file whose interface is not there (yet).
  var dormant: [String: DaemonState.Attachment] = [:]
  var wires: [String: Wire] = [:]
  var selfTestProgram: SelfTestProgram?
  /// Of interfaces whose rule set waits for a confirmation.
  var trialDeadlines: [String: ContinuousClock.Instant] = [:]
  var trialWatch: Task<Void, Never>?
  var expiryWatch: Task<Void, Never>?
  private let lock: FileLock
  public private(set) var isShuttingDown = false
  var counted = ControlStatistics()
  private nonisolated let executor = ControlExecutor()

  public nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

  /// Takes the state directory; throws where another daemon has it.
  public init(settings: ControlSettings, logger: Logger) throws(ControlError) {
    self.settings = settings
    self.logger = logger
    store = StateStore(directory: settings.stateDirectory)
    journal = ChangeJournal(directory: settings.stateDirectory)
    do throws(SystemError) {
      try Directories.make(settings.stateDirectory, mode: 0o750)
      try Directories.make(settings.captureDirectory, mode: 0o750)
      lock = try FileLock(path: "\(settings.stateDirectory)/sluiced.lock")
    } catch {
      throw ControlError(error)
    }
  }

  /// Attaches again what the state file says, each with the rule set that was live. What can't be restored is reported and
  /// stays in the state, so that a missing interface comes back with its filters.
  public func restore() throws(ControlError) {
    var state = try store.load()
    let journaled = try journal.load()
    stateNumber = journaled.entries.compactMap(\.state).reduce(state.number, max)
    state.apply(journaled)
    for saved in state.attachments {
      do throws(ControlError) {
        try restore(saved)
      } catch {
        dormant[saved.interface] = saved
        logger.error("could not restore an attachment", metadata: ["interface": "\(saved.interface)", "error": "\(error)"])
        events.publish(.attachLost, interface: saved.interface, "not restored: \(error)")
      }
    }
    for interface in PinDirectory.interfaces(bpffs: settings.bpffs)
    where attachments[interface] == nil && dormant[interface] == nil {
      logger.warning(
        "pins of an attachment that is not in the state file", metadata: ["interface": "\(interface)"])
    }
    restoreWires(state.wires)
    resumeTrials(state.attachments)
    if let damage = journaled.damage { keepDamaged(damage) }
    // Also where nothing is to follow something that is none.
    if journaled.isTorn || counted.rulesExpired > 0 || counted.elementsEnded > 0 { saveGenerationOrWarn() }
    watchExpiry()
  }

  /// When the wires are known: its pins may lead packets to one that was deleted meanwhile.
  private func restoreLater(_ saved: DaemonState.Attachment) throws(ControlError) {
    let ended = (counted.rulesExpired, counted.elementsEnded)
    try restore(saved)
    if wire(using: saved.interface) == nil { try? attachments[saved.interface]?.leadToStack() }
    // What is live no longer has a name that a change may give to another: the state file must not say otherwise.
    if (counted.rulesExpired, counted.elementsEnded) != ended { saveGenerationOrWarn() }
  }

  private func restore(_ saved: DaemonState.Attachment) throws(ControlError) {
    // What ended while nobody looked is not made live again.
    let now = ExpiryClock.wall
    let left = saved.ruleSet?.expiring(atUnixMilliseconds: now)
    let attachment = try makeAttachment(
      saved.interface, to: try findInterface(attachedAs: saved.interface), saved.options, ruleSet: left?.left, slots: saved.slots, generation: saved.generation,
      attachedAtNanoseconds: saved.attachedAtNanoseconds)
    attachment.trial = saved.trial
    if attachment.program.wasAdopted || attachment.live.hasTargets {
      // The pins may hold a generation with redirect targets or an ABI detail of the earlier daemon: publish ours. And a program
      // that was attached just now knows of no devices.
      try attachment.goBack(to: attachment.live)
    }
    warnOfMissingTargets(attachment)
    if attachment.live.needsSockets { openQueuesOrWarn(of: attachment) }
    // Only now: what can't be restored whole stays in the state once, and its pins go on deciding.
    attachments[saved.interface] = attachment
    dormant[saved.interface] = nil
    logger.notice(
      "restored", metadata: [
        "interface": "\(saved.interface)", "rule_set": "\(saved.ruleSet?.name ?? "")",
        "generation": "\(attachment.generation)", "adopted": "\(attachment.program.wasAdopted)",
      ])
    events.publish(.attached, interface: saved.interface, "restored")
    if let ruleSet = saved.ruleSet, let left {
      report(left.expired, of: ruleSet, on: attachment)
      for set in ruleSet.sets {
        count(set.ended(atUnixMilliseconds: now).count, endedIn: set.name, of: attachment)
      }
      tellEndedElements(of: attachment)
    }
  }

  // MARK: Attach and detach

  /// Attaches the program to an interface; nothing is filtered until ``apply(_:to:dryRun:)``. Again with the same options:
  /// reports what is there.
  @discardableResult
  public func attach(_ name: String, _ options: AttachmentOptions) throws(ControlError) -> AttachmentReport {
    try checkRunning()
    if let attachment = attachments[name] {
      guard attachment.options == options else {
        throw ControlError(
          .alreadyExists, "\(name) is attached with other options; detach it first, then attach it with the new ones")
      }
      return attachment.report
    }
    if let saved = dormant[name] {
      guard saved.options == options else {
        throw ControlError(
          .alreadyExists, "\(name) was attached with other options and waits for its interface; detach it first, then attach "
            + "it with the new ones")
      }
      try restoreLater(saved)
      watchExpiry()
      reviewWires()
      if let report = attachments[name]?.report { return report }
    }
    try options.worker.check("options.worker.")
    let attachment = try makeAttachment(
      name, to: try findInterface(name), options, ruleSet: nil, slots: SlotTable(), generation: 1,
      attachedAtNanoseconds: SystemClock.realtimeNanoseconds())
    attachments[name] = attachment
    do throws(ControlError) {
      if attachment.program.wasAdopted {
        // Pins of which no state tells: their rules are not known.
        try attachment.goBack(to: attachment.live)
      }
      // Nor where they led packets; maps may be pinned without a link, too.
      try attachment.leadToStack()
      if options.zeroCopy == .required { try openQueues(of: attachment) }
      try save()
    } catch {
      attachments[name] = nil
      attachment.queues = nil
      try? attachment.program.detach()
      throw error
    }
    logger.notice(
      "attached", metadata: [
        "interface": "\(name)", "mode": "\(attachment.program.isNative ? "native" : "generic")",
        "program_id": "\(attachment.program.programIdentifier)",
      ])
    for warning in attachment.warnings { logger.warning("\(warning)", metadata: ["interface": "\(name)"]) }
    events.publish(
      .attached, interface: name, "attached",
      fields: ["mode": attachment.program.isNative ? "native" : "generic"])
    return attachment.report
  }

  /// Takes the program off. From the next packet on the kernel's stack sees everything; the counters are gone.
  public func detach(_ name: String) throws(ControlError) {
    try checkRunning()
    try checkNotWired(name)
    if let saved = dormant.removeValue(forKey: name) {
      do throws(ControlError) {
        try save()
      } catch {
        dormant[name] = saved
        throw error
      }
      PinDirectory(bpffs: settings.bpffs, interface: name).removeOfAllVersions()
      forgetTrial(of: name)
      return
    }
    guard let attachment = attachments.removeValue(forKey: name) else { throw notAttached(name) }
    do throws(ControlError) {
      try save()
    } catch {
      attachments[name] = attachment
      throw error
    }
    forgetTrial(of: name)
    release(attachment)
    logger.notice("detached", metadata: ["interface": "\(name)"])
    events.publish(.detached, interface: name, "detached")
  }

  /// Ends the attachment's captures, closes its sockets and takes the program off.
  func release(_ attachment: Attachment) {
    endCaptures(of: attachment)
    attachment.queues = nil
    do throws(ProgramError) {
      try attachment.program.detach()
    } catch {
      logger.error("detach", metadata: ["interface": "\(attachment.interface)", "error": "\(error)"])
    }
  }

  private func makeAttachment(
    _ name: String, to interface: NetworkInterface, _ options: AttachmentOptions, ruleSet: RuleSet?, slots: SlotTable, generation: UInt64,
    attachedAtNanoseconds: UInt64
  ) throws(ControlError) -> Attachment {
    try checkCapabilities()
    let first = try PreparedGeneration(
      ruleSet, interface: name, generation: generation, previous: slots, options: options,
      interfaceIndices: try interfaceIndices(), mayMissTargets: true)
    var warnings: [String] = []
    var pins: PinDirectory?
    do throws(SystemError) {
      try BPFFileSystem.ensure(at: settings.bpffs)
      pins = PinDirectory(bpffs: settings.bpffs, interface: name)
    } catch {
      warnings.append("nothing is pinned, so filtering ends with the daemon: \(error)")
    }
    return try Attachment(
      as: name, interface: interface, options: options, pins: pins, first: first,
      attachedAtNanoseconds: attachedAtNanoseconds, warnings: warnings)
  }

  // MARK: Interfaces that come and go

  /// An interface changed or went: notices lost attachments, and attaches again what was waiting for its interface.
  public func interfacesChanged() {
    guard !isShuttingDown else { return }
    for attachment in attachments.values {
      if attachment.program.isAttached() {
        follow(attachment)
      } else {
        lose(
          attachment,
          "the interface is gone, or somebody took the program off; it is attached again when the interface is back")
      }
    }
    for saved in Array(dormant.values) where (try? NetworkInterface.named(saved.interface)) != nil {
      do throws(ControlError) {
        try restoreLater(saved)
      } catch {
        logger.warning(
          "cannot attach again", metadata: ["interface": "\(saved.interface)", "error": "\(error)"])
      }
    }
    followTargets()
    watchExpiry()
    reviewWires()
  }

  // MARK: Shutdown

  /// Ends captures, drains and closes sockets, and takes the programs off where they aren't to stay. Later requests are
  /// refused. What was applied stays in the state file.
  ///
  /// - Parameter afterFailure: Nobody asked for the stop: all programs go on deciding, as after a kill, for the daemon
  ///   that comes next.
  public func shutdown(afterFailure: Bool = false) {
    guard !isShuttingDown else { return }
    isShuttingDown = true
    trialWatch?.cancel()
    expiryWatch?.cancel()
    events.publish(.shutdown, "the daemon stops")
    stopWires()
    for attachment in attachments.values.sorted(by: { $0.interface < $1.interface }) {
      endCaptures(of: attachment)
      attachment.queues = nil
      if attachment.options.keepOnExit || afterFailure {
        logger.notice("left attached", metadata: ["interface": "\(attachment.interface)"])
      } else {
        release(attachment)
        logger.notice("detached", metadata: ["interface": "\(attachment.interface)"])
      }
    }
    attachments = [:]
    events.finish()
  }

  // MARK: Small change

  func checkRunning() throws(ControlError) {
    if isShuttingDown { throw ControlError(.unavailable, "the daemon is shutting down") }
  }

  func notAttached(_ name: String) -> ControlError {
    let attached = attachments.keys.sorted().joined(separator: ", ")
    return ControlError(
      .notFound, "\(name) is not attached (\(attached.isEmpty ? "nothing is" : "attached: \(attached)")); attach it first")
  }

  func save() throws(ControlError) { try save(attachments.values.map(\.state)) }

  func save(after plan: [(attachment: Attachment, next: PreparedGeneration)]) throws(ControlError) {
    let next = Dictionary(uniqueKeysWithValues: plan.map { ($0.attachment.interface, $0.next) })
    try save(
      attachments.values.map { attachment in
        next[attachment.interface].map(attachment.state(with:)) ?? attachment.state
      })
  }

  private func save(_ live: [DaemonState.Attachment]) throws(ControlError) {
    let all = (live + dormant.values).sorted { $0.interface < $1.interface }
    // Also where this fails the file may be the new one. Changes behind it are made to either.
    stateNumber += 1
    try store.save(
      DaemonState(
        number: stateNumber, attachments: all, wires: wires.values.map(\.state).sorted { $0.options.name < $1.options.name }))
    isStateBehind = false
    try journal.empty()
    journaledRuleWork = 0
  }
}

extension Duration {
  var inSeconds: Double { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }
}

private enum Directories {
  /// Makes a directory and those above it.
  static func make(_ path: String, mode: mode_t) throws(SystemError) {
    var current = path.hasPrefix("/") ? "" : "."
    for component in path.split(separator: "/") {
      current += "/\(component)"
      if mkdir(current, mode) != 0, errno != EEXIST {
        throw SystemError(operation: "make directory", code: errno, subject: current)
      }
    }
  }
}

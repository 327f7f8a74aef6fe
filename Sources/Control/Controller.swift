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

  public init(stateDirectory: String, captureDirectory: String, bpffs: String = "/sys/fs/bpf") {
    self.stateDirectory = stateDirectory
    self.captureDirectory = captureDirectory
    self.bpffs = bpffs
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
  let logger: Logger
  var attachments: [String: Attachment] = [:]
  var captures = CaptureTable()
  /// Attachments in the state file whose interface is not there (yet).
  var dormant: [String: DaemonState.Attachment] = [:]
  private var selfTestProgram: SelfTestProgram?
  private let lock: FileLock
  public private(set) var isShuttingDown = false
  private var counted = ControlStatistics()
  private nonisolated let executor = ControlExecutor()

  public nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

  /// Takes the state directory; throws where another daemon has it.
  public init(settings: ControlSettings, logger: Logger) throws(ControlError) {
    self.settings = settings
    self.logger = logger
    store = StateStore(directory: settings.stateDirectory)
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
    let state = try store.load()
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
  }

  private func restore(_ saved: DaemonState.Attachment) throws(ControlError) {
    let attachment = try makeAttachment(
      saved.interface, saved.options, ruleSet: saved.ruleSet, slots: saved.slots, generation: saved.generation,
      attachedAtNanoseconds: saved.attachedAtNanoseconds)
    attachments[saved.interface] = attachment
    dormant[saved.interface] = nil
    if attachment.program.wasAdopted {
      // The pins may hold a generation with redirect targets or an ABI detail of the earlier daemon: publish ours.
      try attachment.goBack(to: attachment.live)
    }
    if attachment.live.needsSockets { try openQueues(of: attachment) }
    logger.notice(
      "restored", metadata: [
        "interface": "\(saved.interface)", "rule_set": "\(saved.ruleSet?.name ?? "")",
        "generation": "\(attachment.generation)", "adopted": "\(attachment.program.wasAdopted)",
      ])
    events.publish(.attached, interface: saved.interface, "restored")
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
    let attachment = try makeAttachment(
      name, options, ruleSet: nil, slots: SlotTable(), generation: 1,
      attachedAtNanoseconds: SystemClock.realtimeNanoseconds())
    dormant[name] = nil
    attachments[name] = attachment
    do throws(ControlError) {
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
    if dormant.removeValue(forKey: name) != nil {
      try save()
      PinDirectory(bpffs: settings.bpffs, interface: name).remove()
      return
    }
    guard let attachment = attachments.removeValue(forKey: name) else { throw notAttached(name) }
    do throws(ControlError) {
      try save()
    } catch {
      attachments[name] = attachment
      throw error
    }
    release(attachment)
    logger.notice("detached", metadata: ["interface": "\(name)"])
    events.publish(.detached, interface: name, "detached")
  }

  /// Ends the attachment's captures, closes its sockets and takes the program off.
  func release(_ attachment: Attachment) {
    endCaptures(on: attachment.interface)
    attachment.queues = nil
    do throws(ProgramError) {
      try attachment.program.detach()
    } catch {
      logger.error("detach", metadata: ["interface": "\(attachment.interface)", "error": "\(error)"])
    }
  }

  private func makeAttachment(
    _ name: String, _ options: AttachmentOptions, ruleSet: RuleSet?, slots: SlotTable, generation: UInt64,
    attachedAtNanoseconds: UInt64
  ) throws(ControlError) -> Attachment {
    let interface = try findInterface(name)
    try checkCapabilities()
    let first = try PreparedGeneration(
      ruleSet, generation: generation, previous: slots, options: options,
      interfaceIndices: try interfaceIndices())
    var warnings: [String] = []
    var pins: PinDirectory?
    do throws(SystemError) {
      try BPFFileSystem.ensure(at: settings.bpffs)
      pins = PinDirectory(bpffs: settings.bpffs, interface: name)
    } catch {
      warnings.append("nothing is pinned, so filtering ends with the daemon: \(error)")
    }
    return try Attachment(
      interface: interface, options: options, pins: pins, first: first,
      attachedAtNanoseconds: attachedAtNanoseconds, warnings: warnings)
  }

  // MARK: Apply

  /// Validates, compiles, self-tests and publishes a rule set on attached interfaces. Nothing is published unless every
  /// interface can take it; if a publication fails all the same, those before it get their previous generation back.
  public func apply(
    _ ruleSet: RuleSet, to names: [String], dryRun: Bool
  ) throws(ControlError) -> (reports: [ApplyReport], warnings: [String]) {
    try checkRunning()
    do throws(ControlError) {
      return try carryOut(ruleSet, names, dryRun: dryRun)
    } catch {
      logger.warning(
        "refused a rule set", metadata: [
          "rule_set": "\(ruleSet.name)", "revision": "\(ruleSet.revision)", "reason": "\(error)",
        ])
      if !dryRun {
        counted.refused += 1
        events.publish(
          .refused, interface: names.joined(separator: ","), error.message,
          fields: ["rule_set": ruleSet.name, "revision": "\(ruleSet.revision)"])
      }
      throw error
    }
  }

  private func carryOut(
    _ ruleSet: RuleSet, _ names: [String], dryRun: Bool
  ) throws(ControlError) -> (reports: [ApplyReport], warnings: [String]) {
    guard !names.isEmpty else { throw ControlError(.invalidArgument, "name at least one attached interface") }
    guard Set(names).count == names.count else { throw ControlError(.invalidArgument, "an interface is named twice") }
    let start = ContinuousClock.now
    let indices = try interfaceIndices()
    var plan: [(attachment: Attachment, next: PreparedGeneration)] = []
    for name in names {
      guard let attachment = attachments[name] else { throw notAttached(name) }
      let next = try PreparedGeneration(
        ruleSet, generation: attachment.generation + 1, previous: attachment.slots, options: attachment.options,
        interfaceIndices: indices)
      plan.append((attachment, next))
    }
    // The generations differ between interfaces only in what the self-test doesn't see: slots and numbers are checked by
    // the first, which stands for all with the same options.
    var tested: [AttachmentOptions: Int] = [:]
    for step in plan where tested[step.attachment.options] == nil {
      tested[step.attachment.options] = try step.next.selfTest(with: try selfTest())
    }
    let warnings = ruleSet.validate().map(\.description) + redirectWarnings(ruleSet)
    if !dryRun {
      if plan.contains(where: { $0.next.needsSockets }) {
        for step in plan where step.next.needsSockets { try openQueues(of: step.attachment) }
      }
      try save(after: plan)
      try publish(plan)
    }
    let seconds = (ContinuousClock.now - start).inSeconds
    let reports = plan.map { step in
      ApplyReport(
        interface: step.attachment.interface, generation: step.next.compiled.generation,
        entryCount: step.next.compiled.entryCount,
        selfTestPacketCount: tested[step.attachment.options] ?? 0, seconds: seconds)
    }
    if !dryRun {
      counted.applied += 1
      counted.lastApplySeconds = seconds
      announce(ruleSet, reports)
    }
    return (reports, warnings)
  }

  private func publish(_ plan: [(attachment: Attachment, next: PreparedGeneration)]) throws(ControlError) {
    var done: [(attachment: Attachment, previous: PreparedGeneration)] = []
    for step in plan {
      let previous = (step.attachment, step.attachment.live)
      do throws(ControlError) {
        try step.attachment.publish(step.next)
        done.append(previous)
      } catch {
        for (attachment, generation) in done.reversed() { goBack(attachment, generation) }
        try save()
        throw error
      }
    }
    for step in plan {
      if !step.next.needsSockets, step.attachment.options.zeroCopy != .required { closeQueuesIfIdle(of: step.attachment) }
      step.attachment.queues?.slotNames.set(step.attachment.slots)
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

  private func announce(_ ruleSet: RuleSet, _ reports: [ApplyReport]) {
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
    let targets = Set(ruleSet.rules.filter(\.isEnabled).compactMap(\.action.redirectInterface)).sorted()
    return targets.compactMap { target in
      guard let features = try? NetworkInterface.named(target).xdpFeatures(),
        !features.contains(.transmitRedirected)
      else { return nil }
      return "\(target) cannot transmit redirected packets now, they would be lost: attach an XDP program to it or, "
        + "for a veth, to its peer (or turn GRO on there)"
    }
  }

  private func selfTest() throws(ControlError) -> SelfTestProgram {
    if let selfTestProgram { return selfTestProgram }
    let program = try translating { () throws(ProgramError) in try SelfTestProgram() }
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

  // MARK: Reports

  public var statistics: ControlStatistics {
    var statistics = counted
    statistics.capturesRunning = captures.running.count
    statistics.capture = captures.totals
    return statistics
  }

  public func attachmentReports() -> [AttachmentReport] {
    attachments.values.map(\.report).sorted { $0.interface < $1.interface }
  }

  public func interfaces() throws(ControlError) -> [InterfaceReport] {
    let all: [NetworkInterface]
    do throws(SystemError) { all = try NetworkInterface.all() } catch { throw ControlError(error) }
    return all.map { interface in
      let attachment = attachments[interface.name]
      let programIdentifier = interface.xdp?.programID ?? 0
      return InterfaceReport(
        name: interface.name, index: interface.index, mac: interface.mac, mtu: interface.mtu, isUp: interface.isUp,
        hasCarrier: interface.hasCarrier,
        receiveQueueCount: (try? interface.receiveQueueCount()) ?? interface.rxQueueCount,
        driver: ((try? interface.driver()) ?? nil) ?? interface.kind, numaNode: interface.numaNode(),
        foreignProgramIdentifier: attachment?.program.programIdentifier == programIdentifier ? 0 : programIdentifier,
        attachment: attachment?.report)
    }
  }

  /// - Parameter names: Attached interfaces; empty: all.
  public func counters(of names: [String]) throws(ControlError) -> [CountersReport] {
    var reports: [CountersReport] = []
    for name in names.isEmpty ? attachments.keys.sorted() : names {
      guard let attachment = attachments[name] else { throw notAttached(name) }
      reports.append(try attachment.counters())
    }
    return reports
  }

  // MARK: Interfaces that come and go

  /// An interface changed or went: notices lost attachments, and attaches again what was waiting for its interface.
  public func interfacesChanged() {
    guard !isShuttingDown else { return }
    for attachment in attachments.values where !attachment.program.isAttached() {
      counted.attachmentsLost += 1
      logger.error("the program is no longer on the interface", metadata: ["interface": "\(attachment.interface)"])
      events.publish(
        .attachLost, interface: attachment.interface,
        "the interface is gone, or somebody took the program off; it is attached again when the interface is back")
      dormant[attachment.interface] = attachment.state
      attachments[attachment.interface] = nil
      release(attachment)
    }
    for saved in Array(dormant.values) where (try? NetworkInterface.named(saved.interface)) != nil {
      do throws(ControlError) {
        try restore(saved)
      } catch {
        logger.warning(
          "cannot attach again", metadata: ["interface": "\(saved.interface)", "error": "\(error)"])
      }
    }
  }

  // MARK: Shutdown

  /// Ends captures, drains and closes sockets, and takes the programs off where they aren't to stay. Later requests are
  /// refused. What was applied stays in the state file.
  public func shutdown() {
    guard !isShuttingDown else { return }
    isShuttingDown = true
    events.publish(.shutdown, "the daemon stops")
    for attachment in attachments.values.sorted(by: { $0.interface < $1.interface }) {
      endCaptures(on: attachment.interface)
      attachment.queues = nil
      if attachment.options.keepOnExit {
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

  private func save(after plan: [(attachment: Attachment, next: PreparedGeneration)]) throws(ControlError) {
    let next = Dictionary(uniqueKeysWithValues: plan.map { ($0.attachment.interface, $0.next) })
    try save(
      attachments.values.map { attachment in
        next[attachment.interface].map(attachment.state(with:)) ?? attachment.state
      })
  }

  private func save(_ live: [DaemonState.Attachment]) throws(ControlError) {
    let all = (live + dormant.values).sorted { $0.interface < $1.interface }
    try store.save(DaemonState(attachments: all))
  }

  func findInterface(_ name: String) throws(ControlError) -> NetworkInterface {
    if let fault = interfaceNameFault(name) {
      throw ControlError(.invalidArgument, "\"\(name.prefix(64))\" is no interface name: \(fault)")
    }
    do throws(SystemError) {
      return try NetworkInterface.named(name)
    } catch {
      guard error.code == ENODEV else { throw ControlError(error) }
      let names = ((try? NetworkInterface.all()) ?? []).map(\.name).filter { $0 != "lo" }
      throw ControlError(.notFound, "there is no interface \(name); there are: \(names.joined(separator: ", "))")
    }
  }

  private func interfaceIndices() throws(ControlError) -> [String: UInt32] {
    do throws(SystemError) {
      return Dictionary(
        try NetworkInterface.all().map { ($0.name, $0.index) }, uniquingKeysWith: { first, _ in first })
    } catch {
      throw ControlError(error)
    }
  }

  private func checkCapabilities() throws(ControlError) {
    guard let effective = try? Capabilities.effective() else { return }
    let missing = effective.missing(of: [.bpf, .netAdmin]).filter { _ in !effective.has(.sysAdmin) }
    guard missing.isEmpty else {
      throw ControlError(
        .failedPrecondition,
        "the daemon lacks \(missing.map(\.name).joined(separator: " and ")): run it as root, or grant them in its unit "
          + "(AmbientCapabilities=)")
    }
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

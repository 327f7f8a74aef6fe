import DataPlane
import FoundationEssentials
import LinuxSystem
import Rules
import XDPPrograms

extension Controller {
  /// Starts to write what capture rules of an attached interface match. While at least one capture runs there, these
  /// packets come to it instead of taking the capture fallback.
  ///
  /// - Parameter stream: Gets the capture instead of a file; the options have no path then.
  public func startCapture(
    _ options: CaptureOptions, stream: CaptureStream? = nil
  ) throws(ControlError) -> CaptureReport {
    try checkRunning()
    guard let attachment = attachments[options.interface] else { throw notAttached(options.interface) }
    guard attachment.live.needsSockets else {
      throw ControlError(
        .failedPrecondition,
        "no rule on \(options.interface) captures: apply a rule set with a rule whose action is capture")
    }
    guard captures.running.count < CaptureTable.runningMax else {
      throw ControlError(
        .resourceExhausted, "\(CaptureTable.runningMax) captures run (captures_max): stop one first")
    }
    var options = options
    if stream == nil {
      options.path = try resolve(options.path, interface: options.interface)
    } else if !options.path.isEmpty || options.fileCount != 0 {
      throw ControlError(.invalidArgument, "path, file_count: a capture that is streamed has no files")
    }
    let slots = try slots(of: options.rules, on: attachment)
    let feed = try openFeed(of: attachment)
    guard
      let ringByteCount = CaptureMemory.ringByteCount(queueCount: feed.sources.count, used: captures.memoryByteCount)
    else {
      if attachment.options.zeroCopy != .required { closeQueuesIfIdle(of: attachment) }
      throw ControlError(
        .resourceExhausted,
        "the captures that run have \(captures.memoryByteCount >> 20) of \(CaptureMemory.byteCountMax >> 20) MiB "
          + "(capture_memory_bytes_max): no room for \(feed.sources.count) queues of \(CaptureMemory.ringByteCountMin >> 20) "
          + "MiB; stop one first")
    }
    let identifier = captures.nextIdentifier()
    let session: CaptureSession
    do throws(CaptureError) {
      session = try CaptureSession.start(
        request(options, slots: slots, stream, ringByteCount: ringByteCount), interface: options.interface, workers: feed.sources,
        names: feed.slotNames,
        onFinish: { [weak self] summary in
          guard let self else { return }
          Task { await self.captureEnded(identifier, summary) }
        })
    } catch {
      throw ControlError(error)
    }
    captures.start(
      identifier,
      .init(
        options: options, session: session, memoryByteCount: ringByteCount * feed.sources.count, isStream: stream != nil))
    do throws(ControlError) {
      if let queues = feed.queues { try queues.deliver(from: attachment.program) }
    } catch {
      end(identifier)
      throw error
    }
    let goal = stream == nil ? options.path : "its caller"
    logger.notice(
      "capture started", metadata: ["capture": "\(identifier)", "interface": "\(options.interface)", "to": "\(goal)"])
    events.publish(.captureStarted, interface: options.interface, "capture to \(goal)", fields: ["capture": identifier])
    return CaptureReport(identifier: identifier, options: options, summary: session.summary, isStream: stream != nil)
  }

  /// Ends a capture and waits until its files are complete. A finished one: reports it again.
  public func stopCapture(_ identifier: String) throws(ControlError) -> CaptureReport {
    if let report = captures.finished.first(where: { $0.identifier == identifier }) { return report }
    guard captures.running[identifier] != nil, let report = end(identifier) else {
      let known = captures.running.keys.sorted().joined(separator: ", ")
      throw ControlError(.notFound, "there is no capture \(identifier)\(known.isEmpty ? "" : "; running: \(known)")")
    }
    return report
  }

  public func captureReports() -> [CaptureReport] { captures.reports }

  func endCaptures(on interface: String) {
    for (identifier, capture) in captures.running where capture.options.interface == interface { end(identifier) }
  }

  /// Stops the flow first, if this was the interface's last capture, so that everything captured is written.
  @discardableResult
  private func end(_ identifier: String) -> CaptureReport? {
    guard let capture = captures.running[identifier] else { return nil }
    let others = captures.running.contains { $0.key != identifier && $0.value.options.interface == capture.options.interface }
    if !others, let attachment = attachments[capture.options.interface] { stopDelivering(to: attachment) }
    return finish(identifier, capture.session.stop())
  }

  /// The session ended by itself: a limit, or an error.
  private func captureEnded(_ identifier: String, _ summary: CaptureSummary) {
    guard let capture = captures.running[identifier] else { return }
    finish(identifier, summary)
    let interface = capture.options.interface
    if !captures.isRunning(on: interface), let attachment = attachments[interface] { stopDelivering(to: attachment) }
  }

  @discardableResult
  private func finish(_ identifier: String, _ summary: CaptureSummary) -> CaptureReport? {
    guard let report = captures.finish(identifier, summary) else { return nil }
    var fields = [
      "capture": identifier, "packets_written": "\(summary.written)", "packets_dropped": "\(summary.dropped)",
    ]
    var message = "capture finished"
    switch summary.state {
    case .failed(let error):
      message = "capture failed: \(error)"
      fields["error"] = "\(error)"
      logger.error("capture failed", metadata: ["capture": "\(identifier)", "error": "\(error)"])
    case .finished(let reason):
      fields["reason"] = reason.rawValue
      logger.notice(
        "capture finished",
        metadata: ["capture": "\(identifier)", "reason": "\(reason.rawValue)", "packets": "\(summary.written)"])
    case .running: break
    }
    events.publish(.captureFinished, interface: report.options.interface, message, fields: fields)
    return report
  }

  // MARK: Queues

  /// Where the captured packets of an attachment come from: the threads of its wire, or sockets of its own.
  private struct Feed {
    var sources: [any CaptureSource]
    var slotNames: SlotNames
    /// Nil: a wire's threads, which get the packets in any case.
    var queues: QueueSet?
  }

  private func openFeed(of attachment: Attachment) throws(ControlError) -> Feed {
    if let (threads, side) = userPath(of: attachment) {
      return Feed(sources: threads.captureSources(side: side), slotNames: threads.slotNames[side], queues: nil)
    }
    let queues = try openQueues(of: attachment)
    return Feed(sources: queues.workers, slotNames: queues.slotNames, queues: queues)
  }

  /// Returns when what was captured until now is with the captures.
  private func stopDelivering(to attachment: Attachment) {
    attachment.queues?.stopDelivering(from: attachment.program)
    userPath(of: attachment)?.threads.settle()
  }

  /// Names of rules that come, for captures: before the first of their packets.
  func nameSlots(_ slots: [String: UInt32], of attachment: Attachment) {
    attachment.queues?.slotNames.set(slots)
    if let (threads, side) = userPath(of: attachment) { threads.slotNames[side].set(slots) }
  }

  /// Of all interfaces and wires: the next ones get other CPUs, where there are.
  var packetThreadCount: Int {
    attachments.values.reduce(0) { $0 + ($1.queues?.workers.count ?? 0) } + wires.values.reduce(0) { $0 + ($1.run?.threads?.count ?? 0) }
  }

  /// Opens the interface's sockets, if they aren't open. Not for a side of a wire on the user path, whose threads have them.
  @discardableResult
  func openQueues(of attachment: Attachment) throws(ControlError) -> QueueSet {
    if let queues = attachment.queues { return queues }
    let queues = try QueueSet(
      interface: try findInterface(attachment.interface), zeroCopy: attachment.options.zeroCopy,
      isNative: attachment.program.isNative, worker: attachment.options.worker.over(settings.worker),
      behind: packetThreadCount)
    queues.slotNames.set(attachment.slots.slots)
    attachment.queues = queues
    for warning in queues.warnings {
      logger.info("\(warning)", metadata: ["interface": "\(attachment.interface)"])
    }
    return queues
  }

  /// Closes them, unless a capture runs.
  func closeQueuesIfIdle(of attachment: Attachment) {
    if !captures.isRunning(on: attachment.interface) { attachment.queues = nil }
  }

  // MARK: Requests

  private func slots(of rules: [String], on attachment: Attachment) throws(ControlError) -> Set<UInt32>? {
    if rules.isEmpty { return nil }
    var slots: Set<UInt32> = []
    for rule in rules {
      guard let slot = attachment.slots[rule] else {
        throw ControlError(.notFound, "no rule \(rule) is applied on \(attachment.interface)")
      }
      slots.insert(slot)
    }
    return slots
  }

  private func request(
    _ options: CaptureOptions, slots: Set<UInt32>?, _ stream: CaptureStream?, ringByteCount: Int
  ) -> CaptureRequest {
    CaptureRequest(
      to: stream.map(CaptureDestination.stream) ?? .file(options.path), snapByteCount: options.snapLength, sampleEvery: max(1, options.sampleEvery),
      packetLimit: options.packetLimit, byteLimit: options.byteLimit,
      durationMilliseconds: options.durationMilliseconds, fileByteLimit: options.fileByteLimit,
      fileCount: options.fileCount, slots: slots, ringByteCount: ringByteCount)
  }

  /// Where a capture is written: in the capture directory and nowhere else, whoever asks.
  private func resolve(_ path: String, interface: String) throws(ControlError) -> String {
    let directory = settings.captureDirectory
    if path.isEmpty { return "\(directory)/\(interface)-\(SystemClock.realtimeNanoseconds() / 1_000_000).pcapng" }
    var name = Substring(path)
    if name.hasPrefix("\(directory)/") { name = name.dropFirst(directory.count + 1) }
    guard !name.isEmpty, !name.hasPrefix("."), name.utf8.count <= 200,
      name.unicodeScalars.allSatisfy({ $0.value > 0x20 && $0.value < 0x7f && $0 != "/" })
    else {
      throw ControlError(
        .invalidArgument,
        "path: captures are written to \(directory): give a file name (printable ASCII, no \"/\", not hidden, at most 200 "
          + "bytes) or that directory's path with one")
    }
    return "\(directory)/\(name)"
  }
}

extension ControlError {
  init(_ error: CaptureError) {
    switch error {
    case .invalid: self.init(.invalidArgument, error.description)
    case .system: self.init(.failedPrecondition, error.description)
    case .tooMany: self.init(.resourceExhausted, error.description)
    case .queueStopped: self.init(.failedPrecondition, error.description)
    }
  }
}

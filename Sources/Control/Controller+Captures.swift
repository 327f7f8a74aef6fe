import DataPlane
import Dispatch
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
  ) async throws(ControlError) -> CaptureReport {
    let (options, _) = try check(options, stream)
    guard stream == nil else { return try begin(options, stream, nil) }
    let file = try await makeFile(options)
    do throws(ControlError) { return try begin(options, nil, file) } catch {
      DispatchQueue.global().async { file.abandon() }
      throw error
    }
  }

  /// On a thread of its own: the disk may be stuck.
  private func makeFile(_ options: CaptureOptions) async throws(ControlError) -> CaptureFile {
    let request = request(options, slots: nil, nil, ringByteCount: CaptureMemory.ringByteCountMin)
    do throws(CaptureError) {
      return try await DispatchQueue.global().value { () throws(CaptureError) in
        try CaptureFile(for: request, interface: options.interface)
      }
    } catch { throw ControlError(error) }
  }

  /// What is in the way of a capture; its options with the path that they mean.
  private func check(
    _ options: CaptureOptions, _ stream: CaptureStream?
  ) throws(ControlError) -> (options: CaptureOptions, attachment: Attachment) {
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
    if stream != nil, !takesStreams { throw ControlError(.unavailable, "the daemon is shutting down") }
    var options = options
    if stream == nil {
      options.path = try resolve(options.path, interface: options.interface)
    } else if !options.path.isEmpty || options.fileCount != 0 {
      throw ControlError(.invalidArgument, "path, file_count: a capture that is streamed has no files")
    }
    return (options, attachment)
  }

  /// - Parameter file: Nil: it goes to `stream`.
  private func begin(
    _ wanted: CaptureOptions, _ stream: CaptureStream?, _ file: CaptureFile?
  ) throws(ControlError) -> CaptureReport {
    // Once more: others were served while the file was made.
    let (options, attachment) = try check(wanted, stream)
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
        request(options, slots: slots, stream, ringByteCount: ringByteCount), file: file, interface: options.interface,
        workers: feed.sources, names: feed.slotNames,
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
      requestEnd(identifier)
      throw error
    }
    let goal = stream == nil ? options.path : "its caller"
    logger.notice(
      "capture started", metadata: ["capture": "\(identifier)", "interface": "\(options.interface)", "to": "\(goal)"])
    events.publish(.captureStarted, interface: options.interface, "capture to \(goal)", fields: ["capture": identifier])
    return CaptureReport(identifier: identifier, options: options, summary: session.summary, isStream: stream != nil)
  }

  /// Ends a capture and waits until its files are complete, however long the disk takes: others are served meanwhile. A finished
  /// one: reports it again.
  public func stopCapture(_ identifier: String) async throws(ControlError) -> CaptureReport {
    if let report = captures.finished.first(where: { $0.identifier == identifier }) { return report }
    guard captures.running[identifier] != nil else {
      let known = captures.running.keys.sorted().joined(separator: ", ")
      throw ControlError(.notFound, "there is no capture \(identifier)\(known.isEmpty ? "" : "; running: \(known)")")
    }
    requestEnd(identifier)
    return await withCheckedContinuation { captures.addWaiter($0, for: identifier) }
  }

  /// Ends the captures that go to their callers, who still get what was captured, and begins no more. Their connections are closed
  /// next.
  public func endStreams() {
    takesStreams = false
    for (identifier, capture) in captures.running where capture.isStream { requestEnd(identifier) }
  }

  /// Whoever waits in ``stopCapture(_:)`` hears how the capture stands: the daemon stops, and a disk may be stuck.
  public func answerWaiting() { captures.resumeWaiters() }

  public func captureReports() -> [CaptureReport] { captures.reports }

  /// So long captures of an interface that goes are waited for; a disk that takes longer holds nothing up. They are completed
  /// all the same, if the daemon lives.
  private static var patience: Duration { .seconds(1) }

  /// Ends the captures of an interface that goes.
  func endCaptures(of attachment: Attachment) {
    let ending = captures.running.filter { $0.value.options.interface == attachment.interface && !$0.value.isLeft }
    if ending.isEmpty { return }
    stopDelivering(to: attachment)
    for (identifier, capture) in ending {
      _ = captures.requestEnd(identifier)
      capture.session.requestStop()
    }
    let deadline = ContinuousClock.now + Self.patience
    for (identifier, capture) in ending {
      if capture.session.waitUntilFinished(until: deadline) {
        finish(identifier, capture.session.summary)
      } else {
        captures.leave(identifier)
        logger.warning(
          "a capture is still being written", metadata: ["capture": "\(identifier)", "to": "\(capture.options.path)"])
      }
    }
  }

  /// Stops the flow first, if this was the interface's last capture, so that everything captured is written.
  private func requestEnd(_ identifier: String) {
    guard let capture = captures.requestEnd(identifier) else { return }
    let interface = capture.options.interface
    if !captures.isTaking(from: interface), let attachment = attachments[interface] { stopDelivering(to: attachment) }
    capture.session.requestStop()
  }

  /// The session is over: it was to end, came to a limit, or failed.
  private func captureEnded(_ identifier: String, _ summary: CaptureSummary) {
    guard let capture = captures.running[identifier] else { return }
    finish(identifier, summary)
    guard let attachment = attachments[capture.options.interface], !captures.isTaking(from: attachment.interface) else { return }
    stopDelivering(to: attachment)
    if !attachment.live.needsSockets, attachment.options.zeroCopy != .required { closeQueuesIfIdle(of: attachment) }
  }

  private func finish(_ identifier: String, _ summary: CaptureSummary) {
    guard let report = captures.finish(identifier, summary) else { return }
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

  /// Captures of certain rules follow them: a rule that went and comes again has another slot. Before the first of its packets; the
  /// slots that rules have now stay until the next change, for packets on their way and for a change that fails.
  func followRules(_ slots: (String) -> [UInt32?], on interface: String) {
    for capture in captures.running.values where capture.options.interface == interface && !capture.options.rules.isEmpty {
      capture.session.admit(Set(capture.options.rules.flatMap(slots).compactMap(\.self)))
    }
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
      isNative: attachment.program.isNative, hasReceivers: attachment.program.hasReceivers, worker: attachment.options.worker.over(settings.worker),
      behind: packetThreadCount,
      memoryUsed: attachments.values.reduce(0) { $0 + ($1.queues?.memoryByteCount ?? 0) })
    queues.slotNames.set(attachment.slots.slots)
    attachment.queues = queues
    for warning in queues.warnings {
      logger.info("\(warning)", metadata: ["interface": "\(attachment.interface)"])
    }
    return queues
  }

  /// The same where rules that decide matter more than captures, which have their fallback, and try again when one starts.
  func openQueuesOrWarn(of attachment: Attachment) {
    do throws(ControlError) { try openQueues(of: attachment) } catch {
      logger.error("no sockets for captures", metadata: ["interface": "\(attachment.interface)", "error": "\(error)"])
    }
  }

  /// The sockets of an interface whose channels changed are opened anew, where no capture has them.
  func followQueueCount(of attachment: Attachment, _ current: NetworkInterface) {
    guard let queues = attachment.queues, let count = try? current.receiveQueueCount(), count != queues.workers.count
    else { return }
    if captures.isRunning(on: attachment.interface) {
      queues.queueCountNow = count
      return
    }
    attachment.queues = nil
    logger.notice(
      "the interface has other queues than before", metadata: ["interface": "\(attachment.interface)", "queues": "\(count)"])
    if attachment.live.needsSockets { openQueuesOrWarn(of: attachment) }
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

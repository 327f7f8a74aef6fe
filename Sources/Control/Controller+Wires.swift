import DataPlane
import Flows
import LinuxSystem
import Logging
import Packets
import Rules
import XDPPrograms

extension Controller {
  // MARK: Requests

  /// Joins two attached interfaces: what the rules of one pass leaves by the other. Again with the same options: reports
  /// what is there.
  @discardableResult
  public func createWire(_ options: WireOptions) throws(ControlError) -> WireStatus {
    try checkRunning()
    try options.check()
    if let wire = wires[options.name] {
      guard wire.options == options else {
        throw ControlError(
          .alreadyExists, "there is a wire \(options.name) with other options; delete it first, then create the new one")
      }
      return status(of: wire)
    }
    try checkRoom(for: options)
    let wire = Wire(options: options, createdAtNanoseconds: SystemClock.realtimeNanoseconds())
    wires[options.name] = wire
    do throws(ControlError) {
      try save()
      try start(wire, mayFallBack: false)
    } catch {
      wires[options.name] = nil
      try? save()
      throw error
    }
    let status = status(of: wire)
    for warning in status.warnings { logger.warning("\(warning)", metadata: ["wire": "\(options.name)"]) }
    events.publish(
      .wireCreated, interface: options.sides.joined(separator: ","), "\(status.path.rawValue) path: \(status.reason)",
      fields: ["wire": options.name, "path": status.path.rawValue])
    return status
  }

  /// Takes a wire away: what the rules of its sides pass goes to the stack again.
  public func deleteWire(_ name: String) throws(ControlError) {
    try checkRunning()
    guard let wire = wires.removeValue(forKey: name) else {
      let names = wires.keys.sorted().joined(separator: ", ")
      throw ControlError(
        .notFound, "there is no wire \(ValueTextError.excerpt(name))\(names.isEmpty ? "" : "; there are: \(names)")")
    }
    do throws(ControlError) {
      try save()
    } catch {
      wires[name] = wire
      throw error
    }
    // Also where it waits: then its sides lead to where it was last.
    for side in wire.options.sides { try? attachments[side]?.leadToStack() }
    if let run = wire.run { end(run) }
    logger.notice("wire deleted", metadata: ["wire": "\(name)"])
    events.publish(
      .wireDeleted, interface: wire.options.sides.joined(separator: ","), "deleted", fields: ["wire": name])
  }

  public func wireStatuses() -> [WireStatus] { wires.values.sorted { $0.options.name < $1.options.name }.map { status(of: $0) } }

  /// The greatest flows of a wire, as they are now. Takes milliseconds, with large tables under load seconds, in which
  /// others are served.
  ///
  /// - Parameter limit: 0: 20.
  public func topFlows(
    of name: String, limit: Int, by order: TopFlows.Order
  ) async throws(ControlError) -> TopFlowsReport {
    guard let wire = wires[name] else { throw ControlError(.notFound, "there is no wire \(ValueTextError.excerpt(name))") }
    guard wire.options.flows != nil else {
      throw ControlError(
        .failedPrecondition, "the wire \(name) does not account for flows: create it with flows (sluice wire create --flows)")
    }
    guard (0...TopFlows.limitMax).contains(limit) else {
      throw ControlError(.invalidArgument, "limit: at most \(TopFlows.limitMax) flows")
    }
    guard let threads = wire.run?.threads else {
      throw ControlError(.failedPrecondition, "the wire \(name) carries no packets in user space now: \(status(of: wire).reason)")
    }
    return try await WireThreads.topFlows(
      of: threads.flowAccounts, limit: limit == 0 ? 20 : limit, by: order, sides: wire.options.sides)
  }

  // MARK: What other parts ask

  /// The wire that an interface is a side or the mirror of.
  func wire(using interface: String) -> Wire? {
    wires.values.first { $0.options.sides.contains(interface) || $0.options.mirror == interface }
  }

  /// The user path's threads and the side that an attachment is of them.
  func userPath(of attachment: Attachment) -> (threads: WireThreads, side: Int)? {
    for wire in wires.values {
      guard let run = wire.run, let threads = run.threads,
        let side = run.attachments.firstIndex(where: { $0 === attachment })
      else { continue }
      return (threads, side)
    }
    return nil
  }

  func checkNotWired(_ interface: String) throws(ControlError) {
    guard let wire = wire(using: interface) else { return }
    throw ControlError(
      .failedPrecondition,
      "\(interface) is part of the wire \(wire.options.name): delete the wire first (sluice wire delete \(wire.options.name))")
  }

  private func checkRoom(for options: WireOptions) throws(ControlError) {
    guard wires.count < WireOptions.wiresMax else {
      throw ControlError(.resourceExhausted, "\(WireOptions.wiresMax) wires are there (wires_max): delete one first")
    }
    for interface in options.sides + (options.mirror.isEmpty ? [] : [options.mirror]) {
      if let other = wire(using: interface) {
        throw ControlError(
          .failedPrecondition, "\(interface) is part of the wire \(other.options.name) already: an interface is in one wire only")
      }
    }
    for interface in options.sides {
      guard attachments[interface] != nil else { throw notAttached(interface) }
      if captures.isRunning(on: interface) {
        throw ControlError(.failedPrecondition, "a capture runs on \(interface): stop it, then create the wire")
      }
    }
    if !options.mirror.isEmpty { _ = try findInterface(options.mirror) }
  }

  // MARK: Starting and ending

  /// Starts what carries the packets. What carried them before goes on until then.
  ///
  /// - Parameters:
  ///   - mayFallBack: Take the kernel path where the user path can't be had.
  ///   - before: What carried the packets until now, and has no threads.
  private func start(_ wire: Wire, mayFallBack: Bool, continuing before: WireRun? = nil) throws(ControlError) {
    var sides: [Attachment] = []
    for name in wire.options.sides {
      guard let attachment = attachments[name] else { throw notAttached(name) }
      sides.append(attachment)
    }
    let choice = try WireChoice.make(wire.options, try sides.map { (side) throws(ControlError) in try facts(side) })
    let run = WireRun(choice, sides, continuing: before)
    wire.run = run
    do throws(ControlError) {
      if choice.path == .user { try startThreads(of: run, wire, mayFallBack: mayFallBack) }
      try run.lead()
    } catch {
      wire.run = nil
      run.leadToStack()
      end(run)
      throw error
    }
    logger.notice(
      "wire", metadata: [
        "wire": "\(wire.options.name)", "path": "\(run.path)", "reason": "\(choice.reason)",
        "interfaces": "\(wire.options.sides.joined(separator: ","))",
      ])
  }

  /// The queues' sockets change hands: captures of these interfaces go through the wire from now on.
  private func startThreads(of run: WireRun, _ wire: Wire, mayFallBack: Bool) throws(ControlError) {
    let options = wire.options
    for attachment in run.attachments {
      endCaptures(of: attachment)
      attachment.queues = nil
    }
    do throws(ControlError) {
      let threads = try WireThreads(
        options, worker: options.worker.over(settings.worker), sides: run.attachments,
        interfaces: try run.attachments.map { (attachment) throws(ControlError) in try findInterface(attachment.interface) },
        mirror: options.mirror.isEmpty ? nil : try findInterface(options.mirror), behind: packetThreadCount,
        memoryUsed: wires.values.reduce(0) { $0 + ($1.run?.threads?.memoryByteCount ?? 0) })
      run.threads = threads
      try threads.deliver(from: run.attachments)
      for warning in threads.warnings { logger.info("\(warning)", metadata: ["wire": "\(options.name)"]) }
    } catch {
      run.threads = nil
      reopenQueues(of: run)
      guard mayFallBack, !options.isReflector else { throw error }
      fallBack(run, because: error.message, wire)
    }
  }

  /// Ends the threads, when no packet goes their way any more.
  private func end(_ run: WireRun) {
    guard let threads = run.threads else { return }
    for attachment in run.attachments { endCaptures(of: attachment) }
    threads.end(from: run.attachments)
    run.threads = nil
    reopenQueues(of: run)
  }

  private func reopenQueues(of run: WireRun) {
    guard !isShuttingDown else { return }
    for attachment in run.attachments
    where attachments[attachment.interface] === attachment
      && (attachment.live.needsSockets || attachment.options.zeroCopy == .required)
    {
      do throws(ControlError) {
        try openQueues(of: attachment)
      } catch {
        logger.error("sockets of a former wire", metadata: ["interface": "\(attachment.interface)", "error": "\(error)"])
      }
    }
  }

  private func facts(_ attachment: Attachment) throws(ControlError) -> WireSideFacts {
    let interface = try findInterface(attachment.interface)
    do throws(SystemError) {
      let queues = try interface.queueCounts()
      return WireSideFacts(
        interface: interface.name, isNative: attachment.program.isNative,
        transmitsRedirected: try interface.xdpFeatures().map { $0.contains(.transmitRedirected) },
        receiveQueueCount: queues.receive, transmitQueueCount: queues.transmit, mtu: interface.mtu, sends: interface.sends,
        captureFallback: attachment.options.captureFallback)
    } catch {
      throw ControlError(error)
    }
  }

  // MARK: What happens by itself

  /// Starts every wire of the state file; what can't be started waits.
  func restoreWires(_ saved: [DaemonState.Wire]) {
    for saved in saved {
      wires[saved.options.name] = Wire(options: saved.options, createdAtNanoseconds: saved.createdAtNanoseconds)
    }
    // A wire may have been deleted and its sides not been led elsewhere yet.
    for attachment in attachments.values where wire(using: attachment.interface) == nil { try? attachment.leadToStack() }
    reviewWires()
  }

  /// Looks at every wire: sides that went or came back, threads that died, devices that can do other things than before.
  func reviewWires() {
    for wire in wires.values.sorted(by: { $0.options.name < $1.options.name }) {
      if let run = wire.run { review(run, of: wire) }
      if wire.run == nil { tryToStart(wire) }
    }
  }

  private func tryToStart(_ wire: Wire, continuing before: WireRun? = nil) {
    do throws(ControlError) {
      try start(wire, mayFallBack: true, continuing: before)
      // A fallback tells its reason itself, once.
      guard let run = wire.run, run.fallbackReason == nil else { return }
      wire.lastFallbackReason = nil
      announce(wire, "carries packets by the \(run.path.rawValue) path")
    } catch {
      if wire.waitsFor != error.message {
        wire.waitsFor = error.message
        logger.warning("a wire waits", metadata: ["wire": "\(wire.options.name)", "reason": "\(error)"])
      }
    }
  }

  private func review(_ run: WireRun, of wire: Wire) {
    // A side that is gone, or attached anew: its program carries nothing for us any more.
    if let lost = run.attachments.first(where: { attachments[$0.interface] !== $0 }) {
      end(run)
      wire.run = nil
      wire.waitsFor = "\(lost.interface) is not attached"
      announce(wire, wire.waitsFor)
      return
    }
    if let failure = run.threads?.failure {
      end(run)
      fallBack(run, because: failure, wire)
      try? run.lead()
      return
    }
    guard let seen = try? run.attachments.map({ (side) throws(ControlError) in try facts(side) }) else { return }
    run.threads?.setOutputs(seen.map { (isUp: $0.sends, isLiveAble: $0.transmitsRedirected ?? false) })
    if let threads = run.threads, !threads.reviewMirror() {
      startAnew(wire, run, "its mirror was made anew")
      return
    }
    if let threads = run.threads, seen[0].receiveQueueCount != threads.count {
      startAnew(wire, run, "its sides have other queues than before")
      return
    }
    guard let choice = try? WireChoice.make(wire.options, seen) else { return }
    if choice.path == run.path, run.fallbackReason == nil { return }
    let age = SystemClock.monotonicNanoseconds() &- run.fellBackAtNanoseconds
    if choice.path == .user, run.fallbackReason != nil {
      // An attempt ends the captures of its sides.
      let isCapturing = run.attachments.contains { captures.isRunning(on: $0.interface) }
      if age < Controller.retryNanoseconds || isCapturing { return }
    }
    startAnew(wire, run, nil)
  }

  /// Captures of a path that ends are ended with it.
  private func startAnew(_ wire: Wire, _ run: WireRun, _ reason: String?) {
    if let reason { logger.notice("a wire starts anew", metadata: ["wire": "\(wire.options.name)", "reason": "\(reason)"]) }
    end(run)
    wire.run = nil
    tryToStart(wire, continuing: run)
  }

  private static var retryNanoseconds: UInt64 { 10_000_000_000 }

  private func fallBack(_ run: WireRun, because reason: String, _ wire: Wire) {
    // The same again, at each attempt to go back to the user path, is no news.
    let isNews = wire.lastFallbackReason != reason
    wire.lastFallbackReason = reason
    run.fallbackReason = reason
    run.fellBackAtNanoseconds = SystemClock.monotonicNanoseconds()
    guard isNews else { return }
    counted.wireFallbacks += 1
    logger.error(
      "a wire's user path failed, the kernel carries its packets", metadata: ["wire": "\(wire.options.name)", "error": "\(reason)"])
    announce(wire, "the kernel carries the packets: \(reason)")
  }

  private func announce(_ wire: Wire, _ message: String) {
    let path = status(of: wire).path.rawValue
    events.publish(
      .wirePathChanged, interface: wire.options.sides.joined(separator: ","), message,
      fields: ["wire": wire.options.name, "path": path])
  }

  /// For the shutdown: the paths stay as they are, and without sockets the kernel carries the packets.
  func stopWires() {
    for wire in wires.values {
      if let run = wire.run { end(run) }
      wire.run = nil
    }
  }

  // MARK: Reports

  private func status(of wire: Wire) -> WireStatus {
    guard let run = wire.run else {
      return WireStatus(
        options: wire.options, path: .none, reason: wire.waitsFor, fallbackReason: nil, sides: [], queues: [], flows: nil,
        warnings: [], createdAtNanoseconds: wire.createdAtNanoseconds)
    }
    let sides = run.attachments.enumerated().map { side, attachment in
      var status = run.threads?.sideStatus(side) ?? WireSideStatus(interface: attachment.interface)
      status.interface = attachment.interface
      let kernel = run.kernelShare(of: side)
      status.received.insert(NamedCount(name: "kernel", count: kernel), at: 0)
      status.forwarded["kernel"] = kernel.packets
      status.dropped["kernel"] = attachment.forwardedCounters.failed.packets
      status.transmitsRedirected = (try? NetworkInterface.named(attachment.interface).xdpFeatures())?.map {
        $0.contains(.transmitRedirected)
      }
      return status
    }
    return WireStatus(
      options: wire.options, path: run.path == .user ? .user : .kernel, reason: run.choice.reason,
      fallbackReason: run.fallbackReason, sides: sides, queues: run.threads?.queueStatuses ?? [],
      flows: run.threads?.flowStatus, warnings: run.choice.warnings + (run.threads?.warnings ?? []),
      createdAtNanoseconds: wire.createdAtNanoseconds)
  }
}

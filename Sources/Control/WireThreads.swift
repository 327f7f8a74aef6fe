import DataPlane
import Dispatch
import Flows
import LinuxSystem
import Rules
import Synchronization
import XDPPrograms
import XSK

/// The packet threads of a wire's user path, one per queue, and what sends their flows away. Ended when released.
final class WireThreads {
  private let workers: [WireWorker]
  /// Nil: no flows are exported.
  private let exporter: FlowExporter?
  private let mirror: NetworkInterface?
  /// As of ``WireMemory``.
  let memoryByteCount: Int
  /// What is wrong with the mirror's interface, as of the last look.
  private var mirrorWarning: String?
  /// The rule of each slot, by side, for capture threads to read.
  let slotNames: [SlotNames]

  var count: Int { workers.count }

  /// Opens the sockets of every queue and starts the threads. Either all or none; no packet comes before ``deliver(from:)``.
  ///
  /// - Parameters:
  ///   - threadCount: Packet threads that there are already.
  ///   - used: Bytes of memory that other wires have.
  init(
    _ options: WireOptions, worker: WorkerOptions, sides: [Attachment], interfaces: [NetworkInterface],
    mirror: NetworkInterface?, behind threadCount: Int,
    memoryUsed used: Int
  ) throws(ControlError) {
    let collector = try options.flows.flatMap { (flows) throws(ControlError) -> FlowCollector? in
      if flows.collector.isEmpty { return nil }
      let (address, port) = try flows.collectorAddress()
      return FlowCollector(address: address, port: port)
    }
    let zeroCopy = sides.contains { $0.options.zeroCopy == .off } ? XDPSocket.ZeroCopyMode.off
      : sides.contains { $0.options.zeroCopy == .required } ? .required : .auto
    let sampleEvery = max(1, options.flows?.sampleEvery ?? 0, options.mirror.isEmpty ? 0 : options.mirrorSampleEvery)
    func failure(_ error: SystemError) -> ControlError {
      ControlError(.failedPrecondition, "AF_XDP on \(interfaces.map(\.name).joined(separator: " and ")): \(error)")
    }
    var configurations: [WireConfiguration] = []
    do throws(SystemError) {
      let count = try interfaces[0].receiveQueueCount()
      let cpus = try Topology.packetCPUs(count: Int(count), nearNode: interfaces[0].numaNode(), offset: threadCount)
      for queue in 0..<count {
        var configuration = WireConfiguration(
          sides: interfaces, queue: queue, cpu: cpus.isEmpty ? nil : cpus[Int(queue)],
          usesFragments: sides.allSatisfy(\.program.supportsFrags) && interfaces.contains { $0.mtu > 3000 },
          zeroCopy: zeroCopy, isProgramNative: sides.allSatisfy(\.program.isNative), mirror: queue == 0 ? mirror : nil,
          captureFallback: sides[0].options.captureFallback == .drop ? .drop : .pass)
        configuration.hasReceivers = sides.allSatisfy(\.program.hasReceivers)
        if let wait = worker.wait { configuration.wait = wait.mode }
        if worker.batch > 0 { configuration.batchLimit = worker.batch }
        if worker.ringEntries > 0 { configuration.ringEntryCount = worker.ringEntries }
        configuration.live = WireConfiguration.LiveMode(rawValue: options.live.rawValue) ?? .auto
        configuration.sampleEvery = sampleEvery
        configuration.flows = options.flows.map { WireThreads.accounting($0, interfaces) }
        configurations.append(configuration)
      }
    } catch { throw failure(error) }
    memoryByteCount = try WireMemory.byteCount(of: configurations, used: used)
    do throws(SystemError) {
      let exporter = try collector.map { (collector) throws(SystemError) in
        // RFC 7011, 3.1: a domain of its own for each wire, so that a collector tells their templates and sequences apart.
        try FlowExporter.start(
          collector, .init(observationDomain: interfaces[0].index, sampleEvery: options.flows?.sampleEvery ?? 1))
      }
      var workers: [WireWorker] = []
      for configuration in configurations { workers.append(try WireWorker.start(configuration, exporter: exporter)) }
      self.workers = workers
      self.exporter = exporter
    } catch { throw failure(error) }
    self.mirror = mirror
    slotNames = sides.map { side in
      let names = SlotNames()
      names.set(side.slots.slots)
      return names
    }
    setOutputs(interfaces.map { (isUp: $0.sends, isLiveAble: WireThreads.isLiveAble($0)) })
    reviewMirror()
  }

  private static func accounting(_ flows: FlowOptions, _ sides: [NetworkInterface]) -> FlowAccountingConfiguration {
    var timeouts = FlowTimeouts()
    if flows.activeTimeoutMilliseconds > 0 { timeouts.active = flows.activeTimeoutMilliseconds * 1_000_000 }
    if flows.idleTimeoutMilliseconds > 0 { timeouts.idle = flows.idleTimeoutMilliseconds * 1_000_000 }
    return FlowAccountingConfiguration(
      flowCount: Int(flows.flowsMax == 0 ? FlowOptions.flowsMaxDefault : flows.flowsMax), timeouts: timeouts,
      interfaces: sides.indices.map { .init(ingress: sides[$0].index, egress: sides[sides.count - 1 - $0].index) },
      sampleEvery: flows.sampleEvery)
  }

  private static func isLiveAble(_ interface: NetworkInterface) -> Bool {
    ((try? interface.xdpFeatures()) ?? nil)?.contains(.transmitRedirected) ?? false
  }

  // MARK: Packets

  /// From now on what the sides' programs lead to user space comes to the threads.
  func deliver(from sides: [Attachment]) throws(ControlError) {
    try translating { () throws(ProgramError) in
      for worker in workers {
        for (side, attachment) in sides.enumerated() {
          try attachment.program.setSocket(
            worker.socketDescriptor(side: side), receiver: worker.receiver(side: side),
            queue: worker.configuration.queue)
        }
      }
    }
  }

  /// Packets take the kernel's path again. Returns when every packet that was on its way has been carried, and the threads
  /// have ended.
  func end(from sides: [Attachment]) {
    for attachment in sides { attachment.program.removeSockets(queues: workers.map(\.configuration.queue)) }
    for worker in workers {
      worker.settle()
      worker.stop()
    }
    exporter?.stop()
  }

  /// By side: whether its device sends, and whether it takes live frames.
  func setOutputs(_ sides: [(isUp: Bool, isLiveAble: Bool)]) {
    for worker in workers {
      for (side, output) in sides.enumerated() {
        worker.setUp(output.isUp, side: side)
        worker.setLiveAble(output.isLiveAble, side: side)
      }
    }
  }

  /// Looks at the mirror's interface. False: there is another one of its name now, which the threads' sockets don't lead to.
  @discardableResult
  func reviewMirror() -> Bool {
    guard let mirror else { return true }
    let now = try? NetworkInterface.named(mirror.name)
    let same = now?.index == mirror.index ? now : nil
    for worker in workers where worker.configuration.mirror != nil {
      worker.setMirrorUp(same?.sends ?? false)
      worker.setMirrorLiveAble(same.map(WireThreads.isLiveAble) ?? false)
    }
    mirrorWarning = now == nil ? "the mirror \(mirror.name) is gone: no packets are copied until it is back" : nil
    return now == nil || same != nil
  }

  func captureSources(side: Int) -> [any CaptureSource] { workers.map { $0.captureSource(side: side) } }

  /// Waits until what was received is with the captures.
  func settle() { for worker in workers { worker.settle() } }

  /// Why a thread ended by itself; nil while all run.
  var failure: String? {
    for worker in workers {
      if let failure = worker.counters().failure { return "queue \(worker.configuration.queue): \(failure)" }
    }
    return nil
  }

  // MARK: Reports

  func sideStatus(_ side: Int) -> WireSideStatus {
    var status = WireSideStatus(interface: workers[0].configuration.sides[side].name)
    var received = PacketCount(packets: 0, bytes: 0)
    for worker in workers {
      let counters = worker.counters().sides[side]
      received = PacketCount(
        packets: received.packets + counters.receivedPackets, bytes: received.bytes + counters.receivedBytes)
      status.forwarded["live", default: 0] += counters.forwardedLive
      // Each is there from the start, so that no rate misses its first packets.
      for reason in TransmitReason.allCases {
        let count = counters.forwardedSocket[reason] ?? 0
        status.forwarded["af_xdp", default: 0] += count
        status.notLive[WireThreads.name(of: reason), default: 0] += count
      }
      for (reason, count) in [
        ("capture_fallback", counters.captureDropped), ("output_down", counters.outputDown), ("live_refused", counters.liveRefused),
        ("transmit_ring_full", counters.transmitRingFull), ("transmit_abandoned", counters.transmitAbandoned),
        // The second has those that found the fill ring empty.
        ("rx_ring_full", counters.statistics.rxRingFull), ("rx_dropped", counters.statistics.rxDropped),
      ] { status.dropped[reason, default: 0] += count }
      status.captured += counters.captured
      status.mirrored += counters.mirrored
      status.mirrorDropped += counters.mirrorDropped
    }
    status.received = [NamedCount(name: "user", count: received)]
    return status
  }

  private static func name(of reason: TransmitReason) -> String {
    switch reason {
    case .zeroCopy: "zero_copy"
    case .liveOff: "live_off"
    case .deviceUnable: "device_unable"
    case .fewPackets: "few_packets"
    case .longPacket: "long_packet"
    case .severalFrames: "several_frames"
    case .notDrained: "not_drained"
    }
  }

  var queueStatuses: [WireQueueStatus] {
    workers.map { worker in
      let (report, counters) = (worker.report, worker.counters())
      return WireQueueStatus(
        queue: worker.configuration.queue, cpu: report.sides[0].cpu, isZeroCopy: report.sides.allSatisfy(\.isZeroCopy),
        copyReason: report.sides.lazy.compactMap(\.copyReason).first, hasLiveFrames: report.isLiveOpen,
        liveReason: report.liveReason, framesTotal: UInt64(counters.framesTotal), framesPool: UInt64(counters.framesPool),
        thread: ThreadReport(counters.loop))
    }
  }

  /// What is less than could be, each with its reason.
  var warnings: [String] {
    (mirrorWarning.map { [$0] } ?? []) + workers.flatMap { worker -> [String] in
      let report = worker.report
      let copies = report.sides.compactMap { side in
        side.copyReason.map { "\(side.interface) queue \(side.queue) copies packets: \($0)" }
      }
      let live = report.liveReason.map { ["queue \(worker.configuration.queue) sends no live frames: \($0)"] } ?? []
      return copies + live
    }
  }

  // MARK: Flows

  /// Over all packet threads; nil: flows are not accounted for.
  var flowStatus: FlowStatus? {
    let accounts = workers.compactMap(\.flows)
    if accounts.isEmpty { return nil }
    var status = FlowStatus()
    for account in accounts {
      let counters = account.counters()
      status.capacity += UInt64(account.configuration.flowCount)
      status.packets += counters.packets
      status.notIP += counters.notIP
      status.malformed += counters.malformed
      status.active += counters.active
      status.closed += counters.closed
      status.evicted += counters.evicted
      status.lost += counters.lost
      status.lostPackets += counters.lostPackets
    }
    if let counters = exporter?.counters() {
      status.exportedRecords = counters.records
      status.unsentRecords = counters.unsentRecords
      status.messages = counters.messages
      status.exportErrors = [
        "refused": counters.refused, "unreachable": counters.unreachable, "no_buffer": counters.noBuffer,
        "too_long": counters.tooLong, "other": counters.otherErrors,
      ]
    }
    return status
  }

  var flowAccounts: [FlowAccount] { workers.compactMap(\.flows) }

  /// One snapshot after the other, each waiting for packet threads: nobody else waits with it.
  private static let snapshots = DispatchQueue(label: "flow-snapshots")

  /// Takes milliseconds, at most two seconds a thread; packets don't wait.
  ///
  /// - Parameter sides: Names of the interfaces that packets come in by.
  static func topFlows(
    of accounts: [FlowAccount], limit: Int, by order: TopFlows.Order, sides: [String]
  ) async throws(ControlError) -> TopFlowsReport {
    let snapshot: FlowSnapshot
    do throws(SystemError) {
      snapshot = try await snapshots.value { () throws(SystemError) in
        try FlowSnapshot.take(of: accounts, limit: limit, by: order)
      }
    } catch { throw ControlError(error) }
    let offset = SystemClock.realtimeOffsetNanoseconds()
    func wall(_ monotonic: UInt64) -> UInt64 { UInt64(clamping: Int64(clamping: monotonic) &+ offset) }
    return TopFlowsReport(
      flows: snapshot.entries.map { entry in
        let port = Int(entry.record.key.ingressPort)
        return TopFlowsReport.Flow(
          entry: entry, interface: sides.indices.contains(port) ? sides[port] : "",
          firstNanoseconds: wall(entry.record.firstNanoseconds), lastNanoseconds: wall(entry.record.lastNanoseconds))
      }, flowCount: snapshot.flowCount, takenNanoseconds: wall(snapshot.takenNanoseconds), isComplete: snapshot.isComplete)
  }
}

import DataPlane
import Flows
import LinuxSystem
import Rules
import Synchronization
import XDPPrograms
import XSK

/// The packet threads of a wire's user path, one per queue. Ended when released.
final class WireThreads {
  private let workers: [WireWorker]
  private let mirror: String?
  /// The rule of each slot, by side, for capture threads to read.
  let slotNames: [SlotNames]

  /// Opens the sockets of every queue and starts the threads. Either all or none; no packet comes before ``deliver(from:)``.
  init(
    _ options: WireOptions, worker: WorkerOptions, sides: [Attachment], interfaces: [NetworkInterface],
    mirror: NetworkInterface?
  ) throws(ControlError) {
    if options.flows != nil {
      throw ControlError(
        .failedPrecondition, "the wire \(options.name) wants its flows accounted for, which this daemon's packet threads can't")
    }
    let zeroCopy = sides.contains { $0.options.zeroCopy == .off } ? XDPSocket.ZeroCopyMode.off
      : sides.contains { $0.options.zeroCopy == .required } ? .required : .auto
    do throws(SystemError) {
      let count = try interfaces[0].receiveQueueCount()
      let cpus = try Topology.packetCPUs(count: Int(count), nearNode: interfaces[0].numaNode())
      var workers: [WireWorker] = []
      for queue in 0..<count {
        var configuration = WireConfiguration(
          sides: interfaces, queue: queue, cpu: cpus.isEmpty ? nil : cpus[Int(queue)],
          usesFragments: sides.allSatisfy(\.program.supportsFrags) && interfaces.contains { $0.mtu > 3000 },
          zeroCopy: zeroCopy, isProgramNative: sides.allSatisfy(\.program.isNative), mirror: queue == 0 ? mirror : nil,
          captureFallback: sides[0].options.captureFallback == .drop ? .drop : .pass)
        if let wait = worker.wait { configuration.wait = wait.mode }
        if worker.batch > 0 { configuration.batchLimit = worker.batch }
        if worker.ringEntries > 0 { configuration.ringEntryCount = worker.ringEntries }
        configuration.live = WireConfiguration.LiveMode(rawValue: options.live.rawValue) ?? .auto
        configuration.sampleEvery = max(1, options.mirrorSampleEvery)
        workers.append(try WireWorker.start(configuration))
      }
      self.workers = workers
    } catch {
      throw ControlError(.failedPrecondition, "AF_XDP on \(interfaces.map(\.name).joined(separator: " and ")): \(error)")
    }
    self.mirror = mirror?.name
    slotNames = sides.map { side in
      let names = SlotNames()
      names.set(side.slots)
      return names
    }
    setLiveAble(interfaces.map(WireThreads.isLiveAble))
    reviewMirror()
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
          try attachment.program.setSocket(worker.socketDescriptor(side: side), queue: worker.configuration.queue)
        }
      }
    }
  }

  /// Packets take the kernel's path again. Returns when every packet that was on its way has been carried, and the threads
  /// have ended.
  func end(from sides: [Attachment]) {
    for worker in workers {
      for attachment in sides { try? attachment.program.removeSocket(queue: worker.configuration.queue) }
    }
    Kernel.waitForGracePeriod()
    for worker in workers {
      worker.settle()
      worker.stop()
    }
  }

  /// By side: whether its device takes live frames.
  func setLiveAble(_ isAble: [Bool]) {
    for worker in workers {
      for (side, isAble) in isAble.enumerated() { worker.setLiveAble(isAble, side: side) }
    }
  }

  func reviewMirror() {
    guard let mirror else { return }
    let isAble = (try? NetworkInterface.named(mirror)).map(WireThreads.isLiveAble) ?? false
    for worker in workers where worker.configuration.mirror != nil { worker.setMirrorLiveAble(isAble) }
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
      for (reason, count) in counters.forwardedSocket {
        status.forwarded["af_xdp", default: 0] += count
        status.notLive[WireThreads.name(of: reason), default: 0] += count
      }
      for (reason, count) in [
        ("capture_fallback", counters.captureDropped), ("live_refused", counters.liveRefused),
        ("transmit_ring_full", counters.transmitRingFull), ("transmit_abandoned", counters.transmitAbandoned),
        ("rx_ring_full", counters.statistics.rxRingFull), ("rx_dropped", counters.statistics.rxDropped),
        ("rx_fill_ring_empty", counters.statistics.rxFillRingEmpty),
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
      let seconds = { (nanoseconds: UInt64) in Double(nanoseconds) / 1e9 }
      return WireQueueStatus(
        queue: worker.configuration.queue, cpu: report.sides[0].cpu, isZeroCopy: report.sides.allSatisfy(\.isZeroCopy),
        copyReason: report.sides.lazy.compactMap(\.copyReason).first, hasLiveFrames: report.isLiveOpen,
        liveReason: report.liveReason, framesTotal: UInt64(counters.framesTotal), framesPool: UInt64(counters.framesPool),
        batches: counters.loop.batches, busySeconds: seconds(counters.loop.busyNanoseconds),
        idleSeconds: seconds(counters.loop.idleNanoseconds), asleepSeconds: seconds(counters.loop.asleepNanoseconds))
    }
  }

  /// What is less than could be, each with its reason.
  var warnings: [String] {
    workers.flatMap { worker -> [String] in
      let report = worker.report
      let copies = report.sides.compactMap { side in
        side.copyReason.map { "\(side.interface) queue \(side.queue) copies packets: \($0)" }
      }
      let live = report.liveReason.map { ["queue \(worker.configuration.queue) sends no live frames: \($0)"] } ?? []
      return copies + live
    }
  }

  /// Of the flow accounting; nil: there is none.
  var flowStatus: FlowStatus? { nil }

  func topFlows(limit: Int, by order: TopFlows.Order, sides: [String]) throws(ControlError) -> TopFlowsReport {
    throw ControlError(.failedPrecondition, "no flows are accounted for")
  }
}

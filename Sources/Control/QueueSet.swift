import DataPlane
import LinuxSystem
import XDPPrograms
import XSK

/// The AF_XDP sockets of an interface, one per receive queue, each with its pinned thread. Closed when released.
///
/// They are open while the live rules can send packets to user space; packets reach them only between ``deliver(from:)``
/// and ``stopDelivering(from:)``.
final class QueueSet {
  let workers: [QueueWorker]
  /// Of the frames.
  let memoryByteCount: Int
  /// The rule of each slot, for captures.
  let slotNames = SlotNames()
  private let memoryWarning: String?
  /// Where the interface's channels changed while a capture had the sockets.
  var queueCountNow: UInt32?

  /// Opens one socket per queue in use. Either all or none.
  ///
  /// - Parameters:
  ///   - threadCount: Packet threads that there are already.
  ///   - used: Bytes of memory that the sockets of other interfaces have.
  init(
    interface: NetworkInterface, zeroCopy: AttachmentOptions.ZeroCopy, isNative: Bool, hasReceivers: Bool,
    worker: WorkerOptions, behind threadCount: Int, memoryUsed used: Int
  ) throws(ControlError) {
    if zeroCopy == .required, !isNative {
      throw ControlError(
        .failedPrecondition, "zero-copy on \(interface.name) needs native XDP, and the program is attached in generic mode")
    }
    func failure(_ error: SystemError) -> ControlError {
      ControlError(.failedPrecondition, "AF_XDP on \(interface.name): \(error)")
    }
    var configurations: [QueueConfiguration] = []
    do throws(SystemError) {
      let count = try interface.receiveQueueCount()
      let cpus = try Topology.packetCPUs(count: Int(count), nearNode: interface.numaNode(), offset: threadCount)
      for queue in 0..<count {
        var configuration = QueueConfiguration(
          interface: interface, queue: queue, cpu: cpus.isEmpty ? nil : cpus[Int(queue)],
          zeroCopy: QueueSet.mode(zeroCopy), isProgramNative: isNative)
        configuration.hasReceivers = hasReceivers
        if let wait = worker.wait { configuration.wait = wait.mode }
        if worker.batch > 0 { configuration.batchLimit = worker.batch }
        configurations.append(configuration)
      }
    } catch { throw failure(error) }
    let geometry = configurations[0].geometry
    let frameCount = try QueueMemory.frameCount(
      asked: worker.ringEntries, standard: geometry.frameCount, frameByteCount: geometry.frameByteCount,
      queueCount: configurations.count, used: used)
    for index in configurations.indices { configurations[index].geometry.frameCount = frameCount }
    memoryByteCount = configurations.reduce(0) { $0 + $1.geometry.byteCount }
    memoryWarning = worker.ringEntries > 0 || frameCount == geometry.frameCount ? nil
      : "each queue has \(frameCount) frames instead of \(geometry.frameCount): the machine's memory has no room for more"
    do throws(SystemError) {
      workers = try configurations.map(QueueWorker.start)
    } catch { throw failure(error) }
  }

  private static func mode(_ wanted: AttachmentOptions.ZeroCopy) -> XDPSocket.ZeroCopyMode {
    switch wanted {
    case .off: .off
    case .auto: .auto
    case .required: .required
    }
  }

  /// Captures that are still being written keep the workers, but not their sockets, which others want to open.
  deinit {
    for worker in workers { worker.stop() }
  }

  /// From now on captured packets come to the sockets.
  func deliver(from program: InterfaceProgram) throws(ControlError) {
    try translating { () throws(ProgramError) in
      for worker in workers {
        try program.setSocket(worker.socketDescriptor, receiver: worker.receiver, queue: worker.report.queue)
      }
    }
  }

  /// Captured packets take the fallback again. Returns when every packet that was on its way has been received.
  func stopDelivering(from program: InterfaceProgram) {
    program.removeSockets(queues: workers.map(\.report.queue))
    for worker in workers { worker.settle() }
  }

  var reports: [QueueReport] {
    workers.map { worker in
      let report = worker.report
      let counters = worker.counters()
      return QueueReport(
        queue: report.queue, isZeroCopy: report.isZeroCopy, cpu: report.cpu, numaNode: report.numaNode,
        hasHugePages: report.hasHugePages, framesTotal: UInt64(counters.framesTotal),
        framesPool: UInt64(counters.framesPool), framesFill: UInt64(counters.framesFill),
        framesInFlight: UInt64(counters.framesInFlight), framesLent: UInt64(counters.framesLent),
        received: PacketCount(packets: counters.receivedPackets, bytes: counters.receivedBytes),
        rxDropped: counters.statistics.rxDropped, rxInvalidDescriptors: counters.statistics.rxInvalidDescriptors,
        rxRingFull: counters.statistics.rxRingFull, rxFillRingEmpty: counters.statistics.rxFillRingEmpty,
        thread: ThreadReport(counters.loop))
    }
  }

  /// Why packets are copied, and other things that are less than could be.
  var warnings: [String] {
    let changed = queueCountNow.map {
      "the interface has \($0) receive queues now, and captures see \(workers.count): end them, and start them again"
    }
    return [memoryWarning, changed].compactMap(\.self) + workers.flatMap { worker in
      let report = worker.report
      return [
        report.copyReason.map { "queue \(report.queue) copies packets: \($0)" },
        report.fragmentReason.map { "queue \(report.queue) loses packets that are longer than a frame: \($0)" },
      ].compactMap { $0 }
    }
  }
}

extension WorkerOptions.Wait {
  /// As packet threads say it.
  var mode: WaitMode {
    switch self {
    case .adaptive: .adaptive
    case .spin: .spin
    case .block: .block
    }
  }
}

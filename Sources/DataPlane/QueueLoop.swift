import LinuxSystem
import XSK

/// The body of a packet thread.
enum QueueLoop {
  /// Packets between two looks at everything else.
  private static var batchLimit: UInt32 { 64 }
  /// Bounds every sleep, so that nothing hangs on a lost wake-up of a driver.
  private static var pollTimeoutMilliseconds: CInt { 1000 }

  /// Builds everything on this thread, reports, runs until told to stop, drains.
  static func run(
    _ configuration: QueueConfiguration, _ shared: QueueShared,
    _ started: Handoff<Result<(report: QueueReport, descriptor: CInt), SystemError>>
  ) {
    do throws(SystemError) {
      let subject = "UMEM of \(configuration.interface.name) queue \(configuration.queue)"
      let memory = try UMEM(
        geometry: configuration.geometry, numaNode: configuration.numaNode,
        wantsHugePages: configuration.wantsHugePages, subject: subject)
      var pool = memory.makePool()
      let socket = try XDPSocket(
        memory: memory, pool: &pool, interface: configuration.interface, queue: configuration.queue,
        options: XDPSocket.Options(
          zeroCopy: configuration.zeroCopy, isProgramNative: configuration.isProgramNative))
      var queue = QueueState(socket: socket, pool: pool)
      let descriptor = queue.socket.descriptor.rawValue
      shared.open(descriptor)
      shared.publish(queue)
      started.put(.success((report(configuration, queue), descriptor)))
      let failure = loop(&queue, shared, spinCount: configuration.spinCount)
      drain(&queue, shared)
      shared.settle(isOver: true) {}
      shared.taps.close(&queue.entry.pipeline.second.taps)
      shared.publish(queue)
      shared.close(failure: failure)
    } catch {
      started.put(.failure(error))
    }
  }

  private static func report(_ configuration: QueueConfiguration, _ queue: borrowing QueueState) -> QueueReport {
    QueueReport(
      interface: configuration.interface.name, queue: configuration.queue, isZeroCopy: queue.socket.isZeroCopy,
      copyReason: queue.socket.copyReason, cpu: configuration.cpu ?? -1, placement: queue.socket.memory.placement,
      hasHugePages: queue.socket.memory.hasHugePages,
      hugePageReason: queue.socket.memory.hugePageRefusal.map { $0.description },
      frameCount: configuration.geometry.frameCount, frameByteCount: configuration.geometry.frameByteCount,
      bindRetries: queue.socket.bindRetries)
  }

  /// Until told to stop (nil), or the socket breaks.
  private static func loop(_ queue: inout QueueState, _ shared: QueueShared, spinCount: UInt32) -> SystemError? {
    var idle: UInt32 = 0
    while !shared.isStopping.load(ordering: .relaxed) {
      if shared.isSettling.load(ordering: .relaxed) { shared.settle { drain(&queue, shared) } }
      if step(&queue, shared) > 0 {
        idle = 0
      } else if idle < spinCount {
        idle &+= 1
      } else {
        idle = 0
        do throws(SystemError) {
          try sleep(&queue, shared)
        } catch { return error }
      }
    }
    return nil
  }

  /// One batch: taps up to date, packets through, frames back, counters out. Returns the number of packets.
  private static func step(_ queue: inout QueueState, _ shared: QueueShared) -> UInt32 {
    shared.taps.refresh(&queue.entry.pipeline.second.taps)
    queue.entry.now = SystemClock.monotonicNanoseconds()
    let count = processBatch(&queue, limit: batchLimit)
    if count == 0 { return 0 }
    refill(&queue)
    if queue.socket.needsWakeup { queue.socket.wake() }
    queue.entry.pipeline.second.taps.wakeConsumers()
    shared.publish(queue)
    assert(queue.areFramesConserved, "frames got lost or appeared")
    return count
  }

  /// Waits for packets or a signal. poll(2) also wakes a driver that needs it.
  private static func sleep(_ queue: inout QueueState, _ shared: QueueShared) throws(SystemError) {
    let descriptor = queue.socket.descriptor.rawValue
    shared.publish(queue)
    let ready = try Poll.wait(
      descriptor, shared.wake.descriptor.rawValue, timeoutMilliseconds: pollTimeoutMilliseconds)
    if ready.second.hasEvent { shared.wake.clear() }
    if ready.first.isBroken {
      let code = Poll.socketError(descriptor)
      throw SystemError(
        operation: "receive", code: code, subject: "AF_XDP socket", remedy: "the interface is gone or down")
    }
  }

  /// Receives what is in the ring now; what comes later is not waited for.
  private static func drain(_ queue: inout QueueState, _ shared: QueueShared) {
    var left = queue.socket.frames(pool: queue.pool).receive
    while left > 0 {
      let count = step(&queue, shared)
      if count == 0 { return }
      left -= min(left, count)
    }
  }
}

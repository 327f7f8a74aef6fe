import Glibc
import LinuxSystem
import XDPPrograms
import XSK

/// The body of a queue's packet thread.
enum QueueLoop {
  /// Builds everything on this thread, reports, runs until told to stop, drains.
  static func run(
    _ configuration: QueueConfiguration, _ shared: QueueShared,
    _ started: Handoff<Result<QueueStart, SystemError>>
  ) {
    do throws(SystemError) {
      let opened = try open(configuration)
      let memory = opened.queue.socket.memory
      let lender = memory.geometry.isUnaligned ? nil : FrameLender(memory)
      defer { withExtendedLifetime(lender) {} }
      var engine = QueueEngine(
        queue: opened.queue, shared: shared, batch: BatchSize(most: configuration.batchLimit))
      engine.queue.loan = lender?.loan
      let descriptor = engine.queue.socket.descriptor.rawValue
      shared.open(descriptor, engine.queue.socket.programRings)
      shared.publish(engine.queue)
      started.put(
        .success(
          QueueStart(
            report: report(configuration, engine.queue, opened.reason, opened.copyReason),
            descriptor: descriptor, receiver: opened.receiver, lender: lender)))
      // Nothing waits for these packets, and the captures' writers may share the CPU.
      let failure = PacketLoop.run(&engine, shared.control, wait: configuration.wait, dozes: true)
      shared.control.settle(isOver: true) {}
      shared.taps.close(&engine.queue.entry.pipeline.second.taps)
      shared.publish(engine.queue)
      shared.close(failure: failure)
    } catch {
      started.put(.failure(error))
    }
  }

  private struct Opened: ~Copyable {
    var queue: QueueState
    /// Why long packets get lost.
    let reason: String?
    /// Receives in the kernel's place.
    var receiver: ReceiverProgram?
    /// Why packets are copied, where the socket doesn't know.
    var copyReason: String?
  }

  /// With zero-copy where that can be had; else the XDP program receives, if it can; else the socket.
  private static func open(_ configuration: QueueConfiguration) throws(SystemError) -> Opened {
    guard configuration.hasReceivers, configuration.isProgramNative, !configuration.geometry.isUnaligned else {
      return try openSocket(configuration)
    }
    let choice = ProgramReception.choose(
      [configuration.interface], receiving: [configuration.interface], zeroCopy: configuration.zeroCopy)
    guard let reason = choice.copyReason else { return try openSocket(configuration) }
    var refusal = choice.refusal
    if choice.isPossible {
      do throws(ProgramError) {
        return try openReceiver(configuration, "\(reason); the XDP program copies")
      } catch {
        refusal = error.description
      }
    }
    var opened = try openSocket(configuration)
    if let refusal { opened.copyReason = opened.queue.socket.copyReason.map { "\($0); not by the XDP program: \(refusal)" } }
    return opened
  }

  private static func openReceiver(
    _ configuration: QueueConfiguration, _ copyReason: String
  ) throws(ProgramError) -> Opened {
    let geometry = configuration.geometry
    let receiver = try ReceiverProgram(
      geometry, entryCount: PowerOfTwo.atLeast(geometry.frameCount), takesFragments: configuration.usesFragments)
    let region = try receiver.mapFrames()
    let rings = try receiver.makeRings()
    do throws(SystemError) {
      let memory = try UMEM(
        geometry: geometry, over: region,
        subject: "UMEM of \(configuration.interface.name) queue \(configuration.queue)")
      var pool = memory.makePool()
      let socket = try XDPSocket(
        memory: memory, pool: &pool, interface: configuration.interface, queue: configuration.queue,
        options: XDPSocket.Options(zeroCopy: .off, usesFragments: configuration.usesFragments), receivingBy: rings)
      return Opened(
        queue: QueueState(socket: socket, pool: pool), reason: nil, receiver: receiver, copyReason: copyReason)
    } catch { throw .system(error) }
  }

  /// With zero-copy where that can be had, and with fragments where they are wanted and the kernel takes them.
  private static func openSocket(_ configuration: QueueConfiguration) throws(SystemError) -> Opened {
    let memory = try UMEM(
      geometry: configuration.geometry, numaNode: configuration.numaNode, wantsHugePages: configuration.wantsHugePages,
      subject: "UMEM of \(configuration.interface.name) queue \(configuration.queue)")
    func open(_ zeroCopy: XDPSocket.ZeroCopyMode, usesFragments: Bool) throws(SystemError) -> QueueState {
      var pool = memory.makePool()
      let socket = try XDPSocket(
        memory: memory, pool: &pool, interface: configuration.interface, queue: configuration.queue,
        options: XDPSocket.Options(
          zeroCopy: zeroCopy, usesFragments: usesFragments, isProgramNative: configuration.isProgramNative))
      return QueueState(socket: socket, pool: pool)
    }
    guard configuration.usesFragments else {
      return Opened(queue: try open(configuration.zeroCopy, usesFragments: false), reason: nil)
    }
    if configuration.mayHaveZeroCopyForFrames {
      do throws(SystemError) {
        return Opened(queue: try open(.required, usesFragments: false), reason: nil)
      } catch {
        guard error.code == EOPNOTSUPP || error.code == EINVAL else { throw error }
      }
    }
    do throws(SystemError) {
      return Opened(queue: try open(configuration.zeroCopy, usesFragments: true), reason: nil)
    } catch {
      // What else may be wrong with the arguments fails again.
      guard error.code == EINVAL else { throw error }
      return Opened(queue: try open(configuration.zeroCopy, usesFragments: false), reason: error.description)
    }
  }

  private static func report(
    _ configuration: QueueConfiguration, _ queue: borrowing QueueState, _ fragmentReason: String?, _ copyReason: String?
  ) -> QueueReport {
    QueueReport(
      interface: configuration.interface.name, queue: configuration.queue, isZeroCopy: queue.socket.isZeroCopy,
      copyReason: copyReason ?? queue.socket.copyReason, cpu: configuration.cpu ?? -1, placement: queue.socket.memory.placement,
      hasHugePages: queue.socket.memory.hasHugePages,
      hugePageReason: queue.socket.programRings != nil && configuration.wantsHugePages
        ? "a BPF map's memory has ordinary pages" : queue.socket.memory.hugePageRefusal.map { $0.description },
      frameCount: configuration.geometry.frameCount, frameByteCount: configuration.geometry.frameByteCount,
      usesFragments: queue.socket.usesFragments, fragmentReason: fragmentReason, bindRetries: queue.socket.bindRetries)
  }
}

extension QueueConfiguration {
  /// Many drivers have zero-copy, but not of packets in several buffers (`netdev_xdp_zc_max_segs` of 1 refuses XDP_USE_SG
  /// with XDP_ZEROCOPY; net/xdp/xsk_buff_pool.c, xp_assign_dev). Where a frame holds what the MTU allows, no packet needs
  /// more.
  fileprivate var mayHaveZeroCopyForFrames: Bool {
    guard zeroCopy != .off, isProgramNative, geometry.holdsPackets(ofMTU: interface.mtu) else { return false }
    let features = (try? interface.xdpFeatures()) ?? nil
    return features?.contains(.zeroCopy) ?? true
  }
}

/// Receives, offers to captures, and gives the frames back.
struct QueueEngine: PacketEngine, ~Copyable {
  var queue: QueueState
  let shared: QueueShared
  var batch: BatchSize

  init(queue: consuming QueueState, shared: QueueShared, batch: BatchSize) {
    self.queue = queue
    self.shared = shared
    self.batch = batch
  }

  mutating func hasWork() -> Bool {
    // Here and not in the batch, so that a silent queue adopts a capture's ring and gives it back.
    shared.taps.refresh(&queue.entry.pipeline.second.taps)
    return queue.socket.available(limit: 1) > 0
  }

  @discardableResult mutating func step(now: UInt64, meter: inout LoopMeter.Writer) -> UInt32 {
    queue.entry.now = now
    if !queue.entry.pipeline.second.taps.isEmpty { queue.socket.prefetch(limit: batch.limit) }
    let count = processBatch(&queue, limit: batch.limit)
    if count == 0 { return 0 }
    meter.count(count)
    batch.adapt(after: count)
    queue.loan?.takeBack(into: &queue.pool)
    refill(&queue)
    if queue.socket.needsWakeup { queue.socket.wake() }
    queue.entry.pipeline.second.taps.wakeConsumers()
    shared.publish(queue)
    assert(queue.areFramesConserved, "frames got lost or appeared")
    return count
  }

  mutating func drain(meter: inout LoopMeter.Writer) {
    shared.taps.refresh(&queue.entry.pipeline.second.taps)
    var left = queue.socket.frames(pool: queue.pool).receive
    while left > 0, hasWork() {
      step(now: SystemClock.monotonicNanoseconds(), meter: &meter)
      let now = queue.socket.frames(pool: queue.pool).receive
      left = min(left - 1, now)
    }
  }

  borrowing func addDescriptors(to set: inout PollSet) {
    set.add(queue.socket.descriptor.rawValue)
    if let rings = queue.socket.programRings { set.add(rings.wakeupDescriptor, isSocket: false) }
  }

  borrowing func announceSleep() -> Bool {
    queue.socket.programRings?.announceSleep()
    return queue.socket.programRings != nil
  }

  borrowing func endSleep() { queue.socket.programRings?.endSleep() }

  mutating func prepareToSleep() -> CInt {
    queue.loan?.takeBack(into: &queue.pool)
    refill(&queue)
    shared.publish(queue)
    return PacketLoop.sleepMilliseconds
  }
}

import LinuxSystem
import XDPPrograms
import XSK

/// What a wire's packet thread owns: receives on each side, sends out of the other.
struct WireEngine: PacketEngine, ~Copyable {
  private var first: XDPSocket
  private var second: XDPSocket?
  private var core: WireCore
  private let isReflector: Bool
  /// Packets wait at a side.
  private var firstHasPackets = false
  private var secondHasPackets = false
  /// Packets of each side's last batch.
  private var firstCount: UInt32 = 0
  private var secondCount: UInt32 = 0

  init(first: consuming XDPSocket, second: consuming XDPSocket?, core: consuming WireCore) {
    isReflector = second == nil
    self.first = first
    self.second = second
    self.core = core
  }

  mutating func hasWork() -> Bool {
    core.refreshTaps()
    firstHasPackets = first.available(limit: 1) > 0
    if isReflector { return firstHasPackets }
    secondHasPackets = second!.available(limit: 1) > 0
    return firstHasPackets || secondHasPackets
  }

  @discardableResult mutating func step(now: UInt64, meter: inout LoopMeter.Writer) -> UInt32 {
    var count: UInt32 = 0
    if firstHasPackets {
      firstCount = core.receive(&first, side: 0, now: now, reflects: isReflector)
      meter.count(firstCount)
      count &+= firstCount
      if isReflector { core.send(&first, from: 0, to: 0) } else { core.send(&second!, from: 0, to: 1) }
      core.refill(&first)
    }
    if secondHasPackets {
      secondCount = core.receive(&second!, side: 1, now: now, reflects: false)
      meter.count(secondCount)
      count &+= secondCount
      core.send(&first, from: 1, to: 0)
      core.refill(&second!)
    }
    core.finishTurn(now: now)
    assert(areFramesConserved(), "frames got lost or appeared")
    return count
  }

  mutating func drain(meter: inout LoopMeter.Writer) {
    // What is there now, and not what comes meanwhile: each full ring once. A side without packets has carried all.
    var firstLeft = first.availableBuffers()
    var secondLeft: UInt32 = 0
    if !isReflector { secondLeft = second!.availableBuffers() }
    while firstLeft > 0 || secondLeft > 0, hasWork() {
      step(now: SystemClock.monotonicNanoseconds(), meter: &meter)
      firstLeft -= min(firstLeft, max(firstCount, 1))
      secondLeft -= min(secondLeft, max(secondCount, 1))
    }
    _ = hasWork()  // adopts and lets go of rings also where no packet was
  }

  borrowing func addDescriptors(to set: inout PollSet) {
    for descriptor in core.descriptors { set.add(descriptor) }
    for rings in core.programRings { set.add(rings.wakeupDescriptor, isSocket: false) }
  }

  borrowing func announceSleep() -> Bool {
    for rings in core.programRings { rings.announceSleep() }
    return !core.programRings.isEmpty
  }

  borrowing func endSleep() {
    for rings in core.programRings { rings.endSleep() }
  }

  mutating func prepareToSleep() -> CInt {
    var isPending = core.settle(&first, to: 0)
    if !isReflector, core.settle(&second!, to: 1) { isPending = true }
    publish()
    // A ring that the kernel left packets in tells nobody when it may go on.
    return core.advanceFlows(isPending ? 10 : PacketLoop.sleepMilliseconds)
  }

  /// Frames where they are, for readers of the counters.
  mutating func publish() { core.publish(countFrames()) }

  /// The thread ends: the captures' rings go back, and what the kernel would not send is counted.
  mutating func close() {
    _ = prepareToSleep()
    core.closeTaps()
    core.finishFlows()
    core.countAbandoned(&first, sentTo: 0)
    if !isReflector { core.countAbandoned(&second!, sentTo: 1) }
    publish()
  }

  private mutating func countFrames() -> FrameCounts {
    var frames = core.count(first)
    if !isReflector { Transmitter.add(&second!, to: &frames) }
    return frames
  }

  private mutating func areFramesConserved() -> Bool { countFrames().areConserved }
}

/// Everything of a wire's thread but the sockets of the sides, which it is lent in turns.
struct WireCore: ~Copyable {
  private var pool: FramePool
  private var pipeline: WirePipeline
  private var batch: WireBatch
  private var transmitter: Transmitter
  private var size: BatchSize
  private let hasFlows: Bool
  private let shared: WireShared
  /// Of the side sockets.
  let descriptors: [CInt]
  /// Of the side sockets, where programs receive for them.
  let programRings: [ProgramRings]

  init(
    pool: consuming FramePool, transmitter: consuming Transmitter, descriptors: [CInt],
    programRings: [ProgramRings], shared: WireShared, configuration: WireConfiguration
  ) {
    self.pool = pool
    self.transmitter = transmitter
    self.descriptors = descriptors
    self.programRings = programRings
    self.shared = shared
    pipeline = WirePipeline(
      Sampler(every: configuration.sampleEvery),
      Chain(
        OptionalFlows(shared.flows.map { FlowStage($0) }),
        Chain(MirrorMark(isOn: configuration.mirror != nil), WireCapture(fallback: configuration.captureFallback))))
    hasFlows = shared.flows != nil
    batch = WireBatch(capacity: configuration.batchLimit)
    size = BatchSize(most: configuration.batchLimit)
  }

  mutating func refreshTaps() {
    shared.boards[0].refresh(&pipeline.second.second.second.first)
    if shared.boards.count > 1 { shared.boards[1].refresh(&pipeline.second.second.second.second) }
  }

  mutating func closeTaps() {
    shared.boards[0].close(&pipeline.second.second.second.first)
    if shared.boards.count > 1 { shared.boards[1].close(&pipeline.second.second.second.second) }
  }

  /// One batch into hand. Returns its packets.
  mutating func receive(_ socket: inout XDPSocket, side: Int, now: UInt64, reflects: Bool) -> UInt32 {
    socket.prefetch(limit: size.limit)
    receiveBatch(
      &socket, side: UInt8(truncatingIfNeeded: side), &pipeline, into: &batch, limit: size.limit, now: now,
      reflects: reflects)
    size.adapt(after: batch.packets)
    let lane = shared.lanes[side]
    lane.add(UInt64(batch.packets), .receivedPackets)
    lane.add(batch.bytes, .receivedBytes)
    if batch.outgoingPackets < batch.packets || pipeline.second.second.second.passed > 0 { countCaptures(lane) }
    return batch.packets
  }

  private mutating func countCaptures(_ lane: WireLane) {
    lane.add(pipeline.second.second.second.captured, .captured)
    lane.add(pipeline.second.second.second.passed, .capturePassed)
    lane.add(pipeline.second.second.second.dropped, .captureDropped)
    pipeline.second.second.second.captured = 0
    pipeline.second.second.second.passed = 0
    pipeline.second.second.second.dropped = 0
  }

  /// The batch in hand leaves by the socket's interface, or as live frames to it.
  mutating func send(_ socket: inout XDPSocket, from side: Int, to other: Int) {
    transmitter.send(&batch, through: &socket, pool: &pool, to: shared.target(from: side, to: other))
    batch.reset()
  }

  mutating func refill(_ socket: inout XDPSocket) {
    refillSocket(&socket, &pool)
    if socket.needsWakeup { socket.wake() }
  }

  /// After the batches of one turn.
  mutating func finishTurn(now: UInt64) {
    if hasFlows { _ = pipeline.second.first.stage!.advance(now: now, isIdle: false) }
    pipeline.second.second.second.first.wakeConsumers()
    pipeline.second.second.second.second.wakeConsumers()
  }

  /// Closes flows that are over. Returns how long a sleep may last: `timeout` at most, 0 while a snapshot can go on.
  mutating func advanceFlows(_ timeout: CInt) -> CInt {
    if !hasFlows { return timeout }
    let hasMore = pipeline.second.first.stage!.advance(now: SystemClock.monotonicNanoseconds(), isIdle: true)
    return hasMore ? 0 : min(timeout, FlowStage.idleMilliseconds)
  }

  mutating func finishFlows() { if hasFlows { pipeline.second.first.stage!.finish() } }

  /// Sends on what the kernel left in the rings. True: something is still there.
  mutating func settle(_ socket: inout XDPSocket, to other: Int) -> Bool {
    let target = shared.target(from: source(of: other), to: other)
    let mirrorIsPending = transmitter.settleMirror(&pool, target)
    return Transmitter.settle(&socket, &pool, target) || mirrorIsPending
  }

  mutating func countAbandoned(_ socket: inout XDPSocket, sentTo other: Int) {
    shared.lanes[source(of: other)].add(UInt64(socket.transmitPending), .transmitAbandoned)
  }

  /// The side whose packets leave by this one.
  private func source(of other: Int) -> Int { shared.lanes.count == 1 ? 0 : 1 - other }

  /// Pool, the socket and the mirror.
  mutating func count(_ socket: borrowing XDPSocket) -> FrameCounts {
    var frames = socket.frames(pool: pool)
    transmitter.count(into: &frames)
    return frames
  }

  mutating func publish(_ frames: FrameCounts) { shared.publish(frames) }
}

/// Gives the free frames to the kernel.
@_noAllocation @_noLocks @inline(never)
func refillSocket(_ socket: inout XDPSocket, _ pool: inout FramePool) { socket.refill(from: &pool) }

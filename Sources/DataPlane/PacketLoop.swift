import LinuxSystem
import Synchronization

/// What a packet thread does in its turns. One thread owns it.
protocol PacketEngine: ~Copyable {
  /// Packets wait, or frames want to be moved on. No system call.
  mutating func hasWork() -> Bool

  /// A batch of each source that has one, counted in `meter`. Returns their packets.
  ///
  /// - Parameter now: CLOCK_MONOTONIC.
  @discardableResult mutating func step(now: UInt64, meter: inout LoopMeter.Writer) -> UInt32

  /// Receives what is there now; what comes later is not waited for.
  mutating func drain(meter: inout LoopMeter.Writer)

  /// Adds the descriptors whose input ends a sleep, and whose error ends the loop.
  borrowing func addDescriptors(to set: inout PollSet)

  /// Before a sleep: whether packets of a ``ProgramRings`` must be told to end it.
  borrowing func announceSleep() -> Bool

  borrowing func endSleep()

  /// Moves on what does not move by itself; counters as they should stand during a sleep. Returns how long that may
  /// last. Also called now and then without a sleep.
  mutating func prepareToSleep() -> CInt
}

/// The loop of every packet thread.
enum PacketLoop {
  /// Bounds every sleep: nothing wakes a thread whose interface went, nor one that a driver forgot to wake.
  static var sleepMilliseconds: CInt { 1000 }

  /// Runs until told to stop (nil), or until a socket breaks; then receives what is there.
  ///
  /// - Parameter dozes: Packets may wait some 100 microseconds: an adaptive thread leaves its CPU to others meanwhile.
  static func run<Engine: PacketEngine & ~Copyable>(
    _ engine: inout Engine, _ control: LoopControl, wait: WaitMode, dozes: Bool = false
  ) -> SystemError? {
    var policy = WaitPolicy(wait, dozes: dozes)
    var spin = SpinWait()
    var meter = LoopMeter.Writer(control.meter, now: SystemClock.monotonicNanoseconds())
    var sources = PollSet()
    sources.add(control.wake.descriptor.rawValue)
    engine.addDescriptors(to: &sources)
    var failure: SystemError?
    while failure == nil, !control.isStopping.load(ordering: .relaxed) {
      if control.isSettling.load(ordering: .relaxed) { control.settle { engine.drain(meter: &meter) } }
      let step: WaitPolicy.Step
      if engine.hasWork() {
        let now = SystemClock.monotonicNanoseconds()
        meter.enter(.busy, now: now)
        let count = engine.step(now: now, meter: &meter)
        step = policy.sawPackets()
        // So few that they wouldn't fill the rings meanwhile.
        if count < BatchSize.least { spin.pause(foundSomething: true) }
      } else {
        if meter.phase == .busy { meter.enter(.idle, now: SystemClock.monotonicNanoseconds()) }
        step = policy.sawNothing()
        if step == .again { spin.pause(foundSomething: false) }
      }
      if step == .again { continue }
      if step == .doze {
        meter.enter(.asleep, now: SystemClock.monotonicNanoseconds())
        SystemClock.pause(nanoseconds: WaitPolicy.dozeNanoseconds)
        meter.enter(.idle, now: SystemClock.monotonicNanoseconds())
        continue
      }
      do throws(SystemError) {
        try look(step, &engine, control, &sources, &meter)
      } catch { failure = error }
    }
    engine.drain(meter: &meter)
    return failure
  }

  /// Asks after the sockets, or waits for packets or a signal. poll(2) also wakes a driver that needs it.
  private static func look<Engine: PacketEngine & ~Copyable>(
    _ step: WaitPolicy.Step, _ engine: inout Engine, _ control: LoopControl, _ sources: inout PollSet,
    _ meter: inout LoopMeter.Writer
  ) throws(SystemError) {
    // Not only before a sleep: a thread that spins never does, and the kernel may have left packets in a ring.
    let timeout = engine.prepareToSleep()
    if step == .sleep {
      meter.enter(.asleep, now: SystemClock.monotonicNanoseconds())
      try sleep(timeout, &engine, &sources)
      meter.enter(.idle, now: SystemClock.monotonicNanoseconds())
    } else {
      try sources.wait(timeoutMilliseconds: 0)
    }
    if sources.readiness(0).hasEvent { control.wake.clear() }
    for index in 1..<sources.count {
      // Linux 6.18 answers no poll for an AF_XDP socket whose interface went: its pending error alone tells.
      let code = sources.isSocket(index) ? Poll.socketError(sources.descriptor(index)) : 0
      if code == 0, !sources.readiness(index).isBroken { continue }
      throw SystemError(
        operation: "receive", code: code, subject: "AF_XDP socket", remedy: "the interface is gone or down")
    }
  }
}

extension PacketLoop {
  /// Waits for packets or a signal, at most so long.
  private static func sleep<Engine: PacketEngine & ~Copyable>(
    _ timeout: CInt, _ engine: inout Engine, _ sources: inout PollSet
  ) throws(SystemError) {
    guard engine.announceSleep() else { return try sources.wait(timeoutMilliseconds: timeout) }
    defer { engine.endSleep() }
    if engine.hasWork() { return }
    try sources.wait(timeoutMilliseconds: min(timeout, dozeMilliseconds))
    if timeout <= dozeMilliseconds || sources.hasEvent || engine.hasWork() { return }
    try sources.wait(timeoutMilliseconds: timeout)
  }

  /// After which a packet that came when the sleep was announced is seen: see ``ProgramRings/announceSleep()``.
  private static var dozeMilliseconds: CInt { 1 }
}

/// What a packet thread and the others share, whatever the thread does.
final class LoopControl: Sendable {
  let isStopping = Atomic<Bool>(false)
  let wake: EventDescriptor
  let meter = LoopMeter()
  /// Somebody waits in settle(): the packet thread looks only at this.
  let isSettling = Atomic<Bool>(false)
  private let settling = Mutex<(waiters: [Handoff<Void>], isOver: Bool)>(([], false))

  init() throws(SystemError) { wake = try EventDescriptor() }

  /// Any thread.
  func stop() {
    isStopping.store(true, ordering: .releasing)
    wake.signal()
  }

  /// Waits until the packet thread has received everything that was there at the call. At once when it has ended.
  func settle() {
    let done = Handoff<Void>()
    guard requestSettling(done) else { return }
    wake.signal()
    done.take()
  }

  /// False where the packet thread has ended.
  private func requestSettling(_ done: Handoff<Void>) -> Bool {
    settling.withLock {
      if $0.isOver { return false }
      $0.waiters.append(done)
      isSettling.store(true, ordering: .relaxed)
      return true
    }
  }

  /// The packet thread, when ``isSettling`` is set, and at its end. Those who asked before `drain` hear of it; whoever
  /// asks meanwhile is served the next time, because `drain` may have looked at the rings already.
  func settle(isOver: Bool = false, _ drain: () -> Void) {
    let waiters = settling.withLock {
      let waiters = $0.waiters
      $0 = ([], $0.isOver || isOver)
      isSettling.store(false, ordering: .relaxed)
      return waiters
    }
    drain()
    for waiter in waiters { waiter.put(()) }
  }
}

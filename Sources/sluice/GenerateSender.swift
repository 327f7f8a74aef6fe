import Glibc
import LinuxSystem
import Synchronization
import Traffic
import XDPPrograms

/// What the senders of one run share.
final class GenerateControl: Sendable {
  private let stopping = Atomic(false)
  private let finished = Atomic(0)
  /// Signalled whenever a sender is done.
  let done: EventDescriptor

  init() throws(SystemError) { done = try EventDescriptor() }

  var isStopping: Bool { stopping.load(ordering: .relaxed) }
  func stop() { stopping.store(true, ordering: .relaxed) }

  /// Senders that are done.
  var finishedCount: Int { finished.load(ordering: .acquiring) }
  func finish() {
    finished.wrappingAdd(1, ordering: .releasing)
    done.signal()
  }
}

/// One generator on a thread of its own: loads its tables there, waits for the start, sends by the clock.
final class GenerateSender: Sendable {
  /// What became of its packets.
  struct Sent {
    var tallies: [TrafficRun.Tally]
    var redirected: UInt64
    var failed: UInt64
    var endNanoseconds: UInt64
    var stop: TrafficRun.Stop
    var due: UInt64?
    var lateness: LatencyHistogram
  }

  /// Packets attempted so far.
  let attempted = Atomic<UInt64>(0)

  private let job: GenerateJob
  private let schedule: TrafficSchedule
  private let pace: TrafficPace
  private let interfaceIndex: UInt32
  private let firstStream: Int
  private let control: GenerateControl
  /// Why calls are slow, or why it can't send.
  private let loaded = Handoff<Result<String?, CommandError>>()
  /// When to start; nil: not at all.
  private let start = Handoff<UInt64?>()
  private let sent = Handoff<Result<Sent, CommandError>>()
  private let thread = Mutex<PinnedThread?>(nil)

  /// Calls in a row that send nothing, before that is an error: more than the two seconds that the kernel may be short of
  /// identities.
  private static let idleCallsMax = 150
  /// What a sleep may be longer than asked for; so much before its end the clock is watched instead.
  private static let oversleepNanoseconds: UInt64 = 200_000

  /// - Parameters:
  ///   - schedule: Its part of the plan's.
  ///   - pace: Its part of the job's.
  ///   - firstStream: Of its stamps: each of its tables has one, from this on, beginning again after the last.
  init(
    _ job: GenerateJob, schedule: TrafficSchedule, pace: TrafficPace, interfaceIndex: UInt32, firstStream: Int,
    control: GenerateControl
  ) {
    self.job = job
    self.schedule = schedule
    self.pace = pace
    self.interfaceIndex = interfaceIndex
    self.firstStream = firstStream
    self.control = control
  }

  /// Streams of stamps: one for each table.
  var streamCount: Int { schedule.phases.count }

  /// Starts the thread, which loads its tables and waits.
  func spawn(name: String, cpu: Int?) throws(SystemError) {
    try thread.withLock { thread throws(SystemError) in
      thread = try PinnedThread.spawn(name: name, cpu: cpu) { self.perform() }
    }
  }

  /// Blocks until the tables are loaded; why calls are slow, if they are.
  func awaitLoaded() throws(CommandError) -> String? { try loaded.take().get() }

  /// Lets it send from then on; nil: it ends without.
  func begin(atNanoseconds time: UInt64?) { start.put(time) }

  /// Blocks until it is done. Called once, after ``begin(atNanoseconds:)`` with a time.
  func result() throws(CommandError) -> Sent { try sent.take().get() }

  private func perform() {
    let generators: [TrafficGenerator]
    do throws(ProgramError) {
      var made: [TrafficGenerator] = []
      for (index, phase) in schedule.phases.enumerated() {
        made.append(
          try TrafficGenerator(
            interfaceIndex: interfaceIndex, frames: job.plan.table(phase), stampOffset: job.plan.stampOffset,
            stream: (firstStream + index) % TrafficGenerator.streamCountMax))
      }
      generators = made
      loaded.put(.success(generators.lazy.compactMap(\.slowReason).first))
    } catch {
      loaded.put(.failure(CommandError(.failure, "send_failed", error.description)))
      return
    }
    guard let start = start.take() else { return }
    do throws(CommandError) {
      sent.put(.success(try send(generators, start: start)))
    } catch {
      control.stop()
      sent.put(.failure(error))
    }
    control.finish()
  }

  private func send(_ generators: [TrafficGenerator], start: UInt64) throws(CommandError) -> Sent {
    var run = TrafficRun(schedule, pace: pace, durationNanoseconds: job.durationNanoseconds, burst: job.burst)
    var lateness = LatencyHistogram()
    var end = start
    GenerateSender.wait(untilNanoseconds: start)
    let stop = try loop(generators, &run, &lateness, start: start, &end)
    var (redirected, failed): (UInt64, UInt64) = (0, 0)
    for generator in generators {
      let state = try Self.told { () throws(ProgramError) in try generator.readState() }
      (redirected, failed) = (redirected + state.redirected, failed + state.failed)
    }
    return Sent(
      tallies: run.tallies(job.plan), redirected: redirected, failed: failed, endNanoseconds: end, stop: stop,
      due: run.due(elapsedNanoseconds: end - start), lateness: lateness)
  }

  private func loop(
    _ generators: [TrafficGenerator], _ run: inout TrafficRun, _ lateness: inout LatencyHistogram, start: UInt64,
    _ end: inout UInt64
  ) throws(CommandError) -> TrafficRun.Stop {
    var idleCalls = 0
    while true {
      end = max(start, SystemClock.monotonicNanoseconds())
      if control.isStopping { return .signal }
      switch run.step(elapsedNanoseconds: end - start) {
      case .finished(let stop): return stop
      case .wait(let elapsed): GenerateSender.wait(untilNanoseconds: start + elapsed)
      case .send(let phase, let count):
        if let late = run.lateness(elapsedNanoseconds: end - start) { lateness.record(late) }
        let state = try Self.told { () throws(ProgramError) in
          try generators[phase].send(count)
          return try generators[phase].readState()
        }
        let attempted = UInt32(state.redirected + state.failed - run.attemptedByPhase[phase])
        run.record(attempted: attempted)
        self.attempted.store(run.attempted, ordering: .relaxed)
        idleCalls = attempted == 0 ? idleCalls + 1 : 0
        if idleCalls == Self.idleCallsMax {
          throw CommandError(.failure, "send_failed", "the kernel runs the generator and sends nothing")
        }
      }
    }
  }

  private static func told<Value>(_ body: () throws(ProgramError) -> Value) throws(CommandError) -> Value {
    do throws(ProgramError) {
      return try body()
    } catch {
      throw CommandError(.failure, "send_failed", error.description)
    }
  }

  /// Sleeps where there is time for it and watches the clock for the rest.
  private static func wait(untilNanoseconds deadline: UInt64) {
    let now = SystemClock.monotonicNanoseconds()
    if deadline > now + 2 * oversleepNanoseconds {
      let wake = deadline - oversleepNanoseconds
      var time = timespec(tv_sec: Int(wake / 1_000_000_000), tv_nsec: Int(wake % 1_000_000_000))
      clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, nil)
    }
    while SystemClock.monotonicNanoseconds() < deadline {}
  }
}

import Glibc
import LinuxSystem
import Synchronization
import Traffic
import XDPPrograms

/// One run: loads the tables, sends by the clock, stops on SIGINT and SIGTERM. Blocks the calling thread.
struct GenerateRun {
  let interface: NetworkInterface
  let plan: TrafficPlan
  /// nil: as fast as it goes.
  let packetsPerSecond: UInt64?
  let durationNanoseconds: UInt64?
  let output: Output

  /// Calls in a row that send nothing, before that is an error.
  private static let idleCallsMax = 100

  func perform() throws -> (result: TrafficReport, slowReason: String?) {
    do {
      let generators = try plan.schedule.phases.map {
        try TrafficGenerator(interfaceIndex: interface.index, frames: plan.table($0))
      }
      let slowReason = generators.lazy.compactMap(\.slowReason).first
      if let slowReason { output.note("warning: every call costs tens of milliseconds: \(slowReason)") }
      StopSignal.install()
      return (try send(generators), slowReason)
    } catch let error as ProgramError {
      throw CommandError(.failure, "send_failed", error.description)
    } catch let error as SystemError {
      throw CommandError(.failure, "send_failed", error.description)
    }
  }

  private func send(_ generators: [TrafficGenerator]) throws -> TrafficReport {
    let droppedBefore = try NetworkInterface.indexed(interface.index).statistics.txDropped
    var run = TrafficRun(
      plan.schedule, packetsPerSecond: packetsPerSecond, durationNanoseconds: durationNanoseconds)
    let start = SystemClock.monotonicNanoseconds()
    var progress = GenerateProgress(output: output)
    var end = start
    let stop = try loop(generators, &run, start: start, &progress, &end)
    let dropped = try NetworkInterface.indexed(interface.index).statistics.txDropped &- droppedBefore
    let states = try generators.map { try $0.readState() }
    let flows = zip(plan.flows, run.tallies(plan)).map {
      TrafficReport.Flow(name: $0.name, planned: $0.packetCount, attempted: $1)
    }
    return TrafficReport(
      flows: flows, redirected: states.reduce(0) { $0 + $1.redirected }, failed: states.reduce(0) { $0 + $1.failed },
      transmitDropped: dropped, nanoseconds: end - start, stop: stop)
  }

  private func loop(
    _ generators: [TrafficGenerator], _ run: inout TrafficRun, start: UInt64, _ progress: inout GenerateProgress,
    _ end: inout UInt64
  ) throws -> TrafficRun.Stop {
    var idleCalls = 0
    while true {
      end = SystemClock.monotonicNanoseconds()
      if StopSignal.isReceived { return .signal }
      progress.show(elapsedNanoseconds: end - start, attempted: run.attempted)
      switch run.step(elapsedNanoseconds: end - start) {
      case .finished(let stop): return stop
      case .wait(let elapsed): sleep(untilNanoseconds: start + elapsed)
      case .send(let phase, let count):
        try generators[phase].send(count)
        let state = try generators[phase].readState()
        let attempted = UInt32(state.redirected + state.failed - run.attemptedByPhase[phase])
        run.record(attempted: attempted)
        idleCalls = attempted == 0 ? idleCalls + 1 : 0
        if idleCalls == Self.idleCallsMax {
          throw CommandError(.failure, "send_failed", "the kernel runs the generator and sends nothing")
        }
      }
    }
  }

  /// Less where a signal comes.
  private func sleep(untilNanoseconds deadline: UInt64) {
    var time = timespec(tv_sec: Int(deadline / 1_000_000_000), tv_nsec: Int(deadline % 1_000_000_000))
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, nil)
  }
}

/// SIGINT or SIGTERM: the run ends and reports; a second one ends the process as ever.
private enum StopSignal {
  private static let received = Atomic(false)

  static var isReceived: Bool { received.load(ordering: .relaxed) }

  static func install() {
    received.store(false, ordering: .relaxed)  // also initialises it: a handler must not
    for number in [SIGINT, SIGTERM] {
      var action = sigaction()
      action.__sigaction_handler.sa_handler = { _ in StopSignal.received.store(true, ordering: .relaxed) }
      action.sa_flags = CInt(bitPattern: UInt32(SA_RESETHAND))
      sigaction(number, &action, nil)
    }
  }
}

/// A line each second on standard error: at once on a terminal, elsewhere after two seconds.
struct GenerateProgress {
  let output: Output
  private let isTerminal = isatty(STDERR_FILENO) == 1
  private var shownSeconds: UInt64 = 0
  private var shownPackets: UInt64 = 0

  init(output: Output) { self.output = output }

  mutating func show(elapsedNanoseconds: UInt64, attempted: UInt64) {
    let seconds = elapsedNanoseconds / 1_000_000_000
    guard seconds > shownSeconds else { return }
    let rate = Double(attempted - shownPackets) / Double(seconds - shownSeconds)
    (shownSeconds, shownPackets) = (seconds, attempted)
    guard isTerminal || seconds > 2 else { return }
    output.note("\(seconds) s: \(Quantity.short(Double(attempted))) packets, \(Quantity.short(rate)) a second")
  }
}

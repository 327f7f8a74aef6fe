import Foundation
import LinuxSystem
import Synchronization
import Traffic
import XDPPrograms

/// What a run came to.
struct GenerateOutcome {
  var report: TrafficReport
  var threadCount: Int
  /// Why every call was slow; nil if none was.
  var slowReason: String?
  /// nil without a receiver.
  var received: GenerateReceiver.Received?
}

/// One run: starts the senders together, watches them, stops them on SIGINT and SIGTERM. Blocks the calling thread.
struct GenerateRun {
  let interface: NetworkInterface
  let job: GenerateJob
  let output: Output
  let progress: GenerateProgress
  let receiver: GenerateReceiver?

  /// From the moment that all are loaded to the first packet: every thread is awake by then.
  private static let startDelayNanoseconds: UInt64 = 2_000_000
  /// How long the watching thread sleeps at most: so late it sees a signal.
  private static let watchNanoseconds: UInt64 = 50_000_000

  func perform() throws -> GenerateOutcome {
    do {
      let control = try GenerateControl()
      let senders = makeSenders(control)
      let slowReason = try load(senders)
      if let slowReason { output.note("warning: every call costs tens of milliseconds: \(slowReason)") }
      StopSignal.install()
      let report = try send(senders, control)
      let streamCount = senders.reduce(0) { $0 + $1.streamCount }
      let received = try receiver?.result(
        of: report.attempted, isSequenceWhole: streamCount <= TrafficGenerator.streamCountMax)
      return GenerateOutcome(report: report, threadCount: senders.count, slowReason: slowReason, received: received)
    } catch let error as SystemError {
      throw CommandError(.failure, "send_failed", error.description)
    }
  }

  /// No more than have something to send.
  private func makeSenders(_ control: GenerateControl) -> [GenerateSender] {
    let schedules = job.plan.schedule.split(into: job.cpus.count).filter { !$0.phases.isEmpty }
    var streamCount = 0
    return schedules.enumerated().map { index, schedule in
      let pace = schedules.count == 1 ? job.pace : job.pace.dealt(index, of: schedules.count)
      defer { streamCount += schedule.phases.count }
      return GenerateSender(
        job, schedule: schedule, pace: pace, interfaceIndex: interface.index, firstStream: streamCount,
        control: control)
    }
  }

  private func load(_ senders: [GenerateSender]) throws -> String? {
    var spawned: [GenerateSender] = []
    do {
      for (index, sender) in senders.enumerated() {
        try sender.spawn(name: "generate-\(index)", cpu: job.cpus[index])
        spawned.append(sender)
      }
      var reasons: [String] = []
      var failure: (any Error)?
      // Each is asked, so that none is left waiting for what it said.
      for sender in senders {
        do { try sender.awaitLoaded().map { reasons.append($0) } } catch { failure = failure ?? error }
      }
      if let failure { throw failure }
      return reasons.first
    } catch {
      for sender in spawned { sender.begin(atNanoseconds: nil) }
      throw error
    }
  }

  private func send(_ senders: [GenerateSender], _ control: GenerateControl) throws -> TrafficReport {
    let droppedBefore = try dropped()
    let start = SystemClock.monotonicNanoseconds() + Self.startDelayNanoseconds
    for sender in senders { sender.begin(atNanoseconds: start) }
    var steps = GenerateSteps(job.pace.steps)
    try watch(senders, control, start: start, &steps, droppedBefore: droppedBefore)

    var sent: [GenerateSender.Sent] = []
    for sender in senders { sent.append(try sender.result()) }
    let transmitDropped = try dropped() &- droppedBefore
    let tallies = sent.dropFirst().reduce(sent[0].tallies) { sum, next in
      zip(sum, next.tallies).map { a, b in
        var both = a
        both.packets += b.packets
        both.bytes += b.bytes
        return both
      }
    }
    var report = TrafficReport(
      flows: zip(job.plan.flows, tallies).map { .init(name: $0.name, planned: $0.packetCount, attempted: $1) },
      redirected: sent.reduce(0) { $0 + $1.redirected }, failed: sent.reduce(0) { $0 + $1.failed },
      transmitDropped: transmitDropped, nanoseconds: (sent.map(\.endNanoseconds).max() ?? start) - start,
      stop: sent.contains { $0.stop == .signal } ? .signal : sent.contains { $0.stop == .duration } ? .duration : .count,
      due: sent[0].due.map { _ in sent.reduce(0) { $0 + ($1.due ?? 0) } })
    for part in sent { report.lateness.merge(part.lateness) }
    steps.finish(
      elapsedNanoseconds: report.nanoseconds, attempted: report.attempted, dropped: transmitDropped,
      received: try receiver?.settledCount(of: report.attempted))
    report.steps = steps.rows
    return report
  }

  /// Until every sender is done. Throws where the interface stopped taking frames meanwhile: drivers then lose them without
  /// a count, and what was sent is not known.
  private func watch(
    _ senders: [GenerateSender], _ control: GenerateControl, start: UInt64, _ steps: inout GenerateSteps,
    droppedBefore: UInt64
  ) throws {
    var progress = progress
    var outage: CommandError?
    while control.finishedCount < senders.count {
      outage = outage ?? self.outage()
      if StopSignal.isReceived || outage != nil { control.stop() }
      let now = SystemClock.monotonicNanoseconds()
      let elapsed = now - min(now, start)
      let isStep = steps.isDue(elapsed)
      if isStep || progress.isDue(elapsed) {
        let attempted = senders.reduce(0) { $0 + $1.attempted.load(ordering: .relaxed) }
        let dropped = try dropped() &- droppedBefore
        if isStep {
          steps.record(
            elapsedNanoseconds: elapsed, attempted: attempted, dropped: dropped, received: try receiver?.count())
        }
        progress.show(elapsedNanoseconds: elapsed, attempted: attempted, dropped: dropped)
      }
      let next = min(steps.next, progress.next)
      let wait = min(next - min(elapsed, next), Self.watchNanoseconds)
      try control.done.wait(timeoutMilliseconds: CInt((wait + 999_999) / 1_000_000))
      control.done.clear()
    }
    if let outage = outage ?? self.outage() { throw outage }
  }

  /// Why frames are lost now.
  private func outage() -> CommandError? {
    do {
      let now = try NetworkInterface.indexed(interface.index)
      try GenerateChecks.link(now)
      try GenerateChecks.features(now)
      return nil
    } catch let error as CommandError {
      return CommandError(.failure, error.code, "while frames were sent, \(error.message)")
    } catch {
      return CommandError(.failure, "send_failed", "while frames were sent: \(error)")
    }
  }

  private func dropped() throws -> UInt64 { try NetworkInterface.indexed(interface.index).statistics.txDropped }
}

/// What was counted at the end of each step of a ramp.
struct GenerateSteps {
  private let steps: [TrafficPace.Step]
  private(set) var rows: [TrafficReport.Step] = []
  private var last: (elapsed: UInt64, attempted: UInt64, dropped: UInt64, received: UInt64) = (0, 0, 0, 0)

  /// One step is a rate, not a ramp: nothing is recorded.
  init(_ steps: [TrafficPace.Step]) { self.steps = steps.count > 1 ? steps : [] }

  /// When the next step ends; the last one only with the run, which still sends what was due just before.
  var next: UInt64 { rows.count + 1 < steps.count ? steps[rows.count].end ?? .max : .max }

  func isDue(_ elapsed: UInt64) -> Bool { elapsed >= next }

  mutating func record(elapsedNanoseconds elapsed: UInt64, attempted: UInt64, dropped: UInt64, received: UInt64?) {
    guard rows.count < steps.count, elapsed > last.elapsed else { return }
    rows.append(
      TrafficReport.Step(
        asked: steps[rows.count].rate.perSecond, nanoseconds: elapsed - last.elapsed,
        attempted: attempted - min(last.attempted, attempted), transmitDropped: dropped &- last.dropped,
        received: received.map { $0 &- last.received }))
    last = (elapsed, attempted, dropped, received ?? 0)
  }

  /// What came after the last record, if anything did.
  mutating func finish(elapsedNanoseconds elapsed: UInt64, attempted: UInt64, dropped: UInt64, received: UInt64?) {
    if attempted > last.attempted || rows.isEmpty {
      record(elapsedNanoseconds: elapsed, attempted: attempted, dropped: dropped, received: received)
    }
  }
}

/// SIGINT or SIGTERM: the run ends and reports; one more, half a second later or after, ends the process.
enum StopSignal {
  /// When the first came; 0: none did.
  private static let first = Atomic<UInt64>(0)
  /// timeout(1) sends its signal twice at once, to the process and to its group: that is one wish.
  private static let graceNanoseconds: UInt64 = 500_000_000

  static var isReceived: Bool { first.load(ordering: .relaxed) != 0 }

  static func install() {
    first.store(0, ordering: .relaxed)  // also initialises it: a handler must not
    var wanted = sigset_t()
    sigemptyset(&wanted)
    for number in [SIGINT, SIGTERM] {
      var action = sigaction()
      action.__sigaction_handler.sa_handler = { StopSignal.receive($0) }
      sigaction(number, &action, nil)
      sigaddset(&wanted, number)
    }
    // Whoever started the process may have blocked them, and it would inherit that.
    pthread_sigmask(SIG_UNBLOCK, &wanted, nil)
  }

  /// In the handler: nothing that isn't async-signal-safe.
  private static func receive(_ number: CInt) {
    let now = SystemClock.monotonicNanoseconds()
    let (isFirst, time) = first.compareExchange(expected: 0, desired: now, ordering: .relaxed)
    if !isFirst, now - min(time, now) > graceNanoseconds { _exit(128 + number) }
  }
}

/// A line of how far the run is: each second on standard error for people, or as JSON on standard output.
struct GenerateProgress {
  private let isJSON: Bool
  private let period: UInt64
  /// When the next line is due; never where none is shown.
  private(set) var next: UInt64
  private var last: (elapsed: UInt64, attempted: UInt64) = (0, 0)

  init(isShown: Bool) {
    isJSON = false
    period = 1_000_000_000
    next = isShown ? period : .max
  }

  init(linesEvery period: UInt64) {
    isJSON = true
    self.period = period
    next = period
  }

  func isDue(_ elapsed: UInt64) -> Bool { elapsed >= next }

  mutating func show(elapsedNanoseconds elapsed: UInt64, attempted: UInt64, dropped: UInt64) {
    guard isDue(elapsed), elapsed > last.elapsed else { return }
    let rate = Double(attempted - min(last.attempted, attempted)) / Double(elapsed - last.elapsed) * 1e9
    last = (elapsed, attempted)
    next = (elapsed / period + 1) * period
    if isJSON {
      let line: JSON = [
        "progress": true, "seconds": .number(Double(elapsed) / 1e9), "attempted": .count(attempted),
        "packets_per_second": .number(rate.rounded()), "transmit_dropped": .count(dropped),
      ]
      Terminal.print(line.text(pretty: false))
    } else {
      let seconds = String(format: "%.0f", Double(elapsed) / 1e9)
      let lost = dropped > 0 ? ", \(Quantity.short(Double(dropped))) dropped" : ""
      Terminal.printError(
        "\(seconds) s: \(Quantity.short(Double(attempted))) packets, \(Quantity.short(rate)) a second\(lost)")
    }
  }
}

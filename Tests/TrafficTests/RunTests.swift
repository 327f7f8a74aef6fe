import Testing

@testable import Traffic

/// The state machine with a clock and an engine made of numbers.
@Suite("Runs send what is due")
struct RunTests {
  private func run(
    _ run: inout TrafficRun, costPerPacket: UInt64 = 100, oversleeps: UInt64 = 60_000
  ) -> (elapsed: UInt64, stop: TrafficRun.Stop, greatestWait: UInt64, calls: Int) {
    var now: UInt64 = 0
    var greatestWait: UInt64 = 0
    var calls = 0
    while true {
      switch run.step(elapsedNanoseconds: now) {
      case .finished(let stop): return (now, stop, greatestWait, calls)
      case .wait(let until):
        precondition(until > now || oversleeps > 0, "a wait ends in the future")
        greatestWait = max(greatestWait, until - min(now, until))
        now = max(now, until) + oversleeps
      case .send(_, let count):
        precondition(count > 0 && count <= (run.pace.isUnlimited ? TrafficRun.unpacedSliceMax : TrafficRun.sliceMax))
        now += UInt64(count) * costPerPacket
        calls += 1
        run.record(attempted: count)
      }
    }
  }

  private func one(_ packets: UInt64) -> TrafficSchedule {
    TrafficSchedule([.init(frameCount: 1, packetCount: packets)])
  }
  private func pace(_ packetsPerSecond: UInt64) -> TrafficPace {
    TrafficPace(TrafficRate(packetsPerSecond: packetsPerSecond).packetRate(byteCount: 60, frameCount: 1)!)
  }
  private let endless = TrafficSchedule(endless: [.init(frameCount: 1, weight: 1)])

  @Test(
    "Unpaced: everything, at once, in calls of 20 ms once the speed is known",
    arguments: [(1, 1), (64, 1), (16384, 1), (16385, 2), (216_384, 2), (216_385, 3), (1_000_003, 6)] as [(UInt64, Int)])
  func sendsAll(_ packets: UInt64, _ calls: Int) {
    var state = TrafficRun(one(packets))
    let result = run(&state)
    #expect(state.attempted == packets && result.stop == .count && result.greatestWait == 0)
    #expect(result.calls == calls)
  }

  @Test("Unpaced, a run ends with its duration, whatever the speed", arguments: [1, 100, 1000] as [UInt64])
  func endsUnpaced(_ costPerPacket: UInt64) {
    var state = TrafficRun(endless, durationNanoseconds: 1_000_000_000)
    let result = run(&state, costPerPacket: costPerPacket)
    let late = result.elapsed - 1_000_000_000
    #expect(result.stop == .duration && late <= 16384 * costPerPacket, "\(late)")
    #expect(state.attempted == result.elapsed / costPerPacket)
  }

  @Test(
    "Paced: the time is that of the rate, slices are short",
    arguments: [(1, 1), (10, 1), (999, 1), (1000, 1), (100_000, 1), (1_500_000, 64)] as [(UInt64, UInt32)])
  func keepsRate(_ rate: UInt64, _ burst: UInt32) {
    var state = TrafficRun(one(rate * 3 + 1), pace: pace(rate), burst: burst)
    let result = run(&state, oversleeps: 0)
    #expect(state.attempted == rate * 3 + 1 && result.stop == .count)
    #expect(result.elapsed >= 3_000_000_000 && result.elapsed < 3_001_000_000)
    #expect(result.greatestWait <= 50_000_000)
    if rate >= 1000 { #expect(result.greatestWait <= 1_000_000 + 1_000_000_000 / rate) }
  }

  @Test("A rate and a duration make an exact number of packets", arguments: [1, 7, 1000, 1001, 1_000_000] as [UInt64])
  func countsByDuration(_ rate: UInt64) {
    var state = TrafficRun(endless, pace: pace(rate), durationNanoseconds: 2_000_000_000)
    let result = run(&state)
    #expect(state.attempted == 2 * rate)
    #expect(result.stop == .duration && result.elapsed >= 2_000_000_000 && result.elapsed < 2_002_000_000)
  }

  @Test("A machine slower than the rate ends by the duration and sends what it can")
  func endsOnSlowMachines() {
    var state = TrafficRun(endless, pace: pace(1_000_000), durationNanoseconds: 1_000_000_000)
    let result = run(&state, costPerPacket: 10_000)
    #expect(result.stop == .duration && result.elapsed < 1_200_000_000)
    #expect((90_000...120_000).contains(state.attempted))
  }

  @Test("Late packets leave in bursts of a bounded size, on time ones alone or in the bursts asked for")
  func catchesUpGently() {
    var late = TrafficRun(endless, pace: pace(1_000_000), durationNanoseconds: 1_000_000_000)
    #expect(late.step(elapsedNanoseconds: 0) == .send(phase: 0, packetCount: 1))
    #expect(late.step(elapsedNanoseconds: 100_000_000) == .send(phase: 0, packetCount: TrafficRun.catchUpMax))
    #expect(late.lateness(elapsedNanoseconds: 100_000_000) == 100_000_000 && late.due(elapsedNanoseconds: 5) == 1)
    late.record(attempted: 100)
    #expect(late.lateness(elapsedNanoseconds: 50_000) == nil)
    #expect(late.step(elapsedNanoseconds: 99_000) == .wait(untilNanoseconds: 100_000))
    #expect(late.due(elapsedNanoseconds: 5_000_000_000) == 1_000_000)
    var bursts = TrafficRun(endless, pace: pace(1_000_000), burst: 32)
    #expect(bursts.step(elapsedNanoseconds: 0) == .wait(untilNanoseconds: 31_000))
    #expect(bursts.step(elapsedNanoseconds: 31_000) == .send(phase: 0, packetCount: 32))
    bursts.record(attempted: 32)
    #expect(bursts.step(elapsedNanoseconds: 31_000) == .wait(untilNanoseconds: 63_000))
  }

  @Test("A ramp sends at each of its rates for its time, and ends")
  func ramps() throws {
    let ramp = try TrafficRamp(parsing: "1000:3000:1000:500ms", whole: nil)
    let pace = TrafficPace(
      ramp: ramp.steps.map { ($0.rate.packetRate(byteCount: 60, frameCount: 1)!, $0.nanoseconds) })
    var state = TrafficRun(endless, pace: pace)
    let result = run(&state, oversleeps: 0)
    #expect(state.attempted == 500 + 1000 + 1500 && result.stop == .duration)
    #expect((1_499_000_000...1_501_000_000).contains(result.elapsed))
    #expect(pace.steps.map(\.firstPacket) == [0, 500, 1500])
  }

  @Test("An engine that takes less than asked loses nothing")
  func takesShortSends() {
    let flows = [TrafficSchedule.FiniteFlow(frameCount: 3, packetCount: 1000), .init(frameCount: 1, packetCount: 777)]
    var state = TrafficRun(TrafficSchedule(flows))
    var asked = 0
    while case .send(_, let count) = state.step(elapsedNanoseconds: 0) {
      state.record(attempted: asked % 2 == 0 ? 0 : (count + 1) / 2)
      asked += 1
    }
    #expect(state.attempted == 1777)
  }

  @Test("Interrupted anywhere, the tally is what was sent by flow")
  func talliesPartialRuns() throws {
    let texts = ["name=a,count=1003,size=100", "name=b,count=501,source=10.0.0.0/30", "name=c,count=2,size=60"]
    let plan = try TrafficPlan(texts.map(FlowSpecification.init(parsing:)), options: .init())
    for end in stride(from: UInt64(0), through: 1506, by: 1) {
      var state = TrafficRun(plan.schedule)
      var expected = plan.flows.map { _ in TrafficRun.Tally() }
      while state.attempted < end, case .send(let phase, _) = state.step(elapsedNanoseconds: 0) {
        let entries = plan.schedule.phases[phase].entries
        let entry = entries[Int(state.attemptedByPhase[phase]) % entries.count]
        expected[entry.flow].packets += 1
        expected[entry.flow].bytes += UInt64(plan.flows[entry.flow].frames[entry.frame].count)
        state.record(attempted: 1)
      }
      #expect(state.tallies(plan) == expected)
    }
  }

  @Test("What a report derives: sent, rates, nothing below zero")
  func reports() {
    var tally = TrafficRun.Tally()
    (tally.packets, tally.bytes) = (1000, 64_000)
    var report = TrafficReport(
      flows: [.init(name: "a", planned: 1000, attempted: tally)], redirected: 1000, failed: 0, transmitDropped: 100,
      nanoseconds: 500_000_000, stop: .count)
    #expect(report.sent == 900 && report.packetsPerSecond == 1800)
    #expect(report.bitsPerSecond(.l2) == 1800 * 512 && report.bitsPerSecond(.l1) == 1800 * 704)
    report.transmitDropped = 5000  // others' traffic
    #expect(report.sent == 0 && report.packetsPerSecond == 0)
    report.nanoseconds = 0
    #expect(report.packetsPerSecond == 0 && report.bitsPerSecond(.l1) == 0)
  }
}

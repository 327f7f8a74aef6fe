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
        precondition(count > 0 && count <= TrafficRun.sliceMax)
        now += UInt64(count) * costPerPacket
        calls += 1
        run.record(attempted: count)
      }
    }
  }

  private func one(_ packets: UInt64) -> TrafficSchedule {
    TrafficSchedule([.init(frameCount: 1, packetCount: packets)])
  }
  private let endless = TrafficSchedule(endless: [.init(frameCount: 1, weight: 1)])

  @Test("Unpaced: everything, at once", arguments: [1, 64, 16384, 16385, 1_000_003] as [UInt64])
  func sendsAll(_ packets: UInt64) {
    var state = TrafficRun(one(packets))
    let result = run(&state)
    #expect(state.attempted == packets && result.stop == .count && result.greatestWait == 0)
    #expect(result.calls == Int((packets + 16383) / 16384))
  }

  @Test(
    "Paced: the time is that of the rate, slices are short",
    arguments: [1, 10, 999, 1000, 100_000, 1_500_000] as [UInt64])
  func keepsRate(_ rate: UInt64) {
    var state = TrafficRun(one(rate * 3 + 1), packetsPerSecond: rate)
    let result = run(&state, oversleeps: 0)
    #expect(state.attempted == rate * 3 + 1 && result.stop == .count)
    #expect(result.elapsed >= 3_000_000_000 && result.elapsed < 3_001_000_000)
    #expect(result.greatestWait <= 50_000_000)
    if rate >= 1000 { #expect(result.greatestWait <= 1_000_000 + 1_000_000_000 / rate) }
  }

  @Test("A rate and a duration make an exact number of packets", arguments: [1, 7, 1000, 1001, 1_000_000] as [UInt64])
  func countsByDuration(_ rate: UInt64) {
    var state = TrafficRun(endless, packetsPerSecond: rate, durationNanoseconds: 2_000_000_000)
    let result = run(&state)
    #expect(state.attempted == 2 * rate)
    #expect(result.stop == .duration && result.elapsed >= 2_000_000_000 && result.elapsed < 2_002_000_000)
  }

  @Test("A machine slower than the rate ends by the duration and sends what it can")
  func endsOnSlowMachines() {
    var state = TrafficRun(endless, packetsPerSecond: 1_000_000, durationNanoseconds: 1_000_000_000)
    let result = run(&state, costPerPacket: 10_000)
    #expect(result.stop == .duration && result.elapsed < 1_200_000_000)
    #expect((90_000...120_000).contains(state.attempted))
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
    #expect(report.sent == 900 && report.packetsPerSecond == 1800 && report.bitsPerSecond == 1800 * 512)
    report.transmitDropped = 5000  // others' traffic
    #expect(report.sent == 0 && report.packetsPerSecond == 0)
    report.nanoseconds = 0
    #expect(report.packetsPerSecond == 0 && report.bitsPerSecond == 0)
  }
}

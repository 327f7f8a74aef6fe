import Testing

@testable import Traffic

@Suite("Schedules are exact")
struct ScheduleTests {
  typealias Flow = TrafficSchedule.FiniteFlow

  /// Packets by flow and frame when every table is sent for its rounds.
  private func sent(_ schedule: TrafficSchedule) -> [[Int]: UInt64] {
    var sent: [[Int]: UInt64] = [:]
    for phase in schedule.phases {
      for entry in phase.entries { sent[[entry.flow, entry.frame], default: 0] += phase.rounds ?? 0 }
    }
    return sent
  }

  private func check(_ flows: [Flow], _ note: Comment? = nil) {
    let schedule = TrafficSchedule(flows)
    let sent = sent(schedule)
    for (index, flow) in flows.enumerated() {
      for frame in 0..<flow.frameCount {
        let (each, more) = flow.packetCount.quotientAndRemainder(dividingBy: UInt64(flow.frameCount))
        let expected = each + (UInt64(frame) < more ? 1 : 0)
        if sent[[index, frame], default: 0] != expected {
          Issue.record("flow \(index) frame \(frame): not \(expected) times \(note ?? "")")
        }
      }
    }
    #expect(schedule.phases.allSatisfy { 1...TrafficLimits.frameCountMax ~= $0.entries.count }, note)
    #expect(schedule.packetCount == flows.reduce(0) { $0 + $1.packetCount }, note)
    #expect(schedule.phases.count <= 8, note)
  }

  @Test(
    "Frames in turn stay in order whatever their number",
    arguments: [(3, 8), (1000, 11_999), (40_000, 70_000), (5, 5), (5, 3), (2, 0)] as [(Int, UInt64)])
  func inTurn(frameCount: Int, packetCount: UInt64) {
    let schedule = TrafficSchedule(inTurn: frameCount, packetCount: packetCount)
    var next = 0
    for phase in schedule.phases {
      for _ in 0..<(phase.rounds ?? 0) {
        for entry in phase.entries {
          if entry.frame != next % frameCount { Issue.record("packet \(next) is frame \(entry.frame)") }
          next += 1
        }
      }
    }
    #expect(next == packetCount && schedule.packetCount == packetCount)
  }

  static let cases: [[(Int, UInt64)]] = [
    [(1, 1)], [(1, 1_000_000)], [(1, 1_000_000_000_000_000)], [(65536, 1)], [(65536, 65535)], [(65536, 65537)],
    [(1, 1_000_000), (1, 500_000), (1, 250_000)], [(1, 1_000_003), (1, 500_000), (256, 77_777), (1, 1)],
    [(1, 1_900_000), (1, 1_000_000)], [(1, 999_983), (1, 999_979), (3, 999_961)], [(1000, 333_333), (1000, 333_334)],
    [(1, 10_000_000), (40_000, 140_000)], [(1, 1_000_000_000), (65_535, 3)], [(7, 0), (1, 5)], [(1, 0)],
    [(32_768, 1_000_000_007), (32_768, 1)],
  ]

  @Test("Every frame of every flow is sent exactly as often as its flow's count asks", arguments: cases)
  func sendsExactCounts(_ flows: [(Int, UInt64)]) {
    check(flows.map { Flow(frameCount: $0.0, packetCount: $0.1) })
  }

  @Test("Any flows are sent exactly")
  func sendsRandomCountsExactly() {
    let seed = UInt64.random(in: 0 ... .max)
    var random = Seeded(state: seed)
    for _ in 0..<150 {
      let flows = (0..<Int.random(in: 1...6, using: &random)).map { _ in
        Flow(
          frameCount: [1, 1, 2, 7, 64, 1000].randomElement(using: &random)!,
          packetCount: UInt64.random(in: 0...(1 << UInt64.random(in: 0...40, using: &random)), using: &random))
      }
      check(flows, "seed \(seed) \(flows)")
    }
  }

  @Test("Flows of like counts are mixed packet by packet, frames in turn")
  func mixesEvenly() {
    let schedule = TrafficSchedule([Flow(frameCount: 1, packetCount: 200), Flow(frameCount: 2, packetCount: 100)])
    #expect(schedule.phases.count == 1)
    #expect(schedule.phases[0].rounds == 50)
    #expect(schedule.phases[0].entries.map(\.flow) == [0, 1, 0, 0, 1, 0])
    #expect(schedule.phases[0].entries.filter { $0.flow == 1 }.map(\.frame) == [0, 1])
  }

  @Test("Frames of one flow keep their order, also into a last round that isn't whole")
  func keepsOrder() throws {
    let schedule = TrafficSchedule([Flow(frameCount: 100, packetCount: 1_000_050)])
    try #require(schedule.phases.map(\.rounds) == [10_000, 1])
    #expect(schedule.phases[0].entries.map(\.frame) == Array(0..<100))
    #expect(schedule.phases[1].entries.map(\.frame) == Array(0..<50))
  }

  @Test("Without end, flows are as their weights and every frame takes part")
  func sharesByWeight() {
    let schedule = TrafficSchedule(endless: [
      .init(frameCount: 3, weight: 1), .init(frameCount: 4, weight: 2), .init(frameCount: 1, weight: 5),
    ])
    #expect(schedule.packetCount == nil)
    let entries = schedule.phases[0].entries
    let byFlow = (0..<3).map { flow in entries.count { $0.flow == flow } }
    #expect(byFlow == [6, 12, 30])
    #expect(Set(entries).count == 8)
  }

  @Test(
    "Endless tables never exceed their limit",
    arguments: [
      [(65536, 1)], [(30_000, 1), (35_536, 1000)], Array(repeating: (1024, 1000), count: 64), [(65_521, 1), (15, 999)],
    ])
  func boundsEndlessTables(_ flows: [(Int, Int)]) {
    let schedule = TrafficSchedule(endless: flows.map { .init(frameCount: $0.0, weight: $0.1) })
    let entries = schedule.phases[0].entries
    #expect(1...TrafficLimits.frameCountMax ~= entries.count)
    let counts = flows.indices.map { flow in entries.count { $0.flow == flow } }
    for (count, flow) in zip(counts, flows) { #expect(count * flows[0].1 == counts[0] * flow.1) }
  }

  @Test("Dealt to several senders, every frame is still sent as often", arguments: cases)
  func splits(_ flows: [(Int, UInt64)]) {
    let schedule = TrafficSchedule(flows.map { Flow(frameCount: $0.0, packetCount: $0.1) })
    let whole = sent(schedule)
    for parts in [1, 2, 3, 7] {
      let dealt = schedule.split(into: parts)
      #expect(dealt.count == parts)
      let sum = dealt.reduce(into: [[Int]: UInt64]()) { $0.merge(sent($1), uniquingKeysWith: +) }
      #expect(sum == whole, "\(parts) parts")
      let counts = dealt.map { $0.packetCount! }
      // A table that is dealt gives each part at most one entry more for each of its rounds.
      let slack = schedule.phases.reduce(0) { slack, phase in
        slack + (phase.rounds! < UInt64(parts) ? phase.rounds! : max(phase.rounds!, UInt64(phase.entries.count)))
      }
      #expect(counts.max()! - counts.min()! <= slack, "\(parts) parts: \(counts)")
    }
  }

  @Test("Many different frames are dealt one to each sender in turn; few are sent by all")
  func keepsFlowsTogether() {
    let many = TrafficSchedule([Flow(frameCount: 256, packetCount: 1_000_000)]).split(into: 2)
    let frames = many.map { Set($0.phases.flatMap(\.entries)) }
    #expect(frames[0].isDisjoint(with: frames[1]) && frames[0].count == 128)
    let one = TrafficSchedule([Flow(frameCount: 1, packetCount: 1001)]).split(into: 2)
    #expect(one.map(\.packetCount) == [501, 500])
  }

  @Test(
    "Endless, parts have tables of one length and the weights of the whole", arguments: [2, 3, 5],
    [[(1, 1)], [(3, 1)], [(3, 1), (4, 2), (1, 5)], [(256, 1), (1, 1)]])
  func splitsEndless(_ parts: Int, _ flows: [(Int, Int)]) {
    let schedule = TrafficSchedule(endless: flows.map { .init(frameCount: $0.0, weight: $0.1) })
    let dealt = schedule.split(into: parts).map { $0.phases[0].entries }
    #expect(Set(dealt.map(\.count)).count == 1)
    func counts(_ entries: [TrafficSchedule.Entry]) -> [TrafficSchedule.Entry: Int] {
      entries.reduce(into: [:]) { $0[$1, default: 0] += 1 }
    }
    let (whole, sum) = (counts(schedule.phases[0].entries), counts(dealt.flatMap { $0 }))
    let times = dealt.reduce(0) { $0 + $1.count } / schedule.phases[0].entries.count
    #expect(sum == whole.mapValues { $0 * times })
  }

  @Test("A total is shared by weight to the packet", arguments: [0, 1, 2, 3, 10, 99, 1_000_000_000_000_000] as [UInt64])
  func sharesTotals(_ total: UInt64) {
    let parts = TrafficPlan.share(total, byWeights: [1, 1, 5, 1000])
    #expect(parts.reduce(0, +) == total)
    for (part, weight) in zip(parts, [1, 1, 5, 1000] as [Double]) {
      #expect(abs(Double(part) - Double(total) * weight / 1007) <= max(1, Double(total) * 1e-15))
    }
  }

  @Test("Flows with too many frames get an equal part of the room")
  func sharesRoom() {
    #expect(TrafficPlan.frameShares([1, .max]) == [1, 65535])
    #expect(TrafficPlan.frameShares([.max, 10, .max]) == [32763, 10, 32763])
    #expect(TrafficPlan.frameShares(Array(repeating: .max, count: 64)) == Array(repeating: 1024, count: 64))
  }
}

/// Numbers that a seed determines (xorshift64*).
struct Seeded: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    if state == 0 { state = 0x9e37_79b9_7f4a_7c15 }
    state ^= state >> 12
    state ^= state << 25
    state ^= state >> 27
    return state &* 0x2545_f491_4f6c_dd1d
  }
}

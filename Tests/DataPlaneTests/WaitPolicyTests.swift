import Testing

@testable import DataPlane

@Suite("Waiting for packets")
struct WaitPolicyTests {
  /// Empty turns until the policy sleeps; nil: it doesn't within a million.
  private func turnsToSleep(_ policy: inout WaitPolicy) -> Int? {
    for turn in 0..<1_000_000 where policy.sawNothing() == .sleep { return turn }
    return nil
  }

  @Test("Blocking sleeps at once, spinning never does and still asks after its sockets")
  func extremes() {
    var block = WaitPolicy(.block)
    #expect(turnsToSleep(&block) == 0)
    _ = block.sawPackets()
    #expect(turnsToSleep(&block) == 0)
    var spin = WaitPolicy(.spin)
    var steps: [WaitPolicy.Step: UInt32] = [:]
    for _ in 0..<(4 * WaitPolicy.turnsPerCheck) { steps[spin.sawNothing(), default: 0] += 1 }
    #expect(steps[.check] == 4 && steps[.sleep] == nil)
  }

  @Test("Adaptive waiting halves with every vain wait, to a floor, and doubles while it pays, to a ceiling")
  func adapts() {
    var policy = WaitPolicy(.adaptive)
    var waits: [Int] = []
    while waits.last != Int(WaitPolicy.patienceMin) || waits.count < 12 { waits.append(turnsToSleep(&policy) ?? -1) }
    #expect(waits.first == Int(WaitPolicy.patienceMax))
    for (before, after) in zip(waits, waits.dropFirst()) { #expect(after == max(before / 2, Int(WaitPolicy.patienceMin))) }
    // One packet per sleep: the wait before it was in vain, and stays short.
    for _ in 0..<100 {
      _ = policy.sawPackets()
      #expect(turnsToSleep(&policy) == Int(WaitPolicy.patienceMin))
    }
    // Packets before it sleeps.
    _ = policy.sawPackets()
    var before = policy.patience
    for _ in 0..<20 {
      _ = policy.sawNothing()
      _ = policy.sawPackets()
      #expect(policy.patience == min(before * 2, WaitPolicy.patienceMax))
      before = policy.patience
    }
    #expect(before == WaitPolicy.patienceMax)
  }

  @Test("Where packets may wait, an adaptive thread dozes instead of looking; fewer times while that is in vain")
  func dozes() {
    var policy = WaitPolicy(.adaptive, dozes: true)
    func dozesToSleep() -> UInt32 {
      var count: UInt32 = 0
      while true {
        switch policy.sawNothing() {
        case .doze: count += 1
        case .sleep: return count
        case .again, .check: Issue.record("it looks without end")
        }
      }
    }
    for expected in [32, 16, 8, 4, 2, 1, 1] as [UInt32] { #expect(dozesToSleep() == expected) }
    // Packets after a doze: it paid.
    _ = policy.sawPackets()
    for _ in 0..<10 {
      #expect(policy.sawNothing() == .doze)
      _ = policy.sawPackets()
    }
    #expect(dozesToSleep() == WaitPolicy.dozesMax)
    var spin = WaitPolicy(.spin, dozes: true)
    #expect((0..<1000).allSatisfy { _ in spin.sawNothing() == .again })
  }

  @Test("Under traffic sockets are asked after once in a thousand batches, in every mode", arguments: WaitMode.allCases)
  func checksUnderTraffic(mode: WaitMode) {
    var policy = WaitPolicy(mode)
    let checks = (0..<10 * WaitPolicy.batchesPerCheck).count { _ in policy.sawPackets() == .check }
    #expect(checks == 10)
  }

  @Test("Batches grow while they are full and shrink while they are far from it, within their limits")
  func batches() {
    var size = BatchSize(most: 256)
    var limits: [UInt32] = []
    for _ in 0..<5 {
      limits.append(size.limit)
      size.adapt(after: size.limit)
    }
    #expect(limits == [32, 64, 128, 256, 256])
    size.adapt(after: 64)
    #expect(size.limit == 256)
    for expected in [128, 64, 32, 32] as [UInt32] {
      size.adapt(after: 1)
      #expect(size.limit == expected)
    }
    #expect(BatchSize(most: 1).limit == BatchSize.least && BatchSize(most: 0).most == BatchSize.least)
  }

  @Test("A batch is counted at its power of two", arguments: zip([0, 1, 2, 3, 4, 255, 256, 1023, 1024, 1 << 31],
    [0, 0, 1, 1, 2, 7, 8, 9, 10, 10]) as Zip2Sequence<[UInt32], [Int]>)
  func buckets(count: UInt32, bucket: Int) { #expect(LoopHistogram.bucket(count) == bucket) }

  @Test("Time belongs to the phase it was spent in")
  func phases() {
    let meter = LoopMeter()
    var writer = LoopMeter.Writer(meter, now: 100)
    writer.enter(.busy, now: 110)
    writer.count(3)
    writer.enter(.busy, now: 130)
    writer.count(64)
    writer.enter(.idle, now: 170)
    writer.enter(.asleep, now: 171)
    writer.enter(.idle, now: 1171)
    writer.enter(.busy, now: 1173)
    let histogram = meter.histogram()
    #expect(histogram.busyNanoseconds == 60 && histogram.idleNanoseconds == 13)
    #expect(histogram.asleepNanoseconds == 1000 && histogram.sleeps == 1)
    #expect(histogram.batches == [0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0] && histogram.packets == 67)
    #expect((histogram + histogram).busyNanoseconds == 120)
  }
}

import DataPlane
import Glibc
import LinuxSystem
import NetworkSupport
import Testing
import XSK

@Suite("Wire on veth by AF_XDP", .serialized)
struct WireTests {
  /// Sends in bursts that fit the rings, and waits for each.
  private func exchange(
    _ sender: FrameEnd, _ receiver: FrameEnd, count: Int, byteCount: (Int) -> Int = { _ in 64 }
  ) throws -> (sent: [[UInt8]], received: [[UInt8]]) {
    var sent: [[UInt8]] = []
    var received: [[UInt8]] = []
    while sent.count < count {
      for _ in 0..<min(50, count - sent.count) {
        let frame = testFrame(slot: 1, number: UInt32(sent.count), byteCount: byteCount(sent.count))
        try sender.send(frame)
        sent.append(frame)
      }
      received += receiver.wait(for: sent.count - received.count)
    }
    return (sent, received)
  }

  @Test(
    "Both directions: every frame, unchanged, in order; frames conserved", arguments: WaitMode.allCases, [false, true])
  func forwards(wait: WaitMode, byProgram: Bool) throws {
    try withTestNetwork { _ in
      try WireBench.addInterfaces()
      let bench = try WireBench(byProgram: byProgram) { $0.wait = wait }
      let (far, beyond) = (try FrameEnd("far"), try FrameEnd("beyond"))
      for (from, to) in [(far, beyond), (beyond, far)] {
        let (sent, received) = try exchange(from, to, count: 2000) { 60 + $0 % 1400 }
        #expect(sent == received)
      }
      bench.stop()
      let counters = bench.worker.counters()
      for side in counters.sides {
        #expect(side.receivedPackets == 2000 && side.forwarded == 2000 && side.isAccountedFor, "\(side)")
        #expect(side.forwardedSocket == [.liveOff: 2000] || side.forwardedSocket[.deviceUnable] == 2000)
        #expect(side.statistics.rxRingFull == 0 && side.statistics.rxFillRingEmpty == 0, "\(side.statistics)")
        #expect(side.statistics.rxDropped == 0 && side.statistics.txInvalidDescriptors == 0)
      }
      #expect(counters.areFramesConserved && counters.framesTransmit == 0 && counters.failure == nil, "\(counters)")
      #expect(counters.loop.busyNanoseconds > 0)
      #expect((counters.loop.sleeps > 0) == (wait != .spin))
    }
  }

  @Test("A reflector sends every frame back with its addresses swapped", arguments: [60, 64, 1500], [false, true])
  func reflects(byteCount: Int, byProgram: Bool) throws {
    try withTestNetwork { _ in
      try WireBench.addInterfaces()
      let bench = try WireBench(sides: 1, byProgram: byProgram)
      let far = try FrameEnd("far")
      let (sent, received) = try exchange(far, far, count: 500) { _ in byteCount }
      #expect(received == sent.map { Array($0[6..<12] + $0[..<6] + $0[12...]) })
      bench.stop()
      #expect(bench.worker.counters().sides.map(\.forwarded) == [500])
    }
  }

  @Test("A mirror gets a copy of one packet in so many, from both sides", arguments: [1, 7] as [UInt32])
  func mirrors(sampleEvery: UInt32) throws {
    try withTestNetwork { _ in
      try WireBench.addInterfaces()
      let bench = try WireBench {
        $0.mirror = try NetworkInterface.named("copies")
        $0.sampleEvery = sampleEvery
      }
      let (far, beyond, watch) = (try FrameEnd("far"), try FrameEnd("beyond"), try FrameEnd("watch"))
      let first = try exchange(far, beyond, count: 700)
      let second = try exchange(beyond, far, count: 700)
      #expect(first.sent == first.received && second.sent == second.received)
      let expected = (first.sent + second.sent).enumerated().filter { $0.offset % Int(sampleEvery) == 0 }.map(\.element)
      #expect(watch.wait(for: expected.count) == expected)
      bench.stop()
      let counters = bench.worker.counters()
      #expect(counters.sides[0].mirrored + counters.sides[1].mirrored == UInt64(expected.count))
      #expect(counters.sides.map(\.mirrorDropped) == [0, 0])
      #expect(counters.areFramesConserved)
    }
  }

  @Test("What a rule captures goes to the captures of its side; without one the fallback decides")
  func captures() throws {
    for fallback in [CaptureFallback.pass, .drop] {
      try withTestNetwork { _ in
        try WireBench.addInterfaces()
        let bench = try WireBench(withMetadata: true) { $0.captureFallback = fallback }
        let (far, beyond) = (try FrameEnd("far"), try FrameEnd("beyond"))
        for number in 0..<40 as Range<UInt32> { try far.send(testFrame(slot: 3, number: number)) }
        if fallback == .pass { #expect(beyond.wait(for: 40).count == 40) }
        #expect(eventually { bench.worker.counters().sides[0].receivedPackets == 40 })
        let wake = try WakeSignal()
        let ring = try RecordRing(
          byteCount: 1 << 16, admission: RecordAdmission(), options: PacketOptions(), wake: wake)
        let source = bench.worker.captureSource(side: 0)
        #expect(source.attach(ring) == .attached)
        source.settle()
        for number in 40..<70 as Range<UInt32> { try far.send(testFrame(slot: 3, number: number)) }
        for number in 0..<5 as Range<UInt32> { try beyond.send(testFrame(slot: 4, number: number)) }
        if fallback == .pass { #expect(far.wait(for: 5).count == 5) }
        // Enhanced packet blocks: the packet begins at byte 28, its number ends at byte 18 of it.
        var numbers: [UInt8] = []
        _ = eventually {
          ring.read(packetLimit: 100, byteLimit: 1 << 16) { pieces, _ in
            let blocks = pieces.bytes
            var offset = 0
            while offset < blocks.count {
              numbers.append(blocks[offset + 46])
              offset += Int(blocks[offset + 4])  // a small packet's block: its length fits in a byte
            }
          }
          return numbers.count >= 30
        }
        #expect(numbers == Array(40..<70))
        source.detach(ring)
        #expect(eventually { ring.isRetired })
        bench.stop()
        #expect(source.attach(ring) == .closed)
        let sides = bench.worker.counters().sides
        #expect(sides[0].captured == 30, "\(sides)")
        #expect(sides.map(\.isAccountedFor) == [true, true], "\(sides)")
        #expect(sides[0].capturePassed == (fallback == .pass ? 40 : 0))
        #expect(sides[0].captureDropped == (fallback == .drop ? 40 : 0))
        #expect(beyond.take().isEmpty)
      }
    }
  }

  @Test(
    "Stopped and started again and again, under traffic, nothing leaks and nothing is unexplained",
    arguments: [false, true])
  func restarts(byProgram: Bool) throws {
    try withTestNetwork { _ in
      try WireBench.addInterfaces()
      let (far, beyond) = (try FrameEnd("far"), try FrameEnd("beyond"))
      for round in 0..<6 {
        let bench = try WireBench(byProgram: byProgram) { $0.wait = round % 2 == 0 ? .adaptive : .block }
        for number in 0..<200 as Range<UInt32> {
          try far.send(testFrame(slot: 1, number: number))
          try beyond.send(testFrame(slot: 1, number: number))
        }
        bench.stop()
        bench.stop()
        let counters = bench.worker.counters()
        #expect(counters.areFramesConserved && counters.failure == nil)
        #expect(counters.sides.map(\.isAccountedFor) == [true, true], "\(counters)")
        // Those that came before the stop left; those that did not fit are in the kernel's counters.
        for (side, end) in zip(counters.sides, [beyond, far]) {
          let explained = side.statistics.rxRingFull + side.statistics.rxDropped
          #expect(UInt64(end.wait(for: Int(side.forwarded)).count) == side.forwarded, "round \(round): \(counters)")
          #expect(side.receivedPackets + explained <= 200)
        }
      }
    }
  }

  @Test(
    "When an interface goes in the midst of traffic, the thread ends and says so", arguments: WaitMode.allCases,
    [false, true])
  func interfaceGoes(wait: WaitMode, byProgram: Bool) throws {
    try withTestNetwork { _ in
      try WireBench.addInterfaces()
      let bench = try WireBench(byProgram: byProgram) { $0.wait = wait }
      let far = try FrameEnd("far")
      for number in 0..<100 as Range<UInt32> { try far.send(testFrame(slot: 1, number: number)) }
      try Shell.run("ip link del other")
      let hasFailed = eventually {
        // Traffic goes on from the side that is left.
        for number in 0..<20 as Range<UInt32> { try? far.send(testFrame(slot: 1, number: number)) }
        return bench.worker.counters().failure != nil
      }
      #expect(hasFailed)
      #expect(bench.worker.counters().failure?.remedy?.contains("gone") == true)
      bench.worker.settle()
      bench.stop()
      #expect(bench.worker.counters().sides.map(\.isAccountedFor) == [true, true])
    }
  }

  @Test("An idle wire sleeps: some wake-ups in two seconds, and nearly all the time asleep", arguments: [false, true])
  func idles(byProgram: Bool) throws {
    try withTestNetwork { _ in
      try WireBench.addInterfaces()
      let bench = try WireBench(byProgram: byProgram)
      let (far, beyond) = (try FrameEnd("far"), try FrameEnd("beyond"))
      let (_, received) = try exchange(far, beyond, count: 100)
      #expect(received.count == 100)
      let before = bench.worker.counters().loop.sleeps
      usleep(2_000_000)  // the interval that is measured
      bench.worker.settle()
      let after = bench.worker.counters().loop
      #expect(after.sleeps - before <= 20, "\(after.sleeps - before) sleeps")
      #expect(after.asleepNanoseconds > 1_500_000_000)
      bench.stop()
    }
  }

  @Test("A wire that cannot be is refused with the reason")
  func refusals() throws {
    try withTestNetwork { _ in
      try WireBench.addInterfaces()
      let (near, other) = (try NetworkInterface.named("near"), try NetworkInterface.named("other"))
      let start = { (configuration: WireConfiguration) -> SystemError? in
        do throws(SystemError) {
          try WireWorker.start(configuration).stop()
          return nil
        } catch { return error }
      }
      #expect(start(WireConfiguration(sides: []))?.remedy == "a wire has one side or two")
      #expect(start(WireConfiguration(sides: [near, near]))?.remedy == "sides and mirror are different interfaces")
      #expect(start(WireConfiguration(sides: [near, other], mirror: other))?.remedy?.contains("different") == true)
      #expect(start(WireConfiguration(sides: [near, other], batchLimit: 8))?.code == EINVAL)
      #expect(start(WireConfiguration(sides: [near, other], transmitEntryCount: 64))?.code == EINVAL)
      #expect(start(WireConfiguration(sides: [near, other], queue: 3))?.remedy == "near has 1 receive queues")
      #expect(start(WireConfiguration(sides: [near, other], live: .off)) == nil)
    }
  }
}

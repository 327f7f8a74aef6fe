import DataPlane
import Glibc
import LinuxSystem
import NetworkSupport
import Testing
import TestSupport
import XDPPrograms
import XSK

@Suite("Wire on veth by live frames", .serialized)
struct LiveWireTests {
  /// Sends frames into an interface, the next of a list in turn: as many as come in by one NAPI poll, so that the wire
  /// has batches.
  private struct Source {
    let generator: TrafficGenerator
    let frames: [[UInt8]]
    private var next = 0

    init(_ interface: NetworkInterface, _ frames: [[UInt8]]) throws {
      generator = try TrafficGenerator(interfaceIndex: interface.index, frames: frames)
      self.frames = frames
    }

    /// What was sent.
    mutating func send(_ count: Int) throws -> [[UInt8]] {
      try generator.send(UInt32(count))
      defer { next += count }
      return (next..<(next + count)).map { frames[$0 % frames.count] }
    }
  }

  private static func frames(_ slot: UInt8, using random: inout SeededGenerator) -> [[UInt8]] {
    (0..<1000).map {
      testFrame(slot: slot, number: UInt32($0), byteCount: Int.random(in: 60...1514, using: &random))
    }
  }

  /// With a mirror, everything by live frames. In a test network.
  private static func mirroringBench(sampleEvery: UInt32 = 1) throws -> WireBench {
    try WireBench.addInterfaces()
    try Shell.run("for name in far beyond watch; do ethtool -K $name gro on; done")
    let bench = try WireBench {
      $0.live = .required
      $0.mirror = try NetworkInterface.named("copies")
      $0.sampleEvery = sampleEvery
    }
    for side in 0...1 { bench.worker.setLiveAble(true, side: side) }
    bench.worker.setMirrorLiveAble(true)
    return bench
  }

  private static let orderCases: [(wait: WaitMode, long: Bool, byProgram: Bool)] = WaitMode.allCases.flatMap { wait in
    [(wait, false, false), (wait, true, false), (wait, false, true), (wait, true, true)]
  }

  /// Both directions in turn, in bursts of any size, while devices become unable and able again.
  @Test(
    "Live frames and AF_XDP in turn: every frame, unchanged, in order; frames conserved",
    arguments: orderCases)
  func keepsOrder(wait: WaitMode, long: Bool, byProgram: Bool) throws {
    var random = SeededGenerator(announcing: "keepsOrder")
    try withTestNetwork { network in
      try WireBench.addInterfaces(mtu: 3450)
      try Shell.run("ethtool -K far gro on; ethtool -K beyond gro on")
      let bench = try WireBench(byProgram: byProgram) {
        $0.wait = wait
        $0.live = .required
      }
      #expect(bench.worker.report.isLiveOpen && bench.worker.report.liveReason == nil)
      var isAble = [true, true]
      for side in 0...1 { bench.worker.setLiveAble(true, side: side) }
      let ends = [try FrameEnd("far"), try FrameEnd("beyond")]
      var sources = try ["far", "beyond"].enumerated().map { number, name in
        try Source(.named(name), LiveWireTests.frames(UInt8(number + 1), using: &random))
      }
      var counts = [UInt64](repeating: 0, count: 2)
      for _ in 0..<60 {
        let side = Int.random(in: 0...1, using: &random)
        var sent: [[UInt8]] = []
        // Fits the rings also where the wire gets no time meanwhile.
        while sent.count < 150 {
          sent += try sources[side].send(Int.random(in: 1...60, using: &random))
          if long, random.chance(30) {
            // More than a live frame holds, and than the generator sends.
            let frame = testFrame(slot: 3, number: UInt32(sent.count), byteCount: 3401 + sent.count % 60)
            try ends[side].send(frame)
            sent.append(frame)
          }
          if random.chance(20) {
            isAble[1 - side].toggle()
            bench.worker.setLiveAble(isAble[1 - side], side: 1 - side)
          }
        }
        let received = ends[1 - side].wait(for: sent.count)
        #expect(received == sent)
        counts[side] += UInt64(sent.count)
      }
      bench.stop()
      let counters = bench.worker.counters()
      for (side, count) in zip(counters.sides, counts) {
        #expect(side.receivedPackets == count && side.forwarded == count && side.isAccountedFor, "\(side)")
        #expect(side.forwardedLive > 0 && side.forwardedSocket[.deviceUnable, default: 0] > 0, "\(side)")
        #expect(long || side.forwardedSocket[.longPacket] == nil, "\(side)")
        #expect(side.transmitErrors == 0 && side.statistics.rxRingFull == 0 && side.statistics.rxFillRingEmpty == 0)
      }
      #expect(counters.areFramesConserved && counters.framesTransmit == 0 && counters.failure == nil, "\(counters)")
    }
  }

  @Test("To a side or a mirror that is down nothing goes, then or later, and every packet is counted")
  func down() throws {
    var random = SeededGenerator(announcing: "down")
    try withTestNetwork { network in
      let bench = try LiveWireTests.mirroringBench()
      let (beyond, watch) = (try FrameEnd("beyond"), try FrameEnd("watch"))
      var source = try Source(network.far(), LiveWireTests.frames(1, using: &random))
      func counters() -> WireSideCounters { bench.worker.counters().sides[0] }
      for count in [5, 100] {  // by AF_XDP, and live
        bench.worker.setUp(false, side: 1)
        let before = counters()
        let kept = try source.send(count)
        #expect(watch.wait(for: count) == kept)
        #expect(counters().outputDown - before.outputDown == UInt64(count))
        bench.worker.setUp(true, side: 1)
        bench.worker.setMirrorUp(false)
        let sent = try source.send(count)
        #expect(beyond.wait(for: count) == sent)
        #expect(counters().mirrorDropped - before.mirrorDropped == UInt64(count))
        bench.worker.setMirrorUp(true)
      }
      bench.stop()
      #expect(counters().isAccountedFor && counters().outputDown == 105 && counters().mirrored == 105, "\(counters())")
      #expect(bench.worker.counters().areFramesConserved)
    }
  }

  @Test("A reflector's live frames come back with their addresses swapped")
  func reflects() throws {
    var random = SeededGenerator(announcing: "reflects")
    try withTestNetwork { network in
      try WireBench.addInterfaces()
      try Shell.run("ethtool -K far gro on")
      let bench = try WireBench(sides: 1) { $0.live = .required }
      bench.worker.setLiveAble(true, side: 0)
      let far = try FrameEnd("far")
      var source = try Source(network.far(), LiveWireTests.frames(1, using: &random))
      for _ in 0..<20 {
        let sent = try source.send(100)
        #expect(far.wait(for: sent.count) == sent.map { Array($0[6..<12] + $0[..<6] + $0[12...]) })
      }
      bench.stop()
      let side = bench.worker.counters().sides[0]
      #expect(side.forwarded == 2000 && side.forwardedLive > 0, "\(side)")
    }
  }

  @Test("A mirror's copies by live frames: one packet in so many, in order", arguments: [1, 7] as [UInt32])
  func mirrors(sampleEvery: UInt32) throws {
    var random = SeededGenerator(announcing: "mirrors")
    try withTestNetwork { network in
      let bench = try LiveWireTests.mirroringBench(sampleEvery: sampleEvery)
      let (beyond, watch) = (try FrameEnd("beyond"), try FrameEnd("watch"))
      var source = try Source(network.far(), LiveWireTests.frames(1, using: &random))
      var sent: [[UInt8]] = []
      for _ in 0..<14 {
        let burst = try source.send(100)
        #expect(beyond.wait(for: 100) == burst)
        sent += burst
      }
      let expected = sent.enumerated().filter { $0.offset % Int(sampleEvery) == 0 }.map(\.element)
      #expect(watch.wait(for: expected.count) == expected)
      bench.stop()
      let counters = bench.worker.counters()
      #expect(counters.sides[0].mirrored == UInt64(expected.count) && counters.sides[0].mirrorDropped == 0)
      #expect(counters.areFramesConserved)
    }
  }

  @Test(
    "Whatever is offered, more than can be carried too: each packet that doesn't arrive is in a counter",
    arguments: [0.5, 1.5, 2.5, 3.5], [false, true])
  func explainsEveryLoss(offeredMpps: Double, byProgram: Bool) throws {
    try withTestNetwork { network in
      try WireBench.addInterfaces()
      let bench = try WireBench(byProgram: byProgram) {
        $0.live = .required
        $0.wait = .spin
        $0.batchLimit = 256
        $0.ringEntryCount = 2048
        $0.transmitEntryCount = 1024
      }
      let sink = try TrafficSink(interfaceIndex: NetworkInterface.named("beyond").index)
      for side in 0...1 { bench.worker.setLiveAble(true, side: side) }
      let far = try network.far()
      let other = try NetworkInterface.named("other")
      let generator = try TrafficGenerator(interfaceIndex: far.index, frames: [testFrame(slot: 1, number: 1)])
      let start = SystemClock.monotonicNanoseconds()
      var asked = 0.0
      while asked < 300_000 {
        try generator.send(256)
        asked += 256
        while Double(SystemClock.monotonicNanoseconds() - start) * offeredMpps < asked * 1000 {}
      }
      let state = try generator.readState()
      #expect(state.redirected >= 300_000 && state.failed == 0)
      // The kernel delivers what is on its way to the socket; then the wire, and the kernel once more.
      func arrived() throws -> UInt64 { try sink.counts().packets + other.redirectedFrameDrops() }
      func explained() throws -> UInt64 {
        let side = bench.worker.counters().sides[0]
        // Packets that found the fill ring empty are among rxDropped.
        return try arrived() + far.redirectedFrameDrops() + side.dropped + side.statistics.rxRingFull
          + side.statistics.rxDropped
      }
      #expect(eventually(seconds: 3) { (try? explained()) == state.redirected })
      bench.stop()
      let side = bench.worker.counters().sides[0]
      let delivered = try sink.counts().packets
      #expect(try explained() == state.redirected, "delivered \(delivered): \(side)")
      #expect(side.isAccountedFor && delivered > 0 && side.forwardedLive > 0, "\(side)")
      #expect(bench.worker.counters().areFramesConserved)
    }
  }
}

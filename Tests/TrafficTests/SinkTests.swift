import CSluiceABI
import LinuxSystem
import NetworkSupport
import Testing

@testable import Traffic
@testable import XDPPrograms

/// The sink's measurements against stamps of a known age, and of a generator.
@Suite("What a sink measures", .serialized)
struct SinkTests {
  private let namespace: NetworkNamespace

  init() throws {
    namespace = try NetworkNamespace()
    try namespace.makePair("one", "two")
  }

  private func index(_ name: String) throws -> UInt32 { try NetworkInterface.named(name).index }

  private func expectAllStamped(_ sink: TrafficSink, count: UInt64) throws {
    let counts = try sink.counts()
    #expect(counts.packets == count && counts.bytes == 64 * count && counts.stamped == count, "\(counts)")
    #expect(counts.missing == 0 && counts.late == 0, "\(counts)")
  }

  @Test("Packets whose stamp has a known age are found in the bucket of that age, or a little later")
  func knowsAges() throws {
    try namespace.perform {
      let sink = try TrafficSink(interfaceIndex: try index("two"), stampOffset: 40)
      var transmitter = try LiveTransmitter(frameCount: 1, frameByteCount: 2048, ports: [try index("one")])
      let memory = try transmitter.mapFrames()
      // The machine may do something else for a moment after a clock was read: never earlier, mostly not much later.
      let slack: UInt64 = 2_000_000
      let ages: [UInt64] = [10_000_000, 40_000_000, 1_000_000_000, 3_000_000_000]
      for (number, age) in ages.enumerated() {
        let before = try sink.latency()
        for sequence in 0..<100 {
          let stamp = sluice_stamp(
            magic: UInt32(SLUICE_STAMP_MAGIC), sequence: UInt32(number * 100 + sequence),
            timestamp: SystemClock.monotonicNanoseconds() - age)
          memory.base.storeBytes(of: stamp, toByteOffset: 40, as: sluice_stamp.self)
          transmitter.enqueue(address: 0, byteCount: 64, port: 0)
          try transmitter.flush()
        }
        let after = try sink.latency()
        let histogram = LatencyHistogram(buckets: zip(after.buckets, before.buckets).map { $0 - $1 })
        #expect(histogram.count == 100)
        #expect(histogram.least >= LatencyHistogram.bounds(of: LatencyHistogram.bucket(of: age)).lowerBound)
        let median = try #require(histogram.quantile(0.5))
        #expect(median >= age && median < age + age / 32 + slack, "age \(age), median \(median)")
        #expect(after.sum - before.sum >= 100 * age)
      }
      let all = try sink.latency()
      #expect(all.least >= ages[0] && all.least < ages[0] + slack)
      #expect(all.greatest >= ages[3])
      try expectAllStamped(sink, count: 400)
    }
  }

  @Test("Numbers that are skipped are missing, those that come after all are late; each stream is followed alone")
  func followsStreams() throws {
    try namespace.perform {
      let sink = try TrafficSink(interfaceIndex: try index("two"), stampOffset: 40)
      var transmitter = try LiveTransmitter(frameCount: 1, frameByteCount: 2048, ports: [try index("one")])
      let memory = try transmitter.mapFrames()
      func send(_ stream: UInt32, _ sequence: UInt32) throws {
        let stamp = sluice_stamp(
          magic: UInt32(SLUICE_STAMP_MAGIC) &+ stream, sequence: sequence,
          timestamp: SystemClock.monotonicNanoseconds())
        memory.base.storeBytes(of: stamp, toByteOffset: 40, as: sluice_stamp.self)
        transmitter.enqueue(address: 0, byteCount: 64, port: 0)
        try transmitter.flush()
      }
      // One that wraps, one that begins anywhere, the last that there is; in turn, so that each disturbs the others.
      for step in 0..<10 as Range<UInt32> {
        for (stream, first) in [(0, 0xffff_fffb), (1, 7), (255, 0)] as [(UInt32, UInt32)] {
          try send(stream, first &+ step)
        }
      }
      var expected = TrafficSink.Counts(packets: 30, bytes: 30 * 64, stamped: 30)
      #expect(try sink.counts() == expected)
      for sequence in [20, 24, 22, 25] as [UInt32] { try send(1, sequence) }  // 17...19 and 21...23 skipped, 22 late
      (expected.packets, expected.bytes, expected.stamped) = (34, 34 * 64, 34)
      (expected.missing, expected.late) = (6, 1)
      #expect(try sink.counts() == expected)
      try send(256, 0)  // another magic number
      expected.foreign = 1
      #expect(try sink.counts() == expected)
    }
  }

  @Test("A generator's stamps: all are there, none is missing or late, and on a bare cable they take little time")
  func readsGenerator() throws {
    try namespace.perform {
      var options = TrafficPlan.Options()
      options.stampByteCount = TrafficGenerator.stampByteCount
      let plan = try TrafficPlan([try FlowSpecification(parsing: "protocol=udp,size=64")], options: options)
      let sink = try TrafficSink(interfaceIndex: try index("two"), stampOffset: plan.stampOffset)
      let generator = try TrafficGenerator(
        interfaceIndex: try index("one"), frames: plan.flows.flatMap(\.frames), stampOffset: plan.stampOffset)
      let start = SystemClock.monotonicNanoseconds()
      for _ in 0..<500 { try generator.send(4) }
      let duration = SystemClock.monotonicNanoseconds() - start
      try expectAllStamped(sink, count: 2000)
      let latency = try sink.latency()
      #expect(latency.buckets.reduce(0, +) == 2000)
      #expect(latency.least > 0 && latency.greatest < duration && latency.sum < 2000 * duration)
    }
  }
}

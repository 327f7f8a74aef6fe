import CSluiceABI
import LinuxSystem
import NetworkSupport
import Packets
import RuleCompiler
import Rules
import Testing
import XDPPrograms

@testable import Traffic

/// The engine walks a plan on a veth pair, and the XDP program at the peer counts.
@Suite("Traffic on the wire", .serialized)
struct GeneratorTests {
  private let namespace: NetworkNamespace

  init() throws {
    namespace = try NetworkNamespace()
    try namespace.makePair("one", "two")
  }

  /// A program at `one` with a dropping rule for each destination port; counters by rule and by fate.
  private func attach(ports: [UInt16]) throws -> InterfaceProgram {
    let rules = ports.map { port in
      Rule(name: "port-\(port)", match: Match(protocols: [.udp], destinationPorts: [.init(port)]), action: .drop)
    }
    let slots = Dictionary(uniqueKeysWithValues: rules.enumerated().map { ($0.element.name, UInt32($0.offset + 1)) })
    let generation = try compile(
      RuleSet(name: "test", defaultAction: .drop, malformed: .init(fate: .drop), rules: rules),
      slots: { slots[$0]! }, interfaceIndex: { _ in 0 }, generation: 1, captureFallback: .pass)
    let index = try NetworkInterface.named("one").index
    return try generation.withUnsafeBytes {
      try InterfaceProgram(interface: "one", index: index, options: AttachOptions(), pins: nil, generation: $0)
    }
  }

  private func send(_ plan: TrafficPlan, rate: UInt64? = nil) throws -> (run: TrafficRun, nanoseconds: UInt64) {
    let index = try NetworkInterface.named("two").index
    let generators = try plan.schedule.phases.map {
      try TrafficGenerator(interfaceIndex: index, frames: plan.table($0))
    }
    let pace = rate.flatMap { TrafficRate(packetsPerSecond: $0).packetRate(byteCount: 60, frameCount: 1) }
    var run = TrafficRun(plan.schedule, pace: pace.map { TrafficPace($0) } ?? .unlimited)
    let start = SystemClock.monotonicNanoseconds()
    while true {
      switch run.step(elapsedNanoseconds: SystemClock.monotonicNanoseconds() - start) {
      case .finished: return (run, SystemClock.monotonicNanoseconds() - start)
      case .wait(let elapsed): while SystemClock.monotonicNanoseconds() - start < elapsed {}
      case .send(let phase, let count):
        try generators[phase].send(count)
        let state = try generators[phase].readState()
        run.record(attempted: UInt32(state.redirected + state.failed - run.attemptedByPhase[phase]))
      }
    }
  }

  @Test("The peer counts exactly the packets and bytes of each flow; nothing is dropped on the way")
  func sendsExactly() throws {
    try namespace.perform {
      let program = try attach(ports: [53, 80, 443])
      let texts = [
        "source=10.0.0.0/24,destination-port=53,count=100003",
        "source=10.0.1.0/30,destination-port=80,count=50021,size=128",
        "source=10.0.2.1,source-port=1-1000,destination-port=443,count=7,size=60", "protocol=tcp,count=901,vlan=5",
      ]
      let plan = try TrafficPlan(texts.map(FlowSpecification.init(parsing:)), options: .init())
      #expect(plan.schedule.phases.count > 1)
      let droppedBefore = try NetworkInterface.named("two").statistics.txDropped
      let run = try send(plan).run
      let tallies = run.tallies(plan)
      #expect(tallies.map(\.packets) == [100_003, 50_021, 7, 901])
      for (slot, tally) in zip([1, 2, 3, 0] as [UInt32], tallies) {
        #expect(try program.ruleCounter(slot: slot) == PacketCount(packets: tally.packets, bytes: tally.bytes))
      }
      #expect(try program.interfaceCounters()[1].packets == 150_932)
      #expect(try NetworkInterface.named("two").statistics.txDropped == droppedBefore)
      try program.detach()
    }
  }

  @Test("Frames of a capture file arrive, paced, at the rate asked for")
  func replaysPaced() throws {
    try namespace.perform {
      let program = try attach(ports: [9])
      var builder = PacketBuilder(
        from: .v4(IPv4Address(192, 0, 2, 1)), to: .v4(IPv4Address(192, 0, 2, 2)), .udp(source: 1, destination: 9))
      builder.fillPayload(toFrameByteCount: 100)
      let file = try CaptureFile(parsing: CaptureBytes.pcap([builder.build(), Array(repeating: 0xff, count: 60)]))
      let plan = TrafficPlan(name: "pcap", frames: file.frames, packetCount: 2001)
      let (run, nanoseconds) = try send(plan, rate: 10_000)
      #expect(run.attempted == 2001 && nanoseconds >= 200_000_000)
      #expect(try program.ruleCounter(slot: 1) == PacketCount(packets: 1001, bytes: 100_100))
      #expect(try program.interfaceCounters()[1].packets == 2001)
      try program.detach()
    }
  }
}

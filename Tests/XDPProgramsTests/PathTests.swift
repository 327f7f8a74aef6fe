import CSluiceABI
import LinuxSystem
import NetworkSupport
import Packets
import RuleCompiler
import Rules
import Synchronization
import TestSupport
import Testing

@testable import XDPPrograms

/// Frames enter `one` through its peer `two`; the path leads to `three`, behind which `four` counts, or to `five` and `six`.
@Suite("The path of what the rules pass", .serialized)
struct PathTests {
  private let namespace: NetworkNamespace

  init() throws {
    namespace = try NetworkNamespace()
    try namespace.makePair("one", "two")
    try namespace.makePair("three", "four")
    try namespace.makePair("five", "six")
  }

  private func attach(
    _ name: String, defaultAction: Fate = .pass, rules: [Rule] = [], pins: PinDirectory? = nil
  ) throws -> InterfaceProgram {
    let slots = Dictionary(uniqueKeysWithValues: rules.enumerated().map { ($0.element.name, UInt32($0.offset + 1)) })
    let generation = try compile(
      RuleSet(name: "test", defaultAction: defaultAction, malformed: .init(fate: defaultAction), rules: rules),
      slots: { slots[$0]! }, interfaceIndex: { _ in 0 }, generation: 1, captureFallback: .pass)
    let index = try index(name)
    return try generation.withUnsafeBytes {
      try InterfaceProgram(interface: name, index: index, options: AttachOptions(), pins: pins, generation: $0)
    }
  }

  private func index(_ name: String) throws -> UInt32 { try NetworkInterface.named(name).index }

  /// Passed by a rule, by the default action, as malformed (IPv4 cut short), and by the capture fallback.
  private let rules = [
    Rule(name: "rule", match: Match(protocols: [.udp], destinationPorts: [.init(9)]), action: .pass),
    Rule(name: "capture", match: Match(protocols: [.udp], destinationPorts: [.init(10)]), action: .capture),
  ]
  private var frames: [[UInt8]] {
    let address = IPAddress.v4(PacketFixtures.source4)
    let good = ([9, 10, 11] as [UInt16]).map { port in
      var builder = PacketBuilder(from: address, to: address, .udp(source: 7, destination: port))
      builder.paddedByteCount = 64
      return builder.build()
    }
    return good + [Array(good[0].prefix(20))]
  }
  private func byteCount(_ count: UInt64) -> UInt64 { count / 4 * (3 * 64 + 20) }

  private func send(_ count: UInt32, _ frames: [[UInt8]]? = nil) throws {
    let generator = try TrafficGenerator(interfaceIndex: try index("two"), frames: frames ?? self.frames)
    try generator.send(count)
    #expect(try generator.readState() == .init(redirected: UInt64(count), failed: 0))
  }

  /// Counters that are not zero, and the sum of the fates.
  private func counts(_ program: InterfaceProgram) throws -> (named: [UInt32: PacketCount], fates: UInt64) {
    let all = try program.interfaceCounters()
    var named: [UInt32: PacketCount] = [:]
    for (key, count) in all.enumerated() where count.packets > 0 && key < SLUICE_COUNTER_MALFORMED.rawValue {
      named[UInt32(key)] = count
    }
    return (named, all[...Int(SLUICE_COUNTER_FORWARD.rawValue)].reduce(0) { $0 + $1.packets })
  }

  @Test("Forward: everything that the rules pass arrives behind the peer, and nothing else is counted")
  func forwards() throws {
    try namespace.perform {
      let sink = try attach("four", defaultAction: .drop)
      let program = try attach("one", rules: rules)
      #expect(try program.path() == .stack)
      let path = PacketPath.forward(peer: try index("three"))
      try program.setPath(path)
      #expect(try program.path() == path)
      try send(4000)
      let expected = PacketCount(packets: 4000, bytes: byteCount(4000))
      let counts = try counts(program)
      #expect(
        counts.named == [
          SLUICE_COUNTER_FORWARD.rawValue: expected,
          SLUICE_COUNTER_CAPTURE_FALLBACK.rawValue: PacketCount(packets: 1000, bytes: 64_000),
        ])
      #expect(counts.fates == 4000)
      #expect(try sink.interfaceCounters()[Int(SLUICE_COUNTER_DROP.rawValue)] == expected)
      // What a rule drops does not follow the path.
      try send(40, [frames[0]])
      #expect(try sink.interfaceCounters()[Int(SLUICE_COUNTER_DROP.rawValue)].packets == 4040)
    }
  }

  @Test("User space without a socket: the packets go by the kernel, counted; without a peer to the stack")
  func fallsBack() throws {
    try namespace.perform {
      let sink = try attach("four", defaultAction: .drop)
      let program = try attach("one")
      try program.setPath(.user(peer: try index("three")))
      try send(400)
      #expect(
        try counts(program).named.mapValues(\.packets)
          == [SLUICE_COUNTER_FORWARD.rawValue: 400, SLUICE_COUNTER_FORWARD_FALLBACK.rawValue: 400])
      #expect(try sink.interfaceCounters()[Int(SLUICE_COUNTER_DROP.rawValue)].packets == 400)
      try program.setPath(.user(peer: 0))
      try send(40)
      let counts = try counts(program)
      #expect(
        counts.named.mapValues(\.packets) == [
          SLUICE_COUNTER_FORWARD.rawValue: 400, SLUICE_COUNTER_PASS.rawValue: 40,
          SLUICE_COUNTER_FORWARD_FALLBACK.rawValue: 440,
        ])
      #expect(counts.fates == 440)
    }
  }

  @Test("A peer that goes away: its packets are dropped and counted as that; the stack gets none")
  func countsGonePeer() throws {
    try namespace.perform {
      let program = try attach("one")
      try program.setPath(.forward(peer: try index("three")))
      try namespace.run("ip link del three")
      try send(40)
      let counts = try counts(program)
      #expect(
        counts.named.mapValues(\.packets)
          == [SLUICE_COUNTER_DROP.rawValue: 40, SLUICE_COUNTER_FORWARD_FAILED.rawValue: 40])
      #expect(counts.fates == 40)
      #expect(throws: ProgramError.self) { try program.setPath(.forward(peer: 4_000_000)) }
      #expect(try program.path() != .forward(peer: 4_000_000))
    }
  }

  @Test("The path changes under traffic: every packet leaves by the one or the other peer, none is lost")
  func changesUnderTraffic() throws {
    try namespace.perform {
      let sinks = try ["four", "six"].map { try attach($0, defaultAction: .drop) }
      let program = try attach("one")
      let paths: [PacketPath] = [
        .forward(peer: try index("three")), .user(peer: try index("five")), .user(peer: try index("three")),
        .forward(peer: try index("five")),
      ]
      try program.setPath(paths[0])
      let generator = try TrafficGenerator(interfaceIndex: try index("two"), frames: frames)
      let shared = UncheckedBox(generator)
      let sendings = Sendings()
      try repeating(name: "traffic") {
        try? shared.value.send(128)
        sendings.count.wrappingAdd(1, ordering: .relaxed)
      } during: {
        for round in 1...200 {
          let before = sendings.count.load(ordering: .relaxed)
          try program.setPath(paths[round % paths.count])
          while sendings.count.load(ordering: .relaxed) == before {}
        }
      }
      // What the driver handed to the program: its queue before that can be full where ksoftirqd empties it.
      let arrived = try NetworkInterface.named("one").statistics.rxPackets
      #expect(arrived > 200 * 128)
      let received = try sinks.map { try $0.interfaceCounters()[Int(SLUICE_COUNTER_DROP.rawValue)].packets }
      #expect(received.reduce(0, +) == arrived, "\(received)")
      #expect(received.allSatisfy { $0 > 0 })
      let counts = try counts(program)
      #expect(counts.named[SLUICE_COUNTER_FORWARD.rawValue]?.packets == arrived)
      #expect(counts.named[SLUICE_COUNTER_FORWARD_FAILED.rawValue] == nil && counts.fates == arrived)
    }
  }

  @Test("A new generation keeps the path's peer, and an adopted program its path")
  func outlivesGenerationsAndDaemons() throws {
    let bpffs = try namespace.mountBPFFileSystem()
    let pins = PinDirectory(bpffs: bpffs, interface: "one")
    try namespace.perform {
      let sink = try attach("four", defaultAction: .drop)
      let path = PacketPath.forward(peer: try index("three"))
      do {
        let earlier = try attach("one", pins: pins)
        try earlier.setPath(path)
      }
      let program = try attach("one", pins: pins)
      #expect(try program.wasAdopted && program.path() == path)
      let next = try compile(
        RuleSet(name: "next", defaultAction: .pass, malformed: .init(fate: .pass), rules: []),
        slots: { _ in 0 }, interfaceIndex: { _ in 0 }, generation: 2, captureFallback: .pass)
      try next.withUnsafeBytes { try program.publish($0, redirectTargets: [try index("five")]) }
      try send(40)
      #expect(try sink.interfaceCounters()[Int(SLUICE_COUNTER_DROP.rawValue)].packets == 40)
      try program.detach()
      #expect(PinDirectory.interfaces(bpffs: bpffs).isEmpty)
    }
  }
}

private final class Sendings: Sendable {
  let count = Atomic(0)
}

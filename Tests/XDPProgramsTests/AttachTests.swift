import CSluiceABI
import LinuxSystem
import NetworkSupport
import Packets
import RuleCompiler
import Rules
import TestSupport
import Testing

@testable import XDPPrograms

/// Real devices in a namespace of the test's own.
@Suite("Attaching to interfaces", .serialized)
struct AttachTests {
  private let namespace: NetworkNamespace

  init() throws {
    namespace = try NetworkNamespace()
    try namespace.makePair("one", "two")
  }

  private func generation(
    _ rules: [Rule] = [], defaultAction: Fate = .pass, redirectIndex: UInt32 = 0, firstSlot: UInt32 = 1
  ) throws -> CompiledGeneration {
    let slots = Dictionary(
      uniqueKeysWithValues: rules.enumerated().map { ($0.element.name, UInt32($0.offset) + firstSlot) })
    return try compile(
      RuleSet(name: "test", defaultAction: defaultAction, malformed: .init(fate: .drop), rules: rules),
      slots: { slots[$0]! }, interfaceIndex: { _ in redirectIndex }, generation: 1, captureFallback: .pass)
  }

  private func attach(
    _ name: String, _ options: AttachOptions = AttachOptions(), pins: PinDirectory? = nil,
    generation: CompiledGeneration? = nil
  ) throws -> InterfaceProgram {
    let interface = try NetworkInterface.named(name)
    let generation = try generation ?? self.generation()
    return try generation.withUnsafeBytes {
      try InterfaceProgram(
        interface: name, index: interface.index, options: options, pins: pins, generation: $0)
    }
  }

  private func frames(_ count: Int, port: UInt16 = 9, byteCount: Int = 64) -> [[UInt8]] {
    let source = IPAddress.v4(PacketFixtures.source4)
    var builder = PacketBuilder(from: source, to: source, .udp(source: 7, destination: port))
    builder.paddedByteCount = byteCount
    return Array(repeating: builder.build(), count: count)
  }

  @Test("Native on a veth: decides what arrives, counts it, and is gone after detach")
  func attachesNatively() throws {
    try namespace.perform {
      let drop = try generation([Rule(name: "nine", match: Match(protocols: [.udp]), action: .drop)])
      let program = try attach("one", generation: drop)
      #expect(program.isNative && program.fallbackReason == nil && !program.wasAdopted && program.isAttached())
      #expect(try NetworkInterface.named("one").xdp?.programID == program.programIdentifier)
      try send(1000, to: "two")
      #expect(try program.ruleCounter(slot: 1) == PacketCount(packets: 1000, bytes: 64_000))
      #expect(try program.interfaceCounters()[1] == PacketCount(packets: 1000, bytes: 64_000))
      try program.detach()
      #expect(try NetworkInterface.named("one").xdp == nil)
      #expect(!program.isAttached())
    }
  }

  /// Frames out of `interface` arrive at its peer.
  private func send(_ count: UInt32, to interface: String, port: UInt16 = 9) throws {
    let index = try NetworkInterface.named(interface).index
    let generator = try TrafficGenerator(interfaceIndex: index, frames: frames(4, port: port))
    #expect(generator.slowReason == nil)
    try generator.send(count)
    #expect(try generator.readState() == .init(redirected: UInt64(count), failed: 0))
  }

  @Test("A device without native XDP: auto falls back and says why, native fails and says what helps")
  func fallsBackToGeneric() throws {
    try namespace.run("ip link add flat type bridge && ip link set flat up")
    try namespace.perform {
      let program = try attach("flat")
      #expect(!program.isNative)
      #expect(program.fallbackReason?.contains("no native XDP") == true)
      try program.detach()
      let error = try #require(throws: ProgramError.self) { try attach("flat", AttachOptions(mode: .native)) }
      #expect(error.description.contains("mode auto or generic works"), "\(error)")
    }
  }

  @Test("Generic on request decides alike")
  func attachesGenerically() throws {
    try namespace.perform {
      // The peer needs a native program, or its device takes no frames.
      let peer = try attach("two")
      let other = try attach(
        "one", AttachOptions(mode: .generic),
        generation: try generation([Rule(name: "nine", match: Match(protocols: [.udp]), action: .count)]))
      #expect(!other.isNative && other.fallbackReason == nil)
      try namespace.run("ethtool -K one gro on")
      try send(10, to: "two")
      #expect(try other.ruleCounter(slot: 1).packets == 10)
      try other.detach()
      try peer.detach()
    }
  }

  @Test("A foreign program is named, and not touched")
  func refusesBusyInterface() throws {
    try namespace.perform {
      let first = try attach("one")
      let error = try #require(throws: ProgramError.self) { try attach("one") }
      guard case .interfaceBusy("one", let identifier, "sluice_xdp", let remedy) = error else {
        Issue.record("\(error)")
        return
      }
      #expect(identifier == first.programIdentifier)
      #expect(remedy.contains("take it off first"))
      #expect(first.isAttached())
      try first.detach()
    }
  }

  @Test("The dispatcher is used where libxdp can load it, and refused in words where it can't; nothing is left behind")
  func asksForDispatcher() throws {
    try namespace.perform {
      do {
        let program = try attach("one", AttachOptions(coexistence: .dispatcher))
        #expect(program.isInDispatcher)
        let second = try attach("one", AttachOptions(coexistence: .auto))
        #expect(second.isInDispatcher)
        try second.detach()
        try program.detach()
      } catch ProgramError.dispatcherUnavailable(_, let reason) {
        #expect(reason.contains("coexistence exclusive"))
      }
      #expect(try NetworkInterface.named("one").xdp == nil)
    }
  }

  @Test("The pins of an earlier daemon are taken over: no packet is undecided, counters go on")
  func adoptsPins() throws {
    let bpffs = try namespace.mountBPFFileSystem()
    let pins = PinDirectory(bpffs: bpffs, interface: "one")
    try namespace.perform {
      let drop = try generation([Rule(name: "nine", match: Match(protocols: [.udp]), action: .drop)])
      let identifier: UInt32
      do {
        let earlier = try attach("one", pins: pins, generation: drop)
        identifier = earlier.programIdentifier
        try send(5, to: "two")
      }  // descriptors closed, as by a kill
      #expect(try NetworkInterface.named("one").xdp?.programID == identifier)
      try send(7, to: "two")
      #expect(PinDirectory.interfaces(bpffs: bpffs) == ["one"])

      let later = try attach("one", pins: pins)  // its own first generation passes: it must not be published
      #expect(later.wasAdopted && later.isNative && later.programIdentifier != identifier)
      try send(9, to: "two")
      #expect(try later.ruleCounter(slot: 1).packets == 21)
      try later.detach()
      #expect(PinDirectory.interfaces(bpffs: bpffs).isEmpty)
      #expect(try NetworkInterface.named("one").xdp == nil)
    }
  }

  @Test("An interface whose pins another daemon holds is refused, and nothing of that daemon's changes")
  func refusesForeignPins() throws {
    let bpffs = try namespace.mountBPFFileSystem()
    let pins = PinDirectory(bpffs: bpffs, interface: "one")
    try namespace.perform {
      let drop = try generation([Rule(name: "nine", match: Match(protocols: [.udp]), action: .drop)])
      let program = try attach("one", pins: pins, generation: drop)
      let error = #expect(throws: ProgramError.self) { _ = try attach("one", pins: pins) }
      #expect(error?.description.contains("another sluiced") == true, "\(String(describing: error))")
      try send(5, to: "two")
      #expect(try program.ruleCounter(slot: 1).packets == 5)
      #expect(try NetworkInterface.named("one").xdp?.programID == program.programIdentifier)
      try program.detach()
    }
    #expect(PinDirectory.interfaces(bpffs: bpffs).isEmpty)
  }

  @Test("The program of a daemon of another version decides until this one takes its link over")
  func takesOverOtherVersions() throws {
    let bpffs = try namespace.mountBPFFileSystem()
    let pins = PinDirectory(bpffs: bpffs, interface: "one")
    try namespace.perform {
      let drop = try generation([Rule(name: "nine", match: Match(protocols: [.udp]), action: .drop)])
      do { _ = try attach("one", pins: pins, generation: drop) }
      try Shell.run("mv \(bpffs)/sluice/v* \(bpffs)/sluice/v1")
      #expect(PinDirectory.interfaces(bpffs: bpffs) == ["one"])
      let before = try NetworkInterface.named("one").xdp?.programID
      try send(3, to: "two")

      let later = try attach("one", pins: pins, generation: drop)
      #expect(!later.wasAdopted && later.isNative && later.programIdentifier != before)
      #expect(try NetworkInterface.named("one").xdp?.programID == later.programIdentifier)
      try send(5, to: "two")
      #expect(try later.ruleCounter(slot: 1).packets == 5)
      #expect(try Shell.run("ls \(bpffs)/sluice/v1").isEmpty)
      try later.detach()
      #expect(PinDirectory.interfaces(bpffs: bpffs).isEmpty)
      #expect(try NetworkInterface.named("one").xdp == nil)
    }
  }

  @Test("A swap under traffic: every packet is decided by the one or the other generation, none is lost")
  func swapsUnderTraffic() throws {
    try namespace.perform {
      let match = Match(protocols: [.udp])
      let first = try generation([
        Rule(name: "count-a", match: match, action: .count), Rule(name: "drop-a", match: match, action: .drop),
      ])
      // Same slots in the other order of names: a packet that saw a mixture would count twice in one of them.
      let second = try generation([Rule(name: "drop-b", match: match, action: .drop)])
      let program = try attach("one", generation: first)
      let index = try NetworkInterface.named("two").index
      let generator = try TrafficGenerator(interfaceIndex: index, frames: frames(4))
      for round in 0..<20 {
        try generator.send(2000)
        let next = round % 2 == 0 ? second : first
        try next.withUnsafeBytes { try program.publish($0, redirectTargets: []) }
      }
      try generator.send(2000)
      let counts = try (1...2).map { try program.ruleCounter(slot: $0).packets }
      let fates = try program.interfaceCounters()
      #expect(fates[1].packets == 42_000)
      #expect(fates[0].packets == 0)
      // `first` counts in slot 1 and drops in 2; `second` drops in 1.
      #expect(counts == [42_000, 22_000])
      try program.detach()
    }
  }

  @Test("More slots than there are counters: every packet is counted once, before, meanwhile and after, also by the next")
  func growsCountersUnderTraffic() throws {
    let bpffs = try namespace.mountBPFFileSystem()
    let pins = PinDirectory(bpffs: bpffs, interface: "one")
    try namespace.perform {
      let drop = Rule(name: "nine", match: Match(protocols: [.udp]), action: .drop)
      let low = try generation([drop])
      let lastSlot = UInt32(SLUICE_SLOTS_MAX) - 1
      let high = try generation(
        [Rule(name: "none", match: Match(protocols: [.gre]), action: .pass), drop], firstSlot: lastSlot - 1)
      do {
        let program = try attach("one", pins: pins, generation: low)
        try program.clearRuleCounter(slot: lastSlot)  // there is none yet
        let index = try NetworkInterface.named("two").index
        let frames = frames(4)
        try TrafficGenerator(interfaceIndex: index, frames: frames).send(3000)
        let thread = try PinnedThread.spawn(name: "sender") { [namespace] in
          try? namespace.perform {
            let generator = try TrafficGenerator(interfaceIndex: index, frames: frames)
            for _ in 0..<200 { try generator.send(100) }
          }
        }
        try high.withUnsafeBytes { try program.publish($0, redirectTargets: []) }
        thread.join()
        let before = try program.ruleCounter(slot: 1).packets
        #expect(before >= 3000)
        #expect(try before + program.ruleCounter(slot: lastSlot).packets == 23_000)
        try low.withUnsafeBytes { try program.publish($0, redirectTargets: []) }
        try TrafficGenerator(interfaceIndex: index, frames: frames).send(7)
        #expect(try program.ruleCounter(slot: 1).packets == before + 7)
      }
      let later = try attach("one", pins: pins)
      #expect(later.wasAdopted)
      #expect(try later.ruleCounter(slot: 1).packets + later.ruleCounter(slot: lastSlot).packets == 23_007)
      try later.clearRuleCounter(slot: 1)
      #expect(try later.ruleCounter(slot: 1) == PacketCount())
      try later.detach()
    }
  }

  @Test("Larger tables that can't be pinned decide all the same, count on, say so, and are the ones that change from then on")
  func growsWithoutPins() throws {
    let bpffs = try namespace.mountBPFFileSystem()
    let pins = PinDirectory(bpffs: bpffs, interface: "one")
    try namespace.perform {
      let drop = Rule(name: "nine", match: Match(protocols: [.udp]), action: .drop)
      let low = try generation([drop])
      let high = try generation([drop], firstSlot: UInt32(SLUICE_SLOTS_MIN) * 2)
      let program = try attach("one", pins: pins, generation: low)
      try send(3, to: "two")
      pins.remove()
      try high.withUnsafeBytes { try program.publish($0, redirectTargets: []) }
      #expect(program.warnings.contains { $0.contains("pin") }, "\(program.warnings)")
      try send(5, to: "two")
      #expect(try program.ruleCounter(slot: UInt32(SLUICE_SLOTS_MIN) * 2).packets == 5)
      #expect(try program.ruleCounter(slot: 1).packets == 3)
      // As small as the first: into the tables that the program reads.
      try low.withUnsafeBytes { try program.publish($0, redirectTargets: []) }
      try send(7, to: "two")
      #expect(try program.ruleCounter(slot: 1).packets == 10)
      try program.detach()
    }
  }

  @Test("Redirect reaches the other interface; without it the packet is dropped and counted")
  func redirects() throws {
    try namespace.makePair("three", "four")
    try namespace.perform {
      let sink = try attach("four", generation: try generation(defaultAction: .drop))
      let target = try NetworkInterface.named("three").index
      let rule = Rule(name: "away", match: Match(protocols: [.udp]), action: .redirect(interface: "three"))
      let redirecting = try generation([rule], redirectIndex: target)
      let program = try attach("one", generation: redirecting)
      try send(3, to: "two")  // the target isn't in the device map yet
      #expect(try program.interfaceCounters()[Int(SLUICE_COUNTER_REDIRECT_FAILED.rawValue)].packets == 3)
      try redirecting.withUnsafeBytes { try program.publish($0, redirectTargets: [target]) }
      try send(100, to: "two")
      #expect(try sink.interfaceCounters()[1].packets == 100)
      #expect(try program.interfaceCounters()[3].packets == 100)
      try program.detach()
      try sink.detach()
    }
  }

  @Test("As many targets as there may be give way to as many others")
  func replacesAllTargets() throws {
    let count = Limits.redirectTargetsMax
    try namespace.run("for i in $(seq \(count)); do echo link add old$i type veth peer name new$i; done | ip -b -")
    try namespace.perform {
      let program = try attach("one")
      let rules = try generation()
      for name in ["old", "new", "old"] {
        let targets = try (1...count).map { try NetworkInterface.named("\(name)\($0)").index }
        try rules.withUnsafeBytes { try program.publish($0, redirectTargets: Set(targets)) }
      }
      try program.detach()
    }
  }

  @Test("Jumbo frames: native at MTU 9000 where the kernel has xdp.frags")
  func takesJumboFrames() throws {
    try namespace.run("ip link set one mtu 9000 && ip link set two mtu 9000")
    try namespace.perform {
      let program = try attach("one")
      #expect(program.isNative == program.supportsFrags)
      try program.detach()
    }
  }

  @Test(
    "Names with a dot are pinned, and read back",
    arguments: ["eth0", "eth0.100", "a%b", "%2e", "...", "x.y.z"])
  func encodesNames(_ name: String) {
    let encoded = PinDirectory.encode(name)
    #expect(!encoded.contains("."))
    #expect(PinDirectory.decode(encoded) == name)
  }
}

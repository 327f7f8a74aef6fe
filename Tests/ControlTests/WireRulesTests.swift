import Rules
import Testing
import XDPPrograms

@testable import Control

@Suite("What a wire may be, and which way its packets go")
struct WireRulesTests {
  private let sides = [WireSideFacts(interface: "eth0"), WireSideFacts(interface: "eth1")]

  private func wire(_ change: (inout WireOptions) -> Void = { _ in }) -> WireOptions {
    var options = WireOptions(name: "bump", a: "eth0", b: "eth1")
    change(&options)
    return options
  }

  @Test("The kernel carries packets that nothing needs in user space; whatever needs them there is named")
  func needs() throws {
    func path(_ options: WireOptions, _ sides: [WireSideFacts]? = nil) throws -> WireChoice {
      try options.check()
      return try WireChoice.make(options, sides ?? self.sides)
    }
    #expect(try path(wire()) == WireChoice(path: .kernel, reason: "nothing needs the packets in user space"))
    #expect(try path(wire { $0.path = .kernel }).path == .kernel)
    #expect(try path(wire { $0.path = .user }) == WireChoice(path: .user, reason: "asked for"))
    #expect(try path(wire { $0.flows = FlowOptions() }).reason.contains("flows"))
    #expect(try path(wire { $0.mirror = "eth2" }).reason.contains("mirror"))
    let reflector = try path(wire { $0.b = "eth0" }, [sides[0]])
    #expect(reflector.path == .user && reflector.reason.contains("reflector"))
  }

  @Test("A device that would lose redirected packets: the user path, with words; the kernel path is refused")
  func unableDevice() throws {
    var unable = sides
    unable[1].transmitsRedirected = false
    let choice = try WireChoice.make(wire(), unable)
    #expect(choice.path == .user && choice.reason.contains("eth1 cannot transmit redirected packets"))
    #expect(choice.warnings.contains { $0.contains("GRO") })
    let error = try #require(throws: ControlError.self) { try WireChoice.make(wire { $0.path = .kernel }, unable) }
    #expect(error.kind == .failedPrecondition && error.message.contains("eth1"))
    unable[1].transmitsRedirected = nil
    #expect(try WireChoice.make(wire(), unable).warnings.contains { $0.contains("6.3") })
  }

  @Test("Unequal sides: MTU is a warning; generic mode, queue counts and fallbacks are refused where they matter")
  func unequalSides() throws {
    var unequal = sides
    unequal[1].mtu = 9000
    #expect(try WireChoice.make(wire(), unequal).warnings.contains { $0.contains("9000") })
    unequal[1].receiveQueueCount = 4
    #expect(try WireChoice.make(wire(), unequal).path == .kernel)
    #expect(throws: ControlError.self) { try WireChoice.make(wire { $0.path = .user }, unequal) }
    unequal[0].receiveQueueCount = 4
    unequal[0].transmitQueueCount = 4
    let mute = try #require(throws: ControlError.self) { try WireChoice.make(wire { $0.path = .user }, unequal) }
    #expect(mute.message.contains("eth1 has 4 receive queues and 1 to transmit") && mute.message.contains("eth1 tx 4"))
    unequal[1].transmitQueueCount = 4
    #expect(try WireChoice.make(wire { $0.path = .user }, unequal).path == .user)
    #expect(throws: ControlError.self) { try WireChoice.make(wire { $0.mirror = "eth2" }, unequal) }
    unequal = sides
    unequal[0].captureFallback = .drop
    #expect(throws: ControlError.self) { try WireChoice.make(wire { $0.path = .user }, unequal) }
    unequal = sides
    unequal[0].isNative = false
    let error = try #require(throws: ControlError.self) { try WireChoice.make(wire(), unequal) }
    #expect(error.message.contains("eth0 is attached in generic mode"))
  }

  @Test(
    "Options that cannot be are refused, each by its name",
    arguments: [
      ("name", WireOptions(name: "", a: "a", b: "b")), ("name", WireOptions(name: "Ä\u{1b}[2J", a: "a", b: "b")),
      ("name", WireOptions(name: String(repeating: "x", count: 64), a: "a", b: "b")),
      ("a:", WireOptions(name: "w", a: "", b: "b")), ("b:", WireOptions(name: "w", a: "a", b: "../b")),
      ("b:", WireOptions(name: "w", a: "a", b: "0123456789abcdef")),
      ("mirror", WireOptions(name: "w", a: "a", b: "b", mirror: "b")),
      ("mirror", WireOptions(name: "w", a: "a", b: "b", mirror: "a b")),
      (
        "mirror_sample_every",
        WireOptions(name: "w", a: "a", b: "b", flows: FlowOptions(sampleEvery: 10), mirror: "c", mirrorSampleEvery: 2)
      ),
      ("path", WireOptions(name: "w", a: "a", b: "a", path: .kernel)),
      ("path", WireOptions(name: "w", a: "a", b: "b", path: .kernel, flows: FlowOptions())),
      ("batch", WireOptions(name: "w", a: "a", b: "b", worker: WorkerOptions(batch: 31))),
      ("ring_entries", WireOptions(name: "w", a: "a", b: "b", worker: WorkerOptions(ringEntries: 1000))),
      ("ring_entries", WireOptions(name: "w", a: "a", b: "b", worker: WorkerOptions(ringEntries: 1 << 17))),
      ("collector", WireOptions(name: "w", a: "a", b: "b", flows: FlowOptions(collector: "collector.example:4739"))),
      ("collector", WireOptions(name: "w", a: "a", b: "b", flows: FlowOptions(collector: "192.0.2.1:0"))),
      ("collector", WireOptions(name: "w", a: "a", b: "b", flows: FlowOptions(collector: "192.0.2.1:65536"))),
      ("active_timeout", WireOptions(name: "w", a: "a", b: "b", flows: FlowOptions(activeTimeoutMilliseconds: 1))),
      ("flows_max", WireOptions(name: "w", a: "a", b: "b", flows: FlowOptions(flowsMax: 1))),
    ])
  func refusals(_ word: String, _ options: WireOptions) throws {
    let error = try #require(throws: ControlError.self) { try options.check() }
    #expect(error.kind == .invalidArgument && error.message.hasPrefix(word) || error.message.contains(".\(word)"), "\(error)")
    #expect(error.message.unicodeScalars.allSatisfy { $0.value >= 0x20 }, "\(error)")
  }

  @Test("Collectors are addresses with a port, or the standard one")
  func collectors() throws {
    func read(_ text: String) throws -> String {
      let (address, port) = try FlowOptions(collector: text).collectorAddress()
      return "\(address) \(port)"
    }
    #expect(try read("192.0.2.7:9995") == "192.0.2.7 9995")
    #expect(try read("192.0.2.7") == "192.0.2.7 4739")
    #expect(try read("[2001:db8::7]:9995") == "2001:db8::7 9995")
    #expect(try read("2001:db8::7") == "2001:db8::7 4739")
  }

  @Test("What the kernel carried: all on the kernel path, the fallbacks on the user path, across changes")
  func kernelShares() {
    func counters(_ forwarded: UInt64, _ fallback: UInt64) -> ForwardedCounters {
      ForwardedCounters(
        forwarded: PacketCount(packets: forwarded, bytes: forwarded * 64),
        fallback: PacketCount(packets: fallback, bytes: fallback * 64))
    }
    var share = KernelShare(counters(10, 1))
    #expect(share.count(counters(30, 1), isUserPath: false).packets == 20)
    share.settle(counters(30, 1), isUserPath: false)
    #expect(share.count(counters(100, 5), isUserPath: true).packets == 24)
    share.settle(counters(100, 5), isUserPath: true)
    #expect(share.count(counters(101, 5), isUserPath: false) == PacketCount(packets: 25, bytes: 25 * 64))
  }

  @Test("Worker options of a wire beat the daemon's, field by field")
  func workers() {
    let own = WorkerOptions(batch: 64)
    let merged = own.over(WorkerOptions(wait: .spin, batch: 256, ringEntries: 4096))
    #expect(merged == WorkerOptions(wait: .spin, batch: 64, ringEntries: 4096))
  }
}

import LinuxSystem
import NetworkSupport
import Testing

@testable import XDPPrograms

/// Frames leave by `one` and reach `two`, whose program is tested; `three` leads to `four`.
@Suite("Bare programs", .serialized)
struct BareProgramTests {
  private let namespace: NetworkNamespace

  init() throws {
    namespace = try NetworkNamespace()
    for (near, far) in [("one", "two"), ("three", "four")] { try namespace.makePair(near, far) }
  }

  private func index(_ name: String) throws -> UInt32 { try NetworkInterface.named(name).index }

  private func send(_ count: UInt32) throws {
    let frame: [UInt8] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5] + Array(repeating: 7, count: 50)
    try TrafficGenerator(interfaceIndex: try index("one"), frames: [frame]).send(count)
  }

  @Test("One that forwards hands every frame to the other interface; gone with the value")
  func forwards() throws {
    try namespace.perform {
      let sink = try TrafficSink(interfaceIndex: try index("four"))
      do {
        let program = try BareProgram(interfaceIndex: try index("two"), purpose: .forward(to: try index("three")))
        #expect(try NetworkInterface.named("two").xdp != nil)
        try send(1000)
        withExtendedLifetime(program) {}
      }
      #expect(try sink.counts().packets == 1000)
      #expect(try NetworkInterface.named("two").xdp == nil)
    }
  }

  @Test("One that drops, and one for sockets without any, take frames off the network", arguments: [true, false])
  func drops(always: Bool) throws {
    try namespace.perform {
      let receiver = try PacketReceiver(NetworkInterface.named("two"))
      let program = try BareProgram(interfaceIndex: try index("two"), purpose: always ? .drop : .socket)
      try send(100)
      let statistics = try NetworkInterface.named("two").statistics
      #expect(statistics.rxPackets == 100)
      #expect(try receiver.receive(1).isEmpty)
      withExtendedLifetime(program) {}
    }
  }

  @Test("An interface that has a program is refused")
  func refusesSecond() throws {
    try namespace.perform {
      let first = try BareProgram(interfaceIndex: try index("two"), purpose: .drop)
      #expect(throws: ProgramError.self) { try BareProgram(interfaceIndex: try index("two"), purpose: .drop) }
      withExtendedLifetime(first) {}
    }
  }
}

import CSluiceABI
import Glibc
import LinuxSystem
import NetworkSupport
import TestSupport
import Testing

@testable import XDPPrograms

/// Frames leave by `one` and `three`, and arrive at `two` and `four`.
@Suite("Live transmission", .serialized)
struct LiveTransmitterTests {
  private let namespace: NetworkNamespace

  init() throws {
    namespace = try NetworkNamespace()
    for (near, far) in [("one", "two"), ("three", "four")] {
      try namespace.makePair(near, far)
      try namespace.run("ip link set \(near) mtu 3500 && ip link set \(far) mtu 3500")
    }
  }

  private func index(_ name: String) throws -> UInt32 { try NetworkInterface.named(name).index }

  /// A frame with random contents behind ethertype 0x88b5.
  private func frame(_ byteCount: Int, using random: inout SeededGenerator) -> [UInt8] {
    let header: [UInt8] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5]
    return header + (14..<byteCount).map { _ in UInt8.random(in: 0...255, using: &random) }
  }

  private static let sizes = [14, 15, 31, 32, 33, 60, 61, 63, 64, 65, 127, 128, 129, 1000, 1514, 2048, 3399, 3400]

  @Test("Frames of 14 to 3400 bytes, at odd places, for two ports in turn: each port gets its own, in order, unchanged")
  func sendsExactly() throws {
    try namespace.perform {
      try namespace.run("ethtool -K two gro on && ethtool -K four gro on")
      var random = SeededGenerator(announcing: "sendsExactly")
      var transmitter = try LiveTransmitter(
        frameCount: 1024, frameByteCount: 4096, ports: [try index("one"), try index("three")])
      #expect(transmitter.slowReason == nil)
      let memory = try transmitter.mapFrames()
      #expect(memory.byteCount == 1024 * 4096)
      let receivers = [
        try PacketReceiver(NetworkInterface.named("two")), try PacketReceiver(NetworkInterface.named("four")),
      ]
      for round in 0..<4 {
        var sent: [[[UInt8]]] = [[], []]
        for number in 0..<700 {
          let size = LiveTransmitterTests.sizes[number % LiveTransmitterTests.sizes.count]
          let frame = frame(round == 3 ? 64 : size, using: &random)
          let port = Int.random(in: 0...1, using: &random)
          // Anywhere in its place, and at the memory's very end.
          let place = number == 699 ? 4096 - frame.count : Int.random(in: 0...(4096 - frame.count), using: &random)
          let address = (number == 699 ? 1023 : number) * 4096 + place
          frame.withUnsafeBytes {
            UnsafeMutableRawBufferPointer(start: memory.base + address, count: $0.count).copyMemory(from: $0)
          }
          transmitter.enqueue(address: UInt64(address), byteCount: UInt32(frame.count), port: UInt16(port))
          sent[port].append(frame)
        }
        #expect(transmitter.room == LiveTransmitter.capacity - 700)
        try transmitter.flush()
        #expect(transmitter.room == LiveTransmitter.capacity)
        for port in 0...1 {
          let received = try receivers[port].receive(sent[port].count)
          #expect(received.count == sent[port].count)
          #expect(received == sent[port], "round \(round), port \(port)")
        }
      }
      #expect(transmitter.counters == .init(redirected: 2800, failed: 0, interruptions: 0))
    }
  }

  @Test("What cannot be sent is counted, and what is between leaves")
  func countsFailures() throws {
    try namespace.perform {
      let sink = try TrafficSink(interfaceIndex: try index("two"))
      var transmitter = try LiveTransmitter(frameCount: 4, frameByteCount: 2048, ports: [try index("one")])
      let good = (UInt64(0), UInt32(60), UInt16(0))
      let bad: [(UInt64, UInt32, UInt16)] = [
        (0, 13, 0), (0, 0, 0), (0, 3401, 0), (0, .max, 0), (4 * 2048, 60, 0), (0xffff_ffff, 60, 0), (0, 60, 1),
        (0, 60, .max),
      ]
      for (address, byteCount, port) in bad {
        transmitter.enqueue(address: address, byteCount: byteCount, port: port)
        transmitter.enqueue(address: good.0, byteCount: good.1, port: good.2)
      }
      try transmitter.flush()
      try transmitter.flush()  // of nothing
      #expect(transmitter.counters == .init(redirected: 8, failed: 8, interruptions: 0))
      #expect(try sink.counts().packets == 8)
    }
  }

  @Test("The queue wraps, full each time; a signal storm loses and doubles nothing, and keeps the order")
  func survivesSignals() throws {
    try namespace.perform {
      let offset = 20
      let sink = try TrafficSink(interfaceIndex: try index("two"), stampOffset: offset)
      let capacity = Int(LiveTransmitter.capacity)
      var transmitter = try LiveTransmitter(frameCount: capacity, frameByteCount: 2048, ports: [try index("one")])
      let memory = try transmitter.mapFrames()
      var action = sigaction()
      action.__sigaction_handler.sa_handler = { _ in }
      sigaction(SIGURG, &action, nil)
      var open = sigset_t()  // the test's thread may have inherited a mask that blocks everything
      sigemptyset(&open)
      sigaddset(&open, SIGURG)
      pthread_sigmask(SIG_UNBLOCK, &open, nil)
      let target = pthread_self()
      let rounds = 40
      try repeating(name: "signals") {
        pthread_kill(target, SIGURG)
        usleep(20)
      } during: {
        for round in 0..<rounds {
          for number in 0..<capacity {
            let stamp = sluice_stamp(
              magic: UInt32(SLUICE_STAMP_MAGIC), sequence: UInt32(round * capacity + number), timestamp: 0)
            memory.base.storeBytes(of: stamp, toByteOffset: number * 2048 + 3 + offset, as: sluice_stamp.self)
            transmitter.enqueue(address: UInt64(number * 2048 + 3), byteCount: 64, port: 0)
          }
          #expect(transmitter.room == 0)
          try transmitter.flush()
        }
      }
      let count = UInt64(rounds * capacity)
      let counters = transmitter.counters
      #expect(counters.redirected == count && counters.failed == 0)
      #expect(counters.interruptions > 0, "the storm must hit, or the test shows nothing")
      #expect(try sink.counts() == .init(packets: count, bytes: 64 * count, stamped: count))
    }
  }

  @Test("Frames of 256 MiB together are taken; more are refused with numbers and remedy, and trap nowhere")
  func refusesLarge() throws {
    try namespace.perform {
      let port = try index("one")
      let most = try LiveTransmitter(frameCount: 65_536, frameByteCount: 4096, ports: [port], checksPorts: false)
      #expect(most.room == LiveTransmitter.capacity)
      for count in [65_537, .max] as [Int] {
        let make = { _ = try LiveTransmitter(frameCount: count, frameByteCount: 4096, ports: [port]) }
        let error = try #require(throws: ProgramError.self) { try make() }
        #expect(error.description.contains("\(count) frames of 4096 bytes are more than 256 MiB"), "\(error)")
        #expect(error.description.contains("shorter rings"), "\(error)")
      }
    }
  }

  @Test("An interface that takes no XDP frames is refused in words, and taken once its peer can receive them")
  func refusesUnable() throws {
    try namespace.perform {
      let port = try index("one")
      let make = { _ = try LiveTransmitter(frameCount: 4, frameByteCount: 2048, ports: [port]) }
      let error = try #require(throws: ProgramError.self) { try make() }
      #expect(error.description.contains("one takes no XDP frames: its peer runs no XDP program"), "\(error)")
      #expect(try NetworkInterface.named("lo").redirectRefusal()?.contains("loopback") == true)
      let monitor = try XDPFeatureMonitor()
      do {
        let sink = try TrafficSink(interfaceIndex: try index("two"))
        #expect(try nextFeatures(of: port, monitor)?.contains(.transmitRedirected) == true)
        #expect(try NetworkInterface.named("one").redirectRefusal() == nil)
        try make()
        _ = try sink.counts()
      }
      #expect(try nextFeatures(of: port, monitor)?.contains(.transmitRedirected) == false)
      try namespace.run("ethtool -K two gro on")
      #expect(try nextFeatures(of: port, monitor)?.contains(.transmitRedirected) == true)
      try namespace.run("ip link del one")
      var isGone = false
      while !isGone, let events = try monitor.wait(timeoutMilliseconds: 2000), !events.isEmpty {
        isGone = events.contains(.removed(interfaceIndex: port))
      }
      #expect(isGone)
      monitor.stop()
      #expect(try monitor.wait(timeoutMilliseconds: 0) == nil)
    }
  }

  private func nextFeatures(of index: UInt32, _ monitor: XDPFeatureMonitor) throws -> XDPFeatures? {
    while let events = try monitor.wait(timeoutMilliseconds: 2000), !events.isEmpty {
      for case .changed(index, let features) in events { return features }
    }
    return nil
  }

  @Test("What the peer's ring has no room for is read from the driver: arrived + dropped = redirected")
  func countsDrops() throws {
    try namespace.perform {
      let sink = try TrafficSink(interfaceIndex: try index("two"))
      let interface = try NetworkInterface.named("one")
      #expect(try interface.redirectedFrameDrops() == 0)
      #expect(try interface.driverStatistics().contains { $0.name == "tx_queue_0_xdp_xmit" })
      #expect(try NetworkInterface.named("lo").driverStatistics().isEmpty)
      // Received by a kernel thread, which comes later than the sender's next bulk.
      try namespace.run("ip link set two up; echo 1 > /sys/class/net/two/threaded")
      var transmitter = try LiveTransmitter(frameCount: 4, frameByteCount: 2048, ports: [interface.index])
      var drops: UInt64 = 0
      for _ in 0..<1000 where drops == 0 {
        for _ in 0..<LiveTransmitter.capacity { transmitter.enqueue(address: 0, byteCount: 64, port: 0) }
        try transmitter.flush()
        drops = try interface.redirectedFrameDrops()
      }
      #expect(drops > 0)
      let deadline = SystemClock.monotonicNanoseconds() + 5_000_000_000
      var arrived: UInt64 = 0
      repeat { arrived = try sink.counts().packets } while arrived + drops < transmitter.counters.redirected
        && SystemClock.monotonicNanoseconds() < deadline
      #expect(arrived + drops == transmitter.counters.redirected)
    }
  }
}

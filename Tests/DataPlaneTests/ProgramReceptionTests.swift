import DataPlane
import Glibc
import LinuxSystem
import NetworkSupport
import Synchronization
import Testing
import XDPPrograms
import XSK

@Suite("Reception by an XDP program", .serialized)
struct ProgramReceptionTests {
  /// A receiver on `near`, its socket, and a sender at the other end.
  private struct Reception: ~Copyable {
    let rings: ProgramRings
    var pool: FramePool
    var socket: XDPSocket
    var sender: FrameSender
    private let attachment: ReceiverProgram.Attachment

    /// - Parameter start: Where all indices of the rings start.
    init(
      _ network: TestNetwork, frameCount: UInt32 = 64, entryCount: UInt32 = 64, takesFragments: Bool = false,
      startingAt start: UInt32 = 0, isWeaklyOrdered: Bool = false
    ) throws {
      let near = try network.near()
      let geometry = UMEM.Geometry(frameCount: frameCount)
      var shape = ReceiverProgram.Shape(geometry, entryCount: entryCount, takesFragments: takesFragments)
      shape.isWeaklyOrdered = isWeaklyOrdered
      let receiver = try ReceiverProgram(shape)
      let region = try receiver.mapRings()
      for offset in [0, 4, 64, 68] { region.base.storeBytes(of: start, toByteOffset: offset, as: UInt32.self) }
      let rings = try receiver.makeRings()
      let memory = try UMEM(geometry: geometry, over: try receiver.mapFrames())
      var pool = memory.makePool()
      let socket = try XDPSocket(
        memory: memory, pool: &pool, interface: near, queue: 0, options: .init(zeroCopy: .off), receivingBy: rings)
      let attachment = try receiver.attach(interfaceIndex: near.index)
      let sender = try FrameSender(interface: try network.far())
      self.rings = rings
      self.pool = pool
      self.socket = socket
      self.attachment = attachment
      self.sender = sender
    }

    /// A veth delivers in the sender's softirq: what was sent has been received, or dropped.
    mutating func send(_ numbers: Range<UInt32>, byteCount: Int = 64) throws {
      for number in numbers { try sender.send(testFrame(slot: 1, number: number, byteCount: byteCount)) }
    }

    /// The frames of ours that came, whole.
    mutating func take() -> [[UInt8]] {
      var collector = Collector()
      while socket.receive(limit: 16, pool: &pool, into: &collector) > 0 {}
      socket.refill(from: &pool)
      return collector.frames
    }

    func areFramesConserved() -> Bool { socket.frames(pool: pool).areConserved }

    func statistics() throws -> XDPStatistics { try socket.statistics() }

    func losses() -> ProgramRings.Losses { rings.losses() }
  }

  private struct Collector: FrameHandler, ~Copyable {
    var frames: [[UInt8]] = []

    mutating func handle(_ packet: inout MutableRawSpan, in frame: ReceivedFrame) {
      let bytes = packet.withUnsafeBytes { Array($0) }
      if bytes[12...13] == [0x88, 0xb5] { frames.append(bytes) }
    }
  }

  @Test(
    "Every length comes whole and in order, over and over in the same frames, also where the indices wrap",
    arguments: [false, true])
  func lengthsAndWrap(isWeaklyOrdered: Bool) throws {
    try withTestNetwork { network in
      var reception = try Reception(network, startingAt: .max - 40, isWeaklyOrdered: isWeaklyOrdered)
      for round in 0..<50 as Range<UInt32> {
        // 15 is the shortest test frame, the others are about the ends of each way of copying.
        let byteCount = [15, 31, 32, 33, 60, 63, 64, 65, 500, 1514][Int(round % 10)]
        try reception.send(round * 10..<round * 10 + 10, byteCount: byteCount)
        let expected = (round * 10..<round * 10 + 10).map { testFrame(slot: 1, number: $0, byteCount: byteCount) }
        let came = reception.take()
        #expect(came == expected, "\(byteCount) bytes")
        let isConserved = reception.areFramesConserved()
        #expect(isConserved)
      }
      let statistics = try reception.statistics()
      #expect(statistics == XDPStatistics())
    }
  }

  @Test("What finds no frame, no room in the ring, or fits in no frame is dropped and counted, and the next is received")
  func losses() throws {
    try withTestNetwork { network in
      try Shell.run("ip link set near mtu 3000 && ip link set far mtu 3000")
      var few = try Reception(network, frameCount: 16)
      _ = few.take()
      let before = few.losses()
      try few.send(0..<40)
      let came = few.take()
      // The kernel's own packets (IPv6) may take a frame, or be lost.
      #expect((10...16).contains(came.count) && came == (0..<UInt32(came.count)).map { testFrame(slot: 1, number: $0) })
      let short = few.losses().noFrame - before.noFrame
      #expect(short >= 40 - UInt64(came.count))
      try few.send(100..<101, byteCount: 1792)
      try few.send(101..<102, byteCount: 1793)
      let long = few.take()
      #expect(long == [testFrame(slot: 1, number: 100, byteCount: 1792)])
      let (losses, statistics, isConserved) = (few.losses(), try few.statistics(), few.areFramesConserved())
      #expect(losses.tooLong == 1 && statistics.lost == losses.noFrame + 1 && statistics.rxRingFull == 0 && isConserved)
    }
    try withTestNetwork { network in
      var small = try Reception(network, frameCount: 64, entryCount: 8)
      _ = small.take()
      try small.send(0..<8)
      small.socket.refill(from: &small.pool)
      try small.send(8..<20)
      let came = small.take()
      #expect((1...8).contains(came.count) && came == (0..<UInt32(came.count)).map { testFrame(slot: 1, number: $0) })
      let (losses, isConserved) = (small.losses(), small.areFramesConserved())
      #expect(losses.noFrame + losses.ringFull >= 20 - UInt64(came.count) && isConserved)
    }
  }

  @Test("A sleeper is woken once by the first packet, and who is awake is not")
  func wakes() throws {
    try withTestNetwork { network in
      var reception = try Reception(network)
      let rings = reception.rings
      func isReadable(_ rings: ProgramRings, within milliseconds: CInt) -> Bool {
        var one = pollfd(fd: rings.wakeupDescriptor, events: Int16(POLLIN), revents: 0)
        return poll(&one, 1, milliseconds) > 0
      }
      for round in 0..<100 as Range<UInt32> {
        try reception.send(round * 3..<round * 3 + 1)
        #expect(!isReadable(rings, within: 0))
        rings.announceSleep()
        try reception.send(round * 3 + 1..<round * 3 + 3)
        #expect(isReadable(rings, within: 1000))
        rings.endSleep()
        #expect(!isReadable(rings, within: 0))
        let came = reception.take()
        #expect(came.count == 3)
      }
    }
  }

  @Test("Only what hands its packets over one at a time has a receiver")
  func refusals() throws {
    try withTestNetwork { network in
      #expect(ReceiverProgram.refusal(of: try network.near()) == nil)
      try Shell.run("ip tuntap add dev tap0 mode tap && ip link add bridge0 type bridge")
      for name in ["tap0", "bridge0", "lo"] {
        #expect(ReceiverProgram.refusal(of: try NetworkInterface.named(name))?.contains("one at a time") == true)
      }
    }
  }
}

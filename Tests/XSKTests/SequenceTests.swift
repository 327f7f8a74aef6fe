import LinuxSystem
import TestSupport
import Testing
import XSK

/// A socket over rings in memory, the kernel played by the test, and what should be where.
private struct Model: ~Copyable {
  var socket: XDPSocket
  var pool: FramePool
  var kernel: KernelSide
  var random: SeededGenerator
  /// Frames that the owner keeps, by address of the packet in them.
  var held: [PacketDescriptor] = []
  /// Length of the packets in the receive ring, and of those in the transmit ring, oldest first.
  var received: [UInt32] = []
  var transmitted: [UInt32] = []
  var nextLength: UInt32 = 60

  init(geometry: UMEM.Geometry, start: UInt32) throws {
    let memory = try UMEM(geometry: geometry, wantsHugePages: false)
    var pool = memory.makePool()
    let options = XDPSocket.Options(
      fillEntryCount: 16, receiveEntryCount: 8, transmitEntryCount: 8, completionEntryCount: 4)
    socket = try XDPSocket(inMemory: memory, pool: &pool, options: options, startingAt: start)
    kernel = socket.kernelSide()
    self.pool = pool
    random = SeededGenerator(announcing: "SequenceTests.conserved(\(geometry), \(start))")
  }

  var counts: FrameCounts {
    mutating get {
      var counts = socket.frames(pool: pool)
      counts.held = UInt32(held.count)
      return counts
    }
  }

  /// One random operation of either side.
  mutating func step() {
    switch UInt32.random(in: 0..<8, using: &random) {
    case 0: deliver()
    case 1: receive()
    case 2: keep()
    case 3: returnHeld()
    case 4: transmit()
    case 5: transmitted.removeFirst(Int(kernel.transmitAll(limit: .random(in: 0...8, using: &random))))
    case 6: socket.reclaim(into: &pool, limit: .random(in: 0...8, using: &random))
    default: socket.refill(from: &pool)
    }
  }

  private mutating func deliver() {
    for _ in 0..<UInt32.random(in: 0...8, using: &random) {
      guard kernel.deliver(1, byteCount: nextLength) == 1 else { return }
      received.append(nextLength)
      nextLength = nextLength % 1400 + 60
    }
  }

  private mutating func receive() {
    var lengths = LengthCollector()
    let count = socket.receive(limit: .random(in: 0...8, using: &random), pool: &pool, into: &lengths)
    #expect(lengths.lengths == Array(received.prefix(Int(count))))
    received.removeFirst(Int(count))
  }

  private mutating func keep() {
    let count = socket.available(limit: .random(in: 0...8, using: &random))
    for index in 0..<count {
      let packet = socket.received(index)
      #expect(packet.byteCount == received[Int(index)])
      held.append(packet)
    }
    socket.releaseReceived(count)
    received.removeFirst(Int(count))
  }

  private mutating func returnHeld() {
    if held.isEmpty { return }
    pool.put(held.remove(at: .random(in: 0..<held.count, using: &random)).address)
  }

  private mutating func transmit() {
    let count = socket.transmitRoom(limit: UInt32(held.count))
    #expect(count == min(UInt32(held.count), 8 - UInt32(transmitted.count)))
    for index in 0..<count {
      let packet = held.removeLast()
      socket.setTransmit(index, packet)
      transmitted.append(packet.byteCount)
    }
    socket.submitTransmit(count)
  }
}

private struct LengthCollector: FrameHandler, ~Copyable {
  var lengths: [UInt32] = []

  mutating func handle(_ packet: inout MutableRawSpan, in frame: ReceivedFrame) {
    lengths.append(UInt32(packet.byteCount))
  }
}

/// Keeps the frames of packets of odd length.
private struct OddKeeper: FrameHandler, ~Copyable {
  var lengths: [UInt32] = []
  /// Where the packets of kept frames begin.
  var kept: [UInt] = []
  var keepsLast = false

  mutating func handle(_ packet: inout MutableRawSpan, in frame: ReceivedFrame) {
    lengths.append(UInt32(packet.byteCount))
    keepsLast = packet.byteCount % 2 == 1
    if keepsLast { kept.append(packet.withUnsafeBytes { UInt(bitPattern: $0.baseAddress) }) }
  }

  mutating func keepsFrame() -> Bool { keepsLast }
}

@Suite("Sequences of operations")
struct SequenceTests {
  @Test(
    "Whatever is done in whatever order, every frame is in one place, also across 2³² in all four rings",
    arguments: [
      .init(frameCount: 24), .init(frameCount: 24, frameByteCount: 3000, isUnaligned: true),
    ] as [UMEM.Geometry], [0, .max - 5, .max - 200, 1 << 31] as [UInt32])
  func conserved(geometry: UMEM.Geometry, start: UInt32) throws {
    var model = try Model(geometry: geometry, start: start)
    for number in 0..<5000 {
      model.step()
      let counts = model.counts
      try #require(counts.areConserved, "step \(number): \(counts)")
    }
  }

  @Test("A packet of several buffers is handed over when its last one is there, and not before")
  func severalBuffers() throws {
    let memory = try UMEM(geometry: .init(frameCount: 24), wantsHugePages: false)
    var pool = memory.makePool()
    let options = XDPSocket.Options(fillEntryCount: 16, receiveEntryCount: 8, usesFragments: true)
    var socket = try XDPSocket(inMemory: memory, pool: &pool, options: options, startingAt: .max - 2)
    var kernel = socket.kernelSide()
    var collector = Collector()
    #expect(kernel.deliver(1, byteCount: 100) == 1)
    #expect(kernel.deliver(2, byteCount: 200, options: PacketDescriptor.continued) == 2)
    #expect(socket.receive(limit: 64, pool: &pool, into: &collector) == 1)
    #expect(collector.frames.map(\.count) == [100])
    #expect(socket.receive(limit: 64, pool: &pool, into: &collector) == 0)
    #expect(kernel.deliver(1, byteCount: 50) == 1)
    #expect(kernel.deliver(1, byteCount: 70) == 1)
    #expect(socket.receive(limit: 1, pool: &pool, into: &collector) == 1)
    #expect(socket.receive(limit: 1, pool: &pool, into: &collector) == 1)
    #expect(collector.frames.map(\.count) == [100, 450, 70] && collector.bufferCounts == [1, 3, 1])
    #expect(socket.frames(pool: pool).areConserved)
  }

  @Test(
    "Frames that are kept are the handler's and the others come back, whichever of a batch, also across the ring's end",
    arguments: [0, .max - 2] as [UInt32])
  func keepsSome(start: UInt32) throws {
    let memory = try UMEM(geometry: .init(frameCount: 24), wantsHugePages: false)
    var pool = memory.makePool()
    let options = XDPSocket.Options(fillEntryCount: 16, receiveEntryCount: 8)
    var socket = try XDPSocket(inMemory: memory, pool: &pool, options: options, startingAt: start)
    var kernel = socket.kernelSide()
    let base = UInt(bitPattern: socket.bytes(of: PacketDescriptor(address: 0, byteCount: 0)).baseAddress)
    for pattern in 0..<256 as Range<UInt32> {
      let lengths = (0..<8 as Range<UInt32>).map { 60 + 2 * $0 + ((pattern >> $0) & 1) }
      for length in lengths { #expect(kernel.deliver(1, byteCount: length) == 1) }
      var keeper = OddKeeper()
      #expect(socket.receive(limit: 64, pool: &pool, into: &keeper) == 8)
      #expect(keeper.lengths == lengths && keeper.kept.count == pattern.nonzeroBitCount)
      var counts = socket.frames(pool: pool)
      counts.held = UInt32(keeper.kept.count)
      #expect(counts.areConserved, "pattern \(pattern): \(counts)")
      for address in keeper.kept { pool.put(UInt64(address - base)) }
      socket.refill(from: &pool)
    }
  }

  @Test(
    "A packet is copied into a frame of its own, which is sent and comes back as that frame",
    arguments: [
      .init(frameCount: 24), .init(frameCount: 24, frameByteCount: 3000, isUnaligned: true),
    ] as [UMEM.Geometry])
  func copies(geometry: UMEM.Geometry) throws {
    let memory = try UMEM(geometry: geometry, wantsHugePages: false)
    var pool = memory.makePool()
    let options = XDPSocket.Options(fillEntryCount: 16, receiveEntryCount: 8, transmitEntryCount: 8)
    var socket = try XDPSocket(inMemory: memory, pool: &pool, options: options)
    var kernel = socket.kernelSide()
    #expect(kernel.deliver(1, byteCount: 1000) == 1)
    #expect(socket.available(limit: 1) == 1)
    let packet = socket.received(0)
    let bytes = (0..<1000).map { UInt8(truncatingIfNeeded: $0 * 7) }
    socket.bytes(of: packet).copyBytes(from: bytes)
    let copy = socket.copy(packet, from: &pool)
    #expect(Array(socket.bytes(of: copy)) == bytes)
    #expect(copy.address != packet.address && copy.byteCount == 1000)
    socket.releaseReceived(1)
    pool.put(packet.address)
    #expect(socket.transmitRoom(limit: 8) == 8)
    socket.setTransmit(0, copy)
    socket.submitTransmit(1)
    kernel.transmitAll()
    #expect(socket.reclaim(into: &pool, limit: 8) == 1)
    #expect(socket.frames(pool: pool).areConserved)
    while pool.count > 0 {
      let frame = pool.take()
      #expect(frame % UInt64(geometry.frameByteCount) == 0, "the pool has what is no frame")
    }
  }
}

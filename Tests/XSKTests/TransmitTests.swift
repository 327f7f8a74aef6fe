import Glibc
import LinuxSystem
import NetworkSupport
import Testing
import XSK

private func frames(_ count: Int, byteCount: (Int) -> Int = { 60 + $0 % 1400 }) -> [[UInt8]] {
  (0..<count).map { testFrame(slot: UInt8($0 % 256), number: UInt32($0), byteCount: byteCount($0)) }
}

/// Sends everything from one socket to the other in bites, and expects it whole, in order and with every frame home.
private func expectDelivery(
  of sent: [[UInt8]], offset: UInt64 = 0, from sender: inout XDPSocket, _ senderPool: inout FramePool,
  to receiver: inout XDPSocket, _ receiverPool: inout FramePool
) throws {
  var collector = Collector()
  var done = 0
  while done < sent.count {
    done += try sender.transmit(sent[done..<min(done + 48, sent.count)], offset: offset, pool: &senderPool)
    try #require(
      receiver.receive(done, pool: &receiverPool, into: &collector) == true, "\(collector.frames.count) of \(done)")
    try #require(sender.reclaimAll(into: &senderPool) == true)
  }
  #expect(collector.frames == sent)
}

@Suite("AF_XDP transmission on veth", .serialized)
struct TransmitTests {
  @Test(
    "What one socket transmits another receives, in every geometry, and the frames come back",
    arguments: [
      .init(frameCount: 256), .init(frameCount: 256, frameByteCount: 4096),
      .init(frameCount: 256, headroomByteCount: 128), .init(frameCount: 256, frameByteCount: 3000, isUnaligned: true),
      .init(frameCount: 256, frameByteCount: 2048, headroomByteCount: 64, isUnaligned: true),
    ] as [UMEM.Geometry])
  func transmit(geometry: UMEM.Geometry) throws {
    try withTestNetwork { network in
      let senderMemory = try UMEM(geometry: geometry, wantsHugePages: false)
      let receiverMemory = try UMEM(geometry: geometry, wantsHugePages: false)
      var senderPool = senderMemory.makePool()
      var receiverPool = receiverMemory.makePool()
      var sender = try XDPSocket(
        memory: senderMemory, pool: &senderPool, interface: try network.near(), queue: 0,
        options: .init(receiveEntryCount: 0, transmitEntryCount: 64))
      #expect(senderPool.count == 256 && sender.transmitNeedsWakeup)
      let far = try network.far()
      var receiver = try XDPSocket(
        memory: receiverMemory, pool: &receiverPool, interface: far, queue: 0, options: .init(fillEntryCount: 128))
      let program = try RedirectProgram(interface: far, withMetadata: false)
      try program.insert(queue: 0, socket: receiver.descriptor.rawValue)
      // An offset in the frame, as unaligned memory writes it.
      let offset: UInt64 = geometry.isUnaligned ? 100 << 48 : 100
      try expectDelivery(of: frames(500), offset: offset, from: &sender, &senderPool, to: &receiver, &receiverPool)
      #expect(sender.frames(pool: senderPool).areConserved && senderPool.count == 256)
      #expect(receiver.frames(pool: receiverPool).areConserved)
      #expect(try sender.statistics().txInvalidDescriptors == 0)
      #expect(try receiver.statistics() == XDPStatistics())
    }
  }

  @Test("Two interfaces share one memory: packets are forwarded without a copy, each frame in one place")
  func sharedMemory() throws {
    try withTestNetwork { network in
      let memory = try UMEM(geometry: .init(frameCount: 512), wantsHugePages: false)
      var pool = memory.makePool()
      let near = try network.near()
      let far = try network.far()
      let options = XDPSocket.Options(fillEntryCount: 64, receiveEntryCount: 64, transmitEntryCount: 64)
      var first = try XDPSocket(memory: memory, pool: &pool, interface: near, queue: 0, options: options)
      var second = try XDPSocket(
        memory: memory, pool: &pool, interface: far, queue: 0, options: options, sharing: first.descriptor.rawValue)
      #expect(second.copyReason == "the memory's first socket copies" && pool.count == 384)
      let toFirst = try RedirectProgram(interface: near, withMetadata: false)
      try toFirst.insert(queue: 0, socket: first.descriptor.rawValue)
      let toSecond = try RedirectProgram(interface: far, withMetadata: false)
      try toSecond.insert(queue: 0, socket: second.descriptor.rawValue)

      // Out of one end, in at the other, from there back, in place.
      let sent = frames(32)
      #expect(try first.transmit(sent[...], pool: &pool) == 32)
      var count: UInt32 = 0
      #expect(eventually {
        count = second.available(limit: 64)
        return count == 32
      })
      for index in 0..<count {
        let packet = second.received(index)
        #expect(Array(second.bytes(of: packet)) == sent[Int(index)])
        second.setTransmit(index, packet)
      }
      #expect(second.transmitRoom(limit: 64) == 64)
      second.releaseReceived(count)
      second.submitTransmit(count)
      while second.transmitPending > 0 { try second.kick() }
      var collector = Collector()
      #expect(first.receive(32, pool: &pool, into: &collector) == true)
      #expect(collector.frames == sent)
      #expect(first.reclaimAll(into: &pool) == true)
      #expect(second.reclaimAll(into: &pool) == true)
      second.refill(from: &pool)
      var counts = first.frames(pool: pool)
      counts.add(second)
      #expect(counts.areConserved, "\(counts)")
      #expect(counts.transmit == 0 && counts.receive == 0)
    }
  }

  @Test("A packet of 8,000 bytes comes in several buffers, is handed over whole, and goes out again in several")
  func severalBuffers() throws {
    try withTestNetwork { network in
      try Shell.run("ip link set near mtu 9000 && ip link set far mtu 9000")
      let near = try network.near()
      let far = try network.far()
      let geometry = UMEM.Geometry(frameCount: 256, frameByteCount: 4096)
      let memory = try UMEM(geometry: geometry, wantsHugePages: false)
      var pool = memory.makePool()
      let options = XDPSocket.Options(fillEntryCount: 64, transmitEntryCount: 64, usesFragments: true)
      var socket = try XDPSocket(memory: memory, pool: &pool, interface: near, queue: 0, options: options)
      #expect(socket.usesFragments == true)
      let program = try RedirectProgram(interface: near, withMetadata: false, takesFragments: true)
      try program.insert(queue: 0, socket: socket.descriptor.rawValue)
      var sender = try FrameSender(interface: far)
      let sent = frames(40) { [60, 3000, 8000, 9000, 4000][$0 % 5] }
      var collector = Collector()
      for (index, frame) in sent.enumerated() {
        try sender.send(frame)
        try #require(
          socket.receive(index + 1, pool: &pool, into: &collector) == true,
          "\(String(describing: try? socket.statistics()))")
      }
      #expect(collector.frames == sent)
      #expect(collector.bufferCounts[0] == 1 && collector.bufferCounts[2] >= 2)
      #expect(socket.frames(pool: pool).areConserved)

      // Back out: the other end has a socket of the same kind.
      let farMemory = try UMEM(geometry: geometry, wantsHugePages: false)
      var farPool = farMemory.makePool()
      var other = try XDPSocket(memory: farMemory, pool: &farPool, interface: far, queue: 0, options: options)
      let farProgram = try RedirectProgram(interface: far, withMetadata: false, takesFragments: true)
      try farProgram.insert(queue: 0, socket: other.descriptor.rawValue)
      let frame = sent[2]
      let cuts = [0, 3000, 6000, 8000]
      for index in 0..<3 {
        let part = frame[cuts[index]..<cuts[index + 1]]
        let packet = PacketDescriptor(
          address: pool.take(), byteCount: UInt32(part.count), options: index < 2 ? PacketDescriptor.continued : 0)
        socket.bytes(of: packet).copyBytes(from: part)
        socket.setTransmit(UInt32(index), packet)
      }
      socket.submitTransmit(3)
      while socket.transmitPending > 0 { try socket.kick() }
      var echo = Collector()
      #expect(other.receive(1, pool: &farPool, into: &echo) == true)
      #expect(echo.frames == [frame])
      #expect(socket.reclaimAll(into: &pool) == true)
      #expect(socket.frames(pool: pool).areConserved)
    }
  }

  @Test("Without need-wakeup, with busy polling and with a transmit budget, packets arrive all the same")
  func options() throws {
    try withTestNetwork { network in
      let memory = try UMEM(geometry: .init(frameCount: 256), wantsHugePages: false)
      var senderPool = memory.makePool()
      var sender = try XDPSocket(
        memory: memory, pool: &senderPool, interface: try network.near(), queue: 0,
        options: .init(
          receiveEntryCount: 0, transmitEntryCount: 64, usesNeedWakeup: false, busyPoll: .init(), transmitBudget: 64))
      #expect(sender.transmitNeedsWakeup == true)
      let far = try network.far()
      let receiverMemory = try UMEM(geometry: .init(frameCount: 256), wantsHugePages: false)
      var receiverPool = receiverMemory.makePool()
      var receiver = try XDPSocket(
        memory: receiverMemory, pool: &receiverPool, interface: far, queue: 0,
        options: .init(usesNeedWakeup: false, busyPoll: .init(budget: 16, microseconds: 5)))
      #expect(receiver.needsWakeup == false)
      let program = try RedirectProgram(interface: far, withMetadata: false)
      try program.insert(queue: 0, socket: receiver.descriptor.rawValue)
      try expectDelivery(of: frames(200), from: &sender, &senderPool, to: &receiver, &receiverPool)
    }
  }

  @Test("Rings and budgets that cannot be are refused with the rule, and the frames are back")
  func refusals() throws {
    try withTestNetwork { network in
      let near = try network.near()
      let memory = try UMEM(geometry: .init(frameCount: 256), wantsHugePages: false)
      var pool = memory.makePool()
      let refused: [(XDPSocket.Options, CInt, String)] = [
        (.init(transmitEntryCount: 100), EINVAL, "power of two"),
        (.init(transmitEntryCount: 64, completionEntryCount: 0), EINVAL, "power of two"),
        (.init(receiveEntryCount: 0), EINVAL, "receives, transmits or both"),
        (.init(transmitEntryCount: 64, transmitBudget: 128), EACCES, "size of the transmit ring"),
        (.init(transmitEntryCount: 64, transmitBudget: 31), EACCES, "32 to 64"),
        (.init(zeroCopy: .required, isProgramNative: false), EOPNOTSUPP, "native"),
      ]
      for (options, code, remedy) in refused {
        let error = expectError {
          _ = try XDPSocket(memory: memory, pool: &pool, interface: near, queue: 0, options: options)
        }
        #expect(error?.code == code && error?.remedy?.contains(remedy) == true, "\(String(describing: error))")
        #expect(pool.count == 256)
      }
    }
  }

  @Test("Under a generic program a socket copies and says why")
  func generic() throws {
    try withTestNetwork { network in
      let memory = try UMEM(geometry: .init(frameCount: 64), wantsHugePages: false)
      var pool = memory.makePool()
      let socket = try XDPSocket(
        memory: memory, pool: &pool, interface: try network.near(), queue: 0, options: .init(isProgramNative: false))
      #expect(!socket.isZeroCopy && socket.copyReason == "the program is attached in generic mode")
    }
  }

  @Test("The kernel fills in the checksum that transmit metadata asks for; a wrong room for it is refused")
  func checksum() throws {
    try withTestNetwork { network in
      let geometry = UMEM.Geometry(
        frameCount: 64, transmitMetadataByteCount: 24, computesChecksumsInSoftware: true)
      let memory = try UMEM(geometry: geometry, wantsHugePages: false)
      var pool = memory.makePool()
      var sender = try XDPSocket(
        memory: memory, pool: &pool, interface: try network.near(), queue: 0,
        options: .init(receiveEntryCount: 0, transmitEntryCount: 64))
      let far = try network.far()
      let farMemory = try UMEM(geometry: .init(frameCount: 64), wantsHugePages: false)
      var farPool = farMemory.makePool()
      var receiver = try XDPSocket(memory: farMemory, pool: &farPool, interface: far, queue: 0)
      let program = try RedirectProgram(interface: far, withMetadata: false)
      try program.insert(queue: 0, socket: receiver.descriptor.rawValue)

      // The sum of bytes 20 to 63, to be put at byte 40.
      var frame = testFrame(slot: 1, number: 0)
      frame.replaceSubrange(40..<42, with: [0, 0])
      let plain = PacketDescriptor(address: pool.take() + 256, byteCount: 64)
      sender.bytes(of: plain).copyBytes(from: frame)
      let packet = sender.request(.init(checksum: .init(start: 20, offset: 20)), for: plain)
      sender.setTransmit(0, packet)
      sender.submitTransmit(1)
      while sender.transmitPending > 0 { try sender.kick() }
      var collector = Collector()
      #expect(receiver.receive(1, pool: &farPool, into: &collector) == true)
      var sum: UInt32 = 0
      for offset in stride(from: 20, to: 64, by: 2) { sum += UInt32(frame[offset]) << 8 | UInt32(frame[offset + 1]) }
      while sum > 0xffff { sum = sum >> 16 + sum & 0xffff }
      frame[40] = UInt8(~sum >> 8 & 0xff)
      frame[41] = UInt8(~sum & 0xff)
      #expect(collector.frames == [frame])
      #expect(sender.reclaimAll(into: &pool) == true)
      #expect(pool.count == 64)
    }
    for byteCount in [8, 20, 256] as [UInt32] {
      #expect(expectError { _ = try UMEM(geometry: .init(transmitMetadataByteCount: byteCount)) }?.code == EINVAL)
    }
  }
}

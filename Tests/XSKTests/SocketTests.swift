import Glibc
import LinuxSystem
import NetworkSupport
import Testing
import XSK

private func open(
  _ interface: NetworkInterface, queue: UInt32 = 0, pool: inout FramePool, geometry: UMEM.Geometry,
  options: XDPSocket.Options = .init()
) throws(SystemError) -> XDPSocket {
  let memory = try UMEM(geometry: geometry, wantsHugePages: false)
  return try XDPSocket(memory: memory, pool: &pool, interface: interface, queue: queue, options: options)
}

private let small = UMEM.Geometry(frameCount: 256, frameByteCount: 2048)

@Suite("AF_XDP socket on veth", .serialized)
struct SocketTests {
  @Test("Every frame sent arrives whole, with its metadata, and frames are conserved", arguments: [false, true])
  func receive(withMetadata: Bool) throws {
    try withTestNetwork { network in
      let near = try network.near()
      var pool = FramePool(frameCount: small.frameCount, frameByteCount: small.frameByteCount)
      var socket = try open(near, pool: &pool, geometry: small)
      #expect(socket.isZeroCopy == false)
      #expect(socket.copyReason?.contains("veth") == true)
      #expect(pool.count == 0 && socket.frames(pool: pool).fill == 256)
      let program = try RedirectProgram(interface: near, withMetadata: withMetadata)
      try program.insert(queue: 0, socket: socket.descriptor.rawValue)
      var sender = try FrameSender(interface: try network.far())
      var collector = Collector()
      let sent = (0..<1000).map { testFrame(slot: UInt8($0 % 256), number: UInt32($0), byteCount: 60 + $0 % 1400) }
      let before = SystemClock.monotonicNanoseconds()
      for batch in stride(from: 0, to: sent.count, by: 100) {
        for frame in sent[batch..<batch + 100] { try sender.send(frame) }
        let isThere = eventually {
          while socket.receive(limit: 64, pool: &pool, into: &collector) > 0 {}
          return collector.frames.count == batch + 100
        }
        #expect(isThere, "\(collector.frames.count) of \(batch + 100), \(String(describing: try? socket.statistics()))")
        #expect(socket.frames(pool: pool).areConserved)
        socket.refill(from: &pool)
        #expect(socket.frames(pool: pool).areConserved && pool.count == 0)
      }
      // At rest the rings' own indices agree: nothing sticks between them.
      let atRest = socket.frames(pool: pool)
      #expect(atRest.fill == 256 && atRest.receive == 0 && atRest.inFlight == 0)
      #expect(collector.frames == sent)
      #expect(try socket.statistics() == XDPStatistics())
      if withMetadata {
        let after = SystemClock.monotonicNanoseconds()
        for (index, metadata) in collector.metadata.enumerated() {
          #expect(metadata.first == 0x6563_6975 && metadata.second == UInt32(index % 256))
          #expect((before...after).contains(metadata.last))
        }
      } else {
        #expect(collector.metadata.allSatisfy { $0.first != 0x6563_6975 })
      }
    }
  }

  @Test("A frame too long for the UMEM's frames is dropped and counted")
  func tooLong() throws {
    try withTestNetwork { network in
      try Shell.run("ip link set near mtu 3000 && ip link set far mtu 3000")
      let near = try network.near()
      var pool = FramePool(frameCount: small.frameCount, frameByteCount: small.frameByteCount)
      var socket = try open(near, pool: &pool, geometry: small)
      let program = try RedirectProgram(interface: near, withMetadata: false)
      try program.insert(queue: 0, socket: socket.descriptor.rawValue)
      var sender = try FrameSender(interface: try network.far())
      try sender.send(testFrame(slot: 0, number: 0, byteCount: 2500))
      #expect(eventually { (try? socket.statistics().rxDropped) == 1 })
      var collector = Collector()
      #expect(socket.receive(limit: 64, pool: &pool, into: &collector) == 0)
      #expect(socket.frames(pool: pool).areConserved)
    }
  }

  @Test("A full receive ring drops, counts, and loses no frame")
  func ringFull() throws {
    try withTestNetwork { network in
      let near = try network.near()
      var pool = FramePool(frameCount: small.frameCount, frameByteCount: small.frameByteCount)
      var socket = try open(
        near, pool: &pool, geometry: small, options: .init(fillEntryCount: 128, receiveEntryCount: 16))
      #expect(pool.count == 128)
      let program = try RedirectProgram(interface: near, withMetadata: true)
      try program.insert(queue: 0, socket: socket.descriptor.rawValue)
      var sender = try FrameSender(interface: try network.far())
      for number in 0..<40 { try sender.send(testFrame(slot: 1, number: UInt32(number))) }
      #expect(eventually { (try? socket.statistics().rxRingFull) == 24 })
      let counts = socket.frames(pool: pool)
      #expect(counts.areConserved && counts.receive == 16 && counts.inFlight <= 1)
      var collector = Collector()
      #expect(socket.receive(limit: 64, pool: &pool, into: &collector) == 16)
      socket.refill(from: &pool)
      #expect(socket.frames(pool: pool).areConserved)
    }
  }

  @Test("A busy queue is retried, then refused by name, and the frames are back")
  func busy() throws {
    try withTestNetwork { network in
      let near = try network.near()
      var firstPool = FramePool(frameCount: small.frameCount, frameByteCount: small.frameByteCount)
      let first = try open(near, pool: &firstPool, geometry: small)
      var pool = FramePool(frameCount: small.frameCount, frameByteCount: small.frameByteCount)
      let start = SystemClock.monotonicNanoseconds()
      let error = expectError {
        _ = try open(near, pool: &pool, geometry: small, options: .init(bindTimeoutMilliseconds: 100))
      }
      #expect(error?.code == EBUSY && error?.operation == "bind" && error?.subject == "near queue 0")
      #expect(error?.remedy?.contains("another AF_XDP socket") == true)
      #expect(SystemClock.monotonicNanoseconds() - start >= 100_000_000)
      #expect(pool.count == 256)
      _ = consume first
    }
  }

  @Test("A queue can be taken again right after its socket closed")
  func reopen() throws {
    try withTestNetwork { network in
      let near = try network.near()
      for _ in 0..<5 {
        var pool = FramePool(frameCount: small.frameCount, frameByteCount: small.frameByteCount)
        let socket = try open(near, pool: &pool, geometry: small)
        #expect(socket.frames(pool: pool).areConserved)
      }
    }
  }

  @Test("Zero-copy required of veth, a queue that isn't there, an interface that is gone: each error says what helps")
  func refusals() throws {
    try withTestNetwork { network in
      let near = try network.near()
      var pool = FramePool(frameCount: small.frameCount, frameByteCount: small.frameByteCount)
      let zeroCopy = expectError {
        _ = try open(near, pool: &pool, geometry: small, options: .init(zeroCopy: .required))
      }
      #expect(zeroCopy?.code == EOPNOTSUPP && zeroCopy?.remedy?.contains("driver veth has no zero-copy") == true)
      let queue = expectError { _ = try open(near, queue: 7, pool: &pool, geometry: small) }
      #expect(queue?.code == EINVAL && queue?.remedy == "near has 1 receive queues")
      var gone = near
      gone.index = 4711
      let missing = expectError { _ = try open(gone, pool: &pool, geometry: small) }
      #expect(missing?.code == ENODEV && missing?.remedy != nil)
      #expect(pool.count == 256)
      let ring = expectError { _ = try open(near, pool: &pool, geometry: small, options: .init(fillEntryCount: 100)) }
      #expect(ring?.code == EINVAL && ring?.remedy?.contains("power of two") == true)
    }
  }

  @Test(
    "A geometry that cannot be is refused with the rule",
    arguments: [(0, 2048, 0), (1 << 20 + 1, 2048, 0), (64, 1024, 0), (64, 3000, 0), (64, 8192, 0), (64, 2048, 2048)]
      as [(UInt32, UInt32, UInt32)])
  func geometry(frameCount: UInt32, frameByteCount: UInt32, headroom: UInt32) {
    let error = expectError {
      _ = try UMEM(
        geometry: .init(frameCount: frameCount, frameByteCount: frameByteCount, headroomByteCount: headroom))
    }
    #expect(error?.code == EINVAL && error?.remedy != nil)
  }

  @Test(
    "Frames fit the MTU", arguments: [(1500, 2048), (1770, 2048), (1771, 4096), (9000, 4096)] as [(UInt32, UInt32)])
  func frameSize(mtu: UInt32, expected: UInt32) {
    #expect(UMEM.Geometry.frameByteCount(forMTU: mtu) == expected)
  }

  @Test("Without huge pages a UMEM takes ordinary ones and says why")
  func hugePages() throws {
    let memory = try UMEM(geometry: .init(frameCount: 1 << 16, frameByteCount: 2048))
    #expect(memory.hasHugePages == (memory.hugePageRefusal == nil))
    if let refusal = memory.hugePageRefusal { #expect(refusal.remedy?.contains("vm.nr_hugepages") == true) }
    if Topology.nodes().count == 1 { #expect(memory.placement == .singleNode && memory.placement.node == -1) }
  }
}

import LinuxSystem
import RuleCompiler
import Rules
import XDPPrograms
import XSK

/// Bytes of a generation without rules that passes everything.
func passEverything<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) throws -> Result {
  let none = RuleSet(name: "probe", malformed: MalformedPolicy(fate: .pass))
  let compiled = try compile(
    none, slots: { _ in 1 }, interfaceIndex: { _ in nil }, generation: 1, captureFallback: .pass)
  return try compiled.withUnsafeBytes { bytes in Swift.Result { try body(bytes) } }.get()
}

/// Frames from one NIC to the other and back, each looked at.
struct Exchange {
  private let names: (String, String)
  private let wantsZeroCopy: Bool
  private let sharesMemory: Bool
  private static let count: UInt32 = 1000
  private static let lengths = [60, 333, 1514]

  init(_ first: String, _ second: String, mode: String, sharesMemory: Bool) {
    names = (first, second)
    wantsZeroCopy = mode == "zero-copy"
    self.sharesMemory = sharesMemory
  }

  func run() throws {
    let first = try Port(names.0)
    let second = try Port(names.1)
    let geometry = UMEM.Geometry(frameCount: 4096, frameByteCount: 4096)
    var options = XDPSocket.Options(
      zeroCopy: wantsZeroCopy ? .required : .off, fillEntryCount: 1024, receiveEntryCount: 1024, transmitEntryCount: 1024)
    options.isProgramNative = first.program.isNative && second.program.isNative
    let memory = try UMEM(geometry: geometry, numaNode: first.interface.numaNode(), wantsHugePages: true)
    var pool = memory.makePool()
    var a = try XDPSocket(memory: memory, pool: &pool, interface: first.interface, queue: 0, options: options)
    try first.deliver(to: a)
    if sharesMemory {
      var b = try XDPSocket(
        memory: memory, pool: &pool, interface: second.interface, queue: 0, options: options,
        sharing: a.descriptor.rawValue)
      try second.deliver(to: b)
      check(a.isZeroCopy, b.isZeroCopy)
      for length in Exchange.lengths {
        try send(length, from: &a, &pool, to: &b)
      }
      let frames = pool.count + a.outstandingFrames + b.outstandingFrames
      claim("shared memory: no frame is lost or doubled (\(frames) of \(geometry.frameCount))", frames == geometry.frameCount)
    } else {
      let otherMemory = try UMEM(geometry: geometry, numaNode: second.interface.numaNode(), wantsHugePages: true)
      var otherPool = otherMemory.makePool()
      var b = try XDPSocket(
        memory: otherMemory, pool: &otherPool, interface: second.interface, queue: 0, options: options)
      try second.deliver(to: b)
      check(a.isZeroCopy, b.isZeroCopy)
      for length in Exchange.lengths {
        try send(length, from: &a, &pool, to: &b, &otherPool)
        try send(length, from: &b, &otherPool, to: &a, &pool)
      }
      claim(
        "frames are conserved on both sides",
        a.frames(pool: pool).areConserved && b.frames(pool: otherPool).areConserved)
    }
  }

  private func check(_ first: Bool, _ second: Bool) {
    claim(
      "\(names.0) and \(names.1): the sockets \(wantsZeroCopy ? "are" : "are not") zero-copy",
      first == wantsZeroCopy && second == wantsZeroCopy)
  }

  private func send(
    _ length: Int, from a: inout XDPSocket, _ pool: inout FramePool, to b: inout XDPSocket
  ) throws {
    var flight = Flight(length: length)
    while try flight.isGoing() {
      try flight.transmit(&a, &pool, count: Exchange.count)
      flight.receive(&b, &pool)
    }
    report(flight, length)
  }

  private func send(
    _ length: Int, from a: inout XDPSocket, _ pool: inout FramePool, to b: inout XDPSocket, _ otherPool: inout FramePool
  ) throws {
    var flight = Flight(length: length)
    while try flight.isGoing() {
      try flight.transmit(&a, &pool, count: Exchange.count)
      flight.receive(&b, &otherPool)
    }
    report(flight, length)
  }

  private func report(_ flight: Flight, _ length: Int) {
    claim(
      "\(Exchange.count) frames of \(length) bytes: \(flight.sent) sent, \(flight.arrived) arrived whole, \(flight.wrong) wrong",
      flight.sent == Exchange.count && flight.arrived == Exchange.count && flight.wrong == 0)
  }
}

extension XDPSocket {
  /// Frames that are with the kernel or in the rings.
  fileprivate var outstandingFrames: UInt32 {
    let pool = FramePool(frameCount: 1, frameByteCount: 2048)
    let frames = frames(pool: pool)
    return frames.fill &+ frames.receive &+ frames.inFlight &+ inTransmit
  }
}

/// Numbered frames on their way. The EtherType is one for experiments (IEEE 802 EtherType 1), so that a NIC hashes all of
/// them to queue 0.
struct Flight {
  let length: Int
  private(set) var sent: UInt32 = 0
  private(set) var arrived: UInt32 = 0
  private(set) var wrong: UInt32 = 0
  private var completed: UInt32 = 0
  private let deadline = SystemClock.monotonicNanoseconds() + 30_000_000_000

  init(length: Int) { self.length = length }

  func isGoing() throws -> Bool {
    (arrived + wrong < 1000 || completed < sent) && SystemClock.monotonicNanoseconds() < deadline
  }

  mutating func transmit(_ socket: inout XDPSocket, _ pool: inout FramePool, count: UInt32) throws {
    // What is under way is bounded: an emulated NIC drops what its ring has no room for.
    let underWay = sent - min(sent, arrived + wrong)
    let allowed = min(count - sent, 128 - min(128, underWay))
    let room = min(socket.transmitRoom(limit: min(64, allowed)), pool.count)
    for index in 0..<room {
      let packet = PacketDescriptor(address: pool.take(), byteCount: UInt32(length))
      let bytes = socket.bytes(of: packet)
      for offset in 0..<length { bytes[offset] = pattern(offset, number: sent + index) }
      socket.setTransmit(index, packet)
    }
    if room > 0 { socket.submitTransmit(room) }
    sent += room
    if socket.inTransmit > 0 { try socket.kick() }
    completed += socket.reclaim(into: &pool)
  }

  mutating func receive(_ socket: inout XDPSocket, _ pool: inout FramePool) {
    let count = socket.available(limit: 64)
    for index in 0..<count {
      let packet = socket.received(index)
      let bytes = socket.bytes(of: packet)
      let isWhole = bytes.count >= length && (0..<length).allSatisfy { bytes[$0] == pattern($0, number: arrived + wrong) }
      if isWhole { arrived += 1 } else { wrong += 1 }
      pool.put(packet.address)
    }
    if count > 0 { socket.releaseReceived(count) }
    socket.refill(from: &pool)
    if socket.needsWakeup { socket.wake() }
  }

  private func pattern(_ offset: Int, number: UInt32) -> UInt8 {
    switch offset {
    case 0..<6: 0xff
    case 6..<12: [0x02, 0, 0, 0, 0, 0x09][offset - 6]
    case 12: 0x88
    case 13: 0xb5
    default: UInt8(truncatingIfNeeded: UInt32(offset) &* 31 &+ number)
    }
  }
}

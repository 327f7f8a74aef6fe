import LinuxSystem
import TestSupport
import Testing

@testable import XSK

@Suite("Lent frames")
struct FrameLenderTests {
  /// A packet thread without a socket: packets are put where the kernel would put them.
  private struct Thread: ~Copyable {
    let memory: UMEM
    let lender: FrameLender
    var pool: FramePool
    var held: [UInt64] = []

    init(frameCount: UInt32 = 64) throws {
      memory = try UMEM(geometry: UMEM.Geometry(frameCount: frameCount), wantsHugePages: false)
      lender = FrameLender(memory)
      pool = memory.makePool()
    }

    /// Nil where there is no frame.
    mutating func offer(_ bytes: [UInt8], _ ring: RecordRing, slot: UInt32 = 1, headroom: UInt64 = 256) -> RecordOutcome? {
      if pool.count == 0 { return nil }
      let frame = pool.take()
      let place = UnsafeMutableRawBufferPointer(start: memory.base + Int(frame + headroom), count: bytes.count)
      place.copyBytes(from: bytes)
      let outcome = ring.producer.append(place.mutableBytes, slot: slot, timestampNanoseconds: 5)
      if outcome != .lent { pool.put(frame) }
      return outcome
    }

    mutating func takeBack() { lender.loan.takeBack(into: &pool) }
    var isConserved: Bool { pool.count + lender.loan.count == memory.geometry.frameCount }
  }

  private func ring(
    _ lender: FrameLender?, byteCount: Int = 1 << 16, options: PacketOptions? = nil, snap: UInt32 = 262_144
  ) throws -> RecordRing {
    try RecordRing(
      byteCount: byteCount, admission: RecordAdmission(snapByteCount: snap),
      options: try options ?? PacketOptions(standard: [0, 0, 0, 0]), queue: 2, lender: lender, wake: WakeSignal())
  }

  @Test("A block around a packet in its frame is the block that a copy has")
  func isTheSameBlock() throws {
    var thread = try Thread()
    let options = try PacketOptions(standard: [0, 0, 0, 0])
    options.set([1, 0, 4, 0, 65, 66, 67, 68, 0, 0, 0, 0], of: 7)
    let (lent, copied) = (try ring(thread.lender, options: options), try ring(nil, options: options))
    for length in 500..<600 {
      let bytes = (0..<length).map { UInt8(truncatingIfNeeded: $0 * 7 + 1) }
      for slot in [1, 7] as [UInt32] {
        #expect(thread.offer(bytes, copied, slot: slot) == .copied)
        #expect(thread.offer(bytes, lent, slot: slot) == (length >= 512 ? .lent : .copied))
        #expect(lent.firstBlockByteCount == copied.firstBlockByteCount)
        var blocks: [[UInt8]] = []
        for ring in [lent, copied] { ring.read(packetLimit: 1, byteLimit: .max) { blocks.append($0.bytes + [UInt8($1)]) } }
        #expect(blocks.count == 2 && blocks[0] == blocks[1])
        thread.takeBack()
        #expect(thread.pool.count == 64)
      }
    }
  }

  @Test("Whatever is offered and read in whatever order: each packet comes out once, in order, and no frame is lost")
  func model() throws {
    var random = SeededGenerator(announcing: "FrameLenderTests.model")
    var thread = try Thread()
    let ring = try ring(thread.lender, byteCount: 8192)
    var expected: [[UInt8]] = []
    var lent = 0
    for step in 0..<20_000 {
      switch UInt8.random(in: 0...4, using: &random) {
      case 0...2:
        let length = Int.random(in: 60...1500, using: &random)
        let bytes = (0..<length).map { UInt8(truncatingIfNeeded: $0 &+ step) }
        guard let outcome = thread.offer(bytes, ring) else { break }
        if outcome == .lent { lent += 1 }
        if outcome != .none { expected.append(bytes) }
      case 3:
        let limit = UInt64.random(in: 0...9, using: &random)
        var taken: [[UInt8]] = []
        let count = ring.read(packetLimit: limit, byteLimit: .max) { pieces, packets in
          var rest = pieces.bytes[...]
          while !rest.isEmpty {
            let word = { (offset: Int) in Int(rest[rest.startIndex + offset]) | Int(rest[rest.startIndex + offset + 1]) << 8 }
            taken.append(Array(rest.dropFirst(28).prefix(word(20))))
            rest = rest.dropFirst(word(4))
          }
          #expect(taken.count == Int(packets))
          #expect(PacketBlock.measure(pieces, byteLimit: .max) == (pieces.byteCount, packets))
          // A cut within a block keeps the blocks before it.
          let cut = PacketBlock.measure(pieces, byteLimit: UInt64(pieces.byteCount - 1))
          #expect(cut.packets == packets - 1 && cut.byteCount < pieces.byteCount)
        }
        #expect(count <= limit && taken == Array(expected.prefix(Int(count))))
        expected.removeFirst(Int(count))
      default: thread.takeBack()
      }
      #expect(thread.isConserved && thread.lender.loan.count <= 32, "step \(step)")
    }
    #expect(lent > 1000)
  }

  @Test("What cannot be lent is copied: cut packets, frames without room, packets elsewhere, more than half the frames")
  func copiesOthers() throws {
    var thread = try Thread()
    let large = [UInt8](repeating: 9, count: 1400)
    #expect(thread.offer(large, try ring(thread.lender, snap: 1000)) == .copied)
    let ring = try ring(thread.lender, byteCount: 1 << 18)
    #expect(thread.offer(large, ring, headroom: 27) == .copied)
    #expect(thread.offer(large, ring, headroom: 28) == .lent)
    // Behind the packet: the queue's option, the end of options, the length.
    #expect(thread.offer(large, ring, headroom: 2048 - 1400 - 15) == .copied)
    #expect(thread.offer(large, ring, headroom: 2048 - 1400 - 16) == .lent)
    var elsewhere = large
    var span = elsewhere.mutableSpan
    #expect(ring.producer.append(span.mutableBytes, slot: 1, timestampNanoseconds: 0) == .copied)
    for number in 2..<40 { #expect(thread.offer(large, ring) == (number < 32 ? .lent : .copied)) }
    var byteCount = 0
    #expect(ring.read(packetLimit: .max, byteLimit: .max) { pieces, _ in byteCount = pieces.byteCount } == 43)
    #expect(byteCount == 43 * 1444)  // 32 around the packet, and 12 of options
  }

  @Test("One ring borrows at a time; what nobody read comes back with the ring")
  func isForOne() throws {
    var thread = try Thread()
    let large = [UInt8](repeating: 9, count: 1400)
    do {
      let first = try ring(thread.lender)
      let second = try ring(thread.lender)
      #expect(thread.offer(large, second) == .copied)
      for _ in 0..<10 { #expect(thread.offer(large, first) == .lent) }
      thread.takeBack()
      #expect(thread.pool.count == 54)
    }
    thread.takeBack()
    #expect(thread.pool.count == 64 && thread.isConserved)
    let third = try ring(thread.lender)
    #expect(thread.offer(large, third) == .lent)
  }
}

import LinuxSystem
import Synchronization
import TestSupport
import Testing
import XSK

private func offer(
  _ producer: RecordProducer, _ bytes: [UInt8], slot: UInt32 = 1, time: UInt64 = 0
) -> Bool {
  var bytes = bytes
  var span = bytes.mutableSpan
  let packet = span.mutableBytes
  return producer.append(packet, slot: slot, timestampNanoseconds: time) == .copied
}

/// A block of the ring, taken apart.
private struct Block: Hashable {
  var bytes: [UInt8]
  var original: UInt32
  var time: UInt64
  var options: [UInt8]

  init(bytes: [UInt8], original: UInt32, time: UInt64, options: [UInt8]) {
    self.bytes = bytes
    self.original = original
    self.time = time
    self.options = options
  }

  /// Nil where it is no enhanced packet block of interface 0 with zeroed padding and both lengths.
  init?(_ block: [UInt8]) {
    let word = { (offset: Int) in
      (0..<4).reduce(UInt32(0)) { $0 | UInt32(block[offset + $1]) << UInt32(8 * $1) }
    }
    guard block.count >= 32, word(0) == 6, word(4) == block.count, word(block.count - 4) == block.count, word(8) == 0
    else { return nil }
    time = UInt64(word(12)) << 32 | UInt64(word(16))
    let captured = Int(word(20))
    original = word(24)
    let padded = (captured + 3) / 4 * 4
    bytes = Array(block[28..<28 + captured])
    guard block[28 + captured..<28 + padded].allSatisfy({ $0 == 0 }) else { return nil }
    options = Array(block[(28 + padded)..<(block.count - 4)])
  }
}

extension RecordRing {
  /// Reads up to so many blocks, one at a time.
  fileprivate func take(_ limit: Int = .max) -> [Block?] {
    var blocks: [Block?] = []
    while blocks.count < limit {
      let count = read(packetLimit: 1, byteLimit: .max) { pieces, _ in blocks.append(Block(pieces.bytes)) }
      if count == 0 { break }
    }
    return blocks
  }

  fileprivate convenience init(
    byteCount: Int, admission: RecordAdmission = RecordAdmission(), wake: WakeSignal? = nil, queue: UInt32? = nil
  ) throws {
    try self.init(
      byteCount: byteCount, admission: admission, options: try PacketOptions(), queue: queue,
      wake: try wake ?? WakeSignal())
  }
}

@Suite("Record ring")
struct RecordRingTests {
  @Test("Blocks come out as the packets went in; what doesn't fit is counted", arguments: [4096, 8192])
  func model(byteCount: Int) throws {
    var random = SeededGenerator(announcing: "RecordRingTests.model(\(byteCount))")
    let options = try PacketOptions(standard: [0, 0, 0, 0])
    let lists: [[UInt8]] = [[], [1, 0, 1, 0, 65, 0, 0, 0, 0, 0, 0, 0], Array(repeating: 7, count: 200)]
    for (slot, list) in lists.enumerated() { options.set(list, of: UInt32(slot)) }
    let ring = try RecordRing(
      byteCount: byteCount, admission: RecordAdmission(snapByteCount: 500), options: options, queue: 3,
      timeOffset: 1 << 33, wake: WakeSignal())
    let producer = ring.producer
    let queue: [UInt8] = [6, 0, 4, 0, 3, 0, 0, 0]
    var expected: [(block: Block, byteCount: Int)] = []
    var offered: UInt64 = 0
    var refused: UInt64 = 0
    for step in 0..<20_000 {
      if UInt8.random(in: 0...2, using: &random) > 0 {
        let length = Int.random(in: 0...600, using: &random)
        let slot = UInt32.random(in: 0...4, using: &random)
        let bytes = (0..<length).map { UInt8(truncatingIfNeeded: $0 &+ step) }
        let list = queue + (slot < 3 ? lists[Int(slot)] : [0, 0, 0, 0])
        let size = PacketBlock.byteCount(captured: min(length, 500), options: list.count)
        let used = expected.reduce(0) { $0 + $1.byteCount }
        offered += 1
        if offer(producer, bytes, slot: slot, time: UInt64(step)) {
          let block = Block(
            bytes: Array(bytes.prefix(500)), original: UInt32(length), time: UInt64(step) + (1 << 33), options: list)
          expected.append((block, size))
          #expect(used + size <= byteCount, "accepted without room")
        } else {
          refused += 1
          #expect(used + size > byteCount, "refused although there was room")
        }
      } else {
        let limit = Int.random(in: 0...8, using: &random)
        let taken = ring.take(limit)
        #expect(taken == expected.prefix(taken.count).map(\.block))
        #expect(taken.count == min(limit, expected.count))
        expected.removeFirst(taken.count)
        #expect(ring.isEmpty == expected.isEmpty && ring.firstBlockByteCount == expected.first?.byteCount)
      }
    }
    #expect(ring.counters.received == offered && ring.counters.dropped == refused && refused > 0)
  }

  @Test("A read ends with a whole block, within both limits, also across the ring's end")
  func limits() throws {
    let ring = try RecordRing(byteCount: 4096)
    let producer = ring.producer
    for round in 0..<100 {
      for _ in 0..<10 { #expect(offer(producer, Array(repeating: 9, count: 64 + round))) }
      let size = PacketBlock.byteCount(captured: 64 + round, options: 0)
      #expect(ring.byteCountToRead == UInt64(10 * size) && ring.firstBlockByteCount == size)
      var read: [(bytes: Int, packets: UInt64)] = []
      let take = { (packets: UInt64, bytes: UInt64) in
        ring.read(packetLimit: packets, byteLimit: bytes) { read.append(($0.byteCount, $1)) }
      }
      #expect(take(0, .max) == 0 && take(.max, UInt64(size - 1)) == 0 && read.isEmpty)
      #expect(take(3, .max) == 3 && take(.max, UInt64(4 * size - 1)) == 3 && take(.max, UInt64(2 * size)) == 2)
      #expect(take(.max, .max) == 2 && ring.isEmpty)
      #expect(read.map(\.bytes) == [3, 3, 2, 2].map { $0 * size } && read.map(\.packets) == [3, 3, 2, 2])
    }
  }

  @Test("Options follow their slot: changed, shared and given up")
  func options() throws {
    let options = try PacketOptions()
    let ring = try RecordRing(byteCount: 1 << 16, admission: RecordAdmission(), options: options, wake: WakeSignal())
    let producer = ring.producer
    let put = { (slot: UInt32) in
      #expect(offer(producer, [1], slot: slot))
      return ring.take().first??.options
    }
    #expect(put(5) == [])
    options.set([1, 2, 3, 4], of: 5)
    options.set([1, 2, 3, 4], of: 4095)
    #expect(put(5) == [1, 2, 3, 4] && put(4095) == [1, 2, 3, 4])
    options.set([9, 9, 9, 9, 8, 8, 8, 8], of: 5)
    #expect(put(5) == [9, 9, 9, 9, 8, 8, 8, 8] && put(4095) == [1, 2, 3, 4])
    options.set(nil, of: 5)
    options.set([1, 1, 1, 1], of: RecordAdmission.slotLimit)  // no such slot
    #expect(put(5) == [] && put(RecordAdmission.slotLimit) == [] && put(.max) == [])
    // More lists than there is memory for: the standard ones, and no harm.
    for number: UInt32 in 0..<40_000 {
      options.set(withUnsafeBytes(of: number) { Array($0) } + Array(repeating: 5, count: 508), of: 7)
    }
    #expect(put(7) == [] && put(4095) == [1, 2, 3, 4])
  }

  @Test("Sampling keeps the first of every N", arguments: [0, 1, 2, 10, 1000] as [UInt32])
  func sampling(every: UInt32) throws {
    let ring = try RecordRing(byteCount: 1 << 20, admission: RecordAdmission(sampleEvery: every))
    let producer = ring.producer
    for number: UInt64 in 0..<1000 { _ = offer(producer, [1, 2, 3], time: number) }
    let step = UInt64(max(every, 1))
    let kept = ring.take().map { $0?.time }
    #expect(kept == stride(from: 0 as UInt64, to: 1000, by: Int(step)).map { $0 })
    #expect(ring.counters.sampledOut == 1000 - UInt64(kept.count))
  }

  @Test("A filter admits its slots only, and nothing without a slot")
  func filter() throws {
    let last = RecordAdmission.slotLimit - 1
    let admission = RecordAdmission(slots: [0, 63, 64, 4095, last, last + 1], sampleEvery: 1)
    let ring = try RecordRing(byteCount: 1 << 20, admission: admission)
    let producer = ring.producer
    for slot in [0, 1, 62, 63, 64, 65, 4094, 4095, 4096, last, last + 1, .max] as [UInt32] {
      _ = offer(producer, [0], slot: slot, time: UInt64(slot))
    }
    #expect(ring.take().map { $0?.time } == [0, 63, 64, 4095, UInt64(last)])
    #expect(ring.counters.filteredOut == 7)
    ring.admit([63, 65, last])
    for slot in [0, 63, 64, 65, last, .max] as [UInt32] { _ = offer(producer, [0], slot: slot, time: UInt64(slot)) }
    #expect(ring.take().map { $0?.time } == [63, 65, UInt64(last)])
    #expect(ring.counters.filteredOut == 10)
  }

  @Test("Two threads: every record arrives once, in order")
  func threads() throws {
    let wake = try WakeSignal()
    let ring = try RecordRing(byteCount: 1 << 14, wake: wake)
    let board = TapBoard()
    #expect(board.attach(ring) == .attached)
    let total: UInt64 = 200_000
    let thread = try PinnedThread.spawn(name: "producer") {
      var taps = Taps()
      var bytes = [UInt8](repeating: 7, count: 100)
      for number in 0..<total {
        board.refresh(&taps)
        var span = bytes.mutableSpan
        taps.append(span.mutableBytes, slot: 3, timestampNanoseconds: number)
        if number % 64 == 0 { taps.wakeConsumers() }
      }
      taps.wakeConsumers()
      board.close(&taps)
    }
    var last: UInt64?
    var count: UInt64 = 0
    var isOrdered = true
    while !ring.isRetired || !ring.isEmpty {
      let blocks = ring.take(1000)
      for block in blocks {
        guard let block, block.bytes.count == 100, last.map({ block.time > $0 }) != false else {
          isOrdered = false
          continue
        }
        last = block.time
      }
      count += UInt64(blocks.count)
      if blocks.isEmpty { try wake.sleep(timeoutMilliseconds: 1000) { !ring.isEmpty || ring.isRetired } }
    }
    thread.join()
    #expect(isOrdered)
    #expect(ring.counters.received == total && count + ring.counters.dropped == total)
  }

  @Test("A board takes so many rings, gives them back, and refuses after its end")
  func board() throws {
    let wake = try WakeSignal()
    let rings = try (0...TapBoard.slotCount).map { _ in
      try RecordRing(byteCount: 4096, wake: wake)
    }
    let board = TapBoard()
    var taps = Taps()
    for ring in rings.dropLast() { #expect(board.attach(ring) == .attached) }
    #expect(board.attach(rings[TapBoard.slotCount]) == .full)
    board.detach(rings[0])  // never adopted: back at once
    #expect(rings[0].isRetired)
    board.refresh(&taps)
    board.detach(rings[1])
    #expect(!rings[1].isRetired)
    board.detach(rings[1])  // again: no harm
    board.refresh(&taps)
    #expect(rings[1].isRetired && !rings[2].isRetired)
    var bytes: [UInt8] = [1]
    var span = bytes.mutableSpan
    taps.append(span.mutableBytes, slot: 0, timestampNanoseconds: 0)
    #expect(rings.map { $0.counters.received } == [0, 0, 1, 1, 0])
    board.close(&taps)
    #expect(rings[2].isRetired && rings[3].isRetired)
    #expect(board.attach(rings[4]) == .closed)
  }

  @Test("Attach and detach while the packet thread runs: every ring is retired, none is used afterwards")
  func churn() throws {
    let board = TapBoard()
    let isStopping = Flag()
    let thread = try PinnedThread.spawn(name: "producer") {
      var taps = Taps()
      var bytes: [UInt8] = [1, 2, 3, 4]
      while !isStopping.isSet {
        board.refresh(&taps)
        var span = bytes.mutableSpan
        taps.append(span.mutableBytes, slot: 0, timestampNanoseconds: 0)
        taps.wakeConsumers()
      }
      board.close(&taps)
    }
    let wake = try WakeSignal()
    for _ in 0..<2000 {
      let ring = try RecordRing(byteCount: 4096, wake: wake)
      #expect(board.attach(ring) == .attached)
      board.detach(ring)
      while !ring.isRetired { try wake.nap(milliseconds: 100) }
      let received = ring.counters.received
      #expect(ring.counters.received == received)
    }
    isStopping.set()
    thread.join()
  }
}

private final class Flag: Sendable {
  private let value = Atomic<Bool>(false)
  var isSet: Bool { value.load(ordering: .acquiring) }
  func set() { value.store(true, ordering: .releasing) }
}

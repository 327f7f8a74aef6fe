import LinuxSystem
import Synchronization
import Testing
import XSK

private func offer(
  _ producer: RecordProducer, _ bytes: [UInt8], slot: UInt32 = 1, time: UInt64 = 0
) -> Bool {
  var bytes = bytes
  var span = bytes.mutableSpan
  let packet = span.mutableBytes
  return producer.append(packet, slot: slot, timestampNanoseconds: time)
}

private func text(_ span: RawSpan) -> [UInt8] { span.withUnsafeBytes { Array($0) } }

@Suite("Record ring")
struct RecordRingTests {
  @Test("Records come out as they went in; what doesn't fit is counted", arguments: [4096, 8192])
  func model(byteCount: Int) throws {
    let seed = UInt64.random(in: 0 ... .max)
    var random = SeededGenerator(seed: seed)
    let ring = try RecordRing(byteCount: byteCount, admission: RecordAdmission(snapByteCount: 500), wake: WakeSignal())
    let producer = ring.producer
    var expected: [(bytes: [UInt8], original: UInt32, time: UInt64)] = []
    var offered: UInt64 = 0
    var refused: UInt64 = 0
    for step in 0..<20_000 {
      if UInt8.random(in: 0...2, using: &random) > 0 {
        let length = Int.random(in: 0...600, using: &random)
        let bytes = (0..<length).map { UInt8(truncatingIfNeeded: $0 &+ step) }
        offered += 1
        if offer(producer, bytes, time: UInt64(step)) {
          expected.append((Array(bytes.prefix(500)), UInt32(length), UInt64(step)))
        } else {
          refused += 1
          let used = expected.reduce(0) { $0 + ($1.bytes.count + 24 + 7) / 8 * 8 }
          #expect(used + 2 * 528 > byteCount, "refused although there was room, seed \(seed)")
        }
      } else {
        let limit = Int.random(in: 0...8, using: &random)
        let count = ring.drain(limit: limit) { header, bytes in
          let record = expected.removeFirst()
          #expect(text(bytes) == record.bytes && header.originalByteCount == record.original, "seed \(seed)")
          #expect(header.timestampNanoseconds == record.time && header.slot == 1, "seed \(seed)")
        }
        #expect(count <= limit && ring.isEmpty == expected.isEmpty, "seed \(seed)")
      }
    }
    #expect(ring.counters.received == offered && ring.counters.dropped == refused && refused > 0, "seed \(seed)")
  }

  @Test("Sampling keeps the first of every N", arguments: [0, 1, 2, 10, 1000] as [UInt32])
  func sampling(every: UInt32) throws {
    let ring = try RecordRing(byteCount: 1 << 20, admission: RecordAdmission(sampleEvery: every), wake: WakeSignal())
    let producer = ring.producer
    for number: UInt64 in 0..<1000 { _ = offer(producer, [1, 2, 3], time: number) }
    let step = UInt64(max(every, 1))
    var kept: [UInt64] = []
    _ = ring.drain(limit: .max) { header, _ in kept.append(header.timestampNanoseconds) }
    #expect(kept == Array(stride(from: 0 as UInt64, to: 1000, by: Int(step))))
    #expect(ring.counters.sampledOut == 1000 - UInt64(kept.count))
  }

  @Test("A filter admits its slots only, and nothing without a slot")
  func filter() throws {
    let admission = RecordAdmission(slots: [0, 63, 64, 4095, 70_000], sampleEvery: 1)
    let ring = try RecordRing(byteCount: 1 << 20, admission: admission, wake: WakeSignal())
    let producer = ring.producer
    for slot in [0, 1, 62, 63, 64, 65, 4094, 4095, 4096, 70_000, .max] as [UInt32] {
      _ = offer(producer, [0], slot: slot)
    }
    var slots: [UInt32] = []
    _ = ring.drain(limit: .max) { header, _ in slots.append(header.slot) }
    #expect(slots == [0, 63, 64, 4095])
    #expect(ring.counters.filteredOut == 7)
  }

  @Test("Two threads: every record arrives once, in order")
  func threads() throws {
    let wake = try WakeSignal()
    let ring = try RecordRing(byteCount: 1 << 14, admission: RecordAdmission(), wake: wake)
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
      let drained = ring.drain(limit: 1000) { header, bytes in
        if let last, header.timestampNanoseconds <= last { isOrdered = false }
        if bytes.byteCount != 100 { isOrdered = false }
        last = header.timestampNanoseconds
        count += 1
      }
      if drained == 0 { try wake.sleep(timeoutMilliseconds: 1000) { !ring.isEmpty || ring.isRetired } }
    }
    thread.join()
    #expect(isOrdered)
    #expect(ring.counters.received == total && count + ring.counters.dropped == total)
  }

  @Test("A board takes so many rings, gives them back, and refuses after its end")
  func board() throws {
    let wake = try WakeSignal()
    let rings = try (0...TapBoard.slotCount).map { _ in
      try RecordRing(byteCount: 4096, admission: RecordAdmission(), wake: wake)
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
      let ring = try RecordRing(byteCount: 4096, admission: RecordAdmission(), wake: wake)
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

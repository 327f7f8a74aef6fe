import Synchronization
import TestSupport
import Testing
import XSK

/// Memory laid out as the kernel lays out a ring, and the kernel's side of it.
private struct FakeRing<Entry: BitwiseCopyable>: ~Copyable {
  let base: UnsafeMutableRawPointer
  let entryCount: UInt32

  init(entryCount: UInt32, start: UInt32) {
    self.entryCount = entryCount
    base = .allocate(byteCount: 192 + Int(entryCount) * MemoryLayout<Entry>.stride, alignment: 64)
    base.initializeMemory(as: UInt8.self, repeating: 0, count: 192)
    for offset in [0, 64] { base.storeBytes(of: start, toByteOffset: offset, as: UInt32.self) }
  }

  deinit { base.deallocate() }

  var producer: UInt32 {
    get { base.load(as: UInt32.self) }
    nonmutating set { base.storeBytes(of: newValue, as: UInt32.self) }
  }
  var consumer: UInt32 {
    get { base.load(fromByteOffset: 64, as: UInt32.self) }
    nonmutating set { base.storeBytes(of: newValue, toByteOffset: 64, as: UInt32.self) }
  }
  var flags: UInt32 {
    get { base.load(fromByteOffset: 128, as: UInt32.self) }
    nonmutating set { base.storeBytes(of: newValue, toByteOffset: 128, as: UInt32.self) }
  }
  func slot(_ index: UInt32) -> UnsafeMutablePointer<Entry> {
    (base + 192).assumingMemoryBound(to: Entry.self) + Int(index & (entryCount - 1))
  }
  func consumerRing() -> ConsumerRing<Entry> {
    ConsumerRing(producer: base, consumer: base + 64, slots: base + 192, entryCount: entryCount)
  }
  func producerRing() -> ProducerRing<Entry> {
    ProducerRing(producer: base, consumer: base + 64, flags: base + 128, slots: base + 192, entryCount: entryCount)
  }
}

@Suite("Rings")
struct RingTests {
  @Test(
    "A consumer ring delivers what was produced, in order, also across 2³²",
    arguments: [1, 2, 64] as [UInt32], [0, 1, .max - 3, .max - 70, .max] as [UInt32])
  func consumer(entryCount: UInt32, start: UInt32) {
    var random = SeededGenerator(announcing: "RingTests.consumer(\(entryCount), \(start))")
    let fake = FakeRing<UInt64>(entryCount: entryCount, start: start)
    var ring = fake.consumerRing()
    var expected: [UInt64] = []
    var next: UInt64 = 0
    for _ in 0..<2000 {
      let room = entryCount - (fake.producer &- fake.consumer)
      let produced = UInt32.random(in: 0...room, using: &random)
      for index in 0..<produced {
        fake.slot(fake.producer &+ index).pointee = next
        expected.append(next)
        next += 1
      }
      fake.producer &+= produced
      #expect(ring.occupancy == UInt32(expected.count))
      let limit = UInt32.random(in: 0...entryCount, using: &random)
      let available = ring.available(limit: limit)
      #expect(available <= min(limit, UInt32(expected.count)))
      #expect(available > 0 || limit == 0 || expected.isEmpty)
      for index in 0..<available { #expect(ring[index] == expected[Int(index)]) }
      let released = UInt32.random(in: 0...available, using: &random)
      ring.release(released)
      expected.removeFirst(Int(released))
    }
    #expect(fake.producer &- fake.consumer == UInt32(expected.count))
  }

  @Test(
    "A producer ring never exceeds its capacity and loses nothing, also across 2³²",
    arguments: [1, 2, 64] as [UInt32], [0, 1, .max - 3, .max - 70, .max] as [UInt32])
  func producer(entryCount: UInt32, start: UInt32) {
    var random = SeededGenerator(announcing: "RingTests.producer(\(entryCount), \(start))")
    let fake = FakeRing<UInt64>(entryCount: entryCount, start: start)
    var ring = fake.producerRing()
    var inside: [UInt64] = []
    var next: UInt64 = 0
    for _ in 0..<2000 {
      let limit = UInt32.random(in: 0...entryCount + 1, using: &random)
      let room = ring.room(limit: limit)
      #expect(room == min(limit, entryCount - UInt32(inside.count)))
      let submitted = UInt32.random(in: 0...room, using: &random)
      for index in 0..<submitted {
        ring[index] = next
        inside.append(next)
        next += 1
      }
      ring.submit(submitted)
      #expect(ring.occupancy == UInt32(inside.count))
      let consumed = UInt32.random(in: 0...UInt32(inside.count), using: &random)
      for index in 0..<consumed {
        #expect(fake.slot(fake.consumer &+ index).pointee == inside[Int(index)])
      }
      fake.consumer &+= consumed
      inside.removeFirst(Int(consumed))
    }
  }

  @Test("The need-wakeup flag is the kernel's bit 0")
  func needsWakeup() {
    let fake = FakeRing<UInt64>(entryCount: 4, start: 0)
    let ring = fake.producerRing()
    #expect(ring.needsWakeup == false)
    fake.flags = 1
    #expect(ring.needsWakeup == true)
    fake.flags = 2
    #expect(ring.needsWakeup == false)
  }
}

@Suite("Frame pool")
struct FramePoolTests {
  @Test("A pool is a stack of distinct frames and conserves them", arguments: [1, 2, 7, 64] as [UInt32])
  func model(frameCount: UInt32) {
    var random = SeededGenerator(announcing: "FramePoolTests.model(\(frameCount))")
    var pool = FramePool(frameCount: frameCount, frameByteCount: 2048)
    var free = (0..<UInt64(frameCount)).reversed().map { $0 * 2048 }
    var taken: [UInt64] = []
    for _ in 0..<5000 {
      if Bool.random(using: &random), pool.count > 0 {
        let frame = pool.take()
        #expect(frame == free.removeLast())
        taken.append(frame)
      } else if !taken.isEmpty {
        let frame = taken.remove(at: Int.random(in: 0..<taken.count, using: &random))
        pool.put(frame + UInt64.random(in: 0..<2048, using: &random))  // any offset in the frame
        free.append(frame)
      }
      #expect(pool.count == UInt32(free.count) && free.count + taken.count == Int(frameCount))
    }
  }

  @Test("Returning a frame twice (in debug builds), a foreign frame, or taking from an empty pool traps")
  func misuse() async {
    #if DEBUG
      await #expect(processExitsWith: .failure) {
        var pool = FramePool(frameCount: 4, frameByteCount: 2048)
        let frame = pool.take()
        _ = pool.take()
        pool.put(frame)
        pool.put(frame)
      }
    #endif
    await #expect(processExitsWith: .failure) {
      var pool = FramePool(frameCount: 4, frameByteCount: 2048)
      _ = pool.take()
      pool.put(4 * 2048)
    }
    await #expect(processExitsWith: .failure) {
      var pool = FramePool(frameCount: 1, frameByteCount: 2048)
      _ = pool.take()
      _ = pool.take()
    }
  }
}

@Suite("Frame counts")
struct FrameCountsTests {
  @Test("A frame that both rings show for a moment counts once, in the receive ring")
  func publishedTwice() {
    // 256 frames with the kernel; it has delivered 10 and not yet said that it took them.
    let counts = FrameCounts(total: 256, pool: 0, outstanding: 256, fillSeen: 256, receiveSeen: 10)
    #expect(counts.areConserved && counts.receive == 10 && counts.fill == 246 && counts.inFlight == 0)
  }

  @Test("A frame that neither ring shows is in flight")
  func between() {
    let counts = FrameCounts(total: 256, pool: 6, outstanding: 250, fillSeen: 200, receiveSeen: 20)
    #expect(counts.areConserved && counts.inFlight == 30)
  }

  @Test(
    "A lost frame, a frame too many and a packet without a frame show",
    arguments: [(0, 255, 255, 0), (1, 256, 256, 0), (256, 0, 0, 1), (250, 6, 0, 7)]
      as [(UInt32, UInt32, UInt32, UInt32)])
  func wrong(pool: UInt32, outstanding: UInt32, fillSeen: UInt32, receiveSeen: UInt32) {
    let counts = FrameCounts(
      total: 256, pool: pool, outstanding: outstanding, fillSeen: fillSeen, receiveSeen: receiveSeen)
    #expect(!counts.areConserved)
  }
}

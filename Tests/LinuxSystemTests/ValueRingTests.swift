import LinuxSystem
import Testing

@Suite("Value ring")
struct ValueRingTests {
  @Test("Values come out as they went in; a full ring refuses", arguments: [1, 2, 64])
  func model(capacity: Int) {
    let seed = UInt64.random(in: 0 ... .max)
    var state = seed
    func chance() -> Int {
      state = state &* 0x5851_f42d_4c95_7f2d &+ 0x1405_7b7e_f767_814f
      return Int(state >> 60)
    }
    let ring = ValueRing<UInt64>(capacity: capacity)
    let producer = ring.producer
    var expected: [UInt64] = []
    for step: UInt64 in 0..<20_000 {
      if chance() > 5 {
        #expect(producer.append(step) == (expected.count < capacity), "seed \(seed)")
        if expected.count < capacity { expected.append(step) }
      } else {
        let limit = chance()
        let count = ring.drain(limit: limit) { #expect($0 == expected.removeFirst(), "seed \(seed)") }
        #expect(count <= limit, "seed \(seed)")
      }
      #expect(producer.room == capacity - expected.count && ring.isEmpty == expected.isEmpty, "seed \(seed)")
    }
  }

  @Test("Two threads: every value arrives once, in order")
  func threads() throws {
    let ring = ValueRing<UInt64>(capacity: 1024)
    let total: UInt64 = 500_000
    let thread = try PinnedThread.spawn(name: "producer") {
      let producer = ring.producer
      for value in 0..<total { while !producer.append(value) {} }
    }
    var next: UInt64 = 0
    while next < total {
      _ = ring.drain(limit: .max) { value in
        if value != next { Issue.record("\(value) instead of \(next)") }
        next += 1
      }
    }
    thread.join()
    #expect(ring.isEmpty)
  }
}

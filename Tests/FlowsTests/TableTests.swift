import Flows
import TestSupport
import Testing

/// What the table should do, with a dictionary.
private struct Model {
  let timeouts: FlowTimeouts
  var open: [FlowKey: FlowRecord] = [:]
  var closed: [FlowRecord] = []

  init(_ timeouts: FlowTimeouts) { self.timeouts = timeouts }

  private func reason(_ record: FlowRecord, at now: UInt64) -> FlowEndReason {
    let age = Int64(bitPattern: now &- record.firstNanoseconds)
    let quiet = Int64(bitPattern: now &- record.lastNanoseconds)
    let hasEnded = record.tcpFlags & 0x05 != 0
    if hasEnded, quiet >= Int64(timeouts.linger) { return .endDetected }
    if quiet >= Int64(timeouts.idle) { return .idleTimeout }
    return age >= Int64(timeouts.active) ? .activeTimeout : .running
  }

  mutating func close(_ key: FlowKey, _ reason: FlowEndReason) {
    guard let record = open.removeValue(forKey: key) else { return }
    closed.append(
      FlowRecord(
        key: key, packets: record.packets, bytes: record.bytes, firstNanoseconds: record.firstNanoseconds,
        lastNanoseconds: record.lastNanoseconds, tcpFlags: record.tcpFlags, endReason: reason))
  }

  mutating func account(_ key: FlowKey, _ byteCount: UInt32, _ flags: UInt8, _ now: UInt64) {
    if let record = open[key] {
      let isNext = record.tcpFlags & 0x05 != 0 && flags & 0x02 != 0
      let why = isNext ? .endDetected : reason(record, at: now)
      if why != .running { close(key, why) }
    }
    var record =
      open[key] ?? FlowRecord(key: key, packets: 0, bytes: 0, firstNanoseconds: now, lastNanoseconds: now)
    record.packets += 1
    record.bytes += UInt64(byteCount)
    record.tcpFlags |= flags
    if Int64(bitPattern: now &- record.lastNanoseconds) > 0 { record.lastNanoseconds = now }
    open[key] = record
  }

  mutating func expireAll(_ now: UInt64) {
    for (key, record) in open where reason(record, at: now) != .running { close(key, reason(record, at: now)) }
  }
}

@Suite("The flow table")
struct TableTests {
  private static let second: UInt64 = 1_000_000_000

  @Test(
    "It does what a dictionary does, and every packet is in exactly one record",
    arguments: [(64, 20, 0 as UInt64), (64, 500, 1 << 40), (1000, 900, .max - 30 * second), (4096, 20_000, 1 << 63)])
  func model(flowCount: Int, keyCount: Int, start: UInt64) {
    var random = SeededGenerator(announcing: "TableTests.model")
    let timeouts = FlowTimeouts(active: 8 * Self.second, idle: 3 * Self.second, linger: Self.second / 2)
    var table = FlowTable(flowCount: flowCount, timeouts: timeouts, seed: random.next())
    var model = Model(timeouts)
    var sink = Collected()
    var now = start
    var (packets, bytes): (UInt64, UInt64) = (0, 0)
    for round in 0..<60_000 {
      now &+= UInt64.random(in: 0...Self.second / 500, using: &random)
      let before = table.counters.evicted
      switch Int.random(in: 0..<1000, using: &random) {
      case 0:
        table.expireAll(now: now, into: &sink)
        model.expireAll(now)
      case 1: now &+= Self.second
      case 2..<40:
        // Where the incremental look is decides what it closes; that it was over is checked.
        let count = sink.records.count
        table.advance(now: now, limit: Int.random(in: 0...4, using: &random), into: &sink)
        for record in sink.records[count...] {
          var single = Model(timeouts)
          single.open[record.key] = model.open[record.key]
          single.expireAll(now)
          #expect(single.closed == [record], "seed \(random.seed), round \(round)")
          model.closed += single.closed
          model.open[record.key] = nil
        }
      default:
        let key = flowKey(Int.random(in: 0..<keyCount, using: &random))
        let byteCount = UInt32.random(in: 20...65_535, using: &random)
        let flags: UInt8 = key.protocol == .tcp ? random.pick([0x10, 0x10, 0x10, 0x18, 0x02, 0x11, 0x04]) : 0
        // Sometimes a packet that comes late.
        let time = random.chance(5) ? now &- UInt64.random(in: 0...Self.second, using: &random) : now
        table.account(key, byteCount: byteCount, tcpFlags: flags, now: time, into: &sink)
        if table.counters.evicted != before, let evicted = sink.records.last {
          #expect(evicted.endReason == .lackOfResources && model.open[key] == nil, "seed \(random.seed)")
          model.close(evicted.key, .lackOfResources)
        }
        model.account(key, byteCount, flags, time)
        packets += 1
        bytes += UInt64(byteCount)
      }
      if round % 5000 == 0 { #expect(isConserved(&table, sink, packets, bytes), "seed \(random.seed)") }
    }
    #expect(Set(sink.records) == Set(model.closed), "seed \(random.seed)")
    #expect(sink.records.count == model.closed.count, "seed \(random.seed)")
    #expect(Set(active(&table).map(\.key)) == Set(model.open.keys) && Set(active(&table)) == Set(model.open.values))
    #expect(table.activeCount == model.open.count)
    #expect(keyCount < flowCount * 2 || table.counters.evicted > 0, "the crowded cases evict")
    let isEmpty = table.flush(into: &sink)
    #expect(isEmpty && table.activeCount == 0 && table.counters.exported == UInt64(sink.records.count))
    #expect(isConserved(&table, sink, packets, bytes), "seed \(random.seed)")
  }

  private func active(_ table: inout FlowTable) -> [FlowRecord] {
    var position = 0
    var copies = Collected()
    while !table.copy(from: &position, limit: 1, into: &copies) {}
    return copies.records
  }

  private func isConserved(_ table: inout FlowTable, _ sink: Collected, _ packets: UInt64, _ bytes: UInt64) -> Bool {
    let all = sink.records + active(&table)
    return all.reduce(0) { $0 + $1.packets } == packets && all.reduce(0) { $0 + $1.bytes } == bytes
      && table.counters.packets == packets && table.counters.bytes == bytes
  }

  @Test("Each reason to close a record, at its very nanosecond")
  func reasons() {
    let timeouts = FlowTimeouts(active: 60 * Self.second, idle: 15 * Self.second, linger: Self.second)
    let tcp = flowKey(1)
    func closed(_ packets: [(UInt64, UInt8)], at now: UInt64) -> [FlowEndReason] {
      var table = FlowTable(flowCount: 64, timeouts: timeouts, seed: 1)
      var sink = Collected()
      for (time, flags) in packets { table.account(tcp, byteCount: 40, tcpFlags: flags, now: time, into: &sink) }
      table.expireAll(now: now, into: &sink)
      return sink.records.map(\.endReason)
    }
    #expect(closed([(0, 0x02)], at: 15 * Self.second - 1) == [])
    #expect(closed([(0, 0x02)], at: 15 * Self.second) == [.idleTimeout])
    #expect(closed((0..<6).map { ($0 * 10 * Self.second, 0x10) }, at: 60 * Self.second - 1) == [])
    #expect(closed((0..<6).map { ($0 * 10 * Self.second, 0x10) }, at: 60 * Self.second) == [.activeTimeout])
    #expect(closed((0..<7).map { ($0 * 10 * Self.second, 0x10) }, at: 60 * Self.second) == [.activeTimeout])
    for flags: UInt8 in [0x11, 0x04] {
      #expect(closed([(0, flags), (5, 0x10)], at: Self.second) == [])
      #expect(closed([(0, flags), (5, 0x10)], at: Self.second + 5) == [.endDetected])
      #expect(closed([(0, flags), (5, 0x02)], at: 5) == [.endDetected], "the next connection")
    }
    #expect(closed([(0, 0), (16 * Self.second, 0)], at: 16 * Self.second) == [.idleTimeout])
  }

  @Test("Incremental expiry reaches every flow within a quarter of the shortest timeout, without a packet")
  func expiryIsPrompt() {
    var table = FlowTable(flowCount: 10_000, timeouts: FlowTimeouts(idle: 4 * Self.second, linger: 4 * Self.second))
    var sink = Collected()
    for number in 0..<5000 { table.account(flowKey(number), byteCount: 40, tcpFlags: 0, now: 0, into: &sink) }
    var now: UInt64 = 4 * Self.second
    while table.activeCount > 0, now < 60 * Self.second {
      table.advance(now: now, limit: 1000, into: &sink)
      now += Self.second / 100
    }
    #expect(now <= 5 * Self.second + Self.second / 50)
    #expect(sink.records.count == 5000)
  }

  @Test("Expiry and flush wait for a sink without room, and lose nothing")
  func backpressure() {
    var table = FlowTable(flowCount: 1000, seed: 3)
    var sink = Collected()
    for number in 0..<500 { table.account(flowKey(number), byteCount: 40, tcpFlags: 0, now: 0, into: &sink) }
    sink.room = 63
    table.expireAll(now: 100 * Self.second, into: &sink)
    let isEmpty = table.flush(into: &sink)
    #expect(!isEmpty && sink.records.isEmpty && table.activeCount == 500)
    sink.room = 64
    var rounds = 0
    while !table.flush(limit: 2, into: &sink) { rounds += 1 }
    #expect(sink.records.count == 500 && sink.records.allSatisfy { $0.endReason == .forced } && rounds > 5)
  }

  @Test("Counters that would overflow close the record")
  func overflow() {
    var table = FlowTable(flowCount: 64, timeouts: FlowTimeouts(active: .max), seed: 4)
    var sink = Collected()
    let rounds = 1 << 43 / Int(UInt32.max) + 10
    for _ in 0..<rounds { table.account(flowKey(2), byteCount: .max, tcpFlags: 0, now: 7, into: &sink) }
    #expect(sink.records.map(\.endReason) == [.lackOfResources])
    _ = table.flush(into: &sink)
    #expect(sink.records.reduce(0) { $0 + $1.bytes } == UInt64(rounds) * UInt64(UInt32.max))
  }

  @Test("Full but for a quarter, few flows lose their place, whatever the seed")
  func load() {
    var table = FlowTable(flowCount: 49_152)  // 65,536 slots
    var sink = Collected()
    for number in 0..<49_152 { table.account(flowKey(number), byteCount: 40, tcpFlags: 0, now: 1, into: &sink) }
    #expect(table.slotCount == 65_536)
    #expect(table.counters.evicted < 49_152 / 50, "\(table.counters.evicted) evicted")
  }

  @Test("Sizes are clamped, not trapped", arguments: [(-1, 64), (0, 64), (48, 64), (49, 128), (3 << 20, 1 << 22)])
  func sizes(flowCount: Int, slotCount: Int) {
    #expect(FlowTable(flowCount: flowCount).slotCount == slotCount)
  }
}

import Flows
import TestSupport
import Testing

@Suite("Top flows")
struct TopFlowsTests {
  @Test("The picked are the first of all sorted", arguments: TopFlows.Order.allCases, [1, 2, 10, 1000, 5000])
  func picks(order: TopFlows.Order, limit: Int) {
    var random = SeededGenerator(announcing: "TopFlowsTests.picks")
    let records = (0..<3000).map { number in
      FlowRecord(
        key: flowKey(number), packets: .random(in: 1...50, using: &random), bytes: .random(in: 1...99, using: &random),
        firstNanoseconds: 0, lastNanoseconds: 0)
    }
    var top = TopFlows(limit: limit, order: order)
    for record in records { top.add(record) }
    let value = { (record: FlowRecord) in
      order == .bytes ? (record.bytes, record.packets) : (record.packets, record.bytes)
    }
    let expected = records.sorted { value($0) > value($1) }.prefix(min(limit, TopFlows.limitMax)).map(value)
    let found = top.sorted(now: 0).map { value($0.record) }
    #expect(found.elementsEqual(expected, by: ==), "seed \(random.seed)")
    #expect(top.flowCount == 3000)
    var backwards = TopFlows(limit: limit, order: order)
    for record in records.reversed() { backwards.add(record) }
    #expect(backwards.sorted(now: 0) == top.sorted(now: 0), "seed \(random.seed)")
  }

  @Test("Rates are averages since the record began, over a second at least, scaled by the sampling")
  func rates() {
    var top = TopFlows(limit: 2, order: .bytes)
    let second: UInt64 = 1_000_000_000
    top.add(.init(key: flowKey(1), packets: 10, bytes: 4000, firstNanoseconds: 2 * second, lastNanoseconds: 4 * second))
    top.add(.init(key: flowKey(2), packets: 3, bytes: 300, firstNanoseconds: 6 * second - 5, lastNanoseconds: second))
    let entries = top.sorted(now: 6 * second, sampleEvery: 10)
    #expect(entries.map(\.bytesPerSecond) == [10_000, 3000] && entries.map(\.packetsPerSecond) == [25, 30])
  }
}

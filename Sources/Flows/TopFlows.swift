/// The greatest of many flows, picked in one pass with memory for ``limit`` of them.
public struct TopFlows: Sendable {
  public enum Order: String, Hashable, Sendable, CaseIterable {
    case bytes, packets
  }

  /// A flow as it stood at the moment of the snapshot.
  public struct Entry: Hashable, Sendable {
    public var record: FlowRecord
    /// Averages from the record's first packet to the snapshot, over a second at least; scaled up by the sampling.
    public var bytesPerSecond: Double
    public var packetsPerSecond: Double
  }

  public static let limitMax = 1000

  public let limit: Int
  public let order: Order
  /// Flows seen, picked or not.
  public private(set) var flowCount = 0
  /// A heap, the least of the picked on top.
  private var picked: [FlowRecord] = []

  /// `limit` is clamped to 1…``limitMax``.
  public init(limit: Int, order: Order) {
    self.limit = max(1, min(limit, TopFlows.limitMax))
    self.order = order
    picked.reserveCapacity(self.limit)
  }

  public mutating func add(_ record: FlowRecord) {
    flowCount += 1
    if picked.count < limit {
      picked.append(record)
      rise()
    } else if isLess(picked[0], record) {
      picked[0] = record
      sink()
    }
  }

  /// The picked flows, greatest first; equal ones in an order that depends on nothing but them.
  ///
  /// - Parameters:
  ///   - now: Of the snapshot, on the records' clock.
  ///   - sampleEvery: One of so many packets was looked at.
  public func sorted(now: UInt64, sampleEvery: UInt32 = 1) -> [Entry] {
    picked.sorted { isLess($1, $0) }.map { record in
      let age = Int64(bitPattern: now &- record.firstNanoseconds)
      let perSecond = Double(max(sampleEvery, 1)) * 1e9 / max(Double(age), 1e9)
      return Entry(
        record: record, bytesPerSecond: Double(record.bytes) * perSecond,
        packetsPerSecond: Double(record.packets) * perSecond)
    }
  }

  private func isLess(_ left: FlowRecord, _ right: FlowRecord) -> Bool {
    let leftRank = order == .bytes ? (left.bytes, left.packets) : (left.packets, left.bytes)
    let rightRank = order == .bytes ? (right.bytes, right.packets) : (right.packets, right.bytes)
    if leftRank != rightRank { return leftRank < rightRank }
    let (a, b) = (left.key, right.key)
    return (a.first, a.second, a.third, a.fourth, a.rest) > (b.first, b.second, b.third, b.fourth, b.rest)
  }

  private mutating func rise() {
    var child = picked.count - 1
    while child > 0, isLess(picked[child], picked[(child - 1) / 2]) {
      picked.swapAt(child, (child - 1) / 2)
      child = (child - 1) / 2
    }
  }

  private mutating func sink() {
    var parent = 0
    while true {
      var least = parent
      for child in [2 * parent + 1, 2 * parent + 2] where child < picked.count && isLess(picked[child], picked[least]) {
        least = child
      }
      if least == parent { return }
      picked.swapAt(parent, least)
      parent = least
    }
  }
}

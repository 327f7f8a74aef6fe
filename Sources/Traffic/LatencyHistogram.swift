/// How many durations were how long, in buckets whose width grows with the value: 32 to each power of two, so that a
/// quantile is at most 1/32 (3.2 %) above the truth. Values below 64 have a bucket each.
///
/// The bucket of a value is the same in the BPF program that fills such buckets: see ``bucket(of:)``. A value.
public struct LatencyHistogram: Hashable, Sendable {
  /// Buckets that hold every 64-bit value.
  public static let bucketCount = 1920
  private static let bucketsPerDoubling = 32

  /// Values by bucket; ``bucketCount`` of them.
  public private(set) var buckets: [UInt64]
  /// Values in all.
  public private(set) var count: UInt64
  /// Exact where the recorder kept it, else a bucket's bound; 0 without values.
  public private(set) var least: UInt64
  /// As ``least``.
  public private(set) var greatest: UInt64
  /// Of all values, wrapping; exact where the recorder kept it, else made of the buckets' middles.
  public private(set) var sum: UInt64

  public init() {
    buckets = Array(repeating: 0, count: LatencyHistogram.bucketCount)
    (count, least, greatest, sum) = (0, 0, 0, 0)
  }

  /// From buckets that another recorder filled; those beyond ``bucketCount`` must not exist.
  ///
  /// - Parameters:
  ///   - least: Kept beside the buckets; nil: the lower bound of the first one in use.
  ///   - greatest: Kept beside the buckets; nil: the upper bound of the last one in use.
  ///   - sum: Kept beside the buckets; nil: estimated.
  public init(buckets: [UInt64], least: UInt64? = nil, greatest: UInt64? = nil, sum: UInt64? = nil) {
    precondition(buckets.count <= LatencyHistogram.bucketCount, "no more buckets than there are")
    self.buckets = buckets + Array(repeating: 0, count: LatencyHistogram.bucketCount - buckets.count)
    count = buckets.reduce(0, &+)
    let used = buckets.indices.filter { buckets[$0] > 0 }
    self.least = used.first.map { least ?? LatencyHistogram.bounds(of: $0).lowerBound } ?? 0
    self.greatest = used.last.map { greatest ?? LatencyHistogram.bounds(of: $0).upperBound } ?? 0
    self.sum = sum ?? used.reduce(0) { sum, index in
      let bounds = LatencyHistogram.bounds(of: index)
      return sum &+ buckets[index] &* (bounds.lowerBound + (bounds.upperBound - bounds.lowerBound) / 2)
    }
  }

  /// The value itself below 32; else with s the place of the highest bit less 5: 32 · s + (value >> s).
  public static func bucket(of value: UInt64) -> Int {
    guard value >= UInt64(bucketsPerDoubling) else { return Int(value) }
    let shift = 58 - value.leadingZeroBitCount
    return bucketsPerDoubling * shift + Int(value >> UInt64(shift))
  }

  /// The values of a bucket, 0 ..< ``bucketCount``.
  public static func bounds(of bucket: Int) -> ClosedRange<UInt64> {
    precondition((0..<bucketCount).contains(bucket), "a bucket that exists")
    guard bucket >= 2 * bucketsPerDoubling else { return UInt64(bucket)...UInt64(bucket) }
    let shift = UInt64(bucket / bucketsPerDoubling - 1)
    let first = UInt64(bucket % bucketsPerDoubling + bucketsPerDoubling) << shift
    return first...(first + (1 << shift - 1))
  }

  /// Counts a value.
  public mutating func record(_ value: UInt64) {
    buckets[LatencyHistogram.bucket(of: value)] &+= 1
    least = count == 0 ? value : min(least, value)
    greatest = max(greatest, value)
    count &+= 1
    sum &+= value
  }

  /// Adds the values of another.
  public mutating func merge(_ other: LatencyHistogram) {
    guard other.count > 0 else { return }
    for index in buckets.indices { buckets[index] &+= other.buckets[index] }
    least = count == 0 ? other.least : min(least, other.least)
    greatest = max(greatest, other.greatest)
    count &+= other.count
    sum &+= other.sum
  }

  /// A value that `share` of all values (0 ... 1) don't exceed: the upper bound of its bucket, no more than
  /// ``greatest``. nil without values.
  public func quantile(_ share: Double) -> UInt64? {
    precondition((0...1).contains(share), "a share of the values")
    guard count > 0 else { return nil }
    let rank = max(1, UInt64((Double(count) * share).rounded(.up)))
    var seen: UInt64 = 0
    for (index, values) in buckets.enumerated() where values > 0 {
      seen &+= values
      if seen >= rank { return min(greatest, LatencyHistogram.bounds(of: index).upperBound) }
    }
    return greatest
  }

  /// nil without values.
  public var mean: Double? { count == 0 ? nil : Double(sum) / Double(count) }
}

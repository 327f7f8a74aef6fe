import Testing

@testable import Traffic

@Suite("Latency histograms")
struct LatencyTests {
  @Test("Buckets cover every value once, in order, none wider than 1/32 of its values")
  func coversAllValues() {
    var next: UInt64 = 0
    for bucket in 0..<LatencyHistogram.bucketCount {
      let bounds = LatencyHistogram.bounds(of: bucket)
      #expect(bounds.lowerBound == next)
      #expect(bounds.upperBound - bounds.lowerBound <= bounds.lowerBound / 32)
      for value in [bounds.lowerBound, bounds.upperBound] { #expect(LatencyHistogram.bucket(of: value) == bucket) }
      next = bounds.upperBound &+ 1
    }
    #expect(next == 0)
  }

  @Test("Quantiles agree with the sorted values", arguments: [1, 2, 10, 1000, 20_000])
  func agreesWithSorting(_ count: Int) throws {
    let seed = UInt64.random(in: 0 ... .max)
    var random = Seeded(state: seed)
    let values = (0..<count).map { _ in
      UInt64.random(in: 0...(1 << UInt64.random(in: 0...40, using: &random)), using: &random)
    }
    var whole = LatencyHistogram()
    var parts = [LatencyHistogram(), LatencyHistogram()]
    for (index, value) in values.enumerated() {
      whole.record(value)
      parts[index % 2].record(value)
    }
    var merged = parts[0]
    merged.merge(parts[1])
    #expect(merged == whole, "seed \(seed)")
    let sorted = values.sorted()
    #expect(whole.least == sorted.first && whole.greatest == sorted.last && whole.count == UInt64(count))
    for share in [0, 0.5, 0.9, 0.99, 0.999, 1] {
      let exact = sorted[max(0, Int((Double(count) * share).rounded(.up)) - 1)]
      let found = try #require(whole.quantile(share))
      #expect(found >= exact && found <= exact + exact / 32 + 1, "seed \(seed) share \(share)")
    }
    let copy = LatencyHistogram(
      buckets: whole.buckets, least: whole.least, greatest: whole.greatest, sum: whole.sum)
    #expect(copy == whole)
    let bare = LatencyHistogram(buckets: whole.buckets)
    #expect(bare.greatest >= whole.greatest && bare.least <= whole.least)
  }

  @Test("Without values there is nothing to say")
  func empty() {
    var histogram = LatencyHistogram()
    #expect(histogram.quantile(0.5) == nil && histogram.mean == nil && histogram.greatest == 0)
    histogram.merge(LatencyHistogram())
    #expect(histogram == LatencyHistogram(buckets: []))
    histogram.record(.max)
    #expect(histogram.quantile(1) == .max && histogram.least == .max)
  }
}

/// The rules of a tree by column, so that trying a cut reads memory in order.
struct RuleColumns {
  let count: Int
  /// By index in ``KeyLayout/ternaryWords``.
  let values: [[UInt64]]
  let masks: [[UInt64]]
  /// By lane; 16 bits: a packet without ports is where port 0 is.
  let lows: [[UInt32]]
  let highs: [[UInt32]]

  init(_ rules: [CutRule], layout: KeyLayout) {
    count = rules.count
    values = layout.ternaryWords.indices.map { word in rules.map { $0.ternaries[word].value } }
    masks = layout.ternaryWords.indices.map { word in rules.map { $0.ternaries[word].mask } }
    lows = Lane.allCases.map { lane in rules.map { $0.low[lane.rawValue] } }
    highs = Lane.allCases.map { lane in rules.map { min($0.high[lane.rawValue], 0xffff) } }
  }

  /// The children that a rule overlaps: `start`, and every combination of the bits in `wild`.
  @inline(__always)
  func overlap(ternary word: Int, of rule: Int, shift: Int, mask: UInt32) -> (start: UInt32, wild: UInt32) {
    Ternary(value: values[word][rule], mask: masks[word][rule]).overlap(shift: shift, mask: mask)
  }

  /// The children that a rule overlaps: `count` of them from `start` on, around the end.
  @inline(__always)
  func overlap(
    lane: Int, of rule: Int, shift: Int, mask: UInt32, within region: ClosedRange<UInt32>
  ) -> (start: UInt32, count: UInt32) {
    region.overlap(lows[lane][rule], highs[lane][rule], shift: shift, mask: mask)
  }
}

extension Ternary {
  /// The children of a cut that it overlaps: `start`, and every combination of the bits in `wild`.
  @inline(__always)
  func overlap(shift: Int, mask childMask: UInt32) -> (start: UInt32, wild: UInt32) {
    let start = UInt32(truncatingIfNeeded: value >> UInt64(shift)) & childMask
    return (start, ~UInt32(truncatingIfNeeded: mask >> UInt64(shift)) & childMask)
  }
}

extension ClosedRange<UInt32> {
  /// The children of a cut in this region of a lane that a range overlaps: `count` of them from `start` on, around the end.
  @inline(__always)
  func overlap(_ low: UInt32, _ high: UInt32, shift: Int, mask: UInt32) -> (start: UInt32, count: UInt32) {
    let first = Swift.max(low, lowerBound) >> UInt32(shift)
    let last = Swift.min(high, upperBound) >> UInt32(shift)
    let count = last &- first &+ 1
    return count > mask ? (0, mask &+ 1) : (first & mask, count)
  }
}

/// Which bits of a key choose a child: `(word >> shift) & (2^bitCount - 1)`.
struct Cut: Hashable {
  enum Field: Hashable {
    /// Index into ``KeyLayout/ternaryWords``.
    case ternary(Int)
    case lane(Int)
  }

  var field: Field
  var shift: Int
  var bitCount: Int

  var childCount: Int { 1 << bitCount }
  var childMask: UInt32 { UInt32(childCount - 1) }

  var isLane: Bool {
    if case .lane = field { return true }
    return false
  }
}

/// What is known of the lanes below a node: each value lies in an aligned interval.
struct LaneRegion {
  private var lows = InlineArray<3, UInt32>(repeating: 0)
  /// Undecided low bits of each lane.
  private var bitCounts = InlineArray<3, Int>(repeating: 16)

  func bitCount(_ lane: Int) -> Int { bitCounts[lane] }

  func interval(_ lane: Int) -> ClosedRange<UInt32> {
    lows[lane]...(lows[lane] | ((1 << UInt32(bitCounts[lane])) - 1))
  }

  /// The region of a child; the same where the cut doesn't take the highest undecided bits.
  func child(_ index: Int, of cut: Cut) -> LaneRegion {
    guard case .lane(let lane) = cut.field, cut.shift + cut.bitCount == bitCounts[lane] else { return self }
    var region = self
    region.lows[lane] |= UInt32(index) << UInt32(cut.shift)
    region.bitCounts[lane] = cut.shift
    return region
  }
}

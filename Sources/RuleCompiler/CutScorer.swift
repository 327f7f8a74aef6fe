/// Tries cuts on the rules of a node. Scratch memory is kept between nodes.
struct CutScorer {
  /// A cut with what it promises. Less is better.
  struct Choice {
    var cut: Cut
    /// Rules that overlap up to 2^classMax children are in all of them; the others in the residual.
    var classMax: Int
    /// Cost by gain.
    var score: Float
  }

  let columns: RuleColumns
  /// Rules in each child.
  private var counts: [Int32]
  /// The same, each rule with the share of its packets that go there.
  private var weights: [Float]
  /// Rules that overlap more than one child.
  private var wide: [Wide]
  private let logarithms: [Float]

  private struct Wide {
    var start: UInt32
    /// Wild bits, or number of children.
    var extent: UInt32
    /// Binary logarithm of the number of children, rounded up.
    var sizeClass: Int32
  }

  private static let classLimits: [Int32] = [0, 2, 4, 16]

  init(_ columns: RuleColumns) {
    self.columns = columns
    counts = Array(repeating: 0, count: 1 << CutScorer.bitCountMax)
    weights = Array(repeating: 0, count: 1 << CutScorer.bitCountMax)
    wide = Array(repeating: Wide(start: 0, extent: 0, sizeClass: 0), count: columns.count)
    logarithms = (0...columns.count).map { binaryLogarithm(Float(max($0, 1))) }
  }

  static let bitCountMax = 16

  func logarithm(_ count: Int) -> Float { logarithms[count] }

  /// The best that this cut can do, over the classes of rules that go to the residual; nil if it brings nothing.
  mutating func score(_ cut: Cut, _ rules: ArraySlice<Int32>, _ region: LaneRegion) -> Choice? {
    for child in 0..<cut.childCount {
      counts[child] = 0
      weights[child] = 0
    }
    let wideCount = placeNarrow(cut, rules, region)
    let n = rules.count
    let logN = logarithms[n]
    let entriesMax = 3 * n + 16
    var entries = n - wideCount
    var placed = entries
    var best: Choice?
    for (level, classMax) in CutScorer.classLimits.enumerated() {
      if level > 0 {
        let classes = (CutScorer.classLimits[level - 1] + 1)...classMax
        let added = place(cut, wideCount, classes, limit: entriesMax - entries)
        if added.entries > entriesMax - entries { break }
        if added.rules == 0 { continue }
        entries += added.entries
        placed += added.rules
      }
      if placed == 0 { continue }
      let residual = n - placed
      // What a packet of a random rule still has to search, in bits.
      var work = Float(residual) * logarithms[residual]
      var largest = 1
      for child in 0..<cut.childCount where counts[child] > 1 {
        work += weights[child] * logarithms[Int(counts[child])]
        largest = max(largest, Int(counts[child]))
      }
      if largest == n { continue }
      let gain = logN - 0.85 * work / Float(n) - 0.15 * logarithms[max(largest, residual)]
      if gain <= 0.01 { continue }
      let copies = Float(entries) / Float(placed) - 1
      let cost =
        1 + (residual > 0 ? 0.3 + min(2.5, 0.4 * Float(residual)) : 0) + copies * max(1, logN / 4)
        + 0.05 * Float(cut.childCount) / (4 * Float(n))
      if best.map({ cost / gain < $0.score }) ?? true {
        best = Choice(cut: cut, classMax: Int(classMax), score: cost / gain)
      }
    }
    return best
  }

  /// Counts the rules that overlap one child, and remembers the others. Returns how many those are.
  private mutating func placeNarrow(_ cut: Cut, _ rules: ArraySlice<Int32>, _ region: LaneRegion) -> Int {
    var wideCount = 0
    let mask = cut.childMask
    switch cut.field {
    case .ternary(let word):
      for rule in rules {
        let (start, bits) = columns.overlap(ternary: word, of: Int(rule), shift: cut.shift, mask: mask)
        if bits == 0 {
          add(Int(start), 1)
        } else {
          wide[wideCount] = Wide(start: start, extent: bits, sizeClass: Int32(bits.nonzeroBitCount))
          wideCount &+= 1
        }
      }
    case .lane(let lane):
      let interval = region.interval(lane)
      for rule in rules {
        let (start, count) = columns.overlap(
          lane: lane, of: Int(rule), shift: cut.shift, mask: mask, within: interval)
        if count == 1 {
          add(Int(start), 1)
        } else {
          wide[wideCount] = Wide(start: start, extent: count, sizeClass: Int32(sizeClass(ofRun: count)))
          wideCount &+= 1
        }
      }
    }
    return wideCount
  }

  /// Places wide rules of some classes, unless that makes more entries than the limit.
  private mutating func place(
    _ cut: Cut, _ wideCount: Int, _ classes: ClosedRange<Int32>, limit: Int
  ) -> (rules: Int, entries: Int) {
    var size = (rules: 0, entries: 0)
    for index in 0..<wideCount where classes.contains(wide[index].sizeClass) {
      size.rules += 1
      size.entries += cut.isLane ? Int(wide[index].extent) : 1 << Int(wide[index].sizeClass)
    }
    if size.entries > limit { return size }
    for index in 0..<wideCount where classes.contains(wide[index].sizeClass) {
      let (start, extent) = (wide[index].start, wide[index].extent)
      if cut.isLane {
        let weight = 1 / Float(extent)
        for offset in 0..<extent { add(Int((start &+ offset) & cut.childMask), weight) }
      } else {
        let weight = 1 / Float(1 << wide[index].sizeClass)
        var part: UInt32 = 0
        repeat {
          add(Int(start | part), weight)
          part = (part &- extent) & extent  // the next combination of the bits
        } while part != 0
      }
    }
    return size
  }

  @inline(__always)
  private mutating func add(_ child: Int, _ weight: Float) {
    counts[child] &+= 1
    weights[child] += weight
  }
}

/// Binary logarithm of a number of children, rounded up.
func sizeClass(ofRun count: UInt32) -> Int { count <= 1 ? 0 : 32 - (count - 1).leadingZeroBitCount }

/// To 1e-4: by exponent, and a polynomial over the significand in [1, 2).
private func binaryLogarithm(_ value: Float) -> Float {
  let m = value.significand
  return Float(value.exponent) - 1.7417939 + (2.8212026 + (-1.4699568 + (0.44717955 - 0.056570851 * m) * m) * m) * m
}

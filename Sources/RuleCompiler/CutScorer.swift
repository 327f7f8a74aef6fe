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
  /// Rules in each child. All zero between cuts.
  private var counts: [Int32]
  /// The same, each rule with the share of its packets that go there.
  private var weights: [Float]
  /// Children that some rule is in.
  private var touched: [UInt32] = []
  /// Rules that overlap more than one child.
  private var wide: [Wide] = []
  private let logarithms: [Float]

  private struct Wide {
    var start: UInt32
    /// Wild bits, or number of children.
    var extent: UInt32
    /// Binary logarithm of the number of children, rounded up.
    var sizeClass: Int32
  }

  /// What a packet of a random rule still has to search in the children, in bits, and the most rules of one; kept up to date
  /// with each rule that is placed, so that the cost of a cut is that of its rules and not of its children.
  private struct Load {
    var work: Float = 0
    var largest: Int32 = 1
  }

  private static let classLimits: [Int32] = [0, 2, 4, 16]

  init(_ columns: RuleColumns) {
    self.columns = columns
    counts = Array(repeating: 0, count: 1 << CutScorer.bitCountMax)
    weights = Array(repeating: 0, count: 1 << CutScorer.bitCountMax)
    // Counts of a child reach the rules at most.
    logarithms = (0...columns.count + 1).map { binaryLogarithm(Float(max($0, 1))) }
  }

  static let bitCountMax = 16

  func logarithm(_ count: Int) -> Float { logarithms[count] }

  /// The best that this cut can do, over the classes of rules that go to the residual; nil if it brings nothing.
  mutating func score(_ cut: Cut, _ rules: ArraySlice<Int32>, _ region: LaneRegion) -> Choice? {
    wide.removeAll(keepingCapacity: true)
    touched.removeAll(keepingCapacity: true)
    var load = Load()
    placeNarrow(cut, rules, region, &load)
    let n = rules.count
    let logN = logarithms[n]
    let entriesMax = 3 * n + 16
    var entries = n - wide.count
    var placed = entries
    var best: Choice?
    for (level, classMax) in CutScorer.classLimits.enumerated() {
      if level > 0 {
        if placed == n { break }
        let classes = (CutScorer.classLimits[level - 1] + 1)...classMax
        let added = place(cut, classes, limit: entriesMax - entries, &load)
        if added.entries > entriesMax - entries { break }
        if added.rules == 0 { continue }
        entries += added.entries
        placed += added.rules
      }
      if placed == 0 || load.largest == n { continue }
      let residual = n - placed
      let work = load.work + Float(residual) * logarithms[residual]
      let gain = logN - 0.85 * work / Float(n) - 0.15 * logarithms[max(Int(load.largest), residual)]
      if gain <= 0.01 { continue }
      let copies = Float(entries) / Float(placed) - 1
      let cost =
        1 + (residual > 0 ? 0.3 + min(2.5, 0.4 * Float(residual)) : 0) + copies * max(1, logN / 4)
        + 0.05 * Float(cut.childCount) / (4 * Float(n))
      if best.map({ cost / gain < $0.score }) ?? true {
        best = Choice(cut: cut, classMax: Int(classMax), score: cost / gain)
      }
    }
    for child in touched {
      counts[Int(child)] = 0
      weights[Int(child)] = 0
    }
    return best
  }

  /// Places the rules that overlap one child, and remembers the others.
  private mutating func placeNarrow(
    _ cut: Cut, _ rules: ArraySlice<Int32>, _ region: LaneRegion, _ load: inout Load
  ) {
    let mask = cut.childMask
    switch cut.field {
    case .ternary(let word):
      let (values, masks, shift) = (columns.values[word], columns.masks[word], UInt64(cut.shift))
      for rule in rules {
        let bits = ~UInt32(truncatingIfNeeded: masks[Int(rule)] >> shift) & mask
        let start = UInt32(truncatingIfNeeded: values[Int(rule)] >> shift) & mask
        if bits == 0 {
          add(start, 1, &load)
        } else {
          wide.append(Wide(start: start, extent: bits, sizeClass: Int32(bits.nonzeroBitCount)))
        }
      }
    case .lane(let lane):
      let interval = region.interval(lane)
      for rule in rules {
        let (start, count) = columns.overlap(
          lane: lane, of: Int(rule), shift: cut.shift, mask: mask, within: interval)
        if count == 1 {
          add(start, 1, &load)
        } else {
          wide.append(Wide(start: start, extent: count, sizeClass: Int32(sizeClass(ofRun: count))))
        }
      }
    }
  }

  /// Places wide rules of some classes, unless that makes more entries than the limit.
  private mutating func place(
    _ cut: Cut, _ classes: ClosedRange<Int32>, limit: Int, _ load: inout Load
  ) -> (rules: Int, entries: Int) {
    var size = (rules: 0, entries: 0)
    for rule in wide where classes.contains(rule.sizeClass) {
      size.rules += 1
      size.entries += cut.isLane ? Int(rule.extent) : 1 << Int(rule.sizeClass)
    }
    if size.entries > limit { return size }
    for index in wide.indices where classes.contains(wide[index].sizeClass) {
      let (start, extent) = (wide[index].start, wide[index].extent)
      if cut.isLane {
        let weight = 1 / Float(extent)
        for offset in 0..<extent { add((start &+ offset) & cut.childMask, weight, &load) }
      } else {
        let weight = 1 / Float(1 << wide[index].sizeClass)
        var part: UInt32 = 0
        repeat {
          add(start | part, weight, &load)
          part = (part &- extent) & extent  // the next combination of the bits
        } while part != 0
      }
    }
    return size
  }

  @inline(__always)
  private mutating func add(_ child: UInt32, _ weight: Float, _ load: inout Load) {
    let count = counts[Int(child)]
    let before = weights[Int(child)]
    let after = before + weight
    counts[Int(child)] = count &+ 1
    weights[Int(child)] = after
    if count == 0 {
      touched.append(child)
    } else {
      load.work += after * logarithms[Int(count) &+ 1] - before * logarithms[Int(count)]
      load.largest = max(load.largest, count &+ 1)
    }
  }
}

/// Binary logarithm of a number of children, rounded up.
func sizeClass(ofRun count: UInt32) -> Int { count <= 1 ? 0 : 32 - (count - 1).leadingZeroBitCount }

/// To 1e-4: by exponent, and a polynomial over the significand in [1, 2).
private func binaryLogarithm(_ value: Float) -> Float {
  let m = value.significand
  return Float(value.exponent) - 1.7417939 + (2.8212026 + (-1.4699568 + (0.44717955 - 0.056570851 * m) * m) * m) * m
}

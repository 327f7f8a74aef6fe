import CSluiceABI

/// What is built and proven of a tree or a part of it.
struct BuiltTree {
  /// Its root.
  var slot: UInt64
  /// The most steps that any walk takes: nodes, and groups of four records.
  var stepsMax: Int
  /// The most residual subtrees that wait at a time.
  var pendingMax: Int
  /// Both with every leaf, empty slot and missing residual grown to ``GenerationEditor/recordsMax`` records.
  var grown: Grown

  struct Grown: Hashable {
    var stepsMax: Int
    var pendingMax = 0

    /// Of a leaf of so many records.
    static func leaf(_ count: Int) -> Grown {
      Grown(stepsMax: (max(count, GenerationEditor.recordsMax) + 3) / 4)
    }
  }

  static let empty = BuiltTree(slot: UInt64(SLUICE_SLOT_EMPTY), stepsMax: 0, pendingMax: 0, grown: .leaf(0))
}

extension BuiltTree {
  /// The bounds of whichever is walked.
  fileprivate mutating func take(_ other: BuiltTree) {
    stepsMax = max(stepsMax, other.stepsMax)
    pendingMax = max(pendingMax, other.pendingMax)
    grown.stepsMax = max(grown.stepsMax, other.grown.stepsMax)
    grown.pendingMax = max(grown.pendingMax, other.grown.pendingMax)
  }
}

/// Builds a tree by recursion: at each node the cut with the best ratio of cost and gain, or a leaf.
///
/// Words are appended to an image, indices count from its begin. Which cut is taken decides about speed and memory only:
/// every rule is in every child that it overlaps or in the residual, so what the walk finds doesn't depend on it.
struct CutTreeBuilder {
  private let layout: KeyLayout
  private let rules: [CutRule]
  private let columns: RuleColumns
  private var scorer: CutScorer
  private var image: [UInt64]
  /// Word index / 8 of each link record, by its ternaries.
  private var links: [[Ternary]: UInt64]
  private var crowd = Crowd()

  /// Rules in one leaf.
  struct Crowd {
    fileprivate(set) var count = 0
    /// At most ``CompileError/namedRulesMax``, ascending, each once.
    fileprivate(set) var priorities: [UInt32] = []
  }

  private static let leafRecordsMax = Int(SLUICE_LEAF_RECORDS_MAX)
  private static let recordsPerStep = 4
  /// Nodes on one way from the root; real rule sets have a handful.
  private static let depthMax = 64
  /// Rules that are looked at to find the promising cuts of a node with more.
  private static let sampleMax = 4096

  /// - Parameters:
  ///   - rules: In order of priority.
  ///   - emptyLink: Word index / 8 of a link record that asks for nothing.
  ///   - image: What stands before; the tree is appended.
  /// - Returns: The tree, and of the most rules that no cut could part the priorities of the first.
  static func build(
    _ rules: [CutRule], layout: KeyLayout, emptyLink: UInt64, appendingTo image: inout [UInt64]
  ) -> (tree: BuiltTree, crowd: Crowd) {
    if rules.isEmpty { return (.empty, Crowd()) }
    var builder = CutTreeBuilder(rules, layout: layout, emptyLink: emptyLink, image: image)
    image = []
    let root = builder.build(ArraySlice((0..<Int32(rules.count)).map { $0 }), LaneRegion(), depth: 0)
    image = builder.image
    return (root, builder.crowd)
  }

  private init(_ rules: [CutRule], layout: KeyLayout, emptyLink: UInt64, image: [UInt64]) {
    self.layout = layout
    links = [[Ternary(), Ternary(), Ternary()]: emptyLink]
    self.rules = rules
    self.image = image
    columns = RuleColumns(rules, layout: layout)
    scorer = CutScorer(columns)
  }

  private mutating func build(_ list: ArraySlice<Int32>, _ region: LaneRegion, depth: Int) -> BuiltTree {
    guard list.count > 5, depth < CutTreeBuilder.depthMax, let choice = bestChoice(list, region) else {
      return leaf(list)
    }
    let n = Float(list.count)
    if list.count <= 16, choice.score * scorer.logarithm(list.count) + 1.4 >= 1.5 + 0.4 * n { return leaf(list) }
    let (children, starts, residual) = distribute(list, choice, region)
    let base = image.count + 1
    image.append(contentsOf: repeatElement(UInt64(SLUICE_SLOT_EMPTY), count: choice.cut.childCount + 1))
    var proven = BuiltTree.empty
    for index in 0..<choice.cut.childCount {
      let range = Int(starts[index])..<Int(starts[index + 1])
      if range.isEmpty { continue }
      let child = build(children[range], region.child(index, of: choice.cut), depth: depth + 1)
      image[base + index] = child.slot
      proven.take(child)
    }
    let rest = residual.isEmpty ? nil : build(residual[...], region, depth: depth + 1)
    if let rest { image[base - 1] = rest.slot }
    return node(list, choice.cut, base: base, children: proven, rest: rest)
  }

  // MARK: Slots

  private func node(
    _ list: ArraySlice<Int32>, _ cut: Cut, base: Int, children: BuiltTree, rest: BuiltTree?
  ) -> BuiltTree {
    let (word, shift) = position(of: cut)
    var slot = priority(of: list) | UInt64(SLUICE_SLOT_CUT) << 42 | UInt64(base) | UInt64(word) << 27
    slot |= UInt64(shift) << 30 | UInt64(cut.bitCount) << 36
    let grownRest = (rest ?? .empty).grown
    // The residual waits while a child is walked.
    let grown = BuiltTree.Grown(
      stepsMax: 1 + children.grown.stepsMax + grownRest.stepsMax,
      pendingMax: max(1 + children.grown.pendingMax, grownRest.pendingMax))
    guard let rest else {
      return BuiltTree(slot: slot, stepsMax: 1 + children.stepsMax, pendingMax: children.pendingMax, grown: grown)
    }
    return BuiltTree(
      slot: slot | UInt64(SLUICE_SLOT_RESIDUAL), stepsMax: 1 + children.stepsMax + rest.stepsMax,
      pendingMax: max(1 + children.pendingMax, rest.pendingMax), grown: grown)
  }

  private func position(of cut: Cut) -> (word: Int, shift: Int) {
    switch cut.field {
    case .ternary(let index): (layout.ternaryWords[index], cut.shift)
    case .lane(let lane): (layout.rangeWord, cut.shift + lane * Int(SLUICE_LANE_BITS))
    }
  }

  private func priority(of list: ArraySlice<Int32>) -> UInt64 {
    guard let first = list.first else { return UInt64(SLUICE_SLOT_EMPTY) }
    return UInt64(rules[Int(first)].priority >> 16) << 48
  }

  private mutating func note(_ list: ArraySlice<Int32>) {
    var priorities: [UInt32] = []
    for index in list where priorities.count < CompileError.namedRulesMax {
      let priority = rules[Int(index)].priority
      if priorities.last != priority { priorities.append(priority) }
    }
    crowd = Crowd(count: list.count, priorities: priorities)
  }

  /// Records in order of priority; more than a leaf holds in a chain of residuals.
  private mutating func leaf(_ list: ArraySlice<Int32>) -> BuiltTree {
    if list.count > crowd.count { note(list) }
    let own = list.prefix(CutTreeBuilder.leafRecordsMax)
    let rest = list.dropFirst(CutTreeBuilder.leafRecordsMax)
    let shorts = layout == .ipv4 ? own.compactMap { rules[Int($0)].shortRecord } : []
    let isShort = shorts.count == own.count
    let links = isShort ? [] : own.map { link(of: rules[Int($0)]) }
    // A pair of short records in one line of the cache, where there is one.
    let alignment = isShort ? (own.count > 1 ? 8 : 4) : layout.recordWordCount
    while image.count % alignment != 0 { image.append(0) }
    let place = image.count / 4
    for record in shorts where isShort { image += record }
    for (index, link) in zip(own, links) { image += rules[Int(index)].longRecord(layout, link: link) }
    let type = isShort ? SLUICE_SLOT_SHORT_LEAF : SLUICE_SLOT_LEAF
    let leaf = BuiltTree(
      slot: priority(of: own) | UInt64(type) << 42 | UInt64(own.count) << 27 | UInt64(place),
      stepsMax: (own.count + CutTreeBuilder.recordsPerStep - 1) / CutTreeBuilder.recordsPerStep, pendingMax: 0,
      grown: .leaf(own.count))
    if rest.isEmpty { return leaf }
    let base = image.count + 1
    image += [UInt64(SLUICE_SLOT_EMPTY), leaf.slot]
    let others = self.leaf(rest)
    image[base - 1] = others.slot
    return node(
      list, Cut(field: .ternary(0), shift: 0, bitCount: 0), base: base, children: leaf, rest: others)
  }

  /// The index of the record's link record, which is there from now on.
  private mutating func link(of rule: CutRule) -> UInt64 {
    let key = rule.link(layout)
    if let index = links[key] { return index }
    while image.count % 8 != 0 { image.append(0) }
    let index = UInt64(image.count / 8)
    image += CutRule.linkRecord(key)
    links[key] = index
    return index
  }

  // MARK: Cuts

  /// The rules of each child, one after the other, in order of priority; and those of the residual.
  private func distribute(
    _ list: ArraySlice<Int32>, _ choice: CutScorer.Choice, _ region: LaneRegion
  ) -> (children: [Int32], starts: [Int32], residual: [Int32]) {
    let cut = choice.cut
    var residual: [Int32] = []
    var pairs: [(child: UInt32, rule: Int32)] = []
    pairs.reserveCapacity(list.count * 2)
    for rule in list {
      switch cut.field {
      case .ternary(let word):
        let (start, wild) = columns.overlap(ternary: word, of: Int(rule), shift: cut.shift, mask: cut.childMask)
        if wild.nonzeroBitCount > choice.classMax {
          residual.append(rule)
          continue
        }
        var part: UInt32 = 0
        repeat {
          pairs.append((start | part, rule))
          part = (part &- wild) & wild
        } while part != 0
      case .lane(let lane):
        let (start, count) = columns.overlap(
          lane: lane, of: Int(rule), shift: cut.shift, mask: cut.childMask, within: region.interval(lane))
        if sizeClass(ofRun: count) > choice.classMax {
          residual.append(rule)
          continue
        }
        for offset in 0..<count { pairs.append(((start &+ offset) & cut.childMask, rule)) }
      }
    }
    var starts = [Int32](repeating: 0, count: cut.childCount + 1)
    for pair in pairs { starts[Int(pair.child) + 1] += 1 }
    for index in 1..<starts.count { starts[index] += starts[index - 1] }
    var next = starts
    var children = [Int32](repeating: 0, count: pairs.count)
    for (child, rule) in pairs {
      children[Int(next[Int(child)])] = rule
      next[Int(child)] += 1
    }
    return (children, starts, residual)
  }

  private mutating func bestChoice(_ list: ArraySlice<Int32>, _ region: LaneRegion) -> CutScorer.Choice? {
    let candidates = self.candidates(list, region)
    guard list.count > 2 * CutTreeBuilder.sampleMax else { return best(candidates, list, region) }
    let step = (list.count + CutTreeBuilder.sampleMax - 1) / CutTreeBuilder.sampleMax
    let sample = stride(from: list.startIndex, to: list.endIndex, by: step).map { list[$0] }
    var promising: [CutScorer.Choice] = []
    for cut in candidates {
      if let choice = scorer.score(cut, sample[...], region) { promising.append(choice) }
    }
    promising.sort { $0.score < $1.score }
    return best(promising.prefix(6).map(\.cut), list, region) ?? best(candidates, list, region)
  }

  private mutating func best(
    _ candidates: [Cut], _ list: ArraySlice<Int32>, _ region: LaneRegion
  ) -> CutScorer.Choice? {
    var best: CutScorer.Choice?
    for cut in candidates {
      if let choice = scorer.score(cut, list, region), best.map({ choice.score < $0.score }) ?? true { best = choice }
    }
    return best
  }

  /// Cuts that may divide the rules.
  private func candidates(_ list: ArraySlice<Int32>, _ region: LaneRegion) -> [Cut] {
    let widest = min(CutScorer.bitCountMax, Int(scorer.logarithm(list.count).rounded(.up)) + 2)
    let step = list.count <= 2_000 ? 1 : list.count <= 20_000 ? 2 : 4
    var result: [Cut] = []
    for word in columns.values.indices {
      let telling = tellingBits(of: word, list)
      if telling == 0 { continue }
      for bitCount in Set([widest, max(1, widest - 2), max(1, widest / 2), 1]) {
        for shift in stride(from: 0, through: 64 - bitCount, by: bitCount == 1 ? 1 : step) {
          let window = ((1 << UInt64(bitCount)) - 1) << UInt64(shift) as UInt64
          // With the highest bit a dull one, a lower window does the same; it is missing where the step is not 1.
          let isNew = step > 1 || telling >> UInt64(shift + bitCount - 1) & 1 != 0
          if telling & window != 0, isNew {
            result.append(Cut(field: .ternary(word), shift: shift, bitCount: bitCount))
          }
        }
      }
    }
    for lane in 0..<3 {
      let bits = region.bitCount(lane)
      let interval = region.interval(lane)
      let isTelling = list.contains {
        columns.lows[lane][Int($0)] > interval.lowerBound || columns.highs[lane][Int($0)] < interval.upperBound
      }
      if bits == 0 || !isTelling { continue }
      for bitCount in Set([min(bits, widest), min(bits, 8), min(bits, 4), 1]) {
        for shift in Set([bits - bitCount, 0, (bits - bitCount) / 2]) {
          result.append(Cut(field: .lane(lane), shift: shift, bitCount: bitCount))
        }
      }
    }
    return result
  }

  /// Bits that some rule looks at, and that not all rules want the same.
  private func tellingBits(of word: Int, _ list: ArraySlice<Int32>) -> UInt64 {
    var asked: UInt64 = 0
    var always = UInt64.max
    var ones: UInt64 = 0
    var zeros: UInt64 = 0
    for rule in list {
      let mask = columns.masks[word][Int(rule)]
      let value = columns.values[word][Int(rule)]
      asked |= mask
      always &= mask
      ones |= value
      zeros |= mask & ~value
    }
    return asked & ~(always & ~(ones & zeros))
  }
}

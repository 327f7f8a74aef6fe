import CSluiceABI

/// Of a slot and of a label: what a walk compares.
private let priorityMask: UInt64 = 0xffff << 48

/// Where an entry goes in a tree, or is.
private struct Way {
  /// Word indices of the slots of leaves, empty ones among them.
  var leaves: [Int] = []
  /// Of the cuts on the way.
  var cuts: [Int] = []
  /// Of those that have no residual yet, and get one.
  var residuals: [Int] = []
  var looked = 0
}

/// One entry, to be found in a tree.
private struct Sought {
  let layout: KeyLayout
  let columns: RuleColumns
  /// Of no link record: entries that ask for one aren't edited in place.
  let long: [UInt64]
  let short: [UInt64]?
  let label: UInt64

  init(_ entry: CutRule, _ layout: KeyLayout) throws(GenerationEditor.Refusal) {
    let linked = entry.ternaries[layout.link].mask | entry.ternaries[layout.link + 1].mask | entry.ternaries[layout.sets].mask
    guard linked == 0 else { throw .needsMore }
    self.layout = layout
    columns = RuleColumns([entry], layout: layout)
    var record: [UInt64] = []
    entry.appendLongRecord(to: &record, layout, link: Sought.emptyLink)
    long = record
    short = layout == .ipv4 ? entry.shortRecord.map { [$0.addresses, $0.ports, $0.header, $0.label] } : nil
    label = entry.label
  }

  func record(isShort: Bool) -> [UInt64]? { isShort ? short : long }

  /// Behind the header, where ``CompiledGeneration`` puts it.
  private static let emptyLink =
    UInt64((Int(SLUICE_TABLES_HEADER_BYTES) + MemoryLayout<sluice_generation>.size) / MemoryLayout<sluice_record_link>.size)
}

/// A leaf's slot, taken apart.
private struct Leaf {
  let isShort: Bool
  let index: Int
  let count: Int
  let recordWordCount: Int
  var wordCount: Int { count * recordWordCount }

  init(_ slot: UInt64, _ layout: KeyLayout) {
    isShort = slot >> 42 & 7 == UInt64(SLUICE_SLOT_SHORT_LEAF)
    index = Int(slot & 0x7ff_ffff) * 4
    count = slot >> 42 & 7 == 0 ? 0 : Int(slot >> 27 & 0xff)
    recordWordCount = isShort ? MemoryLayout<sluice_short_ipv4>.size / 8 : layout.recordWordCount
  }

  /// Where the label stands in a record.
  var labelOffset: Int { isShort ? 3 : 6 }

  static func slot(isShort: Bool, index: Int, count: Int, label: UInt64) -> UInt64 {
    if count == 0 { return UInt64(SLUICE_SLOT_EMPTY) }
    let type = UInt64(isShort ? SLUICE_SLOT_SHORT_LEAF : SLUICE_SLOT_LEAF)
    return label & priorityMask | type << 42 | UInt64(count) << 27 | UInt64(index / 4)
  }
}

/// A cut's slot, taken apart.
private struct CutSlot {
  let base: Int
  let cut: Cut
  let hasResidual: Bool

  init(_ slot: UInt64, _ layout: KeyLayout) {
    base = Int(slot & 0x7ff_ffff)
    hasResidual = slot & UInt64(SLUICE_SLOT_RESIDUAL) != 0
    let (word, shift, bitCount) = (Int(slot >> 27 & 7), Int(slot >> 30 & 63), Int(slot >> 36 & 31))
    let laneBits = Int(SLUICE_LANE_BITS)
    if word == layout.rangeWord {
      cut = Cut(field: .lane(shift / laneBits), shift: shift % laneBits, bitCount: bitCount)
    } else {
      cut = Cut(field: .ternary(layout.ternaryWords.firstIndex(of: word) ?? 0), shift: shift, bitCount: bitCount)
    }
  }

  /// The children that the entry overlaps; nil if they are more than so many.
  func children(of entry: Sought, _ region: LaneRegion, atMost most: Int) -> [Int]? {
    switch cut.field {
    case .ternary(let word):
      let (start, wild) = entry.columns.overlap(ternary: word, of: 0, shift: cut.shift, mask: cut.childMask)
      guard 1 << wild.nonzeroBitCount <= most else { return nil }
      var result: [Int] = []
      var part: UInt32 = 0
      repeat {
        result.append(Int(start | part))
        part = (part &- wild) & wild
      } while part != 0
      return result
    case .lane(let lane):
      let (start, count) = entry.columns.overlap(
        lane: lane, of: 0, shift: cut.shift, mask: cut.childMask, within: region.interval(lane))
      return Int(count) <= most ? (0..<count).map { Int((start &+ $0) & cut.childMask) } : nil
    }
  }
}

extension GenerationEditor {
  private func layout(_ tree: Int) -> KeyLayout { tree == Int(SLUICE_TREE_IPV6.rawValue) ? .ipv6 : .ipv4 }

  /// The word index of a tree's root in its half.
  private func root(_ tree: Int) -> Int {
    let offset = MemoryLayout<sluice_generation>.offset(of: \.roots) ?? 0
    return (Int(SLUICE_TABLES_HEADER_BYTES) + offset) / 8 + tree
  }

  // MARK: Insertion

  mutating func insert(_ entry: CutRule, _ tree: Int, _ memory: some TableMemory) throws(Refusal) {
    let sought = try Sought(entry, layout(tree))
    var way = Way()
    try descend(root(tree), sought, LaneRegion(), &way, memory)
    // Records first, nobody sees them; then the priorities, with which a walk enters more than before; then the slots.
    var slots: [UInt64] = []
    do throws(Refusal) {
      for leaf in way.leaves { slots.append(try grown(memory.word(leaf), by: sought, memory)) }
    } catch {
      for slot in slots {
        let leaf = Leaf(slot, sought.layout)
        space.giveBack(leaf.index, wordCount: leaf.wordCount)
      }
      throw error
    }
    let priority = entry.label & priorityMask
    for cut in way.cuts {
      let slot = memory.word(cut)
      if slot & priorityMask > priority { memory.store(slot & ~priorityMask | priority, at: cut) }
    }
    for (leaf, slot) in zip(way.leaves, slots) { exchange(leaf, slot, sought.layout, memory) }
    for cut in way.residuals { memory.store(memory.word(cut) | UInt64(SLUICE_SLOT_RESIDUAL), at: cut) }
  }

  private func descend(
    _ index: Int, _ entry: Sought, _ region: LaneRegion, _ way: inout Way, _ memory: some TableMemory
  ) throws(Refusal) {
    let slot = memory.word(index)
    guard slot >> 42 & 7 == UInt64(SLUICE_SLOT_CUT) else {
      guard way.leaves.count < GenerationEditor.leavesMax else { throw .noRoom }
      way.leaves.append(index)
      return
    }
    way.cuts.append(index)
    let node = CutSlot(slot, entry.layout)
    if let children = node.children(of: entry, region, atMost: GenerationEditor.childrenMax) {
      for child in children {
        try descend(node.base + child, entry, region.child(child, of: node.cut), &way, memory)
      }
    } else {
      if !node.hasResidual { way.residuals.append(index) }
      try descend(node.base - 1, entry, region, &way, memory)
    }
  }

  /// The slot of a new leaf: the old one's records, and the entry at its place.
  private mutating func grown(
    _ slot: UInt64, by entry: Sought, _ memory: some TableMemory
  ) throws(Refusal) -> UInt64 {
    let old = Leaf(slot, entry.layout)
    let isShort = old.count == 0 ? entry.short != nil : old.isShort
    guard let record = entry.record(isShort: isShort), old.count < GenerationEditor.recordsMax,
      let index = space.take(wordCount: (old.count + 1) * record.count)
    else { throw .noRoom }
    var next = index
    var isPlaced = false
    var best = entry.label
    func place() {
      for word in record {
        memory.store(word, at: next)
        next += 1
      }
      isPlaced = true
    }
    for number in 0..<old.count {
      let from = old.index + number * old.recordWordCount
      let label = memory.word(from + old.labelOffset)
      best = min(best, label)
      if !isPlaced, label > entry.label { place() }
      for offset in 0..<old.recordWordCount {
        memory.store(memory.word(from + offset), at: next)
        next += 1
      }
    }
    if !isPlaced { place() }
    return Leaf.slot(isShort: isShort, index: index, count: old.count + 1, label: best)
  }

  /// From now on walks find the new leaf; those in the old one go on in it.
  private mutating func exchange(_ index: Int, _ slot: UInt64, _ layout: KeyLayout, _ memory: some TableMemory) {
    let old = Leaf(memory.word(index), layout)
    memory.store(slot, at: index)
    if old.count > 0 { space.retire(old.index, wordCount: old.wordCount, own: old.index >= builtEnd) }
  }

  // MARK: Removal

  mutating func remove(_ entry: CutRule, _ tree: Int, _ memory: some TableMemory) throws(Refusal) {
    let sought = try Sought(entry, layout(tree))
    let leaves = try leaves(with: sought, tree, memory)
    var slots: [UInt64] = []
    do throws(Refusal) {
      for leaf in leaves { slots.append(try shrunk(memory.word(leaf), by: sought, memory)) }
    } catch {
      for slot in slots {
        let leaf = Leaf(slot, sought.layout)
        if leaf.count > 0 { space.giveBack(leaf.index, wordCount: leaf.wordCount) }
      }
      throw error
    }
    for (leaf, slot) in zip(leaves, slots) { exchange(leaf, slot, sought.layout, memory) }
  }

  /// Word indices of the slots of all leaves that have the entry: one at least.
  private func leaves(with sought: Sought, _ tree: Int, _ memory: some TableMemory) throws(Refusal) -> [Int] {
    var way = Way()
    guard try search(root(tree), sought, LaneRegion(), &way, memory), !way.leaves.isEmpty else { throw .unknownRule }
    return way.leaves
  }

  /// Whether the entry is in the subtree: in the residual, or in every child that it overlaps.
  private func search(
    _ index: Int, _ entry: Sought, _ region: LaneRegion, _ way: inout Way, _ memory: some TableMemory
  ) throws(Refusal) -> Bool {
    way.looked += 1
    guard way.looked <= GenerationEditor.searchMax else { throw .noRoom }
    let slot = memory.word(index)
    guard slot >> 42 & 7 == UInt64(SLUICE_SLOT_CUT) else {
      guard place(of: entry, in: Leaf(slot, entry.layout), memory) != nil else { return false }
      way.leaves.append(index)
      return true
    }
    let node = CutSlot(slot, entry.layout)
    let before = way.leaves.count
    if node.hasResidual {
      if try search(node.base - 1, entry, region, &way, memory) { return true }
      way.leaves.removeLast(way.leaves.count - before)
    }
    guard let children = node.children(of: entry, region, atMost: GenerationEditor.leavesMax) else { throw .noRoom }
    for child in children {
      guard try search(node.base + child, entry, region.child(child, of: node.cut), &way, memory) else {
        way.leaves.removeLast(way.leaves.count - before)
        return false
      }
    }
    return true
  }

  /// Which of the leaf's records is the entry's.
  private func place(of entry: Sought, in leaf: Leaf, _ memory: some TableMemory) -> Int? {
    guard let record = entry.record(isShort: leaf.isShort) else { return nil }
    return (0..<leaf.count).first { number in
      let from = leaf.index + number * leaf.recordWordCount
      return record.indices.allSatisfy { offset in
        // The index of a long record's link is no part of it.
        memory.word(from + offset) == record[offset] || (!leaf.isShort && offset == 7)
      }
    }
  }

  /// The slot of a new leaf without the entry.
  private mutating func shrunk(
    _ slot: UInt64, by entry: Sought, _ memory: some TableMemory
  ) throws(Refusal) -> UInt64 {
    let old = Leaf(slot, entry.layout)
    guard let gone = place(of: entry, in: old, memory) else { throw .unknownRule }
    // What goes from a longer one couldn't come back.
    guard old.count <= GenerationEditor.recordsMax else { throw .noRoom }
    if old.count == 1 { return UInt64(SLUICE_SLOT_EMPTY) }
    guard let index = space.take(wordCount: (old.count - 1) * old.recordWordCount) else { throw .noRoom }
    var next = index
    for number in 0..<old.count where number != gone {
      let from = old.index + number * old.recordWordCount
      for offset in 0..<old.recordWordCount {
        memory.store(memory.word(from + offset), at: next)
        next += 1
      }
    }
    return Leaf.slot(
      isShort: old.isShort, index: index, count: old.count - 1, label: memory.word(index + old.labelOffset))
  }
}

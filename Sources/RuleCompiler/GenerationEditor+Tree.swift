import CSluiceABI

/// Of a slot and of a label: what a walk compares.
private let priorityMask: UInt64 = 0xffff << 48

/// Where the entries of a rule go in the trees, or are.
private struct Way {
  /// A leaf of an entry.
  struct Place {
    /// Word index of the leaf's slot; also of an empty one.
    let leaf: Int
    /// Which of the entries.
    let entry: Int
  }

  var places: [Place] = []
  /// Word indices of the slots of the cuts on the way, and of those that have no residual yet and get one.
  var cuts: [Int] = []
  var residuals: [Int] = []
  var looked = 0

  /// The leaves, each once, with what concerns it.
  mutating func forEachLeaf<Failure: Error>(_ body: (_ leaf: Int, _ entries: [Int]) throws(Failure) -> Void) throws(Failure) {
    places.sort { ($0.leaf, $0.entry) < ($1.leaf, $1.entry) }
    var start = 0
    while start < places.count {
      var end = start + 1
      while end < places.count, places[end].leaf == places[start].leaf { end += 1 }
      try body(places[start].leaf, places[start..<end].map(\.entry))
      start = end
    }
  }
}

/// One entry, to be found in a tree.
struct SoughtEntry {
  /// Of `enum sluice_tree`.
  fileprivate let tree: Int
  fileprivate let layout: KeyLayout
  fileprivate let columns: RuleColumns
  /// Of no link record: entries that ask for one aren't edited in place.
  private let long: [UInt64]
  fileprivate let short: [UInt64]?
  fileprivate let label: UInt64

  init(_ entry: CutRule, _ tree: Int) throws(GenerationEditor.Refusal) {
    let layout: KeyLayout = tree == Int(SLUICE_TREE_IPV6.rawValue) ? .ipv6 : .ipv4
    let linked = entry.ternaries[layout.link].mask | entry.ternaries[layout.link + 1].mask | entry.ternaries[layout.sets].mask
    guard linked == 0 else { throw .needsMore }
    self.tree = tree
    self.layout = layout
    columns = RuleColumns([entry], layout: layout)
    var record: [UInt64] = []
    entry.appendLongRecord(to: &record, layout, link: Self.emptyLink)
    long = record
    short = layout == .ipv4 ? entry.shortRecord.map { [$0.addresses, $0.ports, $0.header, $0.label] } : nil
    label = entry.label
  }

  fileprivate func record(isShort: Bool) -> [UInt64]? { isShort ? short : long }

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
  func children(of entry: SoughtEntry, _ region: LaneRegion, atMost most: Int) -> [Int]? {
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
  /// The word index of a tree's root in its half.
  private func root(_ tree: Int) -> Int {
    let offset = MemoryLayout<sluice_generation>.offset(of: \.roots) ?? 0
    return (Int(SLUICE_TABLES_HEADER_BYTES) + offset) / 8 + tree
  }

  /// Makes all leaves before anyone sees one: if one can't be made, nothing has changed.
  ///
  /// - Parameter made: The slot of a new leaf, in place of the one that it is given.
  private mutating func renewed(
    _ way: inout Way, _ entries: [SoughtEntry], _ memory: some TableMemory,
    _ made: (inout GenerationEditor, UInt64, [Int]) throws(Refusal) -> UInt64
  ) throws(Refusal) -> [(leaf: Int, slot: UInt64, layout: KeyLayout)] {
    var renewed: [(leaf: Int, slot: UInt64, layout: KeyLayout)] = []
    do throws(Refusal) {
      try way.forEachLeaf { (leaf, concerned) throws(Refusal) in
        let slot = try made(&self, memory.word(leaf), concerned)
        renewed.append((leaf, slot, entries[concerned[0]].layout))
      }
    } catch {
      for (_, slot, layout) in renewed {
        let leaf = Leaf(slot, layout)
        if leaf.count > 0 { space.giveBack(leaf.index, wordCount: leaf.wordCount) }
      }
      throw error
    }
    return renewed
  }

  /// From now on walks find the new leaves; those in an old one go on in it.
  private mutating func exchange(
    _ renewed: [(leaf: Int, slot: UInt64, layout: KeyLayout)], _ memory: some TableMemory
  ) {
    for (index, slot, layout) in renewed {
      let old = Leaf(memory.word(index), layout)
      memory.store(slot, at: index)
      if old.count > 0 { space.retire(old.index, wordCount: old.wordCount, own: old.index >= builtEnd) }
    }
  }

  /// Copies records of a leaf to where nobody looks yet.
  ///
  /// - Returns: The word index behind them.
  private func copy(
    _ numbers: Range<Int>, of leaf: Leaf, to place: Int, _ memory: some TableMemory
  ) -> Int {
    let from = leaf.index + numbers.lowerBound * leaf.recordWordCount
    let count = numbers.count * leaf.recordWordCount
    for offset in 0..<count { memory.store(memory.word(from + offset), at: place + offset) }
    return place + count
  }

  // MARK: Insertion

  /// - Parameter entries: Of one rule: all with one priority.
  mutating func insert(_ entries: [SoughtEntry], _ memory: some TableMemory) throws(Refusal) {
    var way = Way()
    for (number, entry) in entries.enumerated() {
      try descend(root(entry.tree), entry, number, LaneRegion(), &way, memory)
    }
    // Records first, nobody sees them; then the priorities, with which a walk enters more than before; then the slots.
    let slots = try renewed(&way, entries, memory) { (editor, slot, numbers) throws(Refusal) in
      try editor.grown(slot, by: numbers.map { entries[$0] }, memory)
    }
    guard let priority = entries.first.map({ $0.label & priorityMask }) else { return }
    for cut in way.cuts {
      let slot = memory.word(cut)
      if slot & priorityMask > priority { memory.store(slot & ~priorityMask | priority, at: cut) }
    }
    exchange(slots, memory)
    for cut in way.residuals { memory.store(memory.word(cut) | UInt64(SLUICE_SLOT_RESIDUAL), at: cut) }
  }

  private func descend(
    _ index: Int, _ entry: SoughtEntry, _ number: Int, _ region: LaneRegion, _ way: inout Way, _ memory: some TableMemory
  ) throws(Refusal) {
    let slot = memory.word(index)
    guard slot >> 42 & 7 == UInt64(SLUICE_SLOT_CUT) else {
      guard way.places.count < GenerationEditor.leavesMax else { throw .noRoom }
      way.places.append(.init(leaf: index, entry: number))
      return
    }
    way.cuts.append(index)
    let node = CutSlot(slot, entry.layout)
    if let children = node.children(of: entry, region, atMost: GenerationEditor.childrenMax) {
      for child in children {
        try descend(node.base + child, entry, number, region.child(child, of: node.cut), &way, memory)
      }
    } else {
      if !node.hasResidual { way.residuals.append(index) }
      try descend(node.base - 1, entry, number, region, &way, memory)
    }
  }

  /// The slot of a new leaf: the old one's records, and the entries at their place.
  private mutating func grown(
    _ slot: UInt64, by entries: [SoughtEntry], _ memory: some TableMemory
  ) throws(Refusal) -> UInt64 {
    let old = Leaf(slot, entries[0].layout)
    let isShort = old.count == 0 ? entries.allSatisfy { $0.short != nil } : old.isShort
    let records = entries.compactMap { $0.record(isShort: isShort) }
    let count = old.count + entries.count
    guard records.count == entries.count, count <= GenerationEditor.recordsMax,
      let index = space.take(wordCount: count * records[0].count)
    else { throw .noRoom }
    let label = entries[0].label
    let before = (0..<old.count).first { memory.word(old.index + $0 * old.recordWordCount + old.labelOffset) > label } ?? old.count
    var next = copy(0..<before, of: old, to: index, memory)
    for record in records {
      for word in record {
        memory.store(word, at: next)
        next += 1
      }
    }
    _ = copy(before..<old.count, of: old, to: next, memory)
    let best = old.count == 0 ? label : min(label, memory.word(old.index + old.labelOffset))
    return Leaf.slot(isShort: isShort, index: index, count: count, label: best)
  }

  // MARK: Removal

  mutating func remove(_ entries: [SoughtEntry], _ memory: some TableMemory) throws(Refusal) {
    var way = try way(to: entries, memory)
    let slots = try renewed(&way, entries, memory) { (editor, slot, numbers) throws(Refusal) in
      try editor.shrunk(slot, by: numbers.map { entries[$0] }, memory)
    }
    exchange(slots, memory)
  }

  /// Afterwards only room can be missing to remove the entries.
  func checkRemovable(_ entries: [SoughtEntry], _ memory: some TableMemory) throws(Refusal) {
    for place in try way(to: entries, memory).places {
      let leaf = Leaf(memory.word(place.leaf), entries[place.entry].layout)
      guard leaf.count <= GenerationEditor.recordsMax else { throw .noRoom }
    }
  }

  /// Entries of the same matches and another label come in their places.
  mutating func replace(
    _ entries: [SoughtEntry], by new: [SoughtEntry], _ memory: some TableMemory
  ) throws(Refusal) {
    precondition(entries.count == new.count, "the same match has as many entries")
    guard entries.first?.label != new.first?.label else { return }
    var way = try way(to: entries, memory)
    let slots = try renewed(&way, entries, memory) { (editor, slot, numbers) throws(Refusal) in
      try editor.relabelled(slot, numbers.map { entries[$0] }, by: numbers.map { new[$0] }, memory)
    }
    exchange(slots, memory)
  }

  /// To all leaves that have the entries: one at least for each.
  private func way(to entries: [SoughtEntry], _ memory: some TableMemory) throws(Refusal) -> Way {
    var way = Way()
    for (number, entry) in entries.enumerated() {
      let before = way.places.count
      guard try search(root(entry.tree), entry, number, LaneRegion(), &way, memory), way.places.count > before else {
        throw .unknownRule
      }
    }
    return way
  }

  /// Whether the entry is in the subtree: in the residual, or in every child that it overlaps.
  private func search(
    _ index: Int, _ entry: SoughtEntry, _ number: Int, _ region: LaneRegion, _ way: inout Way, _ memory: some TableMemory
  ) throws(Refusal) -> Bool {
    way.looked += 1
    guard way.looked <= GenerationEditor.searchMax else { throw .noRoom }
    let slot = memory.word(index)
    guard slot >> 42 & 7 == UInt64(SLUICE_SLOT_CUT) else {
      let leaf = Leaf(slot, entry.layout)
      guard (0..<leaf.count).contains(where: { isRecord($0, of: leaf, entry, memory) }) else { return false }
      way.places.append(.init(leaf: index, entry: number))
      return true
    }
    // All that is below comes behind the entry.
    if slot & priorityMask > entry.label & priorityMask { return false }
    let node = CutSlot(slot, entry.layout)
    let before = way.places.count
    let children = node.children(of: entry, region, atMost: GenerationEditor.leavesMax)
    // What is in one child is hardly ever in the residual, and what is in many most often.
    for isResidual in children?.count == 1 ? [false, true] : [true, false] {
      if isResidual {
        if node.hasResidual, try search(node.base - 1, entry, number, region, &way, memory) { return true }
      } else {
        guard let children else { throw .noRoom }
        var isThere = true
        for child in children where isThere {
          isThere = try search(node.base + child, entry, number, region.child(child, of: node.cut), &way, memory)
        }
        if isThere { return true }
      }
      way.places.removeLast(way.places.count - before)
    }
    return false
  }

  private func isRecord(_ number: Int, of leaf: Leaf, _ entry: SoughtEntry, _ memory: some TableMemory) -> Bool {
    guard let record = entry.record(isShort: leaf.isShort) else { return false }
    let from = leaf.index + number * leaf.recordWordCount
    return record.indices.allSatisfy { offset in
      // The index of a long record's link is no part of it.
      memory.word(from + offset) == record[offset] || (!leaf.isShort && offset == 7)
    }
  }

  /// Which of the leaf's records are those of the entries, each of which has one at least: by its number, which entry.
  private func places(
    of entries: [SoughtEntry], in leaf: Leaf, _ memory: some TableMemory
  ) throws(Refusal) -> [Int: Int] {
    var places: [Int: Int] = [:]
    for (entry, sought) in entries.enumerated() {
      let own = (0..<leaf.count).filter { isRecord($0, of: leaf, sought, memory) }
      if own.isEmpty { throw .unknownRule }
      for number in own { places[number] = entry }
    }
    return places
  }

  /// The slot of a new leaf without the entries.
  private mutating func shrunk(
    _ slot: UInt64, by entries: [SoughtEntry], _ memory: some TableMemory
  ) throws(Refusal) -> UInt64 {
    let old = Leaf(slot, entries[0].layout)
    let gone = try places(of: entries, in: old, memory)
    // What goes from a longer one couldn't come back.
    guard old.count <= GenerationEditor.recordsMax else { throw .noRoom }
    let left = old.count - gone.count
    if left == 0 { return UInt64(SLUICE_SLOT_EMPTY) }
    guard let index = space.take(wordCount: left * old.recordWordCount) else { throw .noRoom }
    var next = index
    for number in 0..<old.count where gone[number] == nil { next = copy(number..<number + 1, of: old, to: next, memory) }
    return Leaf.slot(isShort: old.isShort, index: index, count: left, label: memory.word(index + old.labelOffset))
  }

  /// The slot of a new leaf with other labels on the entries.
  private mutating func relabelled(
    _ slot: UInt64, _ entries: [SoughtEntry], by new: [SoughtEntry], _ memory: some TableMemory
  ) throws(Refusal) -> UInt64 {
    let old = Leaf(slot, entries[0].layout)
    let places = try places(of: entries, in: old, memory)
    guard let index = space.take(wordCount: old.wordCount) else { throw .noRoom }
    _ = copy(0..<old.count, of: old, to: index, memory)
    for (number, entry) in places {
      memory.store(new[entry].label, at: index + number * old.recordWordCount + old.labelOffset)
    }
    return Leaf.slot(isShort: old.isShort, index: index, count: old.count, label: memory.word(index + old.labelOffset))
  }
}

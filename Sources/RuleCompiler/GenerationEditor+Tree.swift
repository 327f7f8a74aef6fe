import CSluiceABI

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
  /// - Parameter widening: Short ones become long ones.
  /// - Returns: The word index behind them.
  private func copy(
    _ numbers: Range<Int>, of leaf: Leaf, to place: Int, widening: Bool = false, _ memory: some TableMemory
  ) -> Int {
    let from = leaf.index + numbers.lowerBound * leaf.recordWordCount
    let count = numbers.count * leaf.recordWordCount
    if widening {
      var next = place
      for first in stride(from: from, to: from + count, by: leaf.recordWordCount) {
        for word in SoughtEntry.widened((0..<leaf.recordWordCount).map { memory.word(first + $0) }) {
          memory.store(word, at: next)
          next += 1
        }
      }
      return next
    }
    for offset in 0..<count { memory.store(memory.word(from + offset), at: place + offset) }
    return place + count
  }

  // MARK: Insertion

  /// - Parameter entries: Of one rule: all with one priority.
  mutating func insert(_ entries: [SoughtEntry], _ memory: some TableMemory) throws(Refusal) {
    var entries = entries
    let links = try makeLinks(of: &entries, memory)
    do throws(Refusal) {
      try insert(linked: entries, memory)
    } catch {
      for index in links { space.giveBack(index, wordCount: SoughtEntry.linkWordCount) }
      throw error
    }
  }

  /// Puts link records where nobody looks yet.
  private mutating func makeLinks(
    of entries: inout [SoughtEntry], _ memory: some TableMemory
  ) throws(Refusal) -> [Int] {
    var links: [Int] = []
    for number in entries.indices {
      guard let link = entries[number].link else { continue }
      guard let index = space.take(wordCount: link.count) else {
        for index in links { space.giveBack(index, wordCount: link.count) }
        throw .noRoom
      }
      for (offset, word) in link.enumerated() { memory.store(word, at: index + offset) }
      entries[number].setLink(index)
      links.append(index)
    }
    return links
  }

  private mutating func insert(linked entries: [SoughtEntry], _ memory: some TableMemory) throws(Refusal) {
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
    let isShort = (old.count == 0 || old.isShort) && entries.allSatisfy { $0.short != nil }
    let widening = old.isShort && !isShort
    let records = entries.compactMap { $0.record(isShort: isShort) }
    let count = old.count + entries.count
    guard records.count == entries.count, count <= GenerationEditor.recordsMax,
      let index = space.take(wordCount: count * records[0].count)
    else { throw .noRoom }
    let label = entries[0].label
    let before = (0..<old.count).first { memory.word(old.index + $0 * old.recordWordCount + old.labelOffset) > label } ?? old.count
    var next = copy(0..<before, of: old, to: index, widening: widening, memory)
    for record in records {
      for word in record {
        memory.store(word, at: next)
        next += 1
      }
    }
    _ = copy(before..<old.count, of: old, to: next, widening: widening, memory)
    let best = old.count == 0 ? label : min(label, memory.word(old.index + old.labelOffset))
    return Leaf.slot(isShort: isShort, index: index, count: count, label: best)
  }

  // MARK: Removal

  mutating func remove(_ entries: [SoughtEntry], _ memory: some TableMemory) throws(Refusal) {
    var way = try way(to: entries, memory)
    var links: Set<Int> = []
    let slots = try renewed(&way, entries, memory) { (editor, slot, numbers) throws(Refusal) in
      try editor.shrunk(slot, by: numbers.map { entries[$0] }, &links, memory)
    }
    exchange(slots, memory)
    for index in links { space.retire(index, wordCount: SoughtEntry.linkWordCount, own: index >= builtEnd) }
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
    let from = leaf.index + number * leaf.recordWordCount
    return entry.isOwn(
      isShort: leaf.isShort, { memory.word(from + $0) }, linkWord: { memory.word(linkIndex(ofRecord: from, memory) + $0) })
  }

  /// Word index of a long record's link record.
  private func linkIndex(ofRecord index: Int, _ memory: some TableMemory) -> Int {
    Int(memory.word(index + SoughtEntry.linkOffset)) * SoughtEntry.linkWordCount
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
  ///
  /// - Parameter links: collects the link records that they had.
  private mutating func shrunk(
    _ slot: UInt64, by entries: [SoughtEntry], _ links: inout Set<Int>, _ memory: some TableMemory
  ) throws(Refusal) -> UInt64 {
    let old = Leaf(slot, entries[0].layout)
    let gone = try places(of: entries, in: old, memory)
    for (number, entry) in gone where entries[entry].link != nil {
      links.insert(linkIndex(ofRecord: old.index + number * old.recordWordCount, memory))
    }
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

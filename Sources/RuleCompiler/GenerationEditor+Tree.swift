import CSluiceABI

/// A leaf that comes in the place of another one.
struct RenewedLeaf {
  /// Word index of the slot.
  let index: Int
  let slot: UInt64
  let layout: KeyLayout
}

extension GenerationEditor {
  /// Makes all leaves of the way before anyone sees one: if one can't be made, nothing has changed.
  ///
  /// - Parameter made: The slot of a new leaf, in place of the one that it is given, and what of the entries concerns it.
  private mutating func renew(
    _ entries: [SoughtEntry], _ memory: some TableMemory,
    _ made: (inout GenerationEditor, Leaf, ArraySlice<Way.Place>) throws(Refusal) -> UInt64
  ) throws(Refusal) {
    renewed.removeAll(keepingCapacity: true)
    var start = 0
    do throws(Refusal) {
      while start < way.places.count {
        let concerned = way.places(from: start)
        let (index, layout) = (concerned[start].leaf, entries[concerned[start].entry].layout)
        let slot = try made(&self, Leaf(memory.word(index), layout), concerned)
        renewed.append(RenewedLeaf(index: index, slot: slot, layout: layout))
        start = concerned.endIndex
      }
    } catch {
      for new in renewed {
        let leaf = Leaf(new.slot, new.layout)
        if leaf.count > 0 { space.giveBack(leaf.index, wordCount: leaf.wordCount) }
      }
      throw error
    }
  }

  /// From now on walks find the new leaves; those in an old one go on in it.
  private mutating func exchangeRenewed(_ memory: some TableMemory) {
    for new in renewed {
      let old = Leaf(memory.word(new.index), new.layout)
      memory.store(new.slot, at: new.index)
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
        let short = RecordWords(count: leaf.recordWordCount) { memory.word(first + $0) }
        next = store(SoughtEntry.widened(short), at: next, memory)
      }
      return next
    }
    for offset in 0..<count { memory.store(memory.word(from + offset), at: place + offset) }
    return place + count
  }

  /// - Returns: The word index behind it.
  private func store(_ record: RecordWords, at place: Int, _ memory: some TableMemory) -> Int {
    for index in record.indices { memory.store(record[index], at: place + index) }
    return place + record.count
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
      _ = store(link, at: index, memory)
      entries[number].setLink(index)
      links.append(index)
    }
    return links
  }

  private mutating func insert(linked entries: [SoughtEntry], _ memory: some TableMemory) throws(Refusal) {
    try way.lead(into: memory, entries)
    // Records first, nobody sees them; then the priorities, with which a walk enters more than before; then the slots.
    try renew(entries, memory) { (editor, leaf, concerned) throws(Refusal) in
      try editor.grown(leaf, by: entries, concerned, memory)
    }
    guard let priority = entries.first.map({ $0.label & priorityMask }) else { return }
    for cut in way.cuts {
      let slot = memory.word(cut)
      if slot & priorityMask > priority { memory.store(slot & ~priorityMask | priority, at: cut) }
    }
    exchangeRenewed(memory)
    for cut in way.residuals { memory.store(memory.word(cut) | UInt64(SLUICE_SLOT_RESIDUAL), at: cut) }
  }

  /// The slot of a new leaf: the old one's records, and the entries at their place.
  private mutating func grown(
    _ old: Leaf, by entries: [SoughtEntry], _ concerned: ArraySlice<Way.Place>, _ memory: some TableMemory
  ) throws(Refusal) -> UInt64 {
    let isShort = (old.count == 0 || old.isShort) && concerned.allSatisfy { entries[$0.entry].isShort }
    let widening = old.isShort && !isShort
    let (first, count) = (entries[concerned[concerned.startIndex].entry], old.count + concerned.count)
    guard count <= GenerationEditor.recordsMax,
      let index = space.take(wordCount: count * first.record(isShort: isShort).count)
    else { throw .noRoom }
    let label = first.label
    let before = (0..<old.count).first { old.label($0, memory) > label } ?? old.count
    var next = copy(0..<before, of: old, to: index, widening: widening, memory)
    for place in concerned { next = store(entries[place.entry].record(isShort: isShort), at: next, memory) }
    _ = copy(before..<old.count, of: old, to: next, widening: widening, memory)
    let best = old.count == 0 ? label : min(label, old.label(0, memory))
    return Leaf.slot(isShort: isShort, index: index, count: count, label: best)
  }

  // MARK: Removal

  mutating func remove(_ entries: [SoughtEntry], _ memory: some TableMemory) throws(Refusal) {
    try way.find(entries, in: memory)
    var links: Set<Int> = []
    try renew(entries, memory) { (editor, leaf, concerned) throws(Refusal) in
      try editor.shrunk(leaf, by: entries, concerned, &links, memory)
    }
    exchangeRenewed(memory)
    for index in links { space.retire(index, wordCount: SoughtEntry.linkWordCount, own: index >= builtEnd) }
  }

  /// Afterwards only room can be missing to remove the entries.
  mutating func checkRemovable(_ entries: [SoughtEntry], _ memory: some TableMemory) throws(Refusal) {
    try way.find(entries, in: memory)
    for place in way.places {
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
    try way.find(entries, in: memory)
    try renew(entries, memory) { (editor, leaf, concerned) throws(Refusal) in
      try editor.relabelled(leaf, entries, by: new, concerned, memory)
    }
    exchangeRenewed(memory)
  }

  /// Which of the entries a leaf's record is; nil: another rule's.
  private func entry(
    of number: Int, in leaf: Leaf, _ entries: [SoughtEntry], _ concerned: ArraySlice<Way.Place>, _ memory: some TableMemory
  ) -> Int? {
    concerned.first { leaf.isRecord(number, of: entries[$0.entry], memory) }?.entry
  }

  /// The slot of a new leaf without the entries, all of which it has.
  ///
  /// - Parameter links: collects the link records that they had.
  private mutating func shrunk(
    _ old: Leaf, by entries: [SoughtEntry], _ concerned: ArraySlice<Way.Place>, _ links: inout Set<Int>,
    _ memory: some TableMemory
  ) throws(Refusal) -> UInt64 {
    // What goes from a longer one couldn't come back.
    guard old.count <= GenerationEditor.recordsMax else { throw .noRoom }
    var left: UInt32 = 0
    for number in 0..<old.count {
      guard let entry = entry(of: number, in: old, entries, concerned, memory) else {
        left |= 1 << UInt32(number)
        continue
      }
      if entries[entry].link != nil { links.insert(old.linkIndex(ofRecord: number, memory)) }
    }
    if left == 0 { return UInt64(SLUICE_SLOT_EMPTY) }
    let count = left.nonzeroBitCount
    guard let index = space.take(wordCount: count * old.recordWordCount) else { throw .noRoom }
    var next = index
    for number in 0..<old.count where left >> UInt32(number) & 1 != 0 {
      next = copy(number..<number + 1, of: old, to: next, memory)
    }
    return Leaf.slot(isShort: old.isShort, index: index, count: count, label: memory.word(index + old.labelOffset))
  }

  /// The slot of a new leaf with other labels on the entries.
  private mutating func relabelled(
    _ old: Leaf, _ entries: [SoughtEntry], by new: [SoughtEntry], _ concerned: ArraySlice<Way.Place>, _ memory: some TableMemory
  ) throws(Refusal) -> UInt64 {
    guard let index = space.take(wordCount: old.wordCount) else { throw .noRoom }
    _ = copy(0..<old.count, of: old, to: index, memory)
    for number in 0..<old.count {
      guard let entry = entry(of: number, in: old, entries, concerned, memory) else { continue }
      memory.store(new[entry].label, at: index + number * old.recordWordCount + old.labelOffset)
    }
    return Leaf.slot(isShort: old.isShort, index: index, count: old.count, label: memory.word(index + old.labelOffset))
  }
}

import CSluiceABI

/// Where the entries of a rule go in the trees, or are. Used again and again: what it found stays until the next search.
struct Way {
  /// A leaf of an entry.
  struct Place {
    /// Word index of the leaf's slot; also of an empty one.
    let leaf: Int
    /// Which of the entries.
    let entry: Int
  }

  /// In order of their leaves.
  private(set) var places: [Place] = []
  /// Word indices of the slots of the cuts on the way, and of those that have no residual yet and get one.
  private(set) var cuts: [Int] = []
  private(set) var residuals: [Int] = []
  private var looked = 0

  /// To the leaves that the entries go to.
  mutating func lead(into memory: some TableMemory, _ entries: [SoughtEntry]) throws(GenerationEditor.Refusal) {
    clear()
    for (number, entry) in entries.enumerated() {
      try descend(Way.root(entry.tree), entry, number, LaneRegion(), memory)
    }
    sort()
  }

  /// To all leaves that have the entries: one at least for each.
  mutating func find(_ entries: [SoughtEntry], in memory: some TableMemory) throws(GenerationEditor.Refusal) {
    clear()
    for (number, entry) in entries.enumerated() {
      let before = places.count
      guard try search(Way.root(entry.tree), entry, number, LaneRegion(), memory), places.count > before else {
        throw .unknownRule
      }
    }
    sort()
  }

  /// The places of the leaf that the place at an index is the first of.
  func places(from start: Int) -> ArraySlice<Place> {
    var end = start + 1
    while end < places.count, places[end].leaf == places[start].leaf { end += 1 }
    return places[start..<end]
  }

  private mutating func clear() {
    places.removeAll(keepingCapacity: true)
    cuts.removeAll(keepingCapacity: true)
    residuals.removeAll(keepingCapacity: true)
    looked = 0
  }

  private mutating func sort() {
    if places.count > 1 { places.sort { ($0.leaf, $0.entry) < ($1.leaf, $1.entry) } }
  }

  /// The word index of a tree's root in its half.
  private static func root(_ tree: sluice_tree) -> Int {
    let offset = MemoryLayout<sluice_generation>.offset(of: \.roots) ?? 0
    return (Int(SLUICE_TABLES_HEADER_BYTES) + offset) / 8 + Int(tree.rawValue)
  }

  private mutating func descend(
    _ index: Int, _ entry: SoughtEntry, _ number: Int, _ region: LaneRegion, _ memory: some TableMemory
  ) throws(GenerationEditor.Refusal) {
    let slot = memory.word(index)
    guard CutSlot.isCut(slot) else {
      guard places.count < GenerationEditor.leavesMax else { throw .noRoom }
      places.append(Place(leaf: index, entry: number))
      return
    }
    cuts.append(index)
    let node = CutSlot(slot, entry.layout)
    let children = node.children(of: entry, region)
    if children.count <= GenerationEditor.childrenMax {
      for child in children {
        try descend(node.base + child, entry, number, region.child(child, of: node.cut), memory)
      }
    } else {
      if !node.hasResidual { residuals.append(index) }
      try descend(node.base - 1, entry, number, region, memory)
    }
  }

  /// Whether the entry is in the subtree: in the residual, or in every child that it overlaps.
  private mutating func search(
    _ index: Int, _ entry: SoughtEntry, _ number: Int, _ region: LaneRegion, _ memory: some TableMemory
  ) throws(GenerationEditor.Refusal) -> Bool {
    looked += 1
    guard looked <= GenerationEditor.searchMax else { throw .noRoom }
    let slot = memory.word(index)
    guard CutSlot.isCut(slot) else {
      let leaf = Leaf(slot, entry.layout)
      guard (0..<leaf.count).contains(where: { leaf.isRecord($0, of: entry, memory) }) else { return false }
      places.append(Place(leaf: index, entry: number))
      return true
    }
    // All that is below comes behind the entry.
    if slot & priorityMask > entry.label & priorityMask { return false }
    let node = CutSlot(slot, entry.layout)
    let children = node.children(of: entry, region)
    // What is in one child is hardly ever in the residual, and what is in many most often.
    if children.count == 1 {
      if try search(node, children, entry, number, region, memory) { return true }
      return try searchResidual(node, entry, number, region, memory)
    }
    if try searchResidual(node, entry, number, region, memory) { return true }
    guard children.count <= GenerationEditor.leavesMax else { throw .noRoom }
    return try search(node, children, entry, number, region, memory)
  }

  private mutating func searchResidual(
    _ node: CutSlot, _ entry: SoughtEntry, _ number: Int, _ region: LaneRegion, _ memory: some TableMemory
  ) throws(GenerationEditor.Refusal) -> Bool {
    guard node.hasResidual else { return false }
    let before = places.count
    if try search(node.base - 1, entry, number, region, memory) { return true }
    places.removeLast(places.count - before)
    return false
  }

  private mutating func search(
    _ node: CutSlot, _ children: CutChildren, _ entry: SoughtEntry, _ number: Int, _ region: LaneRegion,
    _ memory: some TableMemory
  ) throws(GenerationEditor.Refusal) -> Bool {
    let before = places.count
    for child in children {
      if try search(node.base + child, entry, number, region.child(child, of: node.cut), memory) { continue }
      places.removeLast(places.count - before)
      return false
    }
    return true
  }
}

extension Leaf {
  func label(_ number: Int, _ memory: some TableMemory) -> UInt64 {
    memory.word(index + number * recordWordCount + labelOffset)
  }

  /// Whether a record is the entry's.
  func isRecord(_ number: Int, of entry: SoughtEntry, _ memory: some TableMemory) -> Bool {
    let from = index + number * recordWordCount
    return entry.isOwn(
      isShort: isShort, { memory.word(from + $0) }, linkWord: { memory.word(linkIndex(ofRecord: number, memory) + $0) })
  }

  /// Word index of a long record's link record.
  func linkIndex(ofRecord number: Int, _ memory: some TableMemory) -> Int {
    Int(memory.word(index + number * recordWordCount + SoughtEntry.linkOffset)) * SoughtEntry.linkWordCount
  }
}

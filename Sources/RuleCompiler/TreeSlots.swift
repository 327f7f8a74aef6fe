import CSluiceABI

/// Of a slot and of a label: what a walk compares.
let priorityMask: UInt64 = 0xffff << 48

/// One entry, to be found in a tree.
struct SoughtEntry {
  /// Of `enum sluice_tree`.
  let tree: Int
  let layout: KeyLayout
  let columns: RuleColumns
  private var long: [UInt64]
  let short: [UInt64]?
  let label: UInt64
  /// Its link record; nil: it asks for nothing that stands there.
  let link: [UInt64]?

  init(_ entry: CutRule, _ tree: Int) {
    let layout: KeyLayout = tree == Int(SLUICE_TREE_IPV6.rawValue) ? .ipv6 : .ipv4
    self.tree = tree
    self.layout = layout
    columns = RuleColumns([entry], layout: layout)
    var record: [UInt64] = []
    entry.appendLongRecord(to: &record, layout, link: Self.emptyLink)
    long = record
    short = layout == .ipv4 ? entry.shortRecord.map { [$0.addresses, $0.ports, $0.header, $0.label] } : nil
    label = entry.label
    let linked = entry.link(layout)
    link = linked.allSatisfy { $0.mask == 0 } ? nil : CutRule.linkRecord(linked)
  }

  func record(isShort: Bool) -> [UInt64]? { isShort ? short : long }

  /// Whether a record is its own, by the words of both; of a link record counts what it says.
  func isOwn(isShort: Bool, _ word: (Int) -> UInt64, linkWord: (Int) -> UInt64) -> Bool {
    guard word(Leaf.labelOffset(isShort: isShort)) == label else { return false }
    func isSame(_ record: [UInt64]?) -> Bool {
      guard let record else { return false }
      return record.indices.allSatisfy { record[$0] == word($0) || (!isShort && $0 == Self.linkOffset) }
    }
    if isShort { return isSame(short) }
    // Or its short one, where a longer one came to the leaf later.
    guard isSame(long) || isSame(short.map(Self.widened)) else { return false }
    return (0..<Self.linkWordCount).allSatisfy { linkWord($0) == link?[$0] ?? 0 }
  }

  /// The words of a long record that matches as a short one does.
  static func widened(_ short: [UInt64]) -> [UInt64] {
    var record: [UInt64] = []
    CutRule(short: short).appendLongRecord(to: &record, .ipv4, link: emptyLink)
    return record
  }

  /// From now on its record says that its link record is there.
  mutating func setLink(_ index: Int) { long[Self.linkOffset] = UInt64(index / Self.linkWordCount) }

  /// Where a long record has the index of its link record.
  static let linkOffset = 7
  static let linkWordCount = MemoryLayout<sluice_record_link>.size / 8
  /// Behind the header, where ``CompiledGeneration`` puts it.
  private static let emptyLink =
    UInt64((Int(SLUICE_TABLES_HEADER_BYTES) + MemoryLayout<sluice_generation>.size) / MemoryLayout<sluice_record_link>.size)
}

/// A leaf's slot, taken apart.
struct Leaf {
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
  var labelOffset: Int { Leaf.labelOffset(isShort: isShort) }

  static func labelOffset(isShort: Bool) -> Int { isShort ? 3 : 6 }

  static func slot(isShort: Bool, index: Int, count: Int, label: UInt64) -> UInt64 {
    if count == 0 { return UInt64(SLUICE_SLOT_EMPTY) }
    let type = UInt64(isShort ? SLUICE_SLOT_SHORT_LEAF : SLUICE_SLOT_LEAF)
    return label & priorityMask | type << 42 | UInt64(count) << 27 | UInt64(index / 4)
  }
}

/// A cut's slot, taken apart.
struct CutSlot {
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

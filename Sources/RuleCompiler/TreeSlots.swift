import CSluiceABI

/// Of a slot and of a label: what a walk compares.
let priorityMask: UInt64 = 0xffff << 48

/// One entry, to be found in a tree.
struct SoughtEntry {
  let tree: sluice_tree
  let layout: KeyLayout
  /// What it matches.
  let rule: CutRule
  private var long: RecordWords
  private let short: RecordWords?
  /// Its link record; nil: it asks for nothing that stands there.
  let link: RecordWords?

  init(_ rule: CutRule, _ tree: sluice_tree) {
    self.tree = tree
    layout = KeyLayout(tree)
    self.rule = rule
    long = rule.longRecord(layout, link: Self.emptyLink)
    short = layout == .ipv4 ? rule.shortRecord : nil
    link = rule.hasLink(layout) ? CutRule.linkRecord(rule.link(layout)) : nil
  }

  var label: UInt64 { rule.label }

  /// Whether a short record can say what it matches.
  var isShort: Bool { short != nil }

  /// Short only if ``isShort``.
  func record(isShort: Bool) -> RecordWords { isShort ? short ?? long : long }

  /// Whether a record is its own, by the words of both; of a link record counts what it says.
  func isOwn(isShort: Bool, _ word: (Int) -> UInt64, linkWord: (Int) -> UInt64) -> Bool {
    guard word(Leaf.labelOffset(isShort: isShort)) == label else { return false }
    func isSame(_ record: RecordWords) -> Bool {
      record.indices.allSatisfy { record[$0] == word($0) || (!isShort && $0 == Self.linkOffset) }
    }
    if isShort { return short.map(isSame) ?? false }
    // Or its short one, where a longer one came to the leaf later.
    guard isSame(long) || short.map({ isSame(Self.widened($0)) }) ?? false else { return false }
    return (0..<Self.linkWordCount).allSatisfy { linkWord($0) == link?[$0] ?? 0 }
  }

  /// The words of a long record that matches as a short one does.
  static func widened(_ short: RecordWords) -> RecordWords { CutRule(short: short).longRecord(.ipv4, link: emptyLink) }

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

  static func isCut(_ slot: UInt64) -> Bool { slot >> 42 & 7 == UInt64(SLUICE_SLOT_CUT) }

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

  /// The children that the entry overlaps.
  func children(of entry: SoughtEntry, _ region: LaneRegion) -> CutChildren {
    switch cut.field {
    case .ternary(let word):
      let (start, wild) = entry.rule.ternaries[word].overlap(shift: cut.shift, mask: cut.childMask)
      return CutChildren(start: start, wild: wild)
    case .lane(let lane):
      let (low, high) = (entry.rule.low[lane], min(entry.rule.high[lane], 0xffff))
      let (start, count) = region.interval(lane).overlap(low, high, shift: cut.shift, mask: cut.childMask)
      return CutChildren(start: start, run: count, mask: cut.childMask)
    }
  }
}

/// Numbers of a cut's children.
struct CutChildren: Sequence, IteratorProtocol {
  /// How many are left.
  private(set) var count: Int
  private let start: UInt32
  /// Of what is added to ``start``: the bits of it, and the next.
  private let wild: UInt32
  private var part: UInt32 = 0
  private let mask: UInt32

  /// `start`, and every combination of the bits in `wild`.
  init(start: UInt32, wild: UInt32) {
    (self.start, self.wild) = (start, wild)
    mask = .max
    count = 1 << wild.nonzeroBitCount
  }

  /// So many from `start` on, around the end.
  init(start: UInt32, run: UInt32, mask: UInt32) {
    (self.start, self.mask) = (start, mask)
    wild = .max
    count = Int(run)
  }

  mutating func next() -> Int? {
    guard count > 0 else { return nil }
    count -= 1
    defer { part = (part &- wild) & wild }
    return Int((start &+ part) & mask)
  }
}

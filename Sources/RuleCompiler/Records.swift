import CSluiceABI

/// The words of one record, of any kind, in place: making one allocates nothing.
struct RecordWords: RandomAccessCollection {
  private var words = InlineArray<16, UInt64>(repeating: 0)
  private(set) var count = 0

  init() {}

  init(count: Int, _ word: (Int) -> UInt64) {
    for index in 0..<count { append(word(index)) }
  }

  var startIndex: Int { 0 }
  var endIndex: Int { count }

  subscript(index: Int) -> UInt64 {
    get { words[index] }
    set { words[index] = newValue }
  }

  mutating func append(_ word: UInt64) {
    words[count] = word
    count += 1
  }

  fileprivate mutating func append(_ ternary: Ternary) {
    append(ternary.value)
    append(ternary.mask)
  }
}

extension CutRule {
  /// As a `struct sluice_short_ipv4`, in a tree of the IPv4 form; nil where it asks for more than such a record can say.
  var shortRecord: RecordWords? {
    let addresses = ternaries[0]
    let header = ternaries[1]
    guard ternaries[2].mask | ternaries[3].mask | ternaries[4].mask == 0, low[2] == 0, high[2] == UInt32(SLUICE_NO_PORT),
      let source = UInt32(truncatingIfNeeded: addresses.mask >> 32).anyLowBits,
      let destination = UInt32(truncatingIfNeeded: addresses.mask).anyLowBits,
      header.mask & ~CutRule.shortHeaderMask == 0
    else { return nil }
    var asked = Ternary(value: CutRule.short(header.value), mask: CutRule.short(header.mask))
    var ports: UInt64 = 0
    for lane in 0..<2 {
      // From 0 on, and no end: a packet without ports matches too.
      let asksForPorts = high[lane] != UInt32(SLUICE_NO_PORT)
      if asksForPorts { asked.mask |= 1 << UInt64(SLUICE_SHORT_NO_PORTS) }
      guard asksForPorts || low[lane] == 0 else { return nil }
      let high = UInt64(min(high[lane], 0xffff))
      ports |= (UInt64(low[lane]) | high << 16) << UInt64(32 * lane)
    }
    var record = RecordWords()
    record.append(addresses.value)
    record.append(ports)
    record.append(
      asked.value | asked.mask << UInt64(SLUICE_SHORT_HEADER_BITS)
        | source << UInt64(SLUICE_SHORT_SOURCE_SHIFT) | destination << UInt64(SLUICE_SHORT_DESTINATION_SHIFT))
    record.append(label)
    return record
  }

  /// What a `struct sluice_short_ipv4` matches.
  init(short words: RecordWords) {
    let (ports, header) = (words[1], words[2])
    self.init(priority: UInt32(words[3] >> 32), verdict: UInt32(truncatingIfNeeded: words[3]))
    func mask(_ shift: Int32) -> UInt64 { 0xffff_ffff << (header >> UInt64(shift) & 63) & 0xffff_ffff }
    ternaries[0] = Ternary(value: words[0], mask: mask(SLUICE_SHORT_SOURCE_SHIFT) << 32 | mask(SLUICE_SHORT_DESTINATION_SHIFT))
    let asked = header >> UInt64(SLUICE_SHORT_HEADER_BITS)
    ternaries[1] = Ternary(value: CutRule.long(header), mask: CutRule.long(asked))
    guard asked >> UInt64(SLUICE_SHORT_NO_PORTS) & 1 != 0 else { return }
    for lane in 0..<2 {
      let range = ports >> UInt64(32 * lane)
      (low[lane], high[lane]) = (UInt32(range & 0xffff), UInt32(range >> 16 & 0xffff))
    }
  }

  private static let shortHeaderMask: UInt64 = 0xffff | 31 << UInt64(SLUICE_HEADER_FRAGMENT)

  /// Of the header word, what the short one shows.
  private static func short(_ word: UInt64) -> UInt64 {
    word & 0xffff | (word >> UInt64(SLUICE_HEADER_FRAGMENT) & 31) << UInt64(SLUICE_SHORT_FRAGMENT)
  }

  private static func long(_ word: UInt64) -> UInt64 {
    word & 0xffff | (word >> UInt64(SLUICE_SHORT_FRAGMENT) & 31) << UInt64(SLUICE_HEADER_FRAGMENT)
  }
}

extension UInt32 {
  /// How many bits a prefix's mask leaves free; nil: it is no prefix's.
  fileprivate var anyLowBits: UInt64? {
    let free = trailingZeroBitCount
    return free == 32 || self == .max << UInt32(free) ? UInt64(free) : nil
  }
}

extension CutRule {
  /// As a `struct sluice_record_ipv4` or `_ipv6`, by the tree's form.
  func longRecord(_ layout: KeyLayout, link: UInt64) -> RecordWords {
    var record = RecordWords()
    record.append(ternaries[0])
    if layout == .ipv6 { record.append(ternaries[1]) }
    record.append(lowWord)
    record.append(guardedHighWord)
    if layout == .ipv4 { record.append(ternaries[1]) }
    record.append(label)
    record.append(link)
    if layout == .ipv6 {
      for word in 2..<5 { record.append(ternaries[word]) }
      record.append(Ternary())
    }
    return record
  }
}

extension CutRule {
  /// Whether it asks for something that only a link record says.
  func hasLink(_ layout: KeyLayout) -> Bool {
    ternaries[layout.link].mask | ternaries[layout.link + 1].mask | ternaries[layout.sets].mask != 0
  }

  /// What it asks of the link words and of the large sets.
  func link(_ layout: KeyLayout) -> [Ternary] {
    [ternaries[layout.link], ternaries[layout.link + 1], ternaries[layout.sets]]
  }

  /// The words of a `struct sluice_record_link`.
  static func linkRecord(_ link: [Ternary]) -> RecordWords {
    var record = RecordWords()
    for ternary in link { record.append(ternary) }
    record.append(Ternary())
    return record
  }
}

import CSluiceABI
import Packets

/// A cell of the trie that large sets of IPv4 lie in: see sluice_sets_abi.h.
struct SetCell: Hashable, BitwiseCopyable {
  private(set) var word: UInt64

  init(word: UInt64) { self.word = word }

  /// With nothing below it but what holds all of it.
  init(sets: UInt64) { word = sets }

  init(sets: UInt64, list index: Int, wordCount: Int) {
    word = sets | UInt64(index) << UInt64(SLUICE_SET_CELL_INDEX) | UInt64(wordCount) << UInt64(SLUICE_SET_CELL_WORDS)
  }

  init(sets: UInt64, cells index: Int, split: Int) {
    word = sets | UInt64(index) << UInt64(SLUICE_SET_CELL_INDEX) | UInt64(split) << UInt64(SLUICE_SET_CELL_SPLIT)
  }

  /// Those that have an element which holds all of the cell's addresses, and not all of the cell's above.
  var sets: UInt64 {
    get { word & SetCell.setsMask }
    set { word = word & ~SetCell.setsMask | newValue }
  }

  /// Where its list or its cells are, counted in words from the begin of the half.
  var index: Int { Int(word >> UInt64(SLUICE_SET_CELL_INDEX) & 0x7ff_ffff) }

  /// Bits of an address that choose among its cells; 0: it has none.
  var split: Int { Int(word >> UInt64(SLUICE_SET_CELL_SPLIT) & 31) }

  /// Of its list, or of its cells.
  var wordCount: Int { split > 0 ? 1 << split : Int(word >> UInt64(SLUICE_SET_CELL_WORDS)) }
  var run: WordSpace.Run { WordSpace.Run(index: index, wordCount: wordCount) }

  private static let setsMask = UInt64(SLUICE_SET_BITS_MASK)
}

/// Begin of a run of elements that the same sets have.
struct SetSegment: Hashable, BitwiseCopyable {
  private(set) var word: UInt64

  init(word: UInt64) { self.word = word }

  init(sets: UInt64, hostWordCount: Int, prefixWordCount: Int) {
    word =
      sets | UInt64(1 + hostWordCount + prefixWordCount) << UInt64(SLUICE_SET_SEGMENT_WORDS)
      | UInt64(hostWordCount) << UInt64(SLUICE_SET_SEGMENT_HOSTS)
      | UInt64(prefixWordCount) << UInt64(SLUICE_SET_SEGMENT_PREFIXES)
  }

  var sets: UInt64 { word & UInt64(SLUICE_SET_BITS_MASK) }
  var wordCount: Int { field(SLUICE_SET_SEGMENT_WORDS) }

  /// Whether nothing is left in it.
  var isEmpty: Bool { field(SLUICE_SET_SEGMENT_HOSTS) + field(SLUICE_SET_SEGMENT_PREFIXES) == 0 }

  /// Where its hosts or its prefixes are.
  ///
  /// - Parameter header: Its own place.
  func words(ofHosts: Bool, at header: Int) -> Range<Int> {
    if ofHosts { return header + 1..<header + 1 + field(SLUICE_SET_SEGMENT_HOSTS) }
    return header + wordCount - field(SLUICE_SET_SEGMENT_PREFIXES)..<header + wordCount
  }

  /// Of these words the one that ``dropping(host:)`` leaves out.
  func lastWord(ofHosts: Bool, at header: Int) -> Int {
    let words = words(ofHosts: ofHosts, at: header)
    return ofHosts ? words.upperBound - 1 : words.lowerBound
  }

  /// With one word less of hosts or of prefixes.
  func dropping(host: Bool) -> SetSegment {
    SetSegment(word: word - 1 << UInt64(host ? SLUICE_SET_SEGMENT_HOSTS : SLUICE_SET_SEGMENT_PREFIXES))
  }

  private func field(_ shift: Int32) -> Int { Int(word >> UInt64(shift) & UInt64(SLUICE_SET_SEGMENT_FIELD)) }
}

/// An element below a cell of the root: an IPv4 prefix longer than its 16 bits, and the sets that have it.
struct TrieElement: Hashable, BitwiseCopyable, Comparable {
  /// From the high end: low 16 bits of its address, length 8, sets 32. So the order is that of sets: by address, the wider first.
  private(set) var word: UInt64

  init(low: UInt16, length: Int, sets: UInt64) {
    word = UInt64(low) << 40 | UInt64(length) << 32 | sets
  }

  /// What stands in a lane.
  init(lane: UInt16, isHost: Bool, sets: UInt64) {
    if isHost {
      self.init(low: lane, length: 32, sets: sets)
    } else {
      self.init(low: lane & (lane &- 1), length: 31 - lane.trailingZeroBitCount, sets: sets)
    }
  }

  var low: UInt16 { UInt16(truncatingIfNeeded: word >> 40) }
  var length: Int { Int(word >> 32 & 0xff) }
  var isHost: Bool { length == 32 }
  var lane: UInt16 { isHost ? low : low | 1 << UInt16(31 - length) }

  var sets: UInt64 {
    get { word & 0xffff_ffff }
    set { word = word & ~0xffff_ffff | newValue }
  }

  func isSamePrefix(as other: TrieElement) -> Bool { (word ^ other.word) >> 32 == 0 }

  static func < (one: TrieElement, other: TrieElement) -> Bool { one.word < other.word }

  /// In order, and of those that are there several times one, with the sets of all.
  static func merged(_ elements: [TrieElement]) -> [TrieElement] {
    var merged: [TrieElement] = []
    merged.reserveCapacity(elements.count)
    for element in elements.sorted() {
      if let last = merged.last, last.isSamePrefix(as: element) {
        merged[merged.count - 1].sets |= element.sets
      } else {
        merged.append(element)
      }
    }
    return merged
  }
}

/// An element of a set of IPv4.
struct TriePrefix: Hashable, BitwiseCopyable {
  let address: UInt32
  let length: Int

  init(_ address: UInt32, length: Int) {
    self.address = length == 0 ? 0 : address & ~0 << UInt32(32 - length)
    self.length = length
  }

  init(_ prefix: IPPrefix) {
    guard case .v4(let address) = prefix.address else { preconditionFailure("a prefix of IPv4") }
    (self.address, length) = (address.value, prefix.length)
  }

  /// What doesn't lead to its root's cell.
  var low: UInt16 { UInt16(truncatingIfNeeded: address) }

  /// Where in the lengths below cells of the root, for those that count, it is announced.
  var lengthPlace: (word: Int, bit: UInt64) {
    let cell = Int(address >> 16)
    return (cell / 4, 1 << UInt64(cell % 4 * 16 + 32 - length))
  }
}

/// Words that lists and cells are made of: handed out, and written before a packet can see them.
protocol TrieStore {
  /// Index of so many words, counted from the begin of the half; nil: there is no room.
  mutating func take(_ wordCount: Int) -> Int?
  mutating func write(_ word: UInt64, at index: Int)
}

extension TrieStore {
  /// Makes what is below a cell.
  ///
  /// - Parameters:
  ///   - elements: In order, each once, longer than `consumed`.
  ///   - consumed: How many bits of an address have led to it.
  ///   - sets: Those that hold all of it.
  mutating func cell(_ elements: ArraySlice<TrieElement>, consumed: Int, sets: UInt64) -> SetCell? {
    if elements.isEmpty { return SetCell(sets: sets) }
    let runs = SetRuns(elements)
    let wordCount = runs.wordCount
    if wordCount > Int(SLUICE_SET_LIST_WORDS_MAX) {
      return split(elements, consumed: consumed, sets: sets, wordCount: wordCount)
    }
    guard let index = take(wordCount) else { return nil }
    var next = index
    for run in runs.bySets {
      write(SetSegment(sets: run.sets, hostWordCount: run.hostWordCount, prefixWordCount: run.prefixWordCount).word, at: next)
      next += 1
      for ofHosts in [true, false] { writeLanes(elements, of: run.sets, hosts: ofHosts, at: &next) }
    }
    return SetCell(sets: sets, list: index, wordCount: wordCount)
  }

  private mutating func writeLanes(_ elements: ArraySlice<TrieElement>, of sets: UInt64, hosts: Bool, at next: inout Int) {
    var word: UInt64 = 0
    var filled: UInt64 = 0
    for element in elements where element.isHost == hosts && element.sets == sets {
      let lane = UInt64(element.lane)
      // The lanes that are left repeat the first.
      word = filled == 0 ? lane &* UInt64(SLUICE_SET_LANES) : word & ~(0xffff << (filled * 16)) | lane << (filled * 16)
      filled += 1
      if filled == 4 {
        write(word, at: next)
        next += 1
        filled = 0
      }
    }
    if filled > 0 {
      write(word, at: next)
      next += 1
    }
  }

  /// By so many bits that lists are some words long, which costs less than another split or many that are empty.
  private mutating func split(_ elements: ArraySlice<TrieElement>, consumed: Int, sets: UInt64, wordCount: Int) -> SetCell? {
    let rest = 32 - consumed
    let split = min(rest, max(2, Int.bitWidth - 1 - (wordCount / 4).leadingZeroBitCount))
    guard let index = take(1 << split) else { return nil }
    var covering = [UInt64](repeating: 0, count: 1 << split)
    let shift = rest - split
    func child(_ element: TrieElement) -> Int { Int(element.low) >> shift & (1 << split - 1) }
    var longer: [TrieElement] = []
    longer.reserveCapacity(elements.count)
    for element in elements {
      if element.length > consumed + split {
        longer.append(element)
      } else {
        let first = child(element)
        for index in first..<first + 1 << (consumed + split - element.length) { covering[index] |= element.sets }
      }
    }
    var next = 0
    for place in covering.indices {
      let first = next
      while next < longer.count, child(longer[next]) == place { next += 1 }
      guard let cell = cell(longer[first..<next], consumed: consumed + split, sets: covering[place]) else { return nil }
      write(cell.word, at: index + place)
    }
    return SetCell(sets: sets, cells: index, split: split)
  }
}

/// How many hosts and prefixes there are of the same sets.
private struct SetRuns {
  struct Run {
    let sets: UInt64
    var hostCount = 0
    var prefixCount = 0
    var hostWordCount: Int { (hostCount + 3) / 4 }
    var prefixWordCount: Int { (prefixCount + 3) / 4 }
  }

  private(set) var bySets: [Run] = []

  init(_ elements: ArraySlice<TrieElement>) {
    var places: [UInt64: Int] = [:]
    for element in elements {
      // Mostly all are of one set.
      var index = bySets.count - 1
      if index < 0 || bySets[index].sets != element.sets {
        index = places[element.sets] ?? bySets.count
        if index == bySets.count {
          places[element.sets] = index
          bySets.append(Run(sets: element.sets))
        }
      }
      if element.isHost { bySets[index].hostCount += 1 } else { bySets[index].prefixCount += 1 }
    }
  }

  var wordCount: Int { bySets.reduce(0) { $0 + 1 + $1.hostWordCount + $1.prefixWordCount } }
}

import CSluiceABI
import Packets
import Rules

/// Changes the trie of a live generation's sets of IPv4, for ``SetEditor``.
///
/// A list is changed by one store of a word where it has a lane to spare, else by a store of the cell that leads to it.
struct SetTrieEditor {
  typealias Refusal = SetEditor.Refusal

  private let places: TriePlaces
  private var space = WordSpace()
  /// Elements that are in cells, not in lists: the cells don't tell which of several that hold them it is.
  private var wide: [TriePrefix: UInt64] = [:]

  /// - Parameters:
  ///   - compiled: As it is in the tables.
  ///   - ruleSet: What it was compiled from, with what was changed since.
  ///   - bits: Of the sets, by name.
  init(_ places: TriePlaces, _ compiled: CompiledGeneration, of ruleSet: RuleSet, bits: [String: UInt64]) {
    self.places = places
    let memory = CompiledWords(compiled)
    space = WordSpace(places.lists, isUsed: usedWords(memory))
    for set in ruleSet.sets where set.family == .ipv4 {
      guard let bit = bits[set.name] else { continue }
      for prefix in set.prefixes.lazy.map(TriePrefix.init) where isWide(prefix, memory) { wide[prefix, default: 0] |= bit }
    }
  }

  /// - Returns: Whether it is new there.
  mutating func insert(_ prefix: TriePrefix, _ bit: UInt64, _ memory: some TableMemory) throws(Refusal) -> Bool {
    announce(prefix, memory)
    switch place(of: prefix, memory) {
    case .cells(let cells, _):
      guard wide[prefix, default: 0] & bit == 0 else { return false }
      wide[prefix, default: 0] |= bit
      for index in cells {
        var cell = SetCell(word: memory.word(index))
        cell.sets |= bit
        memory.store(cell.word, at: index)
      }
    case .list(let index, let consumed):
      let element = TrieElement(low: prefix.low, length: prefix.length, sets: bit)
      let list = TrieList(SetCell(word: memory.word(index)), memory)
      if let known = list.find(element) {
        guard known.segment.sets & bit == 0 else { return false }
      } else if list.fill(element) {
        return true
      }
      try replace(at: index, consumed, by: list.elements + [element], prefix, memory)
    }
    return true
  }

  /// - Returns: Whether it was there.
  mutating func remove(_ prefix: TriePrefix, _ bit: UInt64, _ memory: some TableMemory) throws(Refusal) -> Bool {
    switch place(of: prefix, memory) {
    case .cells(let cells, let lengths):
      guard let known = wide[prefix], known & bit != 0 else { return false }
      wide[prefix] = known == bit ? nil : known & ~bit
      for (offset, index) in cells.enumerated() {
        let address = prefix.address | UInt32(truncatingIfNeeded: offset << (32 - lengths.upperBound))
        var cell = SetCell(word: memory.word(index))
        // Others that hold these addresses keep them in their sets.
        cell.sets = lengths.reduce(0) { $0 | wide[TriePrefix(address, length: $1), default: 0] }
        memory.store(cell.word, at: index)
      }
    case .list(let index, let consumed):
      let element = TrieElement(low: prefix.low, length: prefix.length, sets: bit)
      let cell = SetCell(word: memory.word(index))
      let list = TrieList(cell, memory)
      guard let known = list.find(element), known.segment.sets & bit != 0 else { return false }
      if known.segment.sets != bit {
        var elements = list.elements
        for index in elements.indices where elements[index].isSamePrefix(as: element) { elements[index].sets &= ~bit }
        try replace(at: index, consumed, by: elements, prefix, memory)
        return true
      }
      list.remove(element, known)
      if list.isEmpty {
        memory.store(SetCell(sets: cell.sets).word, at: index)
        space.retire(cell.run)
      }
    }
    return true
  }

  mutating func beginGracePeriod() { space.beginGracePeriod() }
  mutating func endGracePeriod() { space.endGracePeriod() }

  // MARK: Cells

  private enum Place {
    /// In these cells, where there are elements of such lengths.
    case cells(Range<Int>, lengths: ClosedRange<Int>)
    /// In the list of this cell, to which so many bits of an address lead.
    case list(Int, consumed: Int)
  }

  private func place(of prefix: TriePrefix, _ memory: some TableWords) -> Place {
    let rootLength = Int(SLUICE_SET_ROOT_LENGTH)
    var index = places.root + Int(prefix.address >> UInt32(32 - rootLength))
    if prefix.length <= rootLength {
      return .cells(index..<index + 1 << (rootLength - prefix.length), lengths: 0...rootLength)
    }
    var consumed = rootLength
    while true {
      let cell = SetCell(word: memory.word(index))
      if cell.split == 0 { return .list(index, consumed: consumed) }
      index = cell.index + Int((prefix.address << UInt32(consumed)) >> UInt32(32 - cell.split))
      let next = consumed + cell.split
      if prefix.length <= next { return .cells(index..<index + 1 << (next - prefix.length), lengths: consumed + 1...next) }
      consumed = next
    }
  }

  private func isWide(_ prefix: TriePrefix, _ memory: some TableWords) -> Bool {
    if case .cells = place(of: prefix, memory) { true } else { false }
  }

  /// By word of the room for lists and cells.
  private func usedWords(_ memory: some TableWords) -> [Bool] {
    var used = [Bool](repeating: false, count: places.lists.count)
    var pending = [places.root..<places.root + Int(SLUICE_SET_ROOT_CELLS_IPV4)]
    while let cells = pending.popLast() {
      for index in cells {
        let cell = SetCell(word: memory.word(index))
        let words = cell.index..<cell.index + cell.wordCount
        for word in words { used[word - places.lists.lowerBound] = true }
        if cell.split > 0 { pending.append(words) }
      }
    }
    return used
  }

  /// Says that there are elements of its length, for those that count; that is never taken back.
  private func announce(_ prefix: TriePrefix, _ memory: some TableMemory) {
    guard let lengths = places.lengths, prefix.length > Int(SLUICE_SET_ROOT_LENGTH) else { return }
    let place = prefix.lengthPlace
    let word = memory.word(lengths + place.word)
    if word & place.bit == 0 { memory.store(word | place.bit, at: lengths + place.word) }
  }

  // MARK: Lists

  /// Makes another list, or cells, and leads to them by one store.
  ///
  /// - Parameter prefix: One of those that are below the same cell.
  private mutating func replace(
    at index: Int, _ consumed: Int, by elements: [TrieElement], _ prefix: TriePrefix, _ memory: some TableMemory
  ) throws(Refusal) {
    let old = SetCell(word: memory.word(index))
    let elements = TrieElement.merged(elements)
    var store = LiveStore(memory)
    swap(&store.space, &space)
    let made = store.cell(elements[...], consumed: consumed, sets: old.sets)
    swap(&store.space, &space)
    guard let made else {
      for run in store.taken { space.giveBack(run) }
      throw space.hasRetired ? .needsGracePeriod : .noRoom
    }
    memory.store(made.word, at: index)
    if old.wordCount > 0 { space.retire(old.run) }
    if made.split == 0 { return }
    for element in elements {
      let prefix = TriePrefix(prefix.address & ~0xffff | UInt32(element.low), length: element.length)
      if isWide(prefix, memory) { wide[prefix, default: 0] |= element.sets }
    }
  }
}

/// A generation's words as its tables have them.
private struct CompiledWords: TableWords {
  private let words: [UInt64]
  private static let first = Int(SLUICE_TABLES_HEADER_BYTES) / 8

  init(_ compiled: CompiledGeneration) { words = compiled.words }

  var wordCount: Int { CompiledWords.first + words.count }
  func word(_ index: Int) -> UInt64 { words[index - CompiledWords.first] }
}

/// Words that packets can't see yet.
private struct LiveStore<Memory: TableMemory>: TrieStore {
  var space = WordSpace()
  private(set) var taken: [WordSpace.Run] = []
  private let memory: Memory

  init(_ memory: Memory) { self.memory = memory }

  mutating func take(_ wordCount: Int) -> Int? {
    guard let index = space.take(wordCount) else { return nil }
    taken.append(WordSpace.Run(index: index, wordCount: wordCount))
    return index
  }

  func write(_ word: UInt64, at index: Int) { memory.store(word, at: index) }
}

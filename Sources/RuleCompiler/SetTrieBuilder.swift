import CSluiceABI
import Packets
import Rules

/// Builds the trie of a generation's large sets of IPv4.
struct SetTrieBuilder: TrieStore {
  /// The root, then, if a set counts, the lengths, then lists and cells, then room for what comes later.
  private(set) var words: [UInt64]
  /// Of what changes, counted in words from the begin of the half.
  private(set) var lists: Range<Int> = 0..<0
  private(set) var lengths: Int?
  private let start: Int

  /// Room beside the lists: a share of them, and so many words at least.
  private static let spareDivisor = 4
  private static let spareMin = 8192

  /// - Parameters:
  ///   - sets: By their bits; those of IPv6 are left out.
  ///   - start: Where it will stand, counted in words from the begin of the half.
  init(_ sets: [NamedSet], at start: Int) {
    self.start = start
    words = [UInt64](repeating: 0, count: Int(SLUICE_SET_ROOT_CELLS_IPV4))
    if sets.contains(where: { $0.family == .ipv4 && $0.hasCounters }) {
      lengths = start + words.count
      words += repeatElement(0, count: Int(SLUICE_SET_ROOT_CELLS_IPV4) / 4)
    }
    let first = start + words.count
    var pending = sets.enumerated().filter { $0.element.family == .ipv4 }.map { Pending($0.element.prefixes, bit: $0.offset) }
    var elements: [TrieElement] = []
    while let cell = pending.lazy.compactMap(\.cell).min() {
      elements.removeAll(keepingCapacity: true)
      for index in pending.indices { take(from: &pending[index], below: cell, to: &elements) }
      if elements.isEmpty { continue }
      if pending.count > 1 { elements = TrieElement.merged(elements) }
      guard let made = self.cell(elements[...], consumed: Int(SLUICE_SET_ROOT_LENGTH), sets: words[cell]) else {
        preconditionFailure("an array has room")
      }
      words[cell] = made.word
    }
    let spare = max((start + words.count - first) / SetTrieBuilder.spareDivisor, SetTrieBuilder.spareMin)
    words += repeatElement(0, count: spare)
    words += repeatElement(0, count: -words.count & (SetForm.lineWordCount - 1))
    lists = first..<start + words.count
  }

  mutating func take(_ wordCount: Int) -> Int? {
    defer { words += repeatElement(0, count: wordCount) }
    return start + words.count
  }

  mutating func write(_ word: UInt64, at index: Int) { words[index - start] = word }

  /// Elements of a set that are still to come, in order.
  private struct Pending {
    let prefixes: [IPPrefix]
    var next = 0
    let sets: UInt64

    init(_ prefixes: [IPPrefix], bit: Int) {
      self.prefixes = prefixes
      sets = 1 << UInt64(bit)
    }

    /// Of the root, where the next one begins; nil: there is none.
    var cell: Int? { next < prefixes.count ? Int(TriePrefix(prefixes[next]).address >> 16) : nil }
  }

  /// Those that begin in a cell of the root; the wide ones are in it, and in those that follow, from now on.
  private mutating func take(from pending: inout Pending, below cell: Int, to elements: inout [TrieElement]) {
    while pending.cell == cell {
      let prefix = TriePrefix(pending.prefixes[pending.next])
      pending.next += 1
      if prefix.length <= Int(SLUICE_SET_ROOT_LENGTH) {
        let count = 1 << (Int(SLUICE_SET_ROOT_LENGTH) - prefix.length)
        for index in cell..<cell + count { words[index] |= pending.sets }
      } else {
        elements.append(TrieElement(low: prefix.low, length: prefix.length, sets: pending.sets))
        if let lengths { words[lengths - start + prefix.lengthPlace.word] |= prefix.lengthPlace.bit }
      }
    }
  }
}

import CSluiceABI
import Packets
import Rules

/// Where a generation has its large sets: what ``SetEditor`` begins with.
struct SetPlaces: Hashable, Sendable {
  /// By the bits of the sets.
  var names: [String]
  /// The struct sluice_sets; word indices count from the begin of the half.
  var header: Int
  /// Nil: there are no sets of IPv4.
  var trie: TriePlaces?
  var rootIPv6: Int?
  /// By ``SetForm``.
  var tables: [SetTable?]
  /// The struct sluice_counted; nil: no rule names a set that counts.
  var counted: Int?
}

/// The same of the trie of IPv4, counted in words from the begin of the half.
struct TriePlaces: Hashable, Sendable {
  var root: Int
  /// Nil: no set of IPv4 counts.
  var lengths: Int?
  /// Room for lists and cells, with what is free of it.
  var lists: Range<Int>
}

/// Changes the large sets of a live generation by one element at a time, in the tables, while packets are looked up in them.
///
/// Each packet is decided with the element or without it, see sluice_sets_abi.h for the order of the stores. What can't be done
/// so is refused, and the caller compiles anew.
///
/// One thread at a time; the only one that writes the generation's half.
public struct SetEditor {
  /// Why an element is not put in or taken out at once.
  public enum Refusal: Error, Hashable, Sendable {
    /// The set's elements stand in the rules that name it, or no rule names it: the rule set must be compiled anew.
    case notLarge
    /// The room for lists is used up; or, of IPv6, the lines are full that the element can be in, and so are those of their
    /// elements: compiled anew, there is room.
    case noRoom
    /// There is a place once a grace period ended that begins from now on.
    case needsGracePeriod
  }

  /// A place in a line, which begins at a word of the half.
  private struct Place: Hashable {
    var line: Int
    var place: Int
  }

  private let places: SetPlaces
  private let bits: [String: UInt64]
  private var trie: SetTrieEditor?
  /// Places of IPv6 that were emptied, which packets under way may still read.
  private var retired: Set<Place> = []
  /// Those that were emptied before the grace period that runs began.
  private var waiting: Set<Place> = []

  /// Nil: the generation has no large sets.
  ///
  /// - Parameter ruleSet: What it was compiled from.
  public init?(_ compiled: CompiledGeneration, of ruleSet: RuleSet) {
    guard let places = compiled.sets else { return nil }
    self.places = places
    bits = Dictionary(uniqueKeysWithValues: places.names.enumerated().map { ($0.element, 1 << UInt64($0.offset)) })
    if let trie = places.trie { self.trie = SetTrieEditor(trie, compiled, of: ruleSet, bits: bits) }
  }

  /// The sets that it can change.
  public var names: [String] { places.names }

  /// Puts an element into a set of its family.
  ///
  /// - Returns: Whether it is new there.
  public mutating func insert(
    _ prefix: IPPrefix, into set: String, of memory: some TableMemory
  ) throws(Refusal) -> Bool {
    guard let bit = bits[set] else { throw .notLarge }
    announceCounted(prefix, bit, memory)
    if prefix.family == .ipv4 { return try trie?.insert(TriePrefix(prefix), bit, memory) ?? false }
    let key = SetKey(prefix)
    if key.isEverything { return change(places.allIPv6, to: { $0 | bit }, memory) }
    if let place = find(key, memory) {
      let known = bits(at: place, key.form, memory)
      guard known & bit == 0 else { return false }
      // Also where it was taken out just now: the key is still its own.
      retired.remove(place)
      waiting.remove(place)
      setBits(known | bit, of: key, at: place, memory)
    } else {
      try put(key, bit, memory)
    }
    announce(key, memory)
    return true
  }

  /// Takes an element out of a set of its family; what it holds, or is in, stays.
  ///
  /// - Returns: Whether it was there.
  public mutating func remove(
    _ prefix: IPPrefix, from set: String, of memory: some TableMemory
  ) throws(Refusal) -> Bool {
    guard let bit = bits[set] else { throw .notLarge }
    if prefix.family == .ipv4 { return try trie?.remove(TriePrefix(prefix), bit, memory) ?? false }
    let key = SetKey(prefix)
    if key.isEverything { return change(places.allIPv6, to: { $0 & ~bit }, memory) }
    guard let place = find(key, memory) else { return false }
    let known = bits(at: place, key.form, memory)
    guard known & bit != 0 else { return false }
    clear(bit, of: known, key, at: place, memory)
    return true
  }

  // MARK: Grace periods

  /// Whoever reads what was emptied up to now is gone when it ends.
  public mutating func beginGracePeriod() {
    precondition(waiting.isEmpty, "one grace period at a time")
    swap(&waiting, &retired)
    trie?.beginGracePeriod()
  }

  public mutating func endGracePeriod() {
    waiting.removeAll(keepingCapacity: true)
    trie?.endGracePeriod()
  }

  // MARK: Roots

  /// Whether the word is another one now.
  private func change(_ word: Int, to change: (UInt64) -> UInt64, _ memory: some TableMemory) -> Bool {
    let old = memory.word(word)
    let new = change(old)
    if new != old { memory.store(new, at: word) }
    return new != old
  }

  /// Says that there are elements of its length; that is never taken back, it only costs packets a line.
  private func announce(_ key: SetKey, _ memory: some TableMemory) {
    guard let announcement = key.announcement else { return }
    let word =
      switch announcement.word {
      case .root(let index): (places.rootIPv6 ?? 0) + index
      case .wide: places.wideIPv6
      }
    _ = change(word, to: { $0 | announcement.bit }, memory)
  }

  /// The same for who counts at the element.
  private func announceCounted(_ prefix: IPPrefix, _ bit: UInt64, _ memory: some TableMemory) {
    guard let counted = places.counted, let length = CountedSets.lengthBit(of: prefix) else { return }
    let set = counted + bit.trailingZeroBitCount * CountedSets.setWordCount
    _ = change(set + length.word, to: { $0 | length.bit }, memory)
  }

  // MARK: Lines

  private func lines(of key: SetKey) -> (first: Int, second: Int) {
    guard let table = places.tables[key.form.rawValue] else {
      preconditionFailure("a set of the element's family has its tables")
    }
    return table.lines(of: key)
  }

  /// Where an element is or, if it is nowhere, where it was last.
  private func find(_ key: SetKey, _ memory: some TableMemory) -> Place? {
    let lines = lines(of: key)
    var emptied: Place?
    for line in [lines.first, lines.second] {
      for index in 0..<key.form.placeCount {
        let place = Place(line: line, place: index)
        guard self.key(at: place, key.form, memory) == key else { continue }
        if bits(at: place, key.form, memory) != 0 { return place }
        emptied = place
      }
    }
    return emptied
  }

  /// The key that stands in a place, also if it was emptied; nil if there never was one.
  private func key(at place: Place, _ form: SetForm, _ memory: some TableMemory) -> SetKey? {
    let (offset, shift) = form.bits(place.place)
    let word = memory.word(place.line + offset) >> shift
    let length = UInt8(truncatingIfNeeded: word >> UInt64(SLUICE_SET_LENGTH))
    if length == 0 { return nil }
    switch form {
    case .short: return SetKey(form, length, memory.word(place.line + place.place), 0)
    case .long:
      let first = place.line + 2 * place.place
      return SetKey(form, length, memory.word(first), memory.word(first + 1))
    }
  }

  private func bits(at place: Place, _ form: SetForm, _ memory: some TableMemory) -> UInt64 {
    let (offset, shift) = form.bits(place.place)
    return memory.word(place.line + offset) >> shift & SetForm.bitsMask
  }

  private func setBits(_ bits: UInt64, of key: SetKey, at place: Place, _ memory: some TableMemory) {
    let (offset, shift) = key.form.bits(place.place)
    let others = memory.word(place.line + offset) & ~(0xffff_ffff << shift)
    memory.store(others | key.place(bits) << shift, at: place.line + offset)
  }

  private mutating func clear(
    _ bit: UInt64, of known: UInt64, _ key: SetKey, at place: Place, _ memory: some TableMemory
  ) {
    if known & ~bit != 0 { return setBits(known & ~bit, of: key, at: place, memory) }
    setBits(0, of: key, at: place, memory)
    retired.insert(place)
  }

  /// A place that can have any key.
  private func freePlace(_ line: Int, _ form: SetForm, _ memory: some TableMemory) -> Place? {
    (0..<form.placeCount).lazy.map { Place(line: line, place: $0) }.first {
      bits(at: $0, form, memory) == 0 && !retired.contains($0) && !waiting.contains($0)
    }
  }

  /// A new element, visible by the last store.
  private mutating func put(_ key: SetKey, _ bits: UInt64, _ memory: some TableMemory) throws(Refusal) {
    let lines = lines(of: key)
    if let place = freePlace(lines.first, key.form, memory) { return write(key, bits, at: place, memory) }
    if let place = freePlace(lines.second, key.form, memory) {
      write(key, bits, at: place, memory)
      return setOverflow(lines.first, memory)
    }
    for line in [lines.first, lines.second] {
      guard let place = moveAway(from: line, key.form, memory) else { continue }
      setBits(0, of: self.key(at: place, key.form, memory) ?? key, at: place, memory)
      retired.insert(place)
      throw .needsGracePeriod
    }
    // One of the places may be only waiting.
    let own = [lines.first, lines.second].flatMap { line in (0..<key.form.placeCount).map { Place(line: line, place: $0) } }
    throw own.contains { retired.contains($0) || waiting.contains($0) } ? .needsGracePeriod : .noRoom
  }

  private func write(_ key: SetKey, _ bits: UInt64, at place: Place, _ memory: some TableMemory) {
    if key.form == .short { memory.store(key.high, at: place.line + place.place) }
    if key.form == .long {
      memory.store(key.high, at: place.line + 2 * place.place)
      memory.store(key.low, at: place.line + 2 * place.place + 1)
    }
    setBits(bits, of: key, at: place, memory)
  }

  private func setOverflow(_ line: Int, _ memory: some TableMemory) {
    _ = change(line + SetForm.lineWordCount - 1, to: { $0 | SetForm.overflowFlag }, memory)
  }

  /// Copies an element whose first line this is to its second; where it is now, too. Only that way: who looks it up reads the
  /// second line behind the first.
  private func moveAway(from line: Int, _ form: SetForm, _ memory: some TableMemory) -> Place? {
    for index in 0..<form.placeCount {
      let place = Place(line: line, place: index)
      let bits = bits(at: place, form, memory)
      guard bits != 0, let key = key(at: place, form, memory) else { continue }
      let lines = lines(of: key)
      guard lines.first == line, lines.second != line, let other = freePlace(lines.second, form, memory) else { continue }
      write(key, bits, at: other, memory)
      setOverflow(line, memory)
      return place
    }
    return nil
  }
}

extension SetPlaces {
  fileprivate var wideIPv6: Int { header + (MemoryLayout<sluice_sets>.offset(of: \.wide_ipv6) ?? 0) / 8 }
  fileprivate var allIPv6: Int { header + (MemoryLayout<sluice_sets>.offset(of: \.all_ipv6) ?? 0) / 8 }
}

extension SetKey {
  /// ::/0
  fileprivate var isEverything: Bool { length == 0 }
}

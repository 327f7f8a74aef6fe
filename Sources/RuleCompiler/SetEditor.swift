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
    /// There is a place, or one comes nearer, once a grace period ended that begins from now on.
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

  // MARK: Many at once

  /// Of one change at most: whoever waits for it does nothing else meanwhile.
  public static let gracePeriodsMax = 8

  /// Puts elements in and then takes others out, of the set's family: all of them, or none.
  ///
  /// - Parameter waiting: Returns when no packet is under way any more that was at its begin. All that need that wait for it
  ///   together; where they do so too often there is no room.
  public mutating func change(
    _ set: String, inserted: [IPPrefix], removed: [IPPrefix], in memory: some TableMemory, waiting: () -> Void
  ) throws(Refusal) {
    var (came, gone): ([IPPrefix], [IPPrefix]) = ([], [])
    var waits = 0
    do throws(Refusal) {
      try change(inserted, isIn: true, set, memory, &came, &waits, waiting)
      // A packet that looked before what holds an address now came, must not look after what held it before went.
      if !came.isEmpty, !removed.isEmpty { wait(waiting) }
      try change(removed, isIn: false, set, memory, &gone, &waits, waiting)
    } catch {
      // Backwards: each finds the room that it gave up.
      var undone: [IPPrefix] = []
      waits = 0
      try? change(gone.reversed(), isIn: true, set, memory, &undone, &waits, waiting)
      if !gone.isEmpty, !came.isEmpty { wait(waiting) }
      try? change(came.reversed(), isIn: false, set, memory, &undone, &waits, waiting)
      throw error
    }
  }

  private mutating func change(
    _ prefixes: [IPPrefix], isIn: Bool, _ set: String, _ memory: some TableMemory, _ done: inout [IPPrefix],
    _ waits: inout Int, _ waiting: () -> Void
  ) throws(Refusal) {
    var left = prefixes
    while true {
      var refused: [IPPrefix] = []
      for prefix in left {
        do throws(Refusal) {
          let isNews = try isIn ? insert(prefix, into: set, of: memory) : remove(prefix, from: set, of: memory)
          if isNews { done.append(prefix) }
        } catch {
          guard error == .needsGracePeriod else { throw error }
          refused.append(prefix)
        }
      }
      if refused.isEmpty { return }
      guard waits < SetEditor.gracePeriodsMax else { throw .noRoom }
      waits += 1
      wait(waiting)
      left = refused
    }
  }

  private mutating func wait(_ waiting: () -> Void) {
    beginGracePeriod()
    waiting()
    endGracePeriod()
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
    let own = [lines.first, lines.second]
    if own.contains(where: { makeRoom(in: $0, steps: 1, key.form, memory) }) { throw .needsGracePeriod }
    // One of the places may be only waiting.
    let places = own.flatMap { line in (0..<key.form.placeCount).map { Place(line: line, place: $0) } }
    if places.contains(where: { retired.contains($0) || waiting.contains($0) }) { throw .needsGracePeriod }
    for steps in 2...SetEditor.stepsMax where own.contains(where: { makeRoom(in: $0, steps: steps, key.form, memory) }) {
      throw .needsGracePeriod
    }
    throw .noRoom
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

  /// Lines on the way to a free place at most; each is a grace period.
  private static let stepsMax = 3

  /// Moves an element whose first line this is to its second; with more steps, one of that line to its own second, and so on, so
  /// that there is room for it next time. Only that way: who looks it up reads the second line behind the first.
  ///
  /// - Returns: Whether one was moved; where it was there is room after a grace period.
  private mutating func makeRoom(in line: Int, steps: Int, _ form: SetForm, _ memory: some TableMemory) -> Bool {
    for index in 0..<form.placeCount {
      let place = Place(line: line, place: index)
      let bits = bits(at: place, form, memory)
      guard bits != 0, let key = key(at: place, form, memory) else { continue }
      let lines = lines(of: key)
      guard lines.first == line, lines.second != line else { continue }
      if steps > 1 {
        if makeRoom(in: lines.second, steps: steps - 1, form, memory) { return true }
      } else if let other = freePlace(lines.second, form, memory) {
        write(key, bits, at: other, memory)
        setOverflow(line, memory)
        setBits(0, of: key, at: place, memory)
        retired.insert(place)
        return true
      }
    }
    return false
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

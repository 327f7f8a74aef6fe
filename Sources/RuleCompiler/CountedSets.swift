import CSluiceABI
import Packets
import Rules

/// The sets of a generation whose elements count: builds its struct sluice_counted, and the words by slot behind it.
struct CountedSets {
  /// By counter slot: bits of the sets that the slot's rule names and doesn't negate, those of destinations above the sources'.
  private(set) var slotWords: [UInt64] = []
  /// Of all sets that count, also of those that no rule names: they keep their counters.
  private(set) var elementCount = 0
  private var bits: [String: UInt64] = [:]

  static let setWordCount = MemoryLayout<sluice_counted_set>.size / 8

  init() {}

  init(_ ruleSet: RuleSet, _ large: LargeSets) throws(CompileError) {
    let counting = ruleSet.sets.filter(\.hasCounters)
    elementCount = counting.reduce(0) { $0 + $1.count }
    var names: [UInt64: String] = [:]
    for set in counting {
      if let other = names.updateValue(set.name, forKey: set.keyName) { throw .alikeSetNames([other, set.name]) }
      if let place = large.places[set.name] { bits[set.name] = 1 << UInt64(place.bit) }
    }
  }

  /// What the rule of a slot asks for.
  mutating func note(_ match: Match, slot: UInt32) {
    if bits.isEmpty { return }
    func asked(_ condition: Condition<IPPrefix>) -> UInt64 {
      condition.isNegated ? 0 : condition.sets.reduce(0) { $0 | (bits[$1] ?? 0) }
    }
    let word = asked(match.sources) | asked(match.destinations) << 32
    if word == 0 { return }
    if slotWords.count <= Int(slot) { slotWords += repeatElement(0, count: Int(slot) + 1 - slotWords.count) }
    slotWords[Int(slot)] = word
  }

  /// Whether packets count at elements.
  var isNeeded: Bool { !slotWords.isEmpty }

  /// - Parameter sets: By their bits.
  func words(of sets: [NamedSet]) -> [UInt64] {
    var words = [UInt64](repeating: 0, count: MemoryLayout<sluice_counted>.size / 8)
    for (index, set) in sets.enumerated() where set.hasCounters {
      let first = index * CountedSets.setWordCount
      words[first] = set.keyName
      for prefix in set.prefixes {
        if let length = CountedSets.lengthBit(of: prefix) { words[first + length.word] |= length.bit }
      }
    }
    words += slotWords
    // The trees begin on a line.
    return words + repeatElement(0, count: (SetForm.lineWordCount - words.count % SetForm.lineWordCount) % SetForm.lineWordCount)
  }

  /// Where a struct sluice_counted_set says that there are elements of a length; nil: nowhere, for the one that holds all.
  static func lengthBit(of prefix: IPPrefix) -> (word: Int, bit: UInt64)? {
    if prefix.length == 0 { return nil }
    if prefix.length > 64 { return (2, 1 << UInt64(128 - prefix.length)) }
    return (1, 1 << UInt64(min(prefix.family.bitCount, 64) - prefix.length))
  }
}

extension NamedSet {
  /// What stands for its name and type in the keys of its elements: of FNV-1a the low bits, above the length's. By the name
  /// alone, so that counters stay with their elements over generations and restarts.
  fileprivate var keyName: UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in "\(kind.rawValue) \(name)".utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    return hash << UInt64(SLUICE_ELEMENT_NAME)
  }

  /// The keys of elements of this set in the program's map of counters. Of a set of addresses.
  public func counterKeys(of prefixes: some Sequence<IPPrefix>) -> [sluice_element_key] {
    let name = keyName
    return prefixes.map { prefix in
      let value = prefix.address.value
      let high = prefix.family == .ipv4 ? value : value >> 64
      let low = prefix.family == .ipv4 ? 0 : value
      return sluice_element_key(
        set: name | UInt64(prefix.length), high: UInt64(truncatingIfNeeded: high), low: UInt64(truncatingIfNeeded: low))
    }
  }

  /// The element of a key, if it is one of this set's.
  public func element(ofKey key: sluice_element_key) -> IPPrefix? {
    let lengthMask: UInt64 = (1 << UInt64(SLUICE_ELEMENT_NAME)) - 1
    let length = Int(key.set & lengthMask)
    guard let family, key.set & ~lengthMask == keyName, length <= family.bitCount
    else { return nil }
    let value = family == .ipv4 ? UInt128(key.high) : UInt128(key.high) << 64 | UInt128(key.low)
    return IPPrefix(IPAddress(family: family, value: value), length: length)
  }
}

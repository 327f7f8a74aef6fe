import CSluiceABI
import Packets
import Rules

/// The sets of addresses that packets are looked up in before the trees are walked, because their elements would be too many
/// entries, or count.
struct LargeSets {
  private(set) var sets: [NamedSet] = []
  /// By name.
  private(set) var places: [String: Place] = [:]

  struct Place: Hashable, Sendable {
    let bit: Int
    let family: IPFamily
  }

  init() {}

  /// Those that a generation has, without their elements.
  init(places: [String: Place]) { self.places = places }

  /// Those of a rule set that an enabled rule names.
  ///
  /// - Parameter keepsMost: Also smaller ones, the biggest first, as many as a generation may have.
  init(_ ruleSet: RuleSet, keepsMost: Bool = false) throws(CompileError) {
    let addresses = ruleSet.sets.filter { $0.family != nil }
    var large = addresses.filter { $0.count > Limits.expandedSetElementsMax || $0.hasCounters }
    if large.isEmpty && !keepsMost { return }
    var named: Set<String> = []
    for rule in ruleSet.allRules where rule.isEnabled {
      named.formUnion(rule.match.sources.sets)
      named.formUnion(rule.match.destinations.sets)
    }
    large.removeAll { !named.contains($0.name) }
    if keepsMost {
      let names = Set(large.map(\.name))
      let others = addresses.filter { named.contains($0.name) && !names.contains($0.name) }.sorted { $0.count > $1.count }
      large += others.prefix(max(Limits.largeSetsMax - large.count, 0))
    }
    for set in large {
      guard let family = set.family else { continue }
      places[set.name] = Place(bit: sets.count, family: family)
      sets.append(set)
    }
    guard sets.count <= Int(SLUICE_SETS_MAX) else { throw .tooManyLargeSets(count: sets.count) }
  }

  var names: Set<String> { Set(places.keys) }
}

/// Builds the struct sluice_sets of a generation, the trie of IPv4, and root and tables of IPv6.
struct SetTables {
  /// Where it begins, counted in lines from the begin of the half.
  private let line: Int
  private(set) var words: [UInt64]
  private(set) var places: SetPlaces
  private var header = sluice_sets()

  /// Moves of elements that one more may cause before another seed is tried.
  private static let movesMax = 500
  private static let seedsMax: UInt32 = 8
  /// The first seed, of this process alone: whoever gets his own addresses into a set must not know which of them share lines.
  private static let firstSeed = UInt32.random(in: 0 ... .max)
  /// Lines of a table at least: room for what comes later.
  private static let lineCountMin = 64

  /// - Parameters:
  ///   - sets: At most SLUICE_SETS_MAX; the first is bit 0.
  ///   - line: Where it will stand.
  init(_ sets: [NamedSet], at line: Int) throws(CompileError) {
    self.line = line
    places = SetPlaces(names: sets.map(\.name), header: line * SetForm.lineWordCount, tables: [nil, nil])
    words = [UInt64](repeating: 0, count: MemoryLayout<sluice_sets>.size / 8)
    if sets.contains(where: { $0.family == .ipv4 }) {
      let start = line * SetForm.lineWordCount + words.count
      let trie = SetTrieBuilder(sets, at: start)
      words += trie.words
      header.root_ipv4 = UInt32(start / SetForm.lineWordCount)
      header.lengths_ipv4 = UInt32((trie.lengths ?? 0) / SetForm.lineWordCount)
      places.trie = TriePlaces(root: start, lengths: trie.lengths, lists: trie.lists)
    }
    if sets.contains(where: { $0.family == .ipv6 }) {
      var elements = SetForm.allCases.map { _ in Elements() }
      for (bit, set) in sets.enumerated() where set.family == .ipv6 {
        for prefix in set.prefixes {
          let key = SetKey(prefix)
          elements[key.form.rawValue].append(key, bits: 1 << UInt32(bit))
        }
      }
      let place = reserve(2 * Int(SLUICE_SET_ROOT_CELLS_IPV6))
      header.root_ipv6 = UInt32(line + place / SetForm.lineWordCount)
      places.rootIPv6 = line * SetForm.lineWordCount + place
      let short = elements[SetForm.short.rawValue]
      for form in [SetForm.short, .long] { announce(elements[form.rawValue], place) }
      for index in short.keys.indices where short.keys[index].length == 0 { header.all_ipv6 |= UInt64(short.bits[index]) }
      header.ipv6_short = try table(short.longer(than: 0), .short).abiTable
      header.ipv6_long = try table(elements[SetForm.long.rawValue], .long).abiTable
    }
    let header = header
    var span = words.mutableSpan
    var raw = span.mutableBytes
    raw.storeBytes(of: header, as: sluice_sets.self)
  }

  /// One after the other; one of several sets may be there as often.
  fileprivate struct Elements {
    var keys: [SetKey] = []
    var bits: [UInt32] = []

    mutating func append(_ key: SetKey, bits: UInt32) {
      keys.append(key)
      self.bits.append(bits)
    }

    func longer(than length: UInt8) -> Elements {
      if keys.allSatisfy({ $0.length > length }) { return self }
      var result = Elements()
      for index in keys.indices where keys[index].length > length { result.append(keys[index], bits: bits[index]) }
      return result
    }
  }

  /// The first of so many new words, on a line.
  private mutating func reserve(_ wordCount: Int) -> Int {
    let place = words.count
    words.append(contentsOf: repeatElement(0, count: wordCount))
    return place
  }

  private mutating func announce(_ elements: Elements, _ root: Int) {
    for key in elements.keys {
      guard let announcement = key.announcement else { continue }
      switch announcement.word {
      case .root(let index): words[root + index] |= announcement.bit
      case .wide: header.wide_ipv6 |= announcement.bit
      }
    }
  }

  // MARK: Lines

  /// A table of elements, each in its first line or its second.
  private mutating func table(_ elements: Elements, _ form: SetForm) throws(CompileError) -> SetTable {
    let perLine = form.placeCount * SetForm.fillHundredths
    var lineCount = max(SetTables.lineCountMin, (elements.keys.count * 100 + perLine - 1) / perLine)
    for attempt in 0..<SetTables.seedsMax {
      let seed = SetTables.firstSeed &+ attempt
      if let placed = Placement(elements, form, lineCount: lineCount, seed: seed) {
        let place = reserve(lineCount * SetForm.lineWordCount)
        placed.write(to: &words, at: place)
        let table = SetTable(line: line + place / SetForm.lineWordCount, lineCount: lineCount, seed: seed)
        places.tables[form.rawValue] = table
        return table
      }
      lineCount += lineCount / 8
    }
    throw .crowdedSets
  }

  /// Which element is in which place.
  private struct Placement {
    let elements: Elements
    let form: SetForm
    /// Index of an element, or -1; line by line, each from its begin.
    var places: [Int32]
    var overflows: [Bool]
    var bits: [UInt32]
    private var used: [UInt8]
    private let hashes: [UInt64]

    /// Nil: there was no way for an element.
    init?(_ elements: Elements, _ form: SetForm, lineCount: Int, seed: UInt32) {
      self.elements = elements
      self.form = form
      bits = elements.bits
      hashes = elements.keys.map { $0.hash(seed: seed) }
      places = Array(repeating: -1, count: lineCount * form.placeCount)
      used = Array(repeating: 0, count: lineCount)
      overflows = Array(repeating: false, count: lineCount)
      for index in elements.keys.indices where !isKnown(index) {
        guard place(index) else { return nil }
      }
    }

    /// Whether another set has the element, too, which then has the bits of both.
    private mutating func isKnown(_ index: Int) -> Bool {
      let lines = SetTable.lines(hashes[index], used.count)
      for line in [lines.first, lines.second] {
        for place in 0..<Int(used[line]) {
          let other = Int(places[line * form.placeCount + place])
          if hashes[other] == hashes[index], elements.keys[other] == elements.keys[index] {
            bits[other] |= bits[index]
            return true
          }
        }
      }
      return false
    }

    /// Where both lines are full another element makes way for it, and goes to the other one of its own lines.
    private mutating func place(_ index: Int) -> Bool {
      var index = index
      for move in 0..<SetTables.movesMax {
        let lines = SetTable.lines(hashes[index], used.count)
        if put(index, lines.first) { return true }
        overflows[lines.first] = true
        if put(index, lines.second) { return true }
        // Any that is not always the same: the hash is as good as chance.
        let choice = Int(truncatingIfNeeded: hashes[index] >> 20) &+ move
        let line = choice & 1 == 0 ? lines.first : lines.second
        let place = line * form.placeCount + (choice >> 1 & 0xff) % form.placeCount
        let other = Int(places[place])
        places[place] = Int32(index)
        index = other
      }
      return false
    }

    private mutating func put(_ index: Int, _ line: Int) -> Bool {
      guard used[line] < form.placeCount else { return false }
      places[line * form.placeCount + Int(used[line])] = Int32(index)
      used[line] += 1
      return true
    }

    func write(to words: inout [UInt64], at start: Int) {
      for line in used.indices {
        let word = start + line * SetForm.lineWordCount
        for place in 0..<Int(used[line]) {
          let index = Int(places[line * form.placeCount + place])
          let key = elements.keys[index]
          let (offset, shift) = form.bits(place)
          words[word + offset] |= key.place(UInt64(bits[index])) << shift
          if form == .short { words[word + place] = key.high }
          if form == .long { (words[word + 2 * place], words[word + 2 * place + 1]) = (key.high, key.low) }
        }
        if overflows[line] { words[word + SetForm.lineWordCount - 1] |= SetForm.overflowFlag }
      }
    }
  }
}

extension SetTable {
  fileprivate var abiTable: sluice_set_table {
    sluice_set_table(line: UInt32(line), line_count: UInt32(lineCount), seed: seed)
  }
}

import CSluiceABI
import Packets
import RuleCompiler
import Rules

/// A generation in memory whose sets of IPv4 are looked up as bpf/sets.h does.
final class TrieTables: TableMemory {
  private(set) var words: [UInt64]
  /// Behind each store that someone who looks up an address of 10.0.0.0/15 may see.
  var stored: () -> Void = {}

  private static let first = Int(SLUICE_TABLES_HEADER_BYTES) / 8

  init(_ compiled: CompiledGeneration) { words = Array(repeating: 0, count: TrieTables.first) + compiled.words }

  var wordCount: Int { words.count }
  func word(_ index: Int) -> UInt64 { words[index] }

  func store(_ word: UInt64, at index: Int) {
    words[index] = word
    let cell = index - Int(sets.root_ipv4) * 8
    if cell >> 1 == 0x0500 || !(0..<65536).contains(cell) { stored() }
  }

  private func load<T: BitwiseCopyable>(_ type: T.Type, at index: Int) -> T {
    words.withUnsafeBytes { unsafe $0.loadUnaligned(fromByteOffset: index * 8, as: T.self) }
  }

  var sets: sluice_sets { load(sluice_sets.self, at: Int(load(sluice_generation.self, at: TrieTables.first).sets) * 8) }

  /// Whether the lengths say that there are elements of one that hold an address.
  func announces(_ length: Int, _ address: UInt32) -> Bool {
    let word = words[Int(sets.lengths_ipv4) * 8 + Int(address >> 18)]
    return word >> (UInt64(address >> 16 & 3) * 16 + UInt64(32 - length)) & 1 == 1
  }

  /// A lookup on its way, which has read some of the tables.
  struct Reader {
    let address: UInt32
    var found: UInt64
    var cell: UInt64
    /// Of the list that the cell leads to; read when the words are where it is empty.
    var headers: [(index: Int, word: UInt64)] = []
    var depth = 0
  }

  /// Goes as far as to the list.
  func begin(_ address: UInt32, readingHeaders: Bool = false) -> Reader {
    var cell = words[Int(sets.root_ipv4) * 8 + Int(address >> 16)]
    var reader = Reader(address: address, found: cell, cell: cell)
    var rest = UInt64(address) << 48
    while case let split = cell >> UInt64(SLUICE_SET_CELL_SPLIT) & 31, split > 0 {
      cell = words[index(cell) + Int(rest >> (64 - split))]
      rest <<= split
      reader.found |= cell
      reader.depth += 1
    }
    precondition(reader.depth <= Int(SLUICE_SET_SPLITS_MAX), "the program goes no further")
    reader.cell = cell
    if readingHeaders { reader.headers = headers(cell) }
    return reader
  }

  /// Bits of the sets that hold the address.
  func finish(_ reader: Reader) -> UInt64 {
    var found = reader.found
    for (index, header) in reader.headers.isEmpty ? headers(reader.cell) : reader.headers {
      let hosts = field(header, SLUICE_SET_SEGMENT_HOSTS)
      let prefixes = field(header, SLUICE_SET_SEGMENT_PREFIXES)
      let end = index + field(header, SLUICE_SET_SEGMENT_WORDS)
      let low = UInt16(truncatingIfNeeded: reader.address)
      let isThere =
        (0..<hosts).contains { lanes(index + 1 + $0).contains(low) }
        || (end - prefixes..<end).contains { lanes($0).contains { (low ^ $0) & ~($0 ^ ($0 &- 1)) == 0 } }
      if isThere { found |= header }
    }
    return found & UInt64(SLUICE_SET_BITS_MASK)
  }

  func lookUp(_ address: UInt32) -> UInt64 { finish(begin(address)) }

  private func headers(_ cell: UInt64) -> [(index: Int, word: UInt64)] {
    var index = index(cell)
    let end = index + Int(cell >> UInt64(SLUICE_SET_CELL_WORDS))
    var headers: [(index: Int, word: UInt64)] = []
    while index < end {
      headers.append((index, words[index]))
      index += field(words[index], SLUICE_SET_SEGMENT_WORDS)
    }
    precondition(index == end && headers.count <= Int(SLUICE_SET_SEGMENTS_MAX), "a list is whole segments")
    return headers
  }

  private func index(_ cell: UInt64) -> Int { Int(cell >> UInt64(SLUICE_SET_CELL_INDEX) & 0x7ff_ffff) }
  private func field(_ header: UInt64, _ shift: Int32) -> Int { Int(header >> UInt64(shift) & UInt64(SLUICE_SET_SEGMENT_FIELD)) }

  private func lanes(_ index: Int) -> [UInt16] {
    (0..<4).map { UInt16(truncatingIfNeeded: words[index] >> UInt64($0 * 16)) }
  }
}

import CSluiceABI
import Packets

/// Which of the tables of IPv6 an element is in, and how its lines look: see sluice_sets_abi.h.
enum SetForm: Int, CaseIterable {
  /// Up to /64.
  case short
  case long

  var placeCount: Int {
    switch self {
    case .short: Int(SLUICE_SET_PLACES_SHORT)
    case .long: Int(SLUICE_SET_PLACES_LONG)
    }
  }

  /// Of a new table's places, how many are taken. The others are for elements that come later: with more of them taken, finding
  /// one takes longer.
  static let fillHundredths = 65

  /// Where a line's bits of a place are: word in the line, and shift.
  func bits(_ place: Int) -> (word: Int, shift: UInt64) {
    switch self {
    case .short: ((2 * SetForm.short.placeCount + place) / 2, UInt64(place % 2 * 32))
    case .long: (2 * SetForm.long.placeCount + place / 2, UInt64(place % 2 * 32))
    }
  }

  /// In the last word of a line.
  static let overflowFlag: UInt64 = 1 << 32

  static let lineWordCount = Int(SLUICE_SET_LINE_BYTES) / 8
  static let bitsMask = UInt64(SLUICE_SET_BITS_MASK)
}

/// An element of IPv6, as a table has it.
struct SetKey: Hashable, BitwiseCopyable {
  let form: SetForm
  let length: UInt8
  let high: UInt64
  let low: UInt64

  init(_ form: SetForm, _ length: UInt8, _ high: UInt64, _ low: UInt64) {
    (self.form, self.length, self.high, self.low) = (form, length, high, low)
  }

  init(_ prefix: IPPrefix) {
    let value = prefix.address.value
    length = UInt8(prefix.length)
    form = prefix.length <= 64 ? .short : .long
    (high, low) = (UInt64(truncatingIfNeeded: value >> 64), UInt64(truncatingIfNeeded: value))
  }

  /// Its place's half word, with the bits of the sets that have it.
  func place(_ bits: UInt64) -> UInt64 { UInt64(length) << UInt64(SLUICE_SET_LENGTH) | bits }

  func hash(seed: UInt32) -> UInt64 {
    var hash = (high ^ UInt64(seed)) &* UInt64(SLUICE_SET_HASH_FIRST)
    hash ^= hash >> 32
    return (hash ^ (low &+ UInt64(length))) &* UInt64(SLUICE_SET_HASH_SECOND)
  }

  /// Where the element's length is announced; nil: it is ::/0.
  var announcement: SetAnnouncement? {
    switch form {
    case .short:
      if length == 0 { return nil }
      let bit: UInt64 = 1 << UInt64(64 - Int(length))
      if length <= UInt8(SLUICE_SET_CELL_LENGTH) { return SetAnnouncement(word: .wide, bit: bit) }
      return SetAnnouncement(word: .root(2 * cell), bit: bit)
    case .long:
      return SetAnnouncement(word: .root(2 * cell + 1), bit: 1 << UInt64(128 - Int(length)))
    }
  }

  private var cell: Int { Int(((high >> 32) &* UInt64(SLUICE_SET_HASH_FIRST)) >> 49) }
}

/// That there are elements of a length.
struct SetAnnouncement {
  enum Word {
    case root(Int)
    /// `wide_ipv6`.
    case wide
  }

  let word: Word
  let bit: UInt64
}

/// Lines of one table. Where the struct sluice_sets says so.
struct SetTable: Hashable, Sendable {
  /// The first, counted from the begin of the half.
  var line: Int
  var lineCount: Int
  var seed: UInt32

  /// First word of the lines that an element can be in, counted from the begin of the half.
  func lines(of key: SetKey) -> (first: Int, second: Int) {
    let lines = SetTable.lines(key.hash(seed: seed), lineCount)
    return ((line + lines.first) * SetForm.lineWordCount, (line + lines.second) * SetForm.lineWordCount)
  }

  static func lines(_ hash: UInt64, _ lineCount: Int) -> (first: Int, second: Int) {
    let count = UInt64(lineCount)
    return (Int(((hash >> 32) &* count) >> 32), Int(((hash & 0xffff_ffff) &* count) >> 32))
  }
}

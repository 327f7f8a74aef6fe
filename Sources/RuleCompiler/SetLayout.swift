import CSluiceABI
import Packets

/// Which of the tables of large sets an element is in, and how its lines look: see sluice_sets_abi.h.
enum SetForm: Int, CaseIterable {
  case ipv4
  /// Of IPv6, up to /64.
  case short
  case long

  var placeCount: Int {
    switch self {
    case .ipv4: Int(SLUICE_SET_PLACES_IPV4)
    case .short: Int(SLUICE_SET_PLACES_SHORT)
    case .long: Int(SLUICE_SET_PLACES_LONG)
    }
  }

  /// Of a new table's places, how many are taken. The others are for elements that come later: with more of them taken, finding
  /// one takes longer.
  var fillHundredths: Int { self == .long ? 70 : 65 }

  /// Where a line's bits of a place are: word in the line, and shift.
  func bits(_ place: Int) -> (word: Int, shift: UInt64) {
    switch self {
    case .ipv4: (place, 0)
    case .short: ((2 * SetForm.short.placeCount + place) / 2, UInt64(place % 2 * 32))
    case .long: (2 * SetForm.long.placeCount + place / 2, UInt64(place % 2 * 32))
    }
  }

  /// In the last word of a line.
  var overflowFlag: UInt64 { self == .ipv4 ? 1 : 1 << 32 }

  static let lineWordCount = Int(SLUICE_SET_LINE_BYTES) / 8
  static let bitsMask = UInt64(SLUICE_SET_BITS_MASK)
}

/// An element of large sets, as a table has it.
struct SetKey: Hashable, BitwiseCopyable {
  let form: SetForm
  let length: UInt8
  /// IPv4: the address.
  let high: UInt64
  let low: UInt64

  init(_ form: SetForm, _ length: UInt8, _ high: UInt64, _ low: UInt64) {
    (self.form, self.length, self.high, self.low) = (form, length, high, low)
  }

  init(_ prefix: IPPrefix) {
    let value = prefix.address.value
    length = UInt8(prefix.length)
    if prefix.family == .ipv4 {
      (form, high, low) = (.ipv4, UInt64(truncatingIfNeeded: value), 0)
    } else {
      form = prefix.length <= 64 ? .short : .long
      (high, low) = (UInt64(truncatingIfNeeded: value >> 64), UInt64(truncatingIfNeeded: value))
    }
  }

  /// Its place's word or half word, with the bits of the sets that have it.
  func place(_ bits: UInt64) -> UInt64 {
    (form == .ipv4 ? high << 32 : 0) | UInt64(length) << UInt64(SLUICE_SET_LENGTH) | bits
  }

  func hash(seed: UInt32) -> UInt64 {
    var hash = (high ^ UInt64(seed)) &* UInt64(SLUICE_SET_HASH_FIRST)
    hash ^= hash >> 32
    return (hash ^ (low &+ UInt64(length))) &* UInt64(SLUICE_SET_HASH_SECOND)
  }

  /// Where the element's length is announced; nil: the element is in a root alone, or all addresses of its family are in it.
  var announcement: SetAnnouncement? {
    switch form {
    case .ipv4:
      guard length > UInt8(SLUICE_SET_ROOT_LENGTH) else { return nil }
      return SetAnnouncement(word: .root(Int(high >> 16)), bit: 1 << UInt64(64 - Int(length)))
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
    /// Of the family's root.
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

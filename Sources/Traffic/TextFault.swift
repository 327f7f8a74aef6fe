import Packets

extension TrafficError {
  /// Characters of the text shown to each side of the caret.
  private static let contextMax = 48

  /// A message, the text it is about, and a caret below the character at `offset`.
  init(_ message: String, in text: String, at offset: Int) {
    let characters = Array(text.unicodeScalars)
    let offset = min(max(0, offset), characters.count)
    let start = max(0, offset - TrafficError.contextMax)
    let end = min(characters.count, offset + TrafficError.contextMax)
    func part(_ range: Range<Int>) -> String {
      ValueTextError.excerpt(String(String.UnicodeScalarView(characters[range])), limit: .max)
    }
    let before = (start > 0 ? "…" : "") + part(start..<offset)
    let after = part(offset..<end) + (end < characters.count ? "…" : "")
    self.init("\(message)\n  \(before)\(after)\n  \(String(repeating: " ", count: before.unicodeScalars.count))^")
  }
}

/// Reads a text from left to right; knows where it stands for the caret.
struct TextCursor {
  let text: String
  private let scalars: [Unicode.Scalar]
  private(set) var offset = 0

  init(_ text: String) {
    self.text = text
    scalars = Array(text.unicodeScalars)
  }

  var isAtEnd: Bool { offset == scalars.count }

  func fault(_ message: String, at place: Int? = nil) -> TrafficError {
    TrafficError(message, in: text, at: place ?? offset)
  }

  mutating func take(_ scalar: Unicode.Scalar) -> Bool {
    guard !isAtEnd, scalars[offset] == scalar else { return false }
    offset += 1
    return true
  }

  /// Letters of ASCII, in lower case; none is an empty text.
  mutating func takeWord() -> String {
    var word = ""
    while !isAtEnd, scalars[offset].properties.isAlphabetic, scalars[offset].isASCII {
      word.unicodeScalars.append(scalars[offset])
      offset += 1
    }
    return word.lowercased()
  }

  /// `12` or `1.5` in millionths; nil where there is no number, too great a one, or one with more than six decimals.
  mutating func takeMillionths() -> UInt64? {
    guard let whole = takeDigits(lengthMax: 13) else { return nil }
    var value = whole.value * 1_000_000
    if take(".") {
      guard let part = takeDigits(lengthMax: 6) else { return nil }
      var fraction = part.value
      for _ in part.count..<6 { fraction *= 10 }
      value += fraction
    }
    return value
  }

  /// A whole number in `range`, without leading zeros; nil, and nothing taken, where there is none.
  mutating func takeWhole(in range: ClosedRange<Int>) -> Int? {
    let start = offset
    guard let digits = takeDigits(lengthMax: 9), range.contains(Int(digits.value)),
      digits.count == 1 || scalars[start] != "0"
    else {
      offset = start
      return nil
    }
    return Int(digits.value)
  }

  private mutating func takeDigits(lengthMax: Int) -> (value: UInt64, count: Int)? {
    let start = offset
    var value: UInt64 = 0
    while !isAtEnd, (0x30...0x39).contains(scalars[offset].value), offset - start < lengthMax {
      value = value * 10 + UInt64(scalars[offset].value - 0x30)
      offset += 1
    }
    let isCut = !isAtEnd && (0x30...0x39).contains(scalars[offset].value)
    return offset == start || isCut ? nil : (value, offset - start)
  }
}

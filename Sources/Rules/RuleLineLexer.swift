import Packets

/// Cuts one line into words, quoted words, commas and a comment, on demand: a hostile line is never held as tokens.
struct RuleLineLexer {
  struct Token: Hashable {
    enum Kind { case word, quoted, comma }
    var kind: Kind
    var text: String
    /// Where it begins in the line's bytes.
    var offset: Int
  }

  let line: Int
  let bytes: ArraySlice<UInt8>
  private var position: Int
  /// What stands behind `#`, once the end of the statement was seen.
  private(set) var comment: String?

  init(line: Int, bytes: ArraySlice<UInt8>) {
    self.line = line
    self.bytes = bytes
    position = bytes.startIndex
  }

  /// The next token without taking it; nil at the end of the statement.
  func peek() throws(RuleTextError) -> Token? {
    var copy = self
    return try copy.next()
  }

  /// Takes the next token; nil at the end of the statement.
  mutating func next() throws(RuleTextError) -> Token? {
    while position < bytes.endIndex, isBlank(bytes[position]) { position += 1 }
    let start = position
    guard start < bytes.endIndex else { return nil }
    switch bytes[start] {
    case 0x23:
      var text = bytes[(start + 1)...]
      if text.first == 0x20 { text = text.dropFirst() }
      comment = String(decoding: text, as: UTF8.self)
      return nil
    case 0x2c:
      position += 1
      return Token(kind: .comma, text: ",", offset: start)
    case 0x22:
      return try quoted(from: start)
    default:
      while position < bytes.endIndex, !isBlank(bytes[position]), ![0x22, 0x23, 0x2c].contains(bytes[position]) {
        position += 1
      }
      return Token(kind: .word, text: String(decoding: bytes[start..<position], as: UTF8.self), offset: start)
    }
  }

  /// Takes the bytes up to the next colon of this line, and the colon: the name of a rule, without blanks around it.
  mutating func takeName() throws(RuleTextError) -> Token {
    while position < bytes.endIndex, isBlank(bytes[position]) { position += 1 }
    let start = position
    guard let colon = bytes[start...].firstIndex(where: { $0 == 0x3a || $0 == 0x23 }), bytes[colon] == 0x3a else {
      throw failure(at: start, "a rule's name ends with a colon", suggestion: "rule NAME: …")
    }
    var end = colon
    while end > start, isBlank(bytes[end - 1]) { end -= 1 }
    position = colon + 1
    return Token(kind: .word, text: String(decoding: bytes[start..<end], as: UTF8.self), offset: start)
  }

  /// Where the statement ends or the next token would begin.
  var end: Int { position }

  func failure(at offset: Int, _ message: String, suggestion: String? = nil) -> RuleTextError {
    RuleTextError(line: line, bytes: bytes, offset: offset, message: message, suggestion: suggestion)
  }

  private mutating func quoted(from start: Int) throws(RuleTextError) -> Token {
    var text: [UInt8] = []
    var index = start + 1
    while index < bytes.endIndex {
      if bytes[index] == 0x22 {
        position = index + 1
        return Token(kind: .quoted, text: String(decoding: text, as: UTF8.self), offset: start)
      }
      if bytes[index] == 0x5c, index + 1 < bytes.endIndex, [0x22, 0x5c].contains(bytes[index + 1]) { index += 1 }
      text.append(bytes[index])
      index += 1
    }
    throw failure(at: start, "the quotation mark isn't closed on this line")
  }

  private func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }
}

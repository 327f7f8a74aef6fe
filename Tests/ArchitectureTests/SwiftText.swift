/// The code of a Swift file, without what only looks like code: comments are gone, and so is the text of string
/// literals; what is interpolated into them stays. Lines keep their numbers.
struct SwiftText {
  /// A name or keyword, and the line it stands on, from 1.
  struct Word: Hashable {
    let text: String
    let line: Int
  }

  let code: String

  /// - Parameter keepsStrings: Leaves string literals as they are, interpolations unread.
  init(_ text: String, keepsStrings: Bool = false) {
    var lexer = Lexer(bytes: Array(text.utf8), keepsStrings: keepsStrings)
    lexer.copyCode(untilParenthesisCloses: false)
    code = String(decoding: lexer.output, as: UTF8.self)
  }

  /// Every name and keyword, in order.
  var words: [Word] {
    var result: [Word] = []
    var current: [UInt8] = []
    var line = 1
    for byte in Array(code.utf8) + [UInt8(ascii: "\n")] {
      if isWordByte(byte) {
        current.append(byte)
      } else if !current.isEmpty {
        result.append(Word(text: String(decoding: current, as: UTF8.self), line: line))
        current = []
      }
      if byte == UInt8(ascii: "\n") { line += 1 }
    }
    return result
  }

  /// The modules that are imported, submodules and imported declarations by their module.
  var imports: Set<String> {
    let kinds: Set = ["struct", "class", "enum", "protocol", "typealias", "func", "let", "var", "actor"]
    var modules: Set<String> = []
    for statement in code.split(whereSeparator: { $0.isNewline || $0 == ";" }) {
      // Attributes with arguments, as @_spi(Name), lose them; "import" must be the first word behind modifiers.
      var parts = statement.split { $0 == " " || $0 == "\t" }.map(String.init)
      while let first = parts.first, first.hasPrefix("@") || modifiers.contains(first) { parts.removeFirst() }
      guard parts.first == "import", parts.count > 1 else { continue }
      let path = kinds.contains(parts[1]) && parts.count > 2 ? parts[2] : parts[1]
      if let module = path.split(separator: ".").first { modules.insert(String(module)) }
    }
    return modules
  }
}

private let modifiers: Set = ["public", "package", "internal", "fileprivate", "private"]

private func isWordByte(_ byte: UInt8) -> Bool {
  switch byte {
  case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), 0x80...:
    true
  default: false
  }
}

private struct Lexer {
  let bytes: [UInt8]
  let keepsStrings: Bool
  var position = 0
  var output: [UInt8] = []

  init(bytes: [UInt8], keepsStrings: Bool) {
    self.bytes = bytes
    self.keepsStrings = keepsStrings
  }

  private func at(_ text: StaticString) -> Bool {
    text.withUTF8Buffer { bytes[position...].starts(with: $0) }
  }

  /// Copies the byte if it is a line's end, or if asked to; always moves on.
  private mutating func step(copying: Bool) {
    if copying || bytes[position] == UInt8(ascii: "\n") { output.append(bytes[position]) }
    position += 1
  }

  mutating func copyCode(untilParenthesisCloses: Bool) {
    var depth = 1
    while position < bytes.count {
      if at("//") {
        while position < bytes.count, bytes[position] != UInt8(ascii: "\n") { position += 1 }
      } else if at("/*") {
        skipBlockComment()
      } else if let hashes = stringStart() {
        skipString(hashCount: hashes)
      } else {
        if at("(") { depth += 1 }
        if at(")") { depth -= 1 }
        step(copying: true)
        if untilParenthesisCloses, depth == 0 { return }
      }
    }
  }

  private mutating func skipBlockComment() {
    var depth = 0
    repeat {
      if at("/*") {
        depth += 1
        position += 2
      } else if at("*/") {
        depth -= 1
        position += 2
      } else {
        step(copying: false)
      }
    } while depth > 0 && position < bytes.count
  }

  /// How many `#` stand before the quote that begins here; nil if none does.
  private func stringStart() -> Int? {
    let rest = bytes[position...]
    let hashes = rest.prefix { $0 == UInt8(ascii: "#") }.count
    return rest.dropFirst(hashes).first == UInt8(ascii: "\"") ? hashes : nil
  }

  private mutating func skipString(hashCount: Int) {
    let hashes = [UInt8](repeating: UInt8(ascii: "#"), count: hashCount)
    let start = position
    position += hashCount
    let quote: [UInt8] = at("\"\"\"") ? Array("\"\"\"".utf8) : Array("\"".utf8)
    position += quote.count
    let end = quote + hashes
    let escape = [UInt8(ascii: "\\")] + hashes
    if !keepsStrings { output.append(UInt8(ascii: "\"")) }
    while position < bytes.count, !bytes[position...].starts(with: end) {
      if bytes[position...].starts(with: escape) {
        position += escape.count
        if at("("), !keepsStrings {
          step(copying: true)
          copyCode(untilParenthesisCloses: true)
        } else if position < bytes.count {
          step(copying: false)
        }
      } else if quote.count == 1, at("\n") {
        break  // not a string after all: lose no more than this line
      } else {
        step(copying: false)
      }
    }
    position = min(position + end.count, bytes.count)
    if keepsStrings {
      output.append(contentsOf: bytes[start..<position])
    } else {
      output.append(UInt8(ascii: "\""))
    }
  }
}

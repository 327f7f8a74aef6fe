import Packets

/// Where and why a text is not a rule set.
public struct RuleTextError: Error, Hashable, Sendable, CustomStringConvertible {
  /// From 1.
  public let line: Int
  /// In Unicode scalars, from 1.
  public let column: Int
  public let message: String
  /// What was probably meant.
  public let suggestion: String?
  /// The line around the column, without control characters, and the caret's column in it, from 1.
  public let excerpt: String
  public let caretColumn: Int

  init(line: Int, bytes: ArraySlice<UInt8>, offset: Int, message: String, suggestion: String? = nil) {
    let before = String(decoding: bytes[..<min(offset, bytes.endIndex)], as: UTF8.self).unicodeScalars
    let after = String(decoding: bytes[min(offset, bytes.endIndex)...], as: UTF8.self).unicodeScalars
    self.line = line
    self.column = before.count + 1
    self.message = message
    self.suggestion = suggestion
    let start = before.suffix(Self.excerptReach)
    excerpt =
      ValueTextError.excerpt(String(start), limit: Self.excerptReach)
      + ValueTextError.excerpt(String(after.prefix(Self.excerptReach)), limit: Self.excerptReach)
    caretColumn = start.count + 1
  }

  /// Of a text in another form, as JSON, whose fault is found by its offset in bytes.
  public init(offset: Int, in text: [UInt8], message: String) {
    let offset = min(max(offset, 0), text.count)
    let start = text[..<offset].lastIndex(of: 0x0a).map { $0 + 1 } ?? 0
    let end = text[offset...].firstIndex(of: 0x0a) ?? text.count
    self.init(
      line: 1 + text[..<start].count { $0 == 0x0a }, bytes: text[start..<end], offset: offset, message: message)
  }

  /// Scalars of the line shown to each side of the caret.
  private static let excerptReach = 60

  /// Position and message, the line, a caret below the fault.
  public var description: String {
    "line \(line), column \(column): \(message)" + (suggestion.map { "; write \($0)" } ?? "")
      + "\n" + excerptWithCaret
  }

  /// Two lines.
  public var excerptWithCaret: String { "  \(excerpt)\n  \(String(repeating: " ", count: caretColumn - 1))^" }
}

/// The word of `words` that `word` is most probably a misspelling of: at most two letters wrong, missing or too many.
func nearest(to word: String, among words: [String]) -> String? {
  let written = Array(word.lowercased().utf8.prefix(33))
  guard written.count <= 32 else { return nil }
  let ranked = words.map { ($0, editDistance(written, Array($0.utf8))) }
  return ranked.filter { $0.1 <= 2 && $0.1 < max($0.0.utf8.count, 2) }.min { $0.1 < $1.1 }?.0
}

/// Letters to replace, leave out, put in, or swap with their neighbour (optimal string alignment).
private func editDistance(_ left: [UInt8], _ right: [UInt8]) -> Int {
  var beforeLast: [Int] = []
  var last = Array(0...right.count)
  for (i, a) in left.enumerated() {
    var row = [i + 1]
    for (j, b) in right.enumerated() {
      var distance = min(last[j] + (a == b ? 0 : 1), last[j + 1] + 1, row[j] + 1)
      if i > 0, j > 0, a == right[j - 1], b == left[i - 1] { distance = min(distance, beforeLast[j - 1] + 1) }
      row.append(distance)
    }
    (beforeLast, last) = (last, row)
  }
  return last[right.count]
}

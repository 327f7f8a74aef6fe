/// Why a text is not the value it should be: what was expected, what stood there, and what to write instead if known.
public struct ValueTextError: Error, Hashable, Sendable, CustomStringConvertible {
  /// What the text should have been, for example "IPv4 address".
  public let expected: String
  /// The text, shortened to 64 characters and without control characters.
  public let text: String
  /// What is wrong with it.
  public let reason: String
  /// What was probably meant.
  public let suggestion: String?

  public init(expected: String, text: String, reason: String, suggestion: String? = nil) {
    self.expected = expected
    self.text = Self.excerpt(text)
    self.reason = reason
    self.suggestion = suggestion
  }

  public var description: String {
    "\"\(text)\" is not \(expected): \(reason)" + (suggestion.map { "; write \($0)" } ?? "")
  }

  /// `text` for a message: at most `limit` scalars, control characters as `?`.
  public static func excerpt(_ text: String, limit: Int = 64) -> String {
    var result = String.UnicodeScalarView()
    for (index, scalar) in text.unicodeScalars.enumerated() {
      if index == limit {
        result.append("…")
        break
      }
      let isControl =
        scalar.value < 0x20 || (0x7f...0x9f).contains(scalar.value)
        || scalar.value == 0x2028 || scalar.value == 0x2029
      result.append(isControl ? "?" : scalar)
    }
    return String(result)
  }
}

/// A decimal number without sign, without leading zeros, not above `limit`; nil if `text` is anything else.
func parseDecimal(_ text: some Sequence<UInt8>, limit: Int) -> Int? {
  var value = 0
  var digits = 0
  for byte in text {
    guard (0x30...0x39).contains(byte), digits == 0 || value > 0 else { return nil }
    value = value * 10 + Int(byte &- 0x30)
    digits += 1
    if value > limit { return nil }
  }
  return digits == 0 ? nil : value
}

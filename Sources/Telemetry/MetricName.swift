/// The kinds of metrics in Prometheus' text format that this writes.
public enum MetricType: String, Sendable {
  case counter, gauge, histogram
}

/// Names as Prometheus takes them.
enum MetricName {
  /// `[a-zA-Z_:][a-zA-Z0-9_:]*`; whatever else stands in `text` becomes `_`. A counter ends in `_total`.
  static func metric(_ text: String, _ type: MetricType) -> String {
    let name = sanitized(text, allowsColon: true)
    return type == .counter && !name.hasSuffix("_total") ? name + "_total" : name
  }

  /// `[a-zA-Z_][a-zA-Z0-9_]*`, without the two underscores in front that Prometheus keeps for itself.
  static func label(_ text: String) -> String {
    let name = sanitized(text, allowsColon: false)
    guard name.hasPrefix("__") else { return name }
    let rest = name.drop { $0 == "_" }
    return rest.isEmpty ? "_" : "_" + rest
  }

  private static func sanitized(_ text: String, allowsColon: Bool) -> String {
    func isLetter(_ byte: UInt8) -> Bool {
      (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte) || byte == 0x5f || (allowsColon && byte == 0x3a)
    }
    func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }
    if let first = text.utf8.first, isLetter(first), text.utf8.allSatisfy({ isLetter($0) || isDigit($0) }) {
      return text
    }
    let bytes = text.utf8.map { isLetter($0) || isDigit($0) ? $0 : 0x5f }
    guard let first = bytes.first else { return "_" }
    return String(decoding: isDigit(first) ? [0x5f] + bytes : bytes, as: UTF8.self)
  }
}

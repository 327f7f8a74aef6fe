public import Logging

/// One message on its way to the destinations: redacted, flat, within the limits.
///
/// Texts still contain whatever characters they were made of; each destination escapes what its format needs.
public struct LogRecord: Sendable {
  /// Fields of one record; more are left out.
  public static let fieldsMax = 64
  /// Bytes of UTF-8 in a message, and in the value of a field; more are cut off.
  public static let messageByteCountMax = 16_384
  public static let valueByteCountMax = 4096
  /// Bytes of UTF-8 in the name of a field and of a logger.
  public static let nameByteCountMax = 128

  public var time: LogTime
  public var level: Logger.Level
  /// The name of the logger.
  public var label: String
  public var message: String
  /// Metadata by key, sorted; those of dictionaries as `outer.inner`.
  public var fields: [(key: String, value: String)]
  /// File and line of the call, for the destinations that have a place for it.
  public var file: String
  public var line: UInt

  /// The record of an event; `metadata` is the event's together with its logger's.
  init(_ event: LogEvent, label: String, metadata: Logger.Metadata, time: LogTime) {
    self.time = time
    level = event.level
    self.label = Self.cut(label, Self.nameByteCountMax)
    message = Self.cut(Redaction.withoutBearerTokens(event.message.description), Self.messageByteCountMax)
    file = event.file
    line = event.line
    fields = []
    add(metadata, prefix: "")
    if let error = event.error, fields.count < Self.fieldsMax {
      fields.append(("error", Self.value("\(error)")))
    }
    fields.sort { $0.key < $1.key }
  }

  private mutating func add(_ metadata: Logger.Metadata, prefix: String) {
    for (key, value) in metadata where fields.count < Self.fieldsMax {
      let key = Self.cut(prefix + key, Self.nameByteCountMax)
      if Redaction.isSecret(key) {
        fields.append((key, Redaction.mark))
      } else if case .dictionary(let inner) = value {
        add(inner, prefix: key + ".")
      } else {
        fields.append((key, Self.value(Self.text(value))))
      }
    }
  }

  /// Elements of arrays keep the redaction of keys: a dictionary in an array is written as text.
  private static func text(_ value: Logger.Metadata.Value) -> String {
    switch value {
    case .string(let text): text
    case .stringConvertible(let value): value.description
    case .array(let values): "[" + values.map(text).joined(separator: ", ") + "]"
    case .dictionary(let inner):
      "{" + inner.sorted { $0.key < $1.key }
        .map { "\($0.key): \(Redaction.isSecret($0.key) ? Redaction.mark : text($0.value))" }
        .joined(separator: ", ") + "}"
    }
  }

  private static func value(_ text: String) -> String {
    cut(Redaction.withoutBearerTokens(text), valueByteCountMax)
  }

  static func cut(_ text: String, _ byteCountMax: Int) -> String {
    guard text.utf8.count > byteCountMax else { return text }
    // Back to where a scalar begins.
    var bytes = text.utf8.prefix(byteCountMax)
    while let last = bytes.last, last & 0xc0 == 0x80 { bytes = bytes.dropLast() }
    if let last = bytes.last, last >= 0xc0 { bytes = bytes.dropLast() }
    return String(decoding: bytes, as: UTF8.self) + "…"
  }
}

/// What never goes into a log.
enum Redaction {
  static let mark = "[redacted]"

  private static let parts = [
    "password", "passwd", "passphrase", "secret", "token", "authorization", "cookie", "apikey", "privatekey",
    "credential", "dbpass",
  ]
  private static let wholes: Set<String> = ["pass", "auth", "jwt", "otp", "totp"]

  /// Whether a key names something secret; case and separators don't matter: `refresh_token`, `X-API-Key`, `db.pass`.
  static func isSecret(_ key: String) -> Bool {
    let last = key.split(separator: ".").last.map(String.init) ?? key
    let plain = String(key.lowercased().filter { $0.isLetter || $0.isNumber })
    return parts.contains { plain.contains($0) } || wholes.contains(last.lowercased())
  }

  /// `text` with what follows "Bearer " taken out.
  static func withoutBearerTokens(_ text: String) -> String {
    let marker = "bearer "
    guard text.utf8.count > marker.utf8.count, text.lowercased().contains(marker) else { return text }
    var result = ""
    var afterMarker = false
    for word in text.split(separator: " ", omittingEmptySubsequences: false) {
      if !result.isEmpty || word.startIndex != text.startIndex { result += " " }
      result += afterMarker && !word.isEmpty ? mark : String(word)
      afterMarker = word.lowercased().hasSuffix("bearer") || (afterMarker && word.isEmpty)
    }
    return result
  }
}

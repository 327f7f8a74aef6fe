import CSodium
import Foundation

/// A password as somebody typed it. It is never printed: description, debug description and mirror are redacted.
///
/// Canonically composed (NFC), so that the same password typed on different systems is the same bytes.
public struct Password: Sendable, Hashable, Decodable {
  let bytes: [UInt8]

  public init(_ text: String) { bytes = Array(text.precomposedStringWithCanonicalMapping.utf8) }

  public init(from decoder: any Decoder) throws {
    try self.init(decoder.singleValueContainer().decode(String.self))
  }

  /// Code points, composed to NFC.
  public var characterCount: Int { String(decoding: bytes, as: UTF8.self).unicodeScalars.count }

  public static func == (a: Password, b: Password) -> Bool { constantTimeEquals(a.bytes, b.bytes) }
}

/// A value that must not reach a log: it prints as `<redacted>` however it is interpolated, dumped or reflected.
public protocol Redacted: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {}

extension Redacted {
  public var description: String { "<redacted>" }
  public var debugDescription: String { "<redacted>" }
  public var customMirror: Mirror { Mirror(self, children: []) }
}

extension Password: Redacted {}

/// Bytes from the operating system's cryptographic generator.
public enum SecureRandom {
  public static func bytes(count: Int) -> [UInt8] {
    precondition(Sodium.isReady, "libsodium cannot initialise: no source of randomness")
    var bytes = [UInt8](repeating: 0, count: count)
    bytes.withUnsafeMutableBytes { if let base = $0.baseAddress { randombytes_buf(base, $0.count) } }
    return bytes
  }
}

/// Whether two byte strings are equal, in a time that depends on their lengths only.
public func constantTimeEquals(_ a: [UInt8], _ b: [UInt8]) -> Bool {
  guard a.count == b.count else { return false }
  return a.withUnsafeBytes { left in b.withUnsafeBytes { right in
    // An empty array may have no base address; sodium_memcmp reads `count` bytes of both.
    left.count == 0 || sodium_memcmp(left.baseAddress!, right.baseAddress!, left.count) == 0
  } }
}

enum Sodium {
  /// Once per process; sodium_init is thread-safe and idempotent.
  static let isReady = sodium_init() >= 0
}

/// Base64 with the URL alphabet and no padding (RFC 4648, 5).
public enum Base64URL {
  public static func encode(_ bytes: [UInt8]) -> String {
    String(
      Data(bytes).base64EncodedString().compactMap { character -> Character? in
        switch character {
        case "+": "-"
        case "/": "_"
        case "=": nil
        default: character
        }
      })
  }

  /// Nil for anything but the canonical encoding.
  public static func decode(_ text: String) -> [UInt8]? {
    var plain = String(text.map { $0 == "-" ? "+" : $0 == "_" ? "/" : $0 })
    plain += String(repeating: "=", count: (4 - plain.utf8.count % 4) % 4)
    guard let data = Data(base64Encoded: plain), encode(Array(data)) == text else { return nil }
    return Array(data)
  }
}

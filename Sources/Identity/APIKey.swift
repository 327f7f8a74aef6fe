import Crypto
import Foundation

/// The key of an API client: `slk_`, twelve characters that may be shown, `_`, and 256 random bits.
///
/// The store keeps the visible part, to find the key by, and a digest of the whole.
public struct APIKey: Sendable, Hashable {
  /// How a key is told from a token; also for scanners that look for leaked secrets.
  public static let marker = "slk_"
  static let prefixByteCount = 9
  static let secretByteCount = 32
  static let textByteCountMax = 128

  /// `slk_` and twelve characters: not secret.
  public let prefix: String
  private let secret: [UInt8]

  /// A new random key.
  public init() {
    // Twelve characters of base64url without `_`, so that the last `_` ends the prefix.
    let visible = Base64URL.encode(SecureRandom.bytes(count: Self.prefixByteCount)).replacing("_", with: "a")
      .replacing("-", with: "b")
    prefix = Self.marker + visible
    secret = SecureRandom.bytes(count: Self.secretByteCount)
  }

  /// A key as a client sends it; nil for what never was one.
  public init?(_ text: String) {
    guard text.utf8.count <= Self.textByteCountMax, text.hasPrefix(Self.marker) else { return nil }
    let rest = text.dropFirst(Self.marker.count)
    guard let end = rest.firstIndex(of: "_"), rest[..<end].utf8.count == 12,
      rest[..<end].utf8.allSatisfy({ byte in
        (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
      }), let secret = Base64URL.decode(String(rest[rest.index(after: end)...])), secret.count == Self.secretByteCount
    else { return nil }
    prefix = Self.marker + rest[..<end]
    self.secret = secret
  }

  /// For the one answer that shows it, and nothing else.
  public var text: String { prefix + "_" + Base64URL.encode(secret) }

  /// SHA-256 over the whole, lower-case hexadecimal: what is stored. No salt: the secret is 256 random bits.
  public var digest: String {
    SHA256.hash(data: Array(prefix.utf8) + secret).hexadecimal
  }

  /// In a time that does not depend on where they differ.
  public func matches(digest stored: String) -> Bool { constantTimeEquals(Array(digest.utf8), Array(stored.utf8)) }

  public static func == (a: APIKey, b: APIKey) -> Bool {
    a.prefix == b.prefix && constantTimeEquals(a.secret, b.secret)
  }
}

extension APIKey: Redacted {}

import Crypto
import Foundation

/// A long-lived token that buys the next pair of tokens, once: 256 random bits, base64url, 43 characters.
///
/// The store keeps its digest only. A sign-in starts a family; each rotation adds a member and uses up the one before.
public struct RefreshToken: Sendable, Hashable {
  static let byteCount = 32
  private let bytes: [UInt8]

  /// A new random token.
  public init() { bytes = SecureRandom.bytes(count: Self.byteCount) }

  /// A token as a client sends it; nil for what never was one.
  public init?(_ text: String) {
    guard let bytes = Base64URL.decode(text), bytes.count == Self.byteCount else { return nil }
    self.bytes = bytes
  }

  /// For the answer to the client, and nothing else.
  public var text: String { Base64URL.encode(bytes) }

  /// SHA-256, lower-case hexadecimal: what is stored. No salt: the token itself is 256 random bits.
  public var digest: String {
    SHA256.hash(data: bytes).hexadecimal
  }

  public static func == (a: RefreshToken, b: RefreshToken) -> Bool { constantTimeEquals(a.bytes, b.bytes) }
}

extension RefreshToken: Redacted {}

/// The life of one refresh token; the rules of rotation, without I/O.
public struct RefreshTokenState: Hashable, Sendable {
  public var expiresAt: Date
  /// When it bought its successor.
  public var rotatedAt: Date?
  /// When its family was revoked (sign-out, changed password, reuse).
  public var revokedAt: Date?

  public init(expiresAt: Date, rotatedAt: Date? = nil, revokedAt: Date? = nil) {
    self.expiresAt = expiresAt
    self.rotatedAt = rotatedAt
    self.revokedAt = revokedAt
  }

  /// What presenting the token does.
  public enum Outcome: Hashable, Sendable {
    /// Valid: used up now, a successor follows.
    case rotate
    case expired
    case revoked
    /// It was used before: the client or a thief holds its successor. The whole family ends.
    case reused
  }

  /// Reuse outranks expiry and revocation: a stolen token is a stolen token, however old.
  public func present(at now: Date) -> Outcome {
    if rotatedAt != nil { return .reused }
    if revokedAt != nil { return .revoked }
    return now < expiresAt ? .rotate : .expired
  }
}

import Crypto
import Foundation
import Synchronization

/// Encrypts what the database keeps but must not be able to read (AES-256-GCM). Its keys are not in the database, and may
/// be replaced while it is used. Safe from any thread.
public final class SecretSealer: Sendable, Redacted {
  private static let version = "v1"
  private let ring: Mutex<SealingKeyRing>

  /// Why a sealed text doesn't open.
  public enum Failure: Error, Hashable, Sendable, CustomStringConvertible {
    case keyByteCount(Int)
    /// Sealed with another key, by its id.
    case otherKey(String)
    /// No sealed text, for another purpose, or changed since.
    case damaged

    public var description: String {
      switch self {
      case .keyByteCount(let count): "the key that encrypts secrets has \(count) bytes, not \(SealingKey.byteCount)"
      case .otherKey(let id): "a secret in the database is encrypted with another key (\(id)): bring back its key file"
      case .damaged: "a secret in the database is damaged or belongs to another account"
      }
    }
  }

  public init(_ ring: SealingKeyRing) { self.ring = Mutex(ring) }

  /// With a key that ends with the process.
  public static func ephemeral() -> SecretSealer {
    do { return SecretSealer(try SealingKeyRing([.random(activeFrom: .distantPast)])) } catch {
      preconditionFailure("one key is a ring")
    }
  }

  /// From now on with these keys.
  public func use(_ ring: SealingKeyRing) { self.ring.withLock { $0 = ring } }

  /// Which key encrypted the text, by its id; nil for no sealed text.
  public static func keyID(of text: String) -> String? {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    return parts.count == 3 && parts[0] == version ? String(parts[1].prefix(16)) : nil
  }

  /// - Parameter purpose: what the secret is and whose; a text sealed for one purpose opens for no other.
  public func seal(_ secret: [UInt8], for purpose: String) throws -> String {
    let key = ring.withLock { $0.sealing(at: Date()) }
    let box = try AES.GCM.seal(
      secret, using: SymmetricKey(data: key.bytes), authenticating: Data(purpose.utf8))
    guard let combined = box.combined else { throw Failure.damaged }
    return "\(Self.version).\(key.id).\(Base64URL.encode(Array(combined)))"
  }

  public func open(_ text: String, for purpose: String) throws(Failure) -> [UInt8] {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
    guard parts.count == 3, parts[0] == Self.version, let combined = Base64URL.decode(parts[2]) else { throw .damaged }
    guard let key = ring.withLock({ $0.keys.first { $0.id == parts[1] } }) else {
      throw .otherKey(String(parts[1].prefix(16)))
    }
    guard let box = try? AES.GCM.SealedBox(combined: combined),
      let plain = try? AES.GCM.open(box, using: SymmetricKey(data: key.bytes), authenticating: Data(purpose.utf8))
    else { throw .damaged }
    return Array(plain)
  }
}

/// Who has given the right password and still owes his second factor. A sealed text for the client, so that any replica
/// can go on with it.
public struct SignInChallenge: Sendable, Hashable {
  public static let lifetimeSeconds: Int64 = 300
  private static let purpose = "sign-in challenge"

  public let userID: UUID
  /// Of the password that was right: a changed one makes the challenge worthless.
  private let passwordMark: String
  private let expiresAt: Int64

  public init(userID: UUID, passwordHash: String, at now: Date) {
    self.userID = userID
    passwordMark = Self.mark(passwordHash)
    expiresAt = Int64(now.timeIntervalSince1970) + Self.lifetimeSeconds
  }

  public func sealed(by sealer: SecretSealer) throws -> String {
    try sealer.seal(Array("\(userID.uuidString) \(passwordMark) \(expiresAt)".utf8), for: Self.purpose)
  }

  /// Nil for what this house never sealed, or too long ago.
  public init?(_ text: String, by sealer: SecretSealer, at now: Date) {
    guard let plain = try? sealer.open(text, for: Self.purpose) else { return nil }
    let parts = String(decoding: plain, as: UTF8.self).split(separator: " ").map(String.init)
    guard parts.count == 3, let id = UUID(uuidString: parts[0]), let end = Int64(parts[2]),
      Int64(now.timeIntervalSince1970) < end
    else { return nil }
    userID = id
    passwordMark = parts[1]
    expiresAt = end
  }

  public func isAbout(passwordHash: String) -> Bool {
    constantTimeEquals(Array(passwordMark.utf8), Array(Self.mark(passwordHash).utf8))
  }

  private static func mark(_ passwordHash: String) -> String {
    SHA256.hash(data: Array(passwordHash.utf8)).prefix(16).hexadecimal
  }
}

/// What an administrator hands to somebody who has forgotten his password: `slr_` and 256 random bits, good once.
public struct ResetToken: Sendable, Hashable {
  static let marker = "slr_"
  private let secret: [UInt8]

  /// A new random token.
  public init() { secret = SecureRandom.bytes(count: 32) }

  /// A token as somebody sends it; nil for what never was one.
  public init?(_ text: String) {
    guard text.utf8.count <= 128, text.hasPrefix(Self.marker),
      let secret = Base64URL.decode(String(text.dropFirst(Self.marker.count))), secret.count == 32
    else { return nil }
    self.secret = secret
  }

  /// For the one answer that shows it, and nothing else.
  public var text: String { Self.marker + Base64URL.encode(secret) }

  /// SHA-256, lower-case hexadecimal: what is stored. No salt: the token itself is 256 random bits.
  public var digest: String { SHA256.hash(data: secret).hexadecimal }
}

extension ResetToken: Redacted {}

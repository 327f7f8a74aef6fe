import Crypto
import Foundation

/// How access tokens are signed; the raw value is that of the `alg` header.
public enum SigningAlgorithm: String, Sendable, Hashable, CaseIterable, Codable {
  /// Ed25519: others verify with the public key.
  case edDSA = "EdDSA"
  /// ECDSA over P-256: the same, for verifiers that know no Ed25519.
  case es256 = "ES256"
  /// HMAC-SHA256: whoever verifies can issue too.
  case hs256 = "HS256"
}

/// What signs access tokens. Redacted in every textual form.
public enum SigningKey: Sendable, Redacted {
  /// A shared secret of at least 32 bytes.
  case hs256(secret: [UInt8])
  /// A raw 32-byte seed.
  case edDSA(seed: [UInt8])
  /// A raw 32-byte scalar.
  case es256(scalar: [UInt8])

  public static let secretByteCountMin = 32

  /// A random key.
  public static func random(_ algorithm: SigningAlgorithm) -> SigningKey {
    switch algorithm {
    case .edDSA: .edDSA(seed: Array(Curve25519.Signing.PrivateKey().rawRepresentation))
    case .es256: .es256(scalar: Array(P256.Signing.PrivateKey().rawRepresentation))
    case .hs256: .hs256(secret: SecureRandom.bytes(count: 48))
    }
  }

  /// A random HS256 key: tokens end with the process.
  public static func ephemeral() -> SigningKey { random(.hs256) }

  public var algorithm: SigningAlgorithm {
    switch self {
    case .hs256: .hs256
    case .edDSA: .edDSA
    case .es256: .es256
    }
  }
}

/// Why signing keys are refused.
public enum SigningKeyError: Error, Hashable, Sendable, CustomStringConvertible {
  case secretTooShort(byteCount: Int)
  case malformedSeed
  case malformedScalar
  /// The text is no JSON Web Key of a kind that signs tokens here.
  case malformedKey(reason: String)
  case noKey
  case duplicate(id: String)
  case unknown(id: String)
  /// It signs now.
  case inUse(id: String)

  public var description: String {
    switch self {
    case .secretTooShort(let byteCount):
      "the token secret has \(byteCount) bytes; at least \(SigningKey.secretByteCountMin) are needed "
        + "(for example: openssl rand -base64 48)"
    case .malformedSeed: "the Ed25519 seed is not 32 bytes"
    case .malformedScalar: "the P-256 key is not a number of 32 bytes below the order of the curve"
    case .malformedKey(let reason): "not a key that signs tokens: \(reason)"
    case .noKey: "there is no key that signs tokens"
    case .duplicate(let id): "two keys have the id \(id)"
    case .unknown(let id): "there is no key \(id)"
    case .inUse(let id): "the key \(id) signs tokens now: rotate first, then retire it"
    }
  }
}

import Crypto
import Foundation

/// A key as JSON (RFC 7517, RFC 8037): with its private part in the file that it is kept in, without it for everybody.
/// `iat`, `nbf` and `exp` are its times, in seconds; RFC 7517 leaves members like these to those who agree on them.
private struct JSONWebKey: Codable {
  var kty: String
  var crv: String?
  var kid: String
  var alg: SigningAlgorithm
  var use: String? = "sig"
  var x: String?
  var y: String?
  /// Private.
  var d: String?
  /// The shared secret of HS256.
  var k: String?
  var iat: Int64?
  var nbf: Int64?
  var exp: Int64?
}

extension StoredKey {
  static let textByteCountMax = 4096

  /// The text of the file that the key is kept in: a secret.
  public func secretText() throws -> String {
    var json = try publicPart ?? JSONWebKey(kty: "oct", kid: id, alg: .hs256)
    switch key {
    case .hs256(let secret): json.k = Base64URL.encode(secret)
    case .edDSA(let bytes), .es256(let bytes): json.d = Base64URL.encode(bytes)
    }
    json.iat = createdAt.wholeSeconds
    json.nbf = activeFrom.wholeSeconds
    json.exp = endsAt?.wholeSeconds
    return try Self.text(json) + "\n"
  }

  /// Reads what ``secretText()`` wrote. Refuses what is no key, is of another kind, or whose halves don't belong together.
  public init(secretText text: String) throws(SigningKeyError) {
    guard text.utf8.count <= Self.textByteCountMax else { throw .malformedKey(reason: "longer than a key is") }
    let json: JSONWebKey
    do { json = try JSONDecoder().decode(JSONWebKey.self, from: Data(text.utf8)) } catch {
      throw .malformedKey(reason: "no JSON Web Key with kty, kid and an alg of EdDSA, ES256 or HS256")
    }
    guard (1...KeyRing.idByteCountMax).contains(json.kid.utf8.count), json.kid.utf8.allSatisfy(Self.isPlain) else {
      throw .malformedKey(reason: "kid is not of letters, digits, '-' and '_'")
    }
    guard let secret = (json.alg == .hs256 ? json.k : json.d).flatMap(Base64URL.decode) else {
      throw .malformedKey(reason: "its private part is missing or no base64url")
    }
    let key: SigningKey =
      switch json.alg {
      case .hs256: .hs256(secret: secret)
      case .edDSA: .edDSA(seed: secret)
      case .es256: .es256(scalar: secret)
      }
    try key.check()
    let created = json.iat.map { Date(timeIntervalSince1970: TimeInterval($0)) } ?? Date(timeIntervalSince1970: 0)
    self.init(
      id: json.kid, key: key, createdAt: created,
      activeFrom: json.nbf.map { Date(timeIntervalSince1970: TimeInterval($0)) } ?? created,
      endsAt: json.exp.map { Date(timeIntervalSince1970: TimeInterval($0)) })
    if let x = json.x {
      guard let own = try? publicPart, own.kty == json.kty, own.crv == json.crv, own.x == x, own.y == json.y else {
        throw .malformedKey(reason: "its public part is not that of its private part")
      }
    }
  }

  /// Nil for a shared secret, which has no public part.
  fileprivate var publicPart: JSONWebKey? {
    get throws {
      switch key {
      case .hs256: return nil
      case .edDSA(let seed):
        let key = try Curve25519.Signing.PrivateKey(rawRepresentation: seed)
        return JSONWebKey(
          kty: "OKP", crv: "Ed25519", kid: id, alg: .edDSA, x: Base64URL.encode(Array(key.publicKey.rawRepresentation)))
      case .es256(let scalar):
        let point = Array(try P256.Signing.PrivateKey(rawRepresentation: scalar).publicKey.rawRepresentation)
        return JSONWebKey(
          kty: "EC", crv: "P-256", kid: id, alg: .es256, x: Base64URL.encode(Array(point[..<32])),
          y: Base64URL.encode(Array(point[32...])))
      }
    }
  }

  private static func isPlain(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
      true
    default: false
    }
  }

  fileprivate static func text(_ value: some Encodable) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(value), as: UTF8.self)
  }
}

extension SigningKey {
  /// Whether the bytes are a key of their kind.
  func check() throws(SigningKeyError) {
    switch self {
    case .hs256(let secret):
      guard secret.count >= Self.secretByteCountMin else { throw .secretTooShort(byteCount: secret.count) }
    case .edDSA(let seed):
      guard (try? Curve25519.Signing.PrivateKey(rawRepresentation: seed)) != nil else { throw .malformedSeed }
    case .es256(let scalar):
      guard (try? P256.Signing.PrivateKey(rawRepresentation: scalar)) != nil else { throw .malformedScalar }
    }
  }
}

extension KeyRing {
  /// The public keys with which tokens can be verified, as a JSON Web Key Set (RFC 7517, 5): those that sign or will
  /// sign first. Shared secrets are not in it.
  public func publicSetText(at now: Date) throws -> String {
    struct Set: Encodable { let keys: [JSONWebKey] }
    return try StoredKey.text(Set(keys: verifying(at: now).reversed().compactMap { try $0.publicPart }))
  }
}

extension Date {
  fileprivate var wholeSeconds: Int64 { Int64(timeIntervalSince1970.rounded(.down)) }
}

import Crypto
import Foundation
import JWTKit

/// What signs access tokens. Redacted in every textual form.
public enum SigningKey: Sendable, Redacted {
  /// HMAC-SHA256 with a shared secret of at least 32 bytes: where the issuer is the verifier.
  case hs256(secret: [UInt8])
  /// Ed25519 with a raw 32-byte seed: where others verify.
  case edDSA(seed: [UInt8])

  public static let secretByteCountMin = 32

  /// A random HS256 key: tokens end with the process.
  public static func ephemeral() -> SigningKey { .hs256(secret: SecureRandom.bytes(count: secretByteCountMin)) }
}

/// Why a signing key is refused.
public enum SigningKeyError: Error, Hashable, Sendable, CustomStringConvertible {
  case secretTooShort(byteCount: Int)
  case malformedSeed

  public var description: String {
    switch self {
    case .secretTooShort(let byteCount):
      "the token secret has \(byteCount) bytes; at least \(SigningKey.secretByteCountMin) are needed "
        + "(for example: openssl rand -base64 48)"
    case .malformedSeed: "the Ed25519 seed is not 32 bytes"
    }
  }
}

/// For whom a token is issued.
public struct AccessSubject: Hashable, Sendable {
  public var userID: UUID
  public var email: Email
  public var roles: Set<Role>
  public var mustChangePassword: Bool
  /// `sid`: of the session that the token belongs to, which can be ended.
  public var sessionID: UUID?

  public init(
    userID: UUID, email: Email, roles: Set<Role>, mustChangePassword: Bool = false, sessionID: UUID? = nil
  ) {
    self.userID = userID
    self.email = email
    self.roles = roles
    self.mustChangePassword = mustChangePassword
    self.sessionID = sessionID
  }
}

/// What a valid access token says.
public struct AccessClaims: Hashable, Sendable {
  public var subject: AccessSubject
  public var scopes: Set<Scope>
  /// `jti`.
  public var tokenID: UUID
  /// Whole seconds.
  public var issuedAt: Date
  /// Whole seconds; the first moment at which the token is expired.
  public var expiresAt: Date
}

/// Why an access token is refused.
public enum AccessTokenError: Error, Hashable, Sendable {
  /// Genuine, but too old: refresh it.
  case expired
  case invalid(Reason)

  /// For logs; a client learns `invalid` only.
  public enum Reason: String, Hashable, Sendable {
    case malformed, signature, issuer, audience, issuedInFuture, claims
  }
}

/// An issued token. Redacted in every textual form; `text` is for the answer to the client.
public struct AccessToken: Sendable, Redacted {
  public let text: String
  public let claims: AccessClaims
}

/// Issues and verifies access tokens (JWT). One key, one algorithm: what a token's header asks for doesn't matter.
public struct AccessTokens: Sendable {
  public struct Settings: Sendable {
    public var issuer: String
    public var audience: String
    public var lifetime: Duration
    /// Tolerated difference between clocks, for expiry and issue time.
    public var leeway: Duration

    public init(
      issuer: String = "sluice", audience: String = "sluice-api", lifetime: Duration = .seconds(900),
      leeway: Duration = .seconds(5)
    ) {
      self.issuer = issuer
      self.audience = audience
      self.lifetime = lifetime
      self.leeway = leeway
    }
  }

  /// A longer text is refused unread.
  static let byteCountMax = 8192

  public let settings: Settings
  private let keys: JWTKeyCollection
  private let now: @Sendable () -> Date

  public init(
    key: SigningKey, settings: Settings = .init(), now: @escaping @Sendable () -> Date = { Date() }
  ) async throws(SigningKeyError) {
    let keys = JWTKeyCollection()
    switch key {
    case .hs256(let secret):
      guard secret.count >= SigningKey.secretByteCountMin else { throw .secretTooShort(byteCount: secret.count) }
      await keys.add(hmac: HMACKey(from: secret), digestAlgorithm: .sha256)
    case .edDSA(let seed):
      guard let key = try? Curve25519.Signing.PrivateKey(rawRepresentation: seed) else { throw .malformedSeed }
      await keys.add(eddsa: EdDSA.PrivateKey(backing: key))
    }
    self.keys = keys
    self.settings = settings
    self.now = now
  }

  public func issue(to subject: AccessSubject) async throws -> AccessToken {
    let issuedAt = Int64(now().timeIntervalSince1970.rounded(.down))
    let payload = Payload(
      iss: settings.issuer, aud: settings.audience, sub: subject.userID.uuidString.lowercased(),
      email: subject.email.value, roles: subject.roles.sorted().map(\.rawValue),
      scopes: subject.roles.scopes.sorted().map(\.rawValue), iat: issuedAt,
      exp: issuedAt + settings.lifetime.components.seconds, jti: UUID().uuidString.lowercased(),
      mcp: subject.mustChangePassword, sid: subject.sessionID?.uuidString.lowercased())
    guard let claims = payload.claims else { preconditionFailure("issued claims are valid") }
    return AccessToken(text: try await keys.sign(payload), claims: claims)
  }

  public func verify(_ token: String) async throws(AccessTokenError) -> AccessClaims {
    guard token.utf8.count <= Self.byteCountMax else { throw .invalid(.malformed) }
    let payload: Payload
    do { payload = try await keys.verify(token, as: Payload.self) } catch {
      throw .invalid(Self.reason(error))
    }
    guard payload.iss == settings.issuer else { throw .invalid(.issuer) }
    guard payload.aud == settings.audience else { throw .invalid(.audience) }
    guard let claims = payload.claims else { throw .invalid(.claims) }
    let leeway = TimeInterval(settings.leeway.components.seconds)
    let now = now()
    guard now < claims.expiresAt.addingTimeInterval(leeway) else { throw .expired }
    guard claims.issuedAt <= now.addingTimeInterval(leeway) else { throw .invalid(.issuedInFuture) }
    return claims
  }

  private static func reason(_ error: any Error) -> AccessTokenError.Reason {
    switch error {
    case let error as JWTError where error.errorType == .signatureVerificationFailed: .signature
    case let error as JWTError where error.errorType == .malformedToken: .malformed
    case is DecodingError: .claims
    default: .malformed
    }
  }
}

/// The claims as they stand in the token.
private struct Payload: JWTPayload {
  var iss: String
  var aud: String
  var sub: String
  var email: String
  var roles: [String]
  var scopes: [String]
  var iat: Int64
  var exp: Int64
  var jti: String
  /// Must change password.
  var mcp: Bool
  /// Session; absent in tokens of older versions.
  var sid: String?

  /// Called by JWTKit once the signature holds; the claims are judged by ``AccessTokens/verify(_:)``, which has the
  /// clock and the expected issuer.
  func verify(using algorithm: some JWTAlgorithm) async throws {}

  /// Nil where an identifier is none. Roles and scopes that this version doesn't know grant nothing.
  var claims: AccessClaims? {
    guard let userID = UUID(uuidString: sub), let tokenID = UUID(uuidString: jti), let email = try? Email(email) else {
      return nil
    }
    let subject = AccessSubject(
      userID: userID, email: email, roles: Set(roles.compactMap(Role.init)), mustChangePassword: mcp,
      sessionID: sid.flatMap(UUID.init(uuidString:)))
    return AccessClaims(
      subject: subject, scopes: Set(scopes.compactMap(Scope.init)), tokenID: tokenID,
      issuedAt: Date(timeIntervalSince1970: TimeInterval(iat)),
      expiresAt: Date(timeIntervalSince1970: TimeInterval(exp)))
  }
}

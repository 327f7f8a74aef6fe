import Crypto
import Foundation
import JWTKit
import Synchronization

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
    case malformed, key, signature, issuer, audience, issuedInFuture, claims
  }
}

/// An issued token. Redacted in every textual form; `text` is for the answer to the client.
public struct AccessToken: Sendable, Redacted {
  public let text: String
  public let claims: AccessClaims
}

/// Issues and verifies access tokens (JWT). A token names its key (`kid`), a key has one algorithm: what a token's header
/// says about the algorithm doesn't matter. Safe from any thread; copies share their keys.
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

    /// How long a token may be accepted after it was issued, in seconds.
    public var lifetimeWithLeeway: TimeInterval { TimeInterval((lifetime + leeway).components.seconds) }
  }

  /// A longer text is refused unread.
  public static let byteCountMax = 8192

  /// The keys in use, ready for use.
  private struct Loaded: Sendable {
    var ring: KeyRing
    var verifiers: JWTKeyCollection
  }
  private final class Keys: Sendable {
    let loaded: Mutex<Loaded>
    init(_ loaded: Loaded) { self.loaded = Mutex(loaded) }
  }

  public let settings: Settings
  private let keys: Keys
  private let now: @Sendable () -> Date

  public init(
    keys ring: KeyRing, settings: Settings = .init(), now: @escaping @Sendable () -> Date = { Date() }
  ) async throws(SigningKeyError) {
    keys = Keys(Loaded(ring: ring, verifiers: try await Self.verifiers(ring, at: now())))
    self.settings = settings
    self.now = now
  }

  /// With one key, for ever.
  public init(
    key: SigningKey, settings: Settings = .init(), now: @escaping @Sendable () -> Date = { Date() }
  ) async throws(SigningKeyError) {
    let origin = Date(timeIntervalSince1970: 0)
    let ring = try KeyRing([StoredKey(id: "only", key: key, createdAt: origin, activeFrom: origin)])
    try await self.init(keys: ring, settings: settings, now: now)
  }

  /// Takes other keys into use, at once: tokens of keys that are not among them, or have ended, open nothing any more.
  public func use(_ ring: KeyRing) async throws(SigningKeyError) {
    let loaded = Loaded(ring: ring, verifiers: try await Self.verifiers(ring, at: now()))
    keys.loaded.withLock { $0 = loaded }
  }

  /// Public keys as a JSON Web Key Set.
  public func publicKeysText() throws -> String {
    try keys.loaded.withLock { $0.ring }.publicSetText(at: now())
  }

  private static func verifiers(_ ring: KeyRing, at now: Date) async throws(SigningKeyError) -> JWTKeyCollection {
    let verifiers = JWTKeyCollection()
    for stored in ring.verifying(at: now) {
      try stored.key.check()
      let id = JWKIdentifier(string: stored.id)
      switch stored.key {
      case .hs256(let secret): await verifiers.add(hmac: HMACKey(from: secret), digestAlgorithm: .sha256, kid: id)
      case .edDSA(let seed):
        guard let key = try? Curve25519.Signing.PrivateKey(rawRepresentation: seed) else { throw .malformedSeed }
        await verifiers.add(eddsa: EdDSA.PrivateKey(backing: key), kid: id)
      case .es256(let scalar):
        guard let raw = try? P256.Signing.PrivateKey(rawRepresentation: scalar),
          let key = try? ES256PrivateKey(backing: raw)
        else { throw .malformedScalar }
        await verifiers.add(ecdsa: key, kid: id)
      }
    }
    // A token without a key's name, or with an unknown one, has no key.
    await verifiers.clearDefault()
    return verifiers
  }

  /// - Parameter end: of the session, which the token doesn't outlive; nil: there is none.
  public func issue(to subject: AccessSubject, until end: Date? = nil) async throws -> AccessToken {
    let now = now()
    let issuedAt = Int64(now.timeIntervalSince1970.rounded(.down))
    let fullTime = issuedAt + settings.lifetime.components.seconds
    let loaded = keys.loaded.withLock { $0 }
    let payload = Payload(
      iss: settings.issuer, aud: settings.audience, sub: subject.userID.uuidString.lowercased(),
      email: subject.email.value, roles: subject.roles.sorted().map(\.rawValue),
      scopes: subject.roles.scopes.sorted().map(\.rawValue), iat: issuedAt,
      exp: end.map { min(fullTime, Int64($0.timeIntervalSince1970.rounded(.down))) } ?? fullTime, jti: UUID().uuidString.lowercased(),
      mcp: subject.mustChangePassword, sid: subject.sessionID?.uuidString.lowercased())
    guard let claims = payload.claims else { preconditionFailure("issued claims are valid") }
    let id = JWKIdentifier(string: loaded.ring.signing(at: now).id)
    return AccessToken(text: try await loaded.verifiers.sign(payload, kid: id), claims: claims)
  }

  public func verify(_ token: String) async throws(AccessTokenError) -> AccessClaims {
    guard token.utf8.count <= Self.byteCountMax else { throw .invalid(.malformed) }
    let payload: Payload
    do { payload = try await keys.loaded.withLock { $0.verifiers }.verify(token, as: Payload.self) } catch {
      throw .invalid(Self.reason(error))
    }
    guard payload.iss == settings.issuer else { throw .invalid(.issuer) }
    guard payload.aud == settings.audience else { throw .invalid(.audience) }
    guard let claims = payload.claims else { throw .invalid(.claims) }
    try checkTime(of: claims)
    return claims
  }

  /// Throws where a verified token is not of this time, or not any more.
  public func checkTime(of claims: AccessClaims) throws(AccessTokenError) {
    let leeway = TimeInterval(settings.leeway.components.seconds)
    let now = now()
    guard now < claims.expiresAt.addingTimeInterval(leeway) else { throw .expired }
    guard claims.issuedAt <= now.addingTimeInterval(leeway) else { throw .invalid(.issuedInFuture) }
  }

  private static func reason(_ error: any Error) -> AccessTokenError.Reason {
    switch error {
    case let error as JWTError where error.errorType == .signatureVerificationFailed: .signature
    case let error as JWTError where error.errorType == .noKeyProvided: .key
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

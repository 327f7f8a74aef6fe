import Crypto
import Identity
import Synchronization

/// Remembers for a few seconds which tokens were found genuine: a signature is checked once, not with every request of
/// a client that sends many. Time is looked at each time, and so is the account behind the token, by ``Authenticator``.
final class VerifiedTokens: Sendable {
  /// A key that is withdrawn acts within this time.
  static let lifetime = Duration.seconds(5)
  static let countMax = 10_000

  private struct Entry {
    let claims: AccessClaims
    let checkedAt: ContinuousClock.Instant
  }
  private let tokens: AccessTokens
  /// By a digest: nobody finds a token here.
  private let entries = Mutex<[SHA256.Digest: Entry]>([:])

  init(_ tokens: AccessTokens) { self.tokens = tokens }

  /// What the token says, if it is genuine and of this time.
  func claims(of text: String) async throws(AccessTokenError) -> AccessClaims {
    guard text.utf8.count <= AccessTokens.byteCountMax else { throw .invalid(.malformed) }
    let key = SHA256.hash(data: Array(text.utf8))
    let now = ContinuousClock.now
    if let entry = entries.withLock({ $0[key] }), now - entry.checkedAt < Self.lifetime {
      try tokens.checkTime(of: entry.claims)
      return entry.claims
    }
    let claims = try await tokens.verify(text)
    entries.withLock { entries in
      if entries.count >= Self.countMax { entries.removeAll() }
      entries[key] = Entry(claims: claims, checkedAt: now)
    }
    return claims
  }
}

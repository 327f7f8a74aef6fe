import Audit
import Foundation
import Identity
import Storage
import Synchronization

/// Who calls: the account as it is now, not as it was when the token was issued.
public struct Principal: Sendable, Hashable {
  public let userID: UUID
  public let email: String
  /// What the account's roles grant now.
  public let scopes: Set<Scope>
  public let mustChangePassword: Bool

  /// The id as it stands in logs and answers.
  var id: String { userID.uuidString.lowercased() }

  /// As the audit log names him.
  var actor: AuditActor { AuditActor(kind: .user, id: id, name: email) }
}

/// From the `Authorization` header to a ``Principal``.
///
/// A token is only half of the answer: the account must still exist and be active, and its roles are those of now.
/// Accounts are remembered for ``cacheLifetime``, so that a change made through another replica acts within that time; a
/// change made here acts at once.
public final class Authenticator: Sendable {
  static let cacheLifetime = Duration.seconds(1)
  static let cacheMax = 10_000

  private struct Entry {
    let user: User
    let readAt: ContinuousClock.Instant
  }
  private let store: any Store
  private let tokens: AccessTokens
  private let cache = Mutex<[UUID: Entry]>([:])
  private let passwordChanges = Mutex<[UUID: Date]>([:])

  init(store: any Store, tokens: AccessTokens) {
    self.store = store
    self.tokens = tokens
  }

  /// - Throws: ``APIError`` `unauthenticated` or `token_expired`, both with `WWW-Authenticate`.
  func principal(_ header: String?) async throws -> Principal {
    guard let header else { throw Self.refusal(.unauthenticated, "sign in: POST \(RouteTable.base)/auth/login") }
    let parts = header.split(separator: " ", maxSplits: 1)
    guard parts.count == 2, parts[0].lowercased() == "bearer" else {
      throw Self.refusal(.unauthenticated, "the Authorization header is not of the form: Bearer TOKEN")
    }
    let claims: AccessClaims
    do throws(AccessTokenError) { claims = try await tokens.verify(String(parts[1])) } catch {
      switch error {
      case .expired: throw Self.refusal(.tokenExpired, "the token has expired: POST \(RouteTable.base)/auth/refresh")
      case .invalid: throw Self.refusal(.unauthenticated, "the token is not valid")
      }
    }
    let user = try await user(claims.subject.userID)
    let isOutdated = passwordChanges.withLock { $0[user.id].map { claims.issuedAt < $0 } ?? false }
    guard user.isActive, !isOutdated else {
      throw Self.refusal(.unauthenticated, "the token is not valid any more: sign in again")
    }
    return Principal(
      userID: user.id, email: user.email.value, scopes: user.roles.scopes,
      mustChangePassword: user.mustChangePassword)
  }

  /// Call after every change of an account.
  func forget(_ id: UUID) { cache.withLock { $0[id] = nil } }

  /// Call after a change of a password: access tokens from before it open nothing any more.
  ///
  /// Remembered for as long as such a token could live, in this process: another replica, and this one after a restart,
  /// takes it until it expires. Refresh tokens end in the database, everywhere and at once.
  func passwordChanged(_ id: UUID, at now: Date = Date()) {
    forget(id)
    let lifetime = TimeInterval((tokens.settings.lifetime + tokens.settings.leeway).components.seconds)
    // `iat` has whole seconds, and the pair that the change itself issues must pass.
    let second = Date(timeIntervalSince1970: now.timeIntervalSince1970.rounded(.down))
    passwordChanges.withLock { changes in
      changes = changes.filter { now.timeIntervalSince($0.value) <= lifetime }
      changes[id] = second
    }
  }

  private func user(_ id: UUID) async throws -> User {
    let now = ContinuousClock.now
    if let entry = cache.withLock({ $0[id] }), now - entry.readAt < Self.cacheLifetime { return entry.user }
    do {
      let user = try await store.user(id: id)
      cache.withLock { cache in
        if cache.count >= Self.cacheMax { cache.removeAll() }
        // Read before the query: a change while it ran makes the entry younger than it is by less than its lifetime.
        cache[id] = Entry(user: user, readAt: now)
      }
      return user
    } catch StorageError.notFound {
      throw Self.refusal(.unauthenticated, "the token is not valid any more: sign in again")
    }
  }

  private static func refusal(_ code: ErrorCode, _ message: String) -> APIError {
    APIError(code, message, headers: [.wwwAuthenticate: "Bearer error=\"invalid_token\""])
  }
}

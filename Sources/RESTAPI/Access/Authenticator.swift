import Audit
import Foundation
import Identity
import Packets
import Storage
import Synchronization

/// Who calls: the account or API client as it is now, not as it was when the token was issued.
public struct Principal: Sendable, Hashable {
  public enum Kind: Sendable, Hashable {
    case user
    /// With the places that its requests may come from; empty: anywhere.
    case client(sources: [IPPrefix])
  }

  public let kind: Kind
  /// Of the account or client.
  public let subjectID: UUID
  /// Address of the account, name of the client.
  public let name: String
  /// The accounts that stand behind it: the account itself, or those that made the key and the client.
  let accounts: [UUID]
  /// What roles or client grant now.
  public let permissions: Permissions
  public let mustChangePassword: Bool
  /// A role of his requires a second factor, and he has none.
  public let mustSetUpSecondFactor: Bool
  /// The session that his token belongs to.
  public let sessionID: UUID?

  /// The id as it stands in logs and answers.
  var id: String { subjectID.uuidString.lowercased() }

  /// As the audit log names him.
  var actor: AuditActor { AuditActor(kind: kind == .user ? .user : .client, id: id, name: name) }

  /// As revisions name him.
  var author: Author {
    kind == .user ? Author(userID: subjectID, email: name) : Author(userID: nil, email: "client:\(name)", accounts: accounts)
  }

  init(_ user: User, sessionID: UUID?, mustSetUpSecondFactor: Bool = false) {
    self.mustSetUpSecondFactor = mustSetUpSecondFactor
    kind = .user
    self.sessionID = sessionID
    subjectID = user.id
    accounts = [user.id]
    name = user.email.value
    permissions = user.permissions
    mustChangePassword = user.mustChangePassword
  }

  init(_ client: APIClientRecord, by key: APIKeyRecord) {
    let makers = [key.createdByID, client.createdBy.userID].compactMap(\.self)
    accounts = makers.first == makers.last ? Array(makers.prefix(1)) : makers
    kind = .client(sources: client.sources)
    subjectID = client.id
    name = client.name
    permissions = client.permissions
    mustChangePassword = false
    mustSetUpSecondFactor = false
    sessionID = nil
  }

  /// Whether a request from this address may be his. What is no IP address (a unix socket) is only where nothing is
  /// said about places.
  func mayCome(from address: String) -> Bool {
    guard case .client(let sources) = kind, !sources.isEmpty else { return true }
    guard let address = try? IPPrefix(parsing: address) else { return false }
    return sources.contains { $0.contains(address) }
  }
}

/// From the `Authorization` header to a ``Principal``.
///
/// A token is only half of the answer: the account must still exist and be active, and its roles are those of now.
/// Accounts are remembered for ``cacheLifetime``, so that a change made through another replica acts within that time; a
/// change made here acts at once.
public final class Authenticator: Sendable {
  static let cacheLifetime = Duration.seconds(1)
  static let cacheMax = 10_000

  /// Uses of a key within this time are noted once.
  static let keyUsePeriod = Duration.seconds(60)

  private struct Entry {
    let user: User
    let readAt: ContinuousClock.Instant
  }
  private struct ClientEntry {
    let client: APIClientRecord
    let readAt: ContinuousClock.Instant
  }
  private let store: any Store
  private let tokens: AccessTokens
  private let verified: VerifiedTokens
  private let breakGlass: BreakGlass
  private let secondFactors: SecondFactorPolicy
  private let cache = Mutex<[UUID: Entry]>([:])
  /// By the visible part of the key.
  private let clients = Mutex<[String: ClientEntry]>([:])
  private let keyUses = Mutex<[UUID: ContinuousClock.Instant]>([:])
  private let passwordChanges = Mutex<[UUID: Date]>([:])
  private let endedSessions = Mutex<[UUID: Date]>([:])

  init(
    store: any Store, tokens: AccessTokens, breakGlass: BreakGlass = BreakGlass(email: nil),
    secondFactors: SecondFactorPolicy = SecondFactorPolicy(roles: [], breakGlass: nil)
  ) {
    self.store = store
    self.secondFactors = secondFactors
    self.breakGlass = breakGlass
    self.tokens = tokens
    verified = VerifiedTokens(tokens)
  }

  /// - Throws: ``APIError`` `unauthenticated` or `token_expired`, both with `WWW-Authenticate`.
  func principal(_ header: String?, from address: String) async throws -> Principal {
    guard let header else { throw Self.refusal(.unauthenticated, "sign in: POST \(RouteTable.base)/auth/login") }
    let parts = header.split(separator: " ", maxSplits: 1)
    guard parts.count == 2, parts[0].lowercased() == "bearer" else {
      throw Self.refusal(.unauthenticated, "the Authorization header is not of the form: Bearer TOKEN")
    }
    if parts[1].hasPrefix(APIKey.marker) { return try await client(String(parts[1]), from: address) }
    let claims: AccessClaims
    do throws(AccessTokenError) { claims = try await verified.claims(of: String(parts[1])) } catch {
      switch error {
      case .expired: throw Self.refusal(.tokenExpired, "the token has expired: POST \(RouteTable.base)/auth/refresh")
      case .invalid: throw Self.refusal(.unauthenticated, "the token is not valid")
      }
    }
    let user = try await user(claims.subject.userID)
    let isOutdated = passwordChanges.withLock { $0[user.id].map { claims.issuedAt < $0 } ?? false }
    let sessionID = claims.subject.sessionID
    let isEnded = sessionID.map { id in endedSessions.withLock { $0[id] != nil } } ?? false
    guard user.isActive, !isOutdated, !isEnded else {
      throw Self.refusal(.unauthenticated, "the token is not valid any more: sign in again")
    }
    return Principal(user, sessionID: sessionID, mustSetUpSecondFactor: secondFactors.isOwed(by: user))
  }

  /// - Throws: the same refusal whether there is no such key, its secret is wrong, or it or its client was taken away.
  private func client(_ text: String, from address: String) async throws -> Principal {
    let now = Date()
    guard let key = APIKey(text), let client = try await client(keyPrefix: key.prefix), client.isActive,
      let stored = client.keys.first(where: { $0.prefix == key.prefix }), key.matches(digest: stored.digest)
    else { throw Self.refusal(.unauthenticated, "the key is not valid") }
    guard !stored.isExpired(at: now) else { throw Self.refusal(.tokenExpired, "the key has expired: make a new one") }
    let principal = Principal(client, by: stored)
    // Wrong places are told apart by the endpoint, which records them; they don't count as use.
    if principal.mayCome(from: address), isFirstUse(of: stored.id) {
      try await store.noteAPIKeyUse(id: stored.id, from: address)
    }
    return principal
  }

  private func client(keyPrefix: String) async throws -> APIClientRecord? {
    let now = ContinuousClock.now
    if let entry = clients.withLock({ $0[keyPrefix] }), now - entry.readAt < Self.cacheLifetime { return entry.client }
    guard let client = try await store.apiClient(keyPrefix: keyPrefix) else { return nil }
    clients.withLock { clients in
      if clients.count >= Self.cacheMax { clients.removeAll() }
      clients[keyPrefix] = ClientEntry(client: client, readAt: now)
    }
    return client
  }

  private func isFirstUse(of key: UUID) -> Bool {
    let now = ContinuousClock.now
    return keyUses.withLock { uses in
      if let last = uses[key], now - last < Self.keyUsePeriod { return false }
      if uses.count >= Self.cacheMax { uses.removeAll() }
      uses[key] = now
      return true
    }
  }

  /// Call after a change of roles or clients.
  func forgetAll() {
    cache.withLock { $0.removeAll() }
    clients.withLock { $0.removeAll() }
  }

  /// Call after every change of an account.
  func forget(_ id: UUID) { cache.withLock { $0[id] = nil } }

  /// Call after a change of a password: access tokens from before it open nothing any more.
  ///
  /// Remembered for as long as such a token could live, in this process. Others know of the sessions that end with it
  /// (see ``ReplicaWatch``); the session that changed its own password keeps its older access tokens there until they
  /// expire. Refresh tokens end in the database, everywhere and at once.
  func passwordChanged(_ id: UUID, at now: Date = Date()) {
    forget(id)
    let lifetime = tokens.settings.lifetimeWithLeeway
    // `iat` has whole seconds, and the pair that the change itself issues must pass.
    let second = Date(timeIntervalSince1970: now.timeIntervalSince1970.rounded(.down))
    passwordChanges.withLock { changes in
      changes = changes.filter { now.timeIntervalSince($0.value) <= lifetime }
      changes[id] = second
    }
  }

  /// Call after a session was ended: its access tokens open nothing any more, here at once, elsewhere as soon as
  /// ``ReplicaWatch`` hears of it.
  func sessionEnded(_ id: UUID, at now: Date = Date()) {
    let lifetime = tokens.settings.lifetimeWithLeeway
    endedSessions.withLock { sessions in
      sessions = sessions.filter { now.timeIntervalSince($0.value) <= lifetime }
      sessions[id] = now
    }
  }

  /// Takes over which sessions other copies have ended, and whatever this one did before it was started anew.
  func takeEndedSessions(at now: Date = Date()) async throws {
    let lifetime = tokens.settings.lifetimeWithLeeway
    let ended = try await store.endedSessions(since: now.addingTimeInterval(-lifetime))
    endedSessions.withLock { sessions in
      sessions = sessions.filter { now.timeIntervalSince($0.value) <= lifetime }
      for id in ended { sessions[id] = now }
    }
  }

  private func user(_ id: UUID) async throws -> User {
    let now = ContinuousClock.now
    if let entry = cache.withLock({ $0[id] }), now - entry.readAt < Self.cacheLifetime { return entry.user }
    do {
      let user = breakGlass.effective(try await store.user(id: id)).user
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

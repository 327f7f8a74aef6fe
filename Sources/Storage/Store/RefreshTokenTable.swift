import Audit
import Foundation
import Identity
import JSONValues

/// The rows of refresh tokens.
enum RefreshTokenTable {
  static let columns = "digest, family_id, user_id, created_at, expires_at, rotated_at, revoked_at"

  static func read(_ row: inout RowReader) throws(StorageError) -> RefreshTokenRecord {
    RefreshTokenRecord(
      digest: try row.text(), familyID: try row.uuid(), userID: try row.uuid(), createdAt: try row.date(),
      state: RefreshTokenState(
        expiresAt: try row.date(), rotatedAt: try row.dateOrNil(), revokedAt: try row.dateOrNil()))
  }

  static func find(_ digest: String, _ session: any SQLSession) throws(StorageError) -> RefreshTokenRecord? {
    try session.first("SELECT \(columns) FROM refresh_tokens WHERE digest = $1", [.text(digest)], read)
  }

  /// When its session began.
  static func start(ofFamily id: UUID, _ session: any SQLSession) throws(StorageError) -> Date? {
    try session.first("SELECT started_at FROM sessions WHERE id = $1", [SQLValue(id)]) { row throws(StorageError) in
      try row.date()
    }
  }

  static func insert(_ record: RefreshTokenRecord, _ session: any SQLSession) throws(StorageError) {
    try session.execute(
      "INSERT INTO refresh_tokens (digest, family_id, user_id, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)",
      [
        .text(record.digest), SQLValue(record.familyID), SQLValue(record.userID), SQLValue(record.createdAt),
        SQLValue(record.state.expiresAt),
      ])
  }

  static func revokeFamily(_ familyID: UUID, at: Date, _ session: any SQLSession) throws(StorageError) {
    try session.execute(
      "UPDATE refresh_tokens SET revoked_at = $2 WHERE family_id = $1 AND revoked_at IS NULL",
      [SQLValue(familyID), SQLValue(at)])
  }

  /// - Parameter familyID: of the one session that goes on.
  static func revokeAll(
    of userID: UUID, keeping familyID: UUID? = nil, at: Date, _ session: any SQLSession
  ) throws(StorageError) {
    try session.execute(
      "UPDATE refresh_tokens SET revoked_at = $2 WHERE user_id = $1 AND revoked_at IS NULL AND family_id <> $3",
      [SQLValue(userID), SQLValue(at), .text(familyID.map { SQLValue($0).plainText } ?? "")])
  }
}

extension SQLStore {
  func insertRefreshToken(
    digest: String, userID: UUID, limits: SessionLimits, if check: @escaping Check<User>
  ) async throws -> RefreshTokenRecord {
    let request = AuditedRequest.current
    let at = timestamp
    let record = RefreshTokenRecord(
      digest: digest, familyID: UUID(), userID: userID, createdAt: at,
      state: RefreshTokenState(expiresAt: limits.end(startedAt: at, renewedAt: at)))
    try await bookkeep("the sign-in that it belongs to is recorded") { session in
      guard let user = try UserTable.lock(userID, session) else {
        throw StorageError.notFound(kind: "user", key: SQLValue(userID).plainText)
      }
      try check(user)
      try RefreshTokenTable.insert(record, session)
      try session.execute(
        """
        INSERT INTO sessions (id, user_id, address, user_agent, started_at, last_used_at)
          VALUES ($1, $2, $3, $4, $5, $5)
        """,
        [
          SQLValue(record.familyID), SQLValue(userID), .text(request?.address ?? ""), .text(request?.userAgent ?? ""),
          SQLValue(record.createdAt),
        ])
    }
    return record
  }

  func rotateRefreshToken(
    digest: String, successorDigest: String, limits: SessionLimits
  ) async throws -> RefreshTokenRotation {
    let at = timestamp
    let address = AuditedRequest.current?.address
    return try await change { session, trail in
      // The account's row is the lock of all its tokens: a rotation must not slip past a concurrent revocation, and two
      // rotations of one token must not both find it unused. Hence the second look.
      guard let userID = try RefreshTokenTable.find(digest, session)?.userID,
        let user = try UserTable.lock(userID, session),
        let token = try RefreshTokenTable.find(digest, session)
      else { return .unknown }
      // The limits may have become narrower since the token was made.
      let startedAt = try RefreshTokenTable.start(ofFamily: token.familyID, session) ?? token.createdAt
      var state = token.state
      state.expiresAt = min(state.expiresAt, limits.end(startedAt: startedAt, renewedAt: token.createdAt))
      switch state.present(at: at) {
      case .expired: return .expired
      case .revoked: return .revoked
      case .reused:
        try RefreshTokenTable.revokeFamily(token.familyID, at: at, session)
        trail.add(
          AuditEvent(
            outcome: .refused, code: "refresh_token_reused", subject: .session(token.familyID),
            before: ["user_id": .string(SQLValue(userID).plainText)]))
        return .reused(userID: userID)
      case .rotate: break
      }
      guard user.isActive else { return .inactive }
      try session.execute(
        "UPDATE refresh_tokens SET rotated_at = $2 WHERE digest = $1", [.text(digest), SQLValue(at)])
      let successor = RefreshTokenRecord(
        digest: successorDigest, familyID: token.familyID, userID: userID, createdAt: at,
        state: RefreshTokenState(expiresAt: limits.end(startedAt: startedAt, renewedAt: at)))
      try RefreshTokenTable.insert(successor, session)
      try session.execute(
        "UPDATE sessions SET last_used_at = $2, address = COALESCE($3, address) WHERE id = $1",
        [SQLValue(token.familyID), SQLValue(at), SQLValue(address)])
      return .rotated(user)
    }
  }

  func revokeRefreshTokenFamily(digest: String) async throws {
    let at = timestamp
    try await change { session, trail in
      guard let token = try RefreshTokenTable.find(digest, session), try UserTable.lock(token.userID, session) != nil
      else { return }
      try RefreshTokenTable.revokeFamily(token.familyID, at: at, session)
      trail.add(AuditEvent(subject: .session(token.familyID), after: ["revoked": true]))
    }
  }

  func revokeRefreshTokens(userID: UUID) async throws {
    let at = timestamp
    try await change { session, trail in
      guard try UserTable.lock(userID, session) != nil else { return }
      try RefreshTokenTable.revokeAll(of: userID, at: at, session)
      trail.add(
        AuditEvent(
          subject: AuditSubject(kind: "user", id: SQLValue(userID).plainText), after: ["sessions_revoked": true]))
    }
  }

  func purgeHistory(before: Date) async throws -> Int {
    try await bookkeep("removal by age") { session in
      let tokens = try session.execute("DELETE FROM refresh_tokens WHERE expires_at < $1", [SQLValue(before)])
      try session.execute("DELETE FROM password_resets WHERE expires_at < $1", [SQLValue(before)])
      let signIns = try session.execute("DELETE FROM sign_ins WHERE happened_at < $1", [SQLValue(before)])
      try session.execute(
        "DELETE FROM sessions WHERE NOT EXISTS (SELECT 1 FROM refresh_tokens t WHERE t.family_id = sessions.id)", [])
      return tokens + signIns
    }
  }
}

// MARK: Sessions

extension SQLStore {
  func sessions(userID: UUID) async throws -> [Session] {
    let now = timestamp
    return try await database.read { session in
      try session.all(
        """
        SELECT s.id, s.address, s.user_agent, s.started_at, s.last_used_at, t.expires_at
          FROM sessions s JOIN refresh_tokens t ON t.family_id = s.id
          WHERE s.user_id = $1 AND t.rotated_at IS NULL AND t.revoked_at IS NULL AND t.expires_at > $2
          ORDER BY s.last_used_at DESC, s.id
        """, [SQLValue(userID), SQLValue(now)]
      ) { row throws(StorageError) in
        Session(
          id: try row.uuid(), address: try row.text(), userAgent: try row.text(), startedAt: try row.date(),
          lastUsedAt: try row.date(), expiresAt: try row.date())
      }
    }
  }

  func endedSessions(since: Date) async throws -> Set<UUID> {
    try await database.read { session in
      // Of each session the one token that could still be used: rotated ones of a long session would take the room.
      let ids = try session.all(
        """
        SELECT family_id FROM refresh_tokens WHERE revoked_at >= $1 AND rotated_at IS NULL AND expires_at > $1
          ORDER BY revoked_at DESC LIMIT 10000
        """, [SQLValue(since)]
      ) { row throws(StorageError) in try row.uuid() }
      return Set(ids)
    }
  }

  func refreshToken(digest: String) async throws -> RefreshTokenRecord? {
    try await database.read { try RefreshTokenTable.find(digest, $0) }
  }

  func revokeSession(id: UUID, userID: UUID) async throws {
    let at = timestamp
    try await change { session, trail in
      let count = try session.count(
        "SELECT COUNT(*) FROM sessions WHERE id = $1 AND user_id = $2", [SQLValue(id), SQLValue(userID)])
      guard count > 0, try UserTable.lock(userID, session) != nil else {
        throw StorageError.notFound(kind: "session", key: SQLValue(id).plainText)
      }
      try RefreshTokenTable.revokeFamily(id, at: at, session)
      trail.add(AuditEvent(subject: .session(id), after: ["revoked": true]))
    }
  }
}

// MARK: Sign-ins

extension ListOrder {
  public static let signIns = ListOrder(
    "-at", key: .text("id"),
    fields: [.integer("at", "happened_at"), .integer("succeeded"), .text("address")])
}

extension SQLStore {
  private static let signInColumns = "id, email, user_id, succeeded, address, user_agent, happened_at"

  func recordSignIn(_ signIn: SignIn) async throws {
    try await change("login") { session, trail in
      trail.concernsNoCopies()
      try session.execute(
        "INSERT INTO sign_ins (\(Self.signInColumns)) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        [
          SQLValue(signIn.id), .text(signIn.email), SQLValue(signIn.userID), SQLValue(signIn.succeeded),
          .text(signIn.address), .text(signIn.userAgent), SQLValue(signIn.at),
        ])
      trail.add(signIn.audited)
      guard signIn.succeeded, let userID = signIn.userID else { return }
      try session.execute(
        "UPDATE users SET last_sign_in_at = $2 WHERE id = $1", [SQLValue(userID), SQLValue(signIn.at)])
    }
  }

  func signIns(userID: UUID?, _ page: Page) async throws -> Paged<SignIn> {
    var conditions = Conditions()
    if let userID { conditions.add("user_id = $?", SQLValue(userID)) }
    return try await database.read { [conditions] session in
      try session.page(
        select: Self.signInColumns, from: "sign_ins", conditions, order: .signIns, page
      ) { row throws(StorageError) in
        SignIn(
          id: try row.uuid(), email: try row.text(), userID: try row.uuidOrNil(), succeeded: try row.flag(),
          address: try row.text(), userAgent: try row.text(), at: try row.date())
      }
    }
  }

  func failedSignInCount(email: String, since: Date) async throws -> Int {
    let email = SQLValue.text(SignIn.stored(email: email))
    return try await database.read { session in
      try session.count(
        """
        SELECT COUNT(*) FROM sign_ins WHERE email = $1 AND succeeded = 0 AND happened_at >= $2 AND happened_at >
          COALESCE((SELECT MAX(happened_at) FROM sign_ins WHERE email = $1 AND succeeded = 1), 0)
        """, [email, SQLValue(since)])
    }
  }
}

extension AuditSubject {
  /// A family of refresh tokens.
  fileprivate static func session(_ familyID: UUID) -> AuditSubject {
    AuditSubject(kind: "session", id: SQLValue(familyID).plainText)
  }
}

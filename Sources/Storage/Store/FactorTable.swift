import Audit
import Foundation
import Identity
import JSONValues

extension AuditSubject {
  fileprivate static func factor(_ userID: UUID) -> AuditSubject {
    AuditSubject(kind: "second_factor", id: SQLValue(userID).plainText)
  }
}

// MARK: Second factors

extension SQLStore {
  func secondFactor(userID: UUID) async throws -> SecondFactor? {
    try await database.read { session in
      try session.first(
        """
        SELECT secret, confirmed_at,
          (SELECT COUNT(*) FROM recovery_codes c WHERE c.user_id = f.user_id AND c.used_at IS NULL)
          FROM second_factors f WHERE user_id = $1
        """, [SQLValue(userID)]
      ) { row throws(StorageError) in
        SecondFactor(
          sealedSecret: try row.text(), confirmedAt: try row.dateOrNil(), recoveryCodesLeft: Int(try row.integer()))
      }
    }
  }

  func beginSecondFactor(userID: UUID, sealedSecret: String) async throws {
    let at = timestamp
    try await change { session, trail in
      guard let user = try UserTable.lock(userID, session) else {
        throw StorageError.notFound(kind: "user", key: SQLValue(userID).plainText)
      }
      guard !user.hasSecondFactor else { throw StorageError.conflict(field: "second_factor") }
      try session.execute("DELETE FROM second_factors WHERE user_id = $1", [SQLValue(userID)])
      try session.execute(
        "INSERT INTO second_factors (user_id, secret, last_step, created_at) VALUES ($1, $2, 0, $3)",
        [SQLValue(userID), .text(sealedSecret), SQLValue(at)])
      trail.add(AuditEvent(subject: .factor(userID), after: ["is_confirmed": false]))
    }
  }

  func confirmSecondFactor(
    userID: UUID, step: Int64, recoveryDigests: [String], keepingSession: UUID?
  ) async throws -> Bool {
    let at = timestamp
    return try await change { session, trail in
      guard let user = try UserTable.lock(userID, session) else { return false }
      let count = try session.execute(
        "UPDATE second_factors SET confirmed_at = $2, last_step = $3 WHERE user_id = $1 AND confirmed_at IS NULL",
        [SQLValue(userID), SQLValue(at), .integer(step)])
      guard count > 0 else { return false }
      try Self.set(recoveryDigests, of: userID, session)
      try RefreshTokenTable.revokeAll(of: userID, keeping: keepingSession, at: at, session)
      try UserTable.noteCredentials(userID, at: at, session)
      trail.add(AuditEvent(subject: .factor(userID), after: ["is_confirmed": true]))
      trail.credentials(.secondFactorEnabled, of: user)
      return true
    }
  }

  func useSecondFactor(userID: UUID, step: Int64) async throws -> Bool {
    try await bookkeep("the sign-in that it belongs to is recorded") { session in
      try session.execute(
        "UPDATE second_factors SET last_step = $2 WHERE user_id = $1 AND last_step < $2 AND confirmed_at IS NOT NULL",
        [SQLValue(userID), .integer(step)]) > 0
    }
  }

  func useRecoveryCode(userID: UUID, digest: String) async throws -> Bool {
    let at = timestamp
    return try await change { session, trail in
      let count = try session.execute(
        "UPDATE recovery_codes SET used_at = $3 WHERE user_id = $1 AND digest = $2 AND used_at IS NULL",
        [SQLValue(userID), .text(digest), SQLValue(at)])
      guard count > 0 else { return false }
      trail.add(AuditEvent(subject: .factor(userID), after: ["recovery_code_used": true]))
      trail.credentials(.recoveryCodeUsed, of: try UserTable.find(userID, session))
      return true
    }
  }

  func replaceRecoveryCodes(userID: UUID, digests: [String]) async throws {
    let at = timestamp
    try await change { session, trail in
      guard let user = try UserTable.lock(userID, session), user.hasSecondFactor else {
        throw StorageError.notFound(kind: "second factor", key: SQLValue(userID).plainText)
      }
      try Self.set(digests, of: userID, session)
      try UserTable.noteCredentials(userID, at: at, session)
      trail.add(AuditEvent(subject: .factor(userID), after: ["recovery_codes_replaced": true]))
      trail.credentials(.recoveryCodesReplaced, of: user)
    }
  }

  private static func set(_ digests: [String], of userID: UUID, _ session: any SQLSession) throws(StorageError) {
    try session.execute("DELETE FROM recovery_codes WHERE user_id = $1", [SQLValue(userID)])
    for digest in digests {
      try session.execute(
        "INSERT INTO recovery_codes (user_id, digest) VALUES ($1, $2)", [SQLValue(userID), .text(digest)])
    }
  }

  func removeSecondFactor(userID: UUID, keepingSession: UUID?, if check: @escaping Check<User>) async throws {
    let at = timestamp
    try await change { session, trail in
      guard let user = try UserTable.lock(userID, session) else {
        throw StorageError.notFound(kind: "user", key: SQLValue(userID).plainText)
      }
      try check(user)
      let count = try session.execute("DELETE FROM second_factors WHERE user_id = $1", [SQLValue(userID)])
      guard count > 0 else { throw StorageError.notFound(kind: "second factor", key: SQLValue(userID).plainText) }
      try Self.set([], of: userID, session)
      try RefreshTokenTable.revokeAll(of: userID, keeping: keepingSession, at: at, session)
      trail.add(
        AuditEvent(subject: .factor(userID), before: ["is_confirmed": .bool(user.hasSecondFactor)]))
      guard user.hasSecondFactor else { return }
      try UserTable.noteCredentials(userID, at: at, session)
      trail.credentials(.secondFactorRemoved, of: user)
    }
  }
}

// MARK: Password resets

/// The rows of password resets.
///
/// Who made one could set the account's password as it was then: with an account that may more since, or has another
/// address, it ends.
enum PasswordResetTable {
  static func remove(of userID: UUID, _ session: any SQLSession) throws(StorageError) {
    try session.execute("DELETE FROM password_resets WHERE user_id = $1", [SQLValue(userID)])
  }

  /// Of all accounts that have the custom role somewhere.
  static func remove(ofHoldersOf roleID: UUID, _ session: any SQLSession) throws(StorageError) {
    for table in ["user_custom_roles", "team_members", "resource_grants"] {
      try session.execute(
        "DELETE FROM password_resets WHERE user_id IN (SELECT user_id FROM \(table) WHERE role_id = $1)",
        [SQLValue(roleID)])
    }
  }
}

extension SQLStore {
  func createPasswordReset(
    userID: UUID, digest: String, expiresAt: Date, if check: @escaping Check<User>
  ) async throws {
    let at = timestamp
    try await change { session, trail in
      guard let user = try UserTable.lock(userID, session) else {
        throw StorageError.notFound(kind: "user", key: SQLValue(userID).plainText)
      }
      try check(user)
      try PasswordResetTable.remove(of: userID, session)
      try session.execute(
        "INSERT INTO password_resets (user_id, digest, created_at, expires_at) VALUES ($1, $2, $3, $4)",
        [SQLValue(userID), .text(digest), SQLValue(at), SQLValue(expiresAt.wholeMilliseconds)])
      trail.add(
        AuditEvent(
          subject: AuditSubject(kind: "user", id: SQLValue(userID).plainText),
          after: ["password_reset_until": .string(expiresAt.wholeMilliseconds.rfc3339)]))
      trail.credentials(.passwordResetMade, of: user)
    }
  }

  func userOfPasswordReset(digest: String) async throws -> User? {
    let at = timestamp
    return try await database.read { try Self.userOfReset(digest, at: at, $0) }
  }

  private static func userOfReset(
    _ digest: String, at: Date, _ session: any SQLSession
  ) throws(StorageError) -> User? {
    let id = try session.first(
      "SELECT user_id FROM password_resets WHERE digest = $1 AND expires_at > $2", [.text(digest), SQLValue(at)]
    ) { row throws(StorageError) in try row.uuid() }
    guard let id else { return nil }
    let user = try UserTable.find(id, session)
    return user.isActive ? user : nil
  }

  func resetPassword(digest: String, passwordHash: String) async throws -> User? {
    let at = timestamp
    return try await change { session, trail in
      guard let id = try Self.userOfReset(digest, at: at, session)?.id, let old = try UserTable.lock(id, session),
        // Once more under the lock: of two at once, one finds it.
        try Self.userOfReset(digest, at: at, session) != nil
      else { return nil }
      try session.execute(
        """
        UPDATE users SET password_hash = $2, must_change_password = 0, has_seeded_password = 0, updated_at = $3
          WHERE id = $1
        """, [SQLValue(id), .text(passwordHash), SQLValue(at)])
      try PasswordResetTable.remove(of: id, session)
      try RefreshTokenTable.revokeAll(of: id, at: at, session)
      try UserTable.noteCredentials(id, at: at, session)
      let new = try UserTable.find(id, session)
      trail.changed("user", from: old.audited, to: new.audited(passwordChanged: true))
      trail.credentials(.passwordChanged, of: new)
      return new
    }
  }
}

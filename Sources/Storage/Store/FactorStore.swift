import Foundation
import Identity

/// An account's second factor as it is stored.
public struct SecondFactor: Hashable, Sendable {
  /// Sealed: see `SecretSealer`.
  public var sealedSecret: String
  /// Nil: being set up, and asked for nowhere.
  public var confirmedAt: Date?
  public var recoveryCodesLeft: Int

  public var isConfirmed: Bool { confirmedAt != nil }
}

/// The part of a ``Store`` about what proves who somebody is, beside his password.
public protocol FactorStore: Sendable {
  // MARK: Second factors

  /// Nil: none, not even one that is being set up.
  func secondFactor(userID: UUID) async throws -> SecondFactor?
  /// Keeps a secret that is to be confirmed, in place of an earlier one. `StorageError.conflict("second_factor")` where
  /// there is a confirmed one.
  func beginSecondFactor(userID: UUID, sealedSecret: String) async throws
  /// From now on it is asked for. The account's sessions end but for the one. False where there is nothing to confirm.
  ///
  /// - Parameter step: of the code that confirmed it, which is used up.
  func confirmSecondFactor(
    userID: UUID, step: Int64, recoveryDigests: [String], keepingSession: UUID?
  ) async throws -> Bool
  /// Uses up a time step and those before it. False where it was used up: of two at once, one gets it.
  func useSecondFactor(userID: UUID, step: Int64) async throws -> Bool
  /// Uses up a recovery code. False where there is none such.
  func useRecoveryCode(userID: UUID, digest: String) async throws -> Bool
  /// The old ones are worth nothing any more. `StorageError.notFound` without a confirmed factor.
  func replaceRecoveryCodes(userID: UUID, digests: [String]) async throws
  /// Takes the factor away with its recovery codes, and ends the account's sessions but for the one.
  func removeSecondFactor(userID: UUID, keepingSession: UUID?, if check: @escaping Check<User>) async throws

  // MARK: Password resets

  /// In place of an earlier one of the account. A new password, however it came, ends it.
  func createPasswordReset(userID: UUID, digest: String, expiresAt: Date, if check: @escaping Check<User>) async throws
  /// The active account that the token is for; nil for one that is unknown or has expired.
  func userOfPasswordReset(digest: String) async throws -> User?
  /// Sets the password and uses up the token, in one transaction; nil where somebody was faster or it has expired.
  func resetPassword(digest: String, passwordHash: String) async throws -> User?
}

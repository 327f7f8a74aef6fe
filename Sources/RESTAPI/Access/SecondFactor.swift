import Foundation
import Identity
import Storage

/// Whose roles ask for a second factor.
struct SecondFactorPolicy: Sendable {
  /// Names of built-in and custom roles, also of those that are held in a team or for a resource.
  let roles: Set<String>
  /// The break-glass account is never kept out for want of a second factor; one that it has is asked for.
  let breakGlass: Email?

  func requires(_ user: User) -> Bool {
    guard user.email != breakGlass else { return false }
    let held = user.roles.map(\.rawValue) + user.customRoles.map(\.name) + user.memberships.map(\.role.name)
      + user.resourceGrants.map(\.role.name)
    return held.contains { roles.contains($0) }
  }

  /// Whether he must set one up before anything else.
  func isOwed(by user: User) -> Bool { !user.hasSecondFactor && requires(user) }
}

/// Codes of second factors.
enum SecondFactors {
  /// What the secret of an account is sealed for: it opens for no other account.
  static func purpose(_ userID: UUID) -> String { "totp \(userID.uuidString.lowercased())" }

  /// Whether the code proves who he is, and uses it up: one of the app, or a recovery code.
  static func accept(_ code: String, of userID: UUID, _ services: Services) async throws -> Bool {
    guard let factor = try await services.store.secondFactor(userID: userID), factor.isConfirmed else { return false }
    if let recovery = RecoveryCode(code) {
      return try await services.store.useRecoveryCode(userID: userID, digest: recovery.digest)
    }
    guard let step = try step(of: code, factor, userID, services) else { return false }
    return try await services.store.useSecondFactor(userID: userID, step: step)
  }

  /// The time step whose code of the app this is.
  static func step(
    of code: String, _ factor: SecondFactor, _ userID: UUID, _ services: Services
  ) throws -> Int64? {
    let totp = TOTP(secret: try services.sealer.open(factor.sealedSecret, for: purpose(userID)))
    return totp.step(of: code.filter { $0 != " " }, at: Date())
  }
}

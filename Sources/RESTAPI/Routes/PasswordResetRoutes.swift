import ControlProtocol
import Foundation
import Hummingbird
import Identity
import Storage

extension Call {
  /// What an administrator does for others asks for no password: on his own account it would go around those that do.
  func refuseOwnAccount(_ id: UUID, _ instead: String) throws {
    guard try caller().subjectID == id else { return }
    throw APIError(.conflict, "this account is the caller's own: \(instead)", details: ["reason": "own_account"])
  }
}

/// A new password for somebody who has forgotten his: an administrator makes a token, he sets the password with it.
enum PasswordResetRoutes {
  private static let secondsRange: ClosedRange<Int64> = 300...86_400

  static let all: [Route] = [
    Route(
      .post, RouteTable.base + "/users/{id}/password-reset", "createPasswordReset", tag: "users",
      "Make a token with which another account's password can be set, once. The answer shows it, and nothing does ever "
        + "again. It takes the place of an earlier one.",
      access: .scope(.usersWrite),
      body: .named(
        "NewPasswordReset",
        .object([.optional("expires_in_seconds", .integer(secondsRange), default: 3600)])),
      bodyIsOptional: true,
      answer: .created(
        .named(
          "PasswordReset",
          .object([.required("token", .string(), "This once"), .required("expires_at", .timestamp)]))),
      errors: [.beyondAuthority, .conflict]
    ) { call, services in
      let id = try call.identifier("id", of: "user")
      try call.refuseOwnAccount(id, "POST \(RouteTable.base)/auth/change-password, with the current one")
      let caller = try call.caller().permissions
      let token = ResetToken()
      let expiresAt = Date(timeIntervalSinceNow: TimeInterval(call.body["expires_in_seconds"]?.integer ?? 3600))
      try await services.store.createPasswordReset(userID: id, digest: token.digest, expiresAt: expiresAt) { user in
        // Whoever could set the password of an account that may more than he would be that account.
        try caller.check(mayGrant: services.breakGlass.permissions(of: user))
      }
      return .created(
        ["token": .string(token.text), "expires_at": .time(expiresAt)],
        at: "\(RouteTable.base)/users/\(id.uuidString.lowercased())")
    },
    Route(
      .post, RouteTable.base + "/auth/reset-password", "resetPassword", tag: "auth",
      "Set a password with a token of createPasswordReset. Ends all of the account's sessions; a second factor stays.",
      access: .open,
      body: .named(
        "ResetPassword",
        .object([
          .required("token", .string(StringShape(bytes: 1...128, isSecret: true))),
          .required("new_password", Shapes.newPassword),
        ])),
      answer: .data(.object([.required("reset", .boolean)])),
      errors: [.unauthenticated, .tooManyRequests, .databaseUnavailable], handler: reset),
  ]

  @Sendable private static func reset(_ call: Call, _ services: Services) async throws -> Reply {
    // 256 random bits are not guessed; who tries waits all the same, as any address with failures.
    try AuthRoutes.refuseIfThrottled("", call, services)
    let refusal = APIError(.unauthenticated, "the token is not valid: it is unknown, was used, or has expired")
    guard let token = ResetToken(try call.body.text("token")),
      let user = try await services.store.userOfPasswordReset(digest: token.digest)
    else {
      try await AuthRoutes.noteFailure("", call, services)
      throw refusal
    }
    AuditedRequest.current?.identify(as: Principal(user, sessionID: nil).actor)
    let password = Password(try call.body.text("new_password"))
    try AuthRoutes.check(password, for: user.email, path: "new_password")
    let hasher = services.hasher
    let hash = try await AuthRoutes.hash(services) { try hasher.hash(password) }
    let sessions = try await services.store.sessions(userID: user.id)
    guard try await services.store.resetPassword(digest: token.digest, passwordHash: hash) != nil else { throw refusal }
    services.authenticator.passwordChanged(user.id)
    // A token of this very second passes the look at its time: its session tells.
    for session in sessions { services.authenticator.sessionEnded(session.id) }
    return .data(["reset": true])
  }
}

import Audit
import ControlProtocol
import Foundation
import Hummingbird
import Identity
import Storage

/// Signing in and out.
enum AuthRoutes {
  static let all: [Route] = [
    Route(
      .post, RouteTable.base + "/auth/login", "login", tag: "auth", "Sign in with email and password.", access: .open,
      body: .named(
        "Login",
        .object([
          .required("email", .text(max: Email.byteCountMax, min: 1)), .required("password", Shapes.typedPassword),
        ])),
      answer: .data(session),
      errors: [.unauthenticated, .secondFactorRequired, .tooManyRequests, .databaseUnavailable], handler: login),
    Route(
      .post, RouteTable.base + "/auth/login/second-factor", "loginSecondFactor", tag: "auth",
      "The second step of a sign-in: the challenge of the first, and a code of the app or a recovery code.",
      access: .open,
      body: .named(
        "LoginSecondFactor",
        .object([
          .required("challenge", .string(StringShape(bytes: 1...1024, isSecret: true))),
          .required("code", SecondFactorRoutes.code),
        ])),
      answer: .data(session), errors: [.unauthenticated, .tooManyRequests, .databaseUnavailable],
      handler: loginSecondFactor),
    Route(
      .post, RouteTable.base + "/auth/refresh", "refresh", tag: "auth",
      "Exchange a refresh token for a new pair. Every refresh token works once; using one again ends the session.",
      access: .open, body: .named("Refresh", .object([.required("refresh_token", refreshToken)])),
      answer: .data(session), errors: [.unauthenticated, .tokenExpired, .databaseUnavailable], handler: refresh),
    Route(
      .post, RouteTable.base + "/auth/logout", "logout", tag: "auth",
      "End the session of the refresh token; where none is given all of the caller's sessions, which takes the password.",
      access: .signedIn,
      body: .named(
        "Logout",
        .object([
          .optional("refresh_token", .nullable(refreshToken)), .optional("current_password", Shapes.typedPassword),
        ])), bodyIsOptional: true,
      answer: .data(.object([.required("signed_out", .boolean)])), errors: [.tooManyRequests], handler: logout),
    Route(
      .get, RouteTable.base + "/auth/me", "me", tag: "auth", "The caller's own account.", access: .signedIn,
      answer: .data(UserRoutes.user)
    ) { call, services in
      .data(UserRoutes.json(try await services.store.user(id: try call.account().subjectID)))
    },
    Route(
      .post, RouteTable.base + "/auth/change-password", "changePassword", tag: "auth",
      "Change the caller's own password. Ends all of the caller's sessions and starts a new one.", access: .signedIn,
      body: .named(
        "ChangePassword",
        .object([.required("current_password", Shapes.typedPassword), .required("new_password", Shapes.newPassword)])),
      answer: .data(session), errors: [.tooManyRequests], handler: changePassword),
  ]

  private static let refreshToken = Schema.string(StringShape(bytes: 1...128, isSecret: true))

  private static let session = Schema.named(
    "Session",
    .object([
      .required("access_token", .string()), .required("token_type", .words(["Bearer"])),
      .required("expires_in", .count, "Seconds"), .required("refresh_token", .string()),
      .required("must_change_password", .boolean),
      .required("must_set_up_second_factor", .boolean, "A role requires one; nothing else is possible before"),
      .required(
        "credentials_changed_at", .nullable(.timestamp),
        "Password, second factor or recovery codes, where that was after the sign-in before; for the answer to a sign-in"),
      .required("user", UserRoutes.user),
    ]))

  @Sendable private static func login(_ call: Call, _ services: Services) async throws -> Reply {
    let text = try call.body.text("email")
    let email = try? Email(text)
    // As the account is found: other spellings are no other accounts to guess at.
    let account = email?.value ?? text
    let password = Password(try call.body.text("password"))
    try refuseIfThrottled(account, call, services)
    let stored: User? = if let email { try await services.store.user(email: email) } else { nil }
    let (user, isBreakGlass) = stored.map(services.breakGlass.effective) ?? (nil, false)
    let hasher = services.hasher
    // An unknown account costs what a known one costs.
    let isRight = try await hash(services) {
      if let user { hasher.verify(password, against: user.passwordHash) } else { hasher.verifyDummy(password) }
    }
    try refuseIfThrottled(account, call, services)
    guard let user, isRight, user.isActive else {
      services.metrics.loginFailed(isRight ? .inactive : .credentials)
      try await noteFailure(account, call, services)
      try await record(account, user, succeeded: false, call, services)
      throw APIError(.unauthenticated, "the email or the password is wrong")
    }
    guard !user.hasSecondFactor else {
      // Failures stay counted: a right password must not buy more guesses at the code.
      let challenge = SignInChallenge(userID: user.id, passwordHash: user.passwordHash, at: Date())
      throw APIError(
        .secondFactorRequired, "a code is needed: POST \(RouteTable.base)/auth/login/second-factor",
        details: [
          "challenge": .string(try challenge.sealed(by: services.sealer)),
          "expires_in": .count(SignInChallenge.lifetimeSeconds),
        ])
    }
    return try await signedIn(user, isBreakGlass: isBreakGlass, call, services)
  }

  @Sendable private static func loginSecondFactor(_ call: Call, _ services: Services) async throws -> Reply {
    let outdated = APIError(.unauthenticated, "the challenge is not valid any more: sign in again")
    guard let challenge = SignInChallenge(try call.body.text("challenge"), by: services.sealer, at: Date()) else {
      throw outdated
    }
    let stored: User
    do { stored = try await services.store.user(id: challenge.userID) } catch StorageError.notFound { throw outdated }
    let (user, isBreakGlass) = services.breakGlass.effective(stored)
    let account = user.email.value
    try refuseIfThrottled(account, call, services)
    guard challenge.isAbout(passwordHash: user.passwordHash), user.isActive else { throw outdated }
    let isRight = try await SecondFactors.accept(try call.body.text("code"), of: user.id, services)
    try refuseIfThrottled(account, call, services)
    guard isRight else {
      services.metrics.loginFailed(.secondFactor)
      try await noteFailure(account, call, services)
      try await record(account, user, succeeded: false, call, services)
      throw APIError(.unauthenticated, "the code is wrong, or was used before")
    }
    return try await signedIn(user, isBreakGlass: isBreakGlass, call, services)
  }

  private static func signedIn(
    _ user: User, isBreakGlass: Bool, _ call: Call, _ services: Services
  ) async throws -> Reply {
    services.throttle.succeeded(account: user.email.value, address: call.remoteAddress)
    services.metrics.loginSucceeded()
    try await record(user.email.value, user, succeeded: true, call, services)
    if isBreakGlass { try await recordBreakGlass(user, call, services) }
    // As of before this sign-in.
    let isNews = user.credentialsChangedAt.map { $0 > user.lastSignInAt ?? .distantPast } ?? false
    return .data(
      try await newSession(user, credentialsChangedAt: isNews ? user.credentialsChangedAt : nil, services))
  }

  @Sendable private static func refresh(_ call: Call, _ services: Services) async throws -> Reply {
    guard let token = RefreshToken(try call.body.text("refresh_token")) else {
      throw APIError(.unauthenticated, "the refresh token is not valid")
    }
    let successor = RefreshToken()
    let rotation = try await services.store.rotateRefreshToken(
      digest: token.digest, successorDigest: successor.digest, limits: services.settings.sessions)
    switch rotation {
    case .rotated(let user):
      let record = try await services.store.refreshToken(digest: successor.digest)
      return .data(try await json(user, successor, record, services))
    case .expired:
      let limits = services.settings.sessions
      throw APIError(
        .tokenExpired,
        "the session has ended, as each does \(limits.lifetime.components.seconds / 60) minutes after the sign-in and "
          + "\(limits.idle.components.seconds / 60) minutes after its last renewal: sign in again")
    case .reused(let userID):
      if let id = try await services.store.refreshToken(digest: token.digest)?.familyID {
        services.authenticator.sessionEnded(id)
      }
      services.logger.warning(
        "a refresh token was used twice: its session is ended",
        metadata: ["user_id": "\(userID)", "remote": "\(call.remoteAddress)", "request_id": "\(call.requestID)"])
      throw APIError(.unauthenticated, "the refresh token was used before: the session is ended, sign in again")
    case .unknown, .revoked, .inactive:
      throw APIError(.unauthenticated, "the refresh token is not valid: sign in again")
    }
  }

  @Sendable private static func logout(_ call: Call, _ services: Services) async throws -> Reply {
    if let text = call.body.present("refresh_token")?.string {
      if let token = RefreshToken(text) {
        try await services.store.revokeRefreshTokenFamily(digest: token.digest)
        if let id = try await services.store.refreshToken(digest: token.digest)?.familyID {
          services.authenticator.sessionEnded(id)
        }
      }
    } else {
      let id = try await checkOwnPassword(call, services).id
      for session in try await services.store.sessions(userID: id) { services.authenticator.sessionEnded(session.id) }
      try await services.store.revokeRefreshTokens(userID: id)
    }
    return .data(["signed_out": true])
  }

  @Sendable private static func changePassword(_ call: Call, _ services: Services) async throws -> Reply {
    let user = try await checkOwnPassword(call, services)
    let new = Password(try call.body.text("new_password"))
    let hasher = services.hasher
    guard new != Password(try call.body.text("current_password")) else { throw APIError.validation("new_password", "unchanged", "is the current password") }
    try check(new, for: user.email, path: "new_password")
    let newHash = try await hash(services) { try hasher.hash(new) }
    let changed = try await services.store.updateUser(
      id: user.id, UserChange(passwordHash: newHash, mustChangePassword: false)
    ) { now in
      // Of two changes at once, the second would need the password of the first.
      guard now.passwordHash == user.passwordHash else {
        throw APIError.validation("current_password", "wrong", "is not the current password")
      }
    }
    services.authenticator.passwordChanged(user.id)
    return .data(try await newSession(changed, services))
  }

  /// The caller's account, once `current_password` of the body has proved that it is he.
  static func checkOwnPassword(_ call: Call, _ services: Services) async throws -> User {
    let caller = try call.account()
    try refuseIfThrottled(caller.name, call, services)
    let user = try await services.store.user(id: caller.subjectID)
    guard let text = call.body.present("current_password")?.string else {
      throw APIError.validation("current_password", "required", "is required")
    }
    let current = Password(text)
    let hasher = services.hasher
    let isRight = try await hash(services) { hasher.verify(current, against: user.passwordHash) }
    try refuseIfThrottled(caller.name, call, services)
    guard isRight else {
      try await noteFailure(caller.name, call, services)
      throw APIError.validation("current_password", "wrong", "is not the current password")
    }
    return user
  }

  /// The policy's complaint under the field that holds the password.
  static func check(_ password: Password, for email: Email, path: String) throws {
    do throws(PasswordPolicy.Violation) { try PasswordPolicy.check(password, for: email) } catch {
      throw APIError.validation(path, "invalid", error.description)
    }
  }

  /// Work on passwords, off the pools that serve requests.
  static func hash<Result: Sendable>(
    _ services: Services, _ work: @escaping @Sendable () throws -> Result
  ) async throws -> Result {
    do { return try await services.passwords.run(work) } catch let error as CostlyWork.QueueFull {
      services.metrics.passwordRefused()
      throw error
    }
  }

  /// To be asked before a secret is looked at, and again before anything is told of it: of guesses that come at once, those
  /// behind the one that brings the wait learn nothing.
  static func refuseIfThrottled(_ account: String, _ call: Call, _ services: Services) throws {
    guard let wait = services.throttle.wait(account: account, address: call.remoteAddress) else { return }
    services.metrics.loginFailed(.throttled)
    let seconds = Int(wait.components.seconds) + 1
    throw APIError(
      .tooManyRequests, "too many failed attempts for this account or from this address; wait \(seconds) s"
    ).retry(afterSeconds: seconds)
  }

  private static func record(
    _ account: String, _ user: User?, succeeded: Bool, _ call: Call, _ services: Services
  ) async throws {
    try await services.store.recordSignIn(
      SignIn(
        email: account, userID: user?.id, succeeded: succeeded, address: call.remoteAddress,
        userAgent: (call.headers[.userAgent] ?? "").filter { $0.isASCII && !$0.isNewline }, at: Date()))
  }

  /// Counts a wrong password, code or token against the account and the address.
  static func noteFailure(_ account: String, _ call: Call, _ services: Services) async throws {
    let locks = services.throttle.failed(account: account, address: call.remoteAddress)
    try await record(locks, try? Email(account), services)
  }

  /// Once per wait, not for every attempt that it turns away: nobody fills the log with those.
  private static func record(
    _ locks: [(subject: LoginThrottle.Subject, wait: Duration)], _ account: Email?, _ services: Services
  ) async throws {
    for lock in locks {
      services.metrics.lockedOut(lock.subject)
      try await services.store.recordAudit(
        AuditEvent(
          outcome: .refused, code: "locked_out",
          subject: account.map { AuditSubject(kind: "account", id: $0.value) },
          after: ["by": .string(lock.subject.rawValue), "seconds": .count(lock.wait.components.seconds)]))
    }
  }

  private static func recordBreakGlass(_ user: User, _ call: Call, _ services: Services) async throws {
    services.metrics.breakGlassUsed()
    services.logger.warning(
      "the break-glass account has signed in",
      metadata: [
        "email": "\(user.email)", "remote": "\(call.remoteAddress)", "request_id": "\(call.requestID)",
      ])
    try await services.store.recordAudit(
      AuditEvent(
        operation: "breakGlass",
        actor: AuditActor(kind: .user, id: user.id.uuidString.lowercased(), name: user.email.value),
        subject: AuditSubject(kind: "user", id: user.id.uuidString.lowercased())))
  }

  private static func newSession(
    _ user: User, credentialsChangedAt: Date? = nil, _ services: Services
  ) async throws -> JSONValue {
    let token = RefreshToken()
    let record = try await services.store.insertRefreshToken(
      digest: token.digest, userID: user.id, limits: services.settings.sessions
    ) { now in
      // What ends the account's sessions must not miss one that is about to begin.
      guard now.passwordHash == user.passwordHash, now.hasSecondFactor == user.hasSecondFactor,
        services.breakGlass.effective(now).user.isActive
      else { throw APIError(.unauthenticated, "the account was changed during the sign-in: sign in again") }
    }
    return try await json(user, token, record, credentialsChangedAt: credentialsChangedAt, services)
  }

  private static func json(
    _ user: User, _ refresh: RefreshToken, _ record: RefreshTokenRecord?, credentialsChangedAt: Date? = nil,
    _ services: Services
  ) async throws -> JSONValue {
    let subject = AccessSubject(
      userID: user.id, email: user.email, roles: user.roles, mustChangePassword: user.mustChangePassword,
      sessionID: record?.familyID)
    let access = try await services.tokens.issue(to: subject, until: record?.state.expiresAt)
    let seconds = access.claims.expiresAt.timeIntervalSince(access.claims.issuedAt)
    return [
      "access_token": .string(access.text), "token_type": "Bearer",
      "expires_in": .count(Int64(max(0, seconds))),
      "refresh_token": .string(refresh.text), "must_change_password": .bool(user.mustChangePassword),
      "must_set_up_second_factor": .bool(services.secondFactorPolicy.isOwed(by: user)),
      "credentials_changed_at": .time(credentialsChangedAt), "user": UserRoutes.json(user),
    ]
  }
}

import ControlProtocol
import Foundation
import Hummingbird
import Identity
import Storage

/// The caller's own second factor: codes of an app (TOTP), and recovery codes.
enum SecondFactorRoutes {
  private static let base = RouteTable.base + "/auth/second-factor"

  static let all: [Route] = [
    Route(
      .get, base, "getSecondFactor", tag: "auth", "Whether the caller has a second factor, and must have one.",
      access: .signedIn, answer: .data(state)
    ) { call, services in
      let user = try await services.store.user(id: try call.account().subjectID)
      return .data(try await json(user, services))
    },
    Route(
      .post, base, "beginSecondFactor", tag: "auth",
      "Make a secret for an authenticator app. Nothing asks for it before confirmSecondFactor has seen a code of it.",
      access: .signedIn, body: .named("BeginSecondFactor", .object([.required("current_password", Shapes.typedPassword)])),
      answer: .data(secret), errors: [.conflict, .tooManyRequests], handler: begin),
    Route(
      .post, base + "/confirm", "confirmSecondFactor", tag: "auth",
      "Show that the app makes the right codes: from now on every sign-in asks for one. The answer shows the recovery "
        + "codes, and nothing does ever again. The caller's other sessions end.",
      access: .signedIn, body: .named("ConfirmSecondFactor", .object([.required("code", code)])),
      answer: .data(recoveryCodes), errors: [.conflict, .tooManyRequests], handler: confirm),
    Route(
      .post, base + "/recovery-codes", "replaceRecoveryCodes", tag: "auth",
      "New recovery codes, shown this once; the old ones are worth nothing any more.", access: .signedIn,
      body: .named("ReplaceRecoveryCodes", .object([.required("code", code)])), answer: .data(recoveryCodes),
      errors: [.conflict, .tooManyRequests]
    ) { call, services in
      let user = try await confirmed(call, services)
      try await require(try call.body.text("code"), of: user, call, services)
      let codes = (0..<RecoveryCode.count).map { _ in RecoveryCode() }
      try await services.store.replaceRecoveryCodes(userID: user.id, digests: codes.map(\.digest))
      return .data(["recovery_codes": .strings(codes.map(\.text))])
    },
    Route(
      .post, base + "/disable", "disableSecondFactor", tag: "auth",
      "Sign in with the password alone again; not while a role of the caller requires a second factor. The caller's "
        + "other sessions end.",
      access: .signedIn,
      body: .named(
        "DisableSecondFactor",
        .object([.required("current_password", Shapes.typedPassword), .required("code", code)])),
      answer: .data(.object([.required("disabled", .boolean)])), errors: [.conflict, .tooManyRequests],
      handler: disable),
    Route(
      .delete, RouteTable.base + "/users/{id}/second-factor", "resetSecondFactor", tag: "users",
      "Take another account's second factor away, for somebody who has lost it with his recovery codes. Ends its sessions.",
      access: .scope(.usersWrite), answer: .data(.object([.required("deleted", .boolean)])),
      errors: [.beyondAuthority, .conflict]
    ) { call, services in
      let id = try call.identifier("id", of: "user")
      try call.refuseOwnAccount(id, "POST \(base)/disable, with the password and a code")
      let caller = try call.caller().permissions
      try await endOtherSessions(of: id, than: nil, services) {
        try await services.store.removeSecondFactor(userID: id, keepingSession: nil) { user in
          try caller.check(mayGrant: services.breakGlass.permissions(of: user))
        }
      }
      return .data(["deleted": true])
    },
  ]

  // MARK: Shapes

  /// Six digits of the app, or a recovery code.
  static let code = Schema.string(StringShape(bytes: 6...64, isSecret: true))

  private static let state = Schema.named(
    "SecondFactor",
    .object([
      .required("is_enabled", .boolean), .required("is_required", .boolean, "By a role of the caller"),
      .required("enabled_at", .nullable(.timestamp)), .required("recovery_codes_left", .count),
    ]))

  private static let secret = Schema.named(
    "SecondFactorSecret",
    .object([
      .required("secret", .string(), "For typing: base32, this once"),
      .required("uri", .string(), "otpauth://…, for a QR code"),
    ]))

  private static let recoveryCodes = Schema.named(
    "RecoveryCodes", .object([.required("recovery_codes", .array(.string(), max: Int.max), "Each good once")]))

  private static func json(_ user: User, _ services: Services) async throws -> JSONValue {
    let factor = try await services.store.secondFactor(userID: user.id)
    return [
      "is_enabled": .bool(factor?.isConfirmed ?? false),
      "is_required": .bool(services.secondFactorPolicy.requires(user)), "enabled_at": .time(factor?.confirmedAt),
      "recovery_codes_left": .count(Int64(factor?.recoveryCodesLeft ?? 0)),
    ]
  }

  // MARK: Handlers

  @Sendable private static func begin(_ call: Call, _ services: Services) async throws -> Reply {
    let user = try await AuthRoutes.checkOwnPassword(call, services)
    let totp = TOTP()
    let sealed = try services.sealer.seal(totp.secretBytes, for: SecondFactors.purpose(user.id))
    do { try await services.store.beginSecondFactor(userID: user.id, sealedSecret: sealed) } catch StorageError.conflict {
      throw APIError(
        .conflict, "there is a second factor already: disable it first", details: ["reason": "second_factor_enabled"])
    }
    return .data(["secret": .string(totp.secretText), "uri": .string(totp.uri(account: user.email))])
  }

  @Sendable private static func confirm(_ call: Call, _ services: Services) async throws -> Reply {
    let caller = try call.account()
    try AuthRoutes.refuseIfThrottled(caller.name, call, services)
    let nothing = APIError(
      .conflict, "no second factor is being set up: POST \(base) first", details: ["reason": "no_second_factor"])
    guard let factor = try await services.store.secondFactor(userID: caller.subjectID), !factor.isConfirmed else {
      throw nothing
    }
    try AuthRoutes.refuseIfThrottled(caller.name, call, services)
    guard let step = try SecondFactors.step(of: try call.body.text("code"), factor, caller.subjectID, services) else {
      try await AuthRoutes.noteFailure(caller.name, call, services)
      throw wrongCode
    }
    let codes = (0..<RecoveryCode.count).map { _ in RecoveryCode() }
    try await endOtherSessions(of: caller.subjectID, than: caller.sessionID, services) {
      let isConfirmed = try await services.store.confirmSecondFactor(
        userID: caller.subjectID, step: step, recoveryDigests: codes.map(\.digest), keepingSession: caller.sessionID)
      guard isConfirmed else { throw nothing }
    }
    return .data(["recovery_codes": .strings(codes.map(\.text))])
  }

  @Sendable private static func disable(_ call: Call, _ services: Services) async throws -> Reply {
    let user = try await confirmed(call, services)
    guard !services.secondFactorPolicy.requires(user) else {
      throw APIError(
        .conflict, "a role of this account requires a second factor", details: ["reason": "second_factor_required"])
    }
    _ = try await AuthRoutes.checkOwnPassword(call, services)
    try await require(try call.body.text("code"), of: user, call, services)
    let session = try call.account().sessionID
    try await endOtherSessions(of: user.id, than: session, services) {
      try await services.store.removeSecondFactor(userID: user.id, keepingSession: session) { _ in }
    }
    return .data(["disabled": true])
  }

  private static let wrongCode = APIError.validation("code", "wrong", "is not the code of now, or was used before")

  /// The caller's account, with a second factor.
  private static func confirmed(_ call: Call, _ services: Services) async throws -> User {
    let user = try await services.store.user(id: try call.account().subjectID)
    guard user.hasSecondFactor else {
      throw APIError(.conflict, "there is no second factor", details: ["reason": "no_second_factor"])
    }
    return user
  }

  private static func require(_ code: String, of user: User, _ call: Call, _ services: Services) async throws {
    try AuthRoutes.refuseIfThrottled(user.email.value, call, services)
    let isRight = try await SecondFactors.accept(code, of: user.id, services)
    try AuthRoutes.refuseIfThrottled(user.email.value, call, services)
    guard isRight else {
      try await AuthRoutes.noteFailure(user.email.value, call, services)
      throw wrongCode
    }
  }

  /// The store ends the sessions; here their access tokens end, too.
  private static func endOtherSessions(
    of userID: UUID, than kept: UUID?, _ services: Services, _ change: () async throws -> Void
  ) async throws {
    let others = try await services.store.sessions(userID: userID).map(\.id).filter { $0 != kept }
    try await change()
    for id in others { services.authenticator.sessionEnded(id) }
    services.authenticator.forget(userID)
  }
}

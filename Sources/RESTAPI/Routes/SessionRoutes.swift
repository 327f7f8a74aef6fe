import ControlProtocol
import Foundation
import Hummingbird
import Identity
import Storage

/// An account's own sessions and sign-ins.
enum SessionRoutes {
  private static let base = RouteTable.base + "/auth"

  static let all: [Route] = [
    Route(
      .get, base + "/sessions", "listSessions", tag: "auth", "The caller's sessions, the one used last first.",
      access: .signedIn, answer: .page(session, by: order)
    ) { call, services in
      let caller = try call.account()
      let (limits, now) = (services.settings.sessions, Date())
      let sessions = try await services.store.sessions(userID: caller.subjectID).map { session in
        var session = session
        // It began under other limits, perhaps.
        session.expiresAt = min(
          session.expiresAt, limits.end(startedAt: session.startedAt, renewedAt: session.lastUsedAt))
        return session
      }
      return try call.page(
        of: sessions.filter { $0.expiresAt > now }.map { json($0, isCurrent: $0.id == caller.sessionID) }, by: order)
    },
    Route(
      .delete, base + "/sessions/{id}", "revokeSession", tag: "auth",
      "End one of the caller's sessions; one that is not the caller's own takes the password.", access: .signedIn,
      body: .named("RevokeSession", .object([.optional("current_password", Shapes.typedPassword)])), bodyIsOptional: true,
      answer: .data(.object([.required("revoked", .boolean)])), errors: [.tooManyRequests]
    ) { call, services in
      let id = try call.identifier("id", of: "session")
      let caller = try call.account()
      if id != caller.sessionID { _ = try await AuthRoutes.checkOwnPassword(call, services) }
      try await services.store.revokeSession(id: id, userID: caller.subjectID)
      services.authenticator.sessionEnded(id)
      return .data(["revoked": true])
    },
    Route(
      .get, base + "/sign-ins", "listSignIns", tag: "auth",
      "Who signed in with the caller's account, or tried to, newest first.", access: .signedIn, answer: .page(signIn, by: .signIns)
    ) { call, services in
      let page = call.page
      return .page(try await services.store.signIns(userID: try call.account().subjectID, page), page) { signIn in
        [
          "at": .time(signIn.at), "succeeded": .bool(signIn.succeeded), "address": .string(signIn.address),
          "user_agent": .string(signIn.userAgent),
        ]
      }
    },
  ]

  private static let order = ListOrder(
    "-last_used_at", key: .text("id"),
    fields: [.text("last_used_at"), .text("started_at"), .text("expires_at"), .text("address")])

  private static let session = Schema.named(
    "ActiveSession",
    .object([
      .required("id", Shapes.uuid), .required("address", .string(), "Where it was used last"),
      .required("user_agent", .string()), .required("started_at", .timestamp),
      .required("last_used_at", .timestamp, "Signed in or renewed"),
      .required("expires_at", .timestamp, "Unless it is renewed before"),
      .required("is_current", .boolean, "The caller's own"),
    ]))

  private static let signIn = Schema.named(
    "SignIn",
    .object([
      .required("at", .timestamp), .required("succeeded", .boolean), .required("address", .string()),
      .required("user_agent", .string()),
    ]))

  private static func json(_ session: Session, isCurrent: Bool) -> JSONValue {
    [
      "id": .string(session.id.uuidString.lowercased()), "address": .string(session.address),
      "user_agent": .string(session.userAgent), "started_at": .time(session.startedAt),
      "last_used_at": .time(session.lastUsedAt), "expires_at": .time(session.expiresAt), "is_current": .bool(isCurrent),
    ]
  }
}

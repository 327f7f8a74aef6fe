import ControlProtocol
import Foundation
import Hummingbird
import Identity
import Storage

/// Accounts.
enum UserRoutes {
  private static let base = RouteTable.base + "/users"

  static let all: [Route] = [
    Route(
      .get, base, "listUsers", tag: "users", "All accounts, by address.", access: .scope(.usersRead),
      query: [
        .optional("search", .text(max: 254)), .optional("role", .words(Role.allCases.map(\.rawValue))),
        .optional("is_active", .boolean),
      ], answer: .page(user)
    ) { call, services in
      let filter = UserFilter(
        search: call.query["search"]?.string, role: call.query["role"]?.string.flatMap(Role.init),
        isActive: call.query["is_active"]?.bool)
      let page = call.page
      return .page(try await services.store.users(filter, page), page, json)
    },
    Route(
      .post, base, "createUser", tag: "users", "Create an account.", access: .scope(.usersWrite), body: newUser,
      answer: .created(user), errors: [.conflict, .tooManyRequests], handler: create),
    Route(
      .get, base + "/{id}", "getUser", tag: "users", "One account.", access: .scope(.usersRead), answer: .data(user)
    ) { call, services in
      let user = try await services.store.user(id: try call.identifier("id", of: "user"))
      return Reply.data(json(user)).tagged(content(user))
    },
    Route(
      .patch, base + "/{id}", "updateUser", tag: "users",
      "Change an account. A new password, other roles or deactivation ends its sessions.",
      access: .scope(.usersWrite), body: newUser.partial(named: "UserPatch"), answer: .data(user),
      errors: [.conflict, .preconditionFailed, .tooManyRequests], handler: update),
    Route(
      .delete, base + "/{id}", "deleteUser", tag: "users", "Delete an account; the last active Admin stays.",
      access: .scope(.usersWrite), answer: .data(.object([.required("deleted", .boolean)])),
      errors: [.conflict, .preconditionFailed]
    ) { call, services in
      let id = try call.identifier("id", of: "user")
      try await services.store.deleteUser(id: id, if: try call.precondition(content))
      services.authenticator.forget(id)
      return .data(["deleted": true])
    },
  ]

  private static let roles = Schema.array(.words(Role.allCases.map(\.rawValue)), max: Role.allCases.count, min: 1)

  private static let newUser = Schema.named(
    "NewUser",
    .object([
      .required("email", Shapes.email), .optional("name", .text(max: 128), default: ""),
      .required("password", Shapes.newPassword), .required("roles", roles),
      .optional("is_active", .boolean, default: true),
      .optional("must_change_password", .boolean, default: false, "Only the password can be changed after signing in"),
    ]))

  static let user = Schema.named(
    "User",
    .object([
      .required("id", Shapes.uuid), .required("email", .string()), .required("name", .string()),
      .required("roles", .array(.words(Role.allCases.map(\.rawValue)), max: Int.max)),
      .required("scopes", .array(.words(Scope.allCases.map(\.rawValue)), max: Int.max)),
      .required("is_active", .boolean), .required("must_change_password", .boolean),
      .required("created_at", .timestamp), .required("updated_at", .timestamp),
      .required("last_sign_in_at", .nullable(.timestamp)),
    ]))

  static func json(_ user: User) -> JSONValue {
    [
      "id": .string(user.id.uuidString.lowercased()), "email": .string(user.email.value), "name": .string(user.name),
      "roles": .strings(user.roles.sorted().map(\.rawValue)),
      "scopes": .strings(user.roles.scopes.sorted().map(\.rawValue)), "is_active": .bool(user.isActive),
      "must_change_password": .bool(user.mustChangePassword), "created_at": .time(user.createdAt),
      "updated_at": .time(user.updatedAt), "last_sign_in_at": .time(user.lastSignInAt),
    ]
  }

  /// What can be edited, for the entity tag; a sign-in in between changes nothing of it.
  @Sendable private static func content(_ user: User) -> JSONValue {
    [
      "email": .string(user.email.value), "name": .string(user.name),
      "roles": .strings(user.roles.sorted().map(\.rawValue)), "is_active": .bool(user.isActive),
      "must_change_password": .bool(user.mustChangePassword), "password": .string(user.passwordHash),
    ]
  }

  private static func roles(_ body: JSONValue) throws -> Set<Role>? {
    guard body["roles"] != nil else { return nil }
    let roles = Set(body.texts("roles").compactMap(Role.init))
    guard !roles.isEmpty else { throw APIError.validation("roles", "too_few", "an account has at least one role") }
    return roles
  }

  @Sendable private static func create(_ call: Call, _ services: Services) async throws -> Reply {
    let email = try Email(try call.body.text("email"))
    let password = Password(try call.body.text("password"))
    guard let roles = try roles(call.body) else { throw Fault("roles are required") }
    try AuthRoutes.check(password, for: email, path: "password")
    let hasher = services.hasher
    let hash = try await AuthRoutes.hash(services) { try hasher.hash(password) }
    let user = try await services.store.createUser(
      NewUser(
        email: email, name: try call.body.text("name"), passwordHash: hash, roles: roles,
        isActive: call.body["is_active"]?.bool ?? true,
        mustChangePassword: call.body["must_change_password"]?.bool ?? false))
    return Reply.created(json(user), at: "\(base)/\(user.id.uuidString.lowercased())").tagged(content(user))
  }

  @Sendable private static func update(_ call: Call, _ services: Services) async throws -> Reply {
    let id = try call.identifier("id", of: "user")
    let email = try call.body["email"]?.string.map { try Email($0) }
    var change = UserChange(
      email: email, name: call.body["name"]?.string, roles: try roles(call.body),
      isActive: call.body["is_active"]?.bool, mustChangePassword: call.body["must_change_password"]?.bool)
    if let text = call.body["password"]?.string {
      let password = Password(text)
      let address: Email = if let email { email } else { try await services.store.user(id: id).email }
      try AuthRoutes.check(password, for: address, path: "password")
      let hasher = services.hasher
      change.passwordHash = try await AuthRoutes.hash(services) { try hasher.hash(password) }
    }
    let user = try await services.store.updateUser(id: id, change, if: try call.precondition(content))
    if change.passwordHash == nil {
      services.authenticator.forget(id)
    } else {
      services.authenticator.passwordChanged(id)
    }
    return Reply.data(json(user)).tagged(content(user))
  }
}

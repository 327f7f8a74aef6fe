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
      ], answer: .page(user, by: .users)
    ) { call, services in
      let filter = UserFilter(
        search: call.query["search"]?.string, role: call.query["role"]?.string.flatMap(Role.init),
        isActive: call.query["is_active"]?.bool)
      let page = call.page
      return .page(try await services.store.users(filter, page), page, json)
    },
    Route(
      .post, base, "createUser", tag: "users", "Create an account.", access: .scope(.usersWrite), body: newUser,
      answer: .created(user), errors: [.conflict, .beyondAuthority, .tooManyRequests], handler: create),
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
      errors: [.conflict, .preconditionFailed, .beyondAuthority, .tooManyRequests], handler: update),
    Route(
      .delete, base + "/{id}", "deleteUser", tag: "users", "Delete an account; the last active Admin stays.",
      access: .scope(.usersWrite), answer: .data(.object([.required("deleted", .boolean)])),
      errors: [.conflict, .preconditionFailed, .beyondAuthority]
    ) { call, services in
      let id = try call.identifier("id", of: "user")
      let precondition = try call.precondition(content)
      let caller = try call.caller().permissions
      try await services.store.deleteUser(id: id) { user in
        try precondition(user)
        try caller.check(mayGrant: services.breakGlass.permissions(of: user))
      }
      services.authenticator.forget(id)
      return .data(["deleted": true])
    },
  ]

  private static let roles = Schema.array(.words(Role.allCases.map(\.rawValue)), max: Role.allCases.count)

  private static let newUser = Schema.named(
    "NewUser",
    .object([
      .required("email", Shapes.email), .optional("name", .text(max: 128), default: ""),
      .required("password", Shapes.newPassword), .required("roles", roles),
      .optional("custom_roles", .array(Shapes.name, max: 16), default: [], "Names of roles made of selected scopes"),
      .optional("is_active", .boolean, default: true),
      .optional("must_change_password", .boolean, default: false, "Only the password can be changed after signing in"),
    ]))

  static let user = Schema.named(
    "User",
    .object([
      .required("id", Shapes.uuid), .required("email", .string()), .required("name", .string()),
      .required("roles", .array(.words(Role.allCases.map(\.rawValue)), max: Int.max)),
      .required("custom_roles", .array(.string(), max: Int.max)),
      .required("scopes", .array(.words(Scope.allCases.map(\.rawValue)), max: Int.max)),
      .required("is_active", .boolean), .required("must_change_password", .boolean),
      .required("created_at", .timestamp), .required("updated_at", .timestamp),
      .required("last_sign_in_at", .nullable(.timestamp)),
      .required("failed_sign_ins", .count, "Since the last one that succeeded"),
      .required("has_second_factor", .boolean),
    ] + ScopedRoleShapes.held))

  static func json(_ user: User) -> JSONValue {
    let members: [String: JSONValue] = [
      "id": .string(user.id.uuidString.lowercased()), "email": .string(user.email.value), "name": .string(user.name),
      "roles": .strings(user.roles.sorted().map(\.rawValue)),
      "custom_roles": .strings(user.customRoles.map(\.name)),
      "scopes": .strings(user.permissions.scopes.sorted().map(\.rawValue)), "is_active": .bool(user.isActive),
      "must_change_password": .bool(user.mustChangePassword), "created_at": .time(user.createdAt),
      "updated_at": .time(user.updatedAt), "last_sign_in_at": .time(user.lastSignInAt),
      "failed_sign_ins": .count(user.failedSignInCount), "has_second_factor": .bool(user.hasSecondFactor),
    ]
    return .object(members.merging(ScopedRoleShapes.json(user.memberships, user.resourceGrants)) { own, _ in own })
  }

  /// What can be edited, for the entity tag; a sign-in in between changes nothing of it.
  @Sendable private static func content(_ user: User) -> JSONValue {
    [
      "email": .string(user.email.value), "name": .string(user.name),
      "roles": .strings(user.roles.sorted().map(\.rawValue)),
      "custom_roles": .strings(user.customRoles.map(\.name)), "is_active": .bool(user.isActive),
      "must_change_password": .bool(user.mustChangePassword), "password": .string(user.passwordHash),
    ]
  }

  private static func roles(_ body: JSONValue) throws -> Set<Role>? {
    guard body["roles"] != nil else { return nil }
    return Set(body.texts("roles").compactMap(Role.init))
  }

  /// The custom roles that the body names; nil where it doesn't say.
  private static func customRoles(_ body: JSONValue, _ services: Services) async throws -> [CustomRole]? {
    guard body["custom_roles"] != nil else { return nil }
    var roles: [CustomRole] = []
    for (index, name) in body.texts("custom_roles").enumerated() where !roles.contains(where: { $0.name == name }) {
      do { roles.append(try await services.store.role(named: name)) } catch StorageError.notFound {
        throw APIError.validation("custom_roles[\(index)]", "not_found", "there is no such role")
      }
    }
    return roles
  }

  @Sendable private static func create(_ call: Call, _ services: Services) async throws -> Reply {
    let email = try Email(try call.body.text("email"))
    let password = Password(try call.body.text("password"))
    guard let roles = try roles(call.body) else { throw Fault("roles are required") }
    let customRoles = try await customRoles(call.body, services) ?? []
    try call.caller().permissions.check(
      mayGrant: Permissions(roles: services.breakGlass.roles(roles, of: email), customRoles: customRoles))
    try AuthRoutes.check(password, for: email, path: "password")
    let hasher = services.hasher
    let hash = try await AuthRoutes.hash(services) { try hasher.hash(password) }
    let user = try await services.store.createUser(
      NewUser(
        email: email, name: try call.body.text("name"), passwordHash: hash, roles: roles,
        customRoles: customRoles.map(\.name), isActive: call.body["is_active"]?.bool ?? true,
        mustChangePassword: call.body["must_change_password"]?.bool ?? false))
    return Reply.created(json(user), at: "\(base)/\(user.id.uuidString.lowercased())").tagged(content(user))
  }

  @Sendable private static func update(_ call: Call, _ services: Services) async throws -> Reply {
    let id = try call.identifier("id", of: "user")
    let email = try call.body["email"]?.string.map { try Email($0) }
    let customRoles = try await customRoles(call.body, services)
    var change = UserChange(
      email: email, name: call.body["name"]?.string, roles: try roles(call.body),
      customRoles: customRoles?.map(\.name),
      isActive: call.body["is_active"]?.bool, mustChangePassword: call.body["must_change_password"]?.bool)
    if let text = call.body["password"]?.string {
      guard try call.caller().subjectID != id else {
        throw APIError.validation(
          "password", "own", "is the caller's own: POST \(RouteTable.base)/auth/change-password, with the current one")
      }
      let password = Password(text)
      let address: Email = if let email { email } else { try await services.store.user(id: id).email }
      try AuthRoutes.check(password, for: address, path: "password")
      let hasher = services.hasher
      change.passwordHash = try await AuthRoutes.hash(services) { try hasher.hash(password) }
    }
    let precondition = try call.precondition(content)
    let caller = try call.caller().permissions
    let user = try await services.store.updateUser(id: id, change) { [change] old in
      try precondition(old)
      let roles = services.breakGlass.roles(change.roles ?? old.roles, of: change.email ?? old.email)
      // Whoever could set the password of an account that may more than he would be that account.
      try caller.check(mayGrant: services.breakGlass.permissions(of: old))
      try caller.check(mayGrant: Permissions(roles: roles, customRoles: customRoles ?? old.customRoles))
    }
    if change.passwordHash == nil {
      services.authenticator.forget(id)
    } else {
      services.authenticator.passwordChanged(id)
    }
    return Reply.data(json(user)).tagged(content(user))
  }
}

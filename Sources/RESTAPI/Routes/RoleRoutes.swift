import ControlProtocol
import Foundation
import Hummingbird
import Identity
import Storage

/// Custom roles: selected scopes, and how far they reach.
enum RoleRoutes {
  private static let base = RouteTable.base + "/roles"

  static let all: [Route] = [
    Route(
      .get, base, "listRoles", tag: "roles", "Custom roles, by name.", access: .scope(.rolesRead), answer: .page(role, by: .roles)
    ) { call, services in
      let page = call.page
      return .page(try await services.store.roles(page), page, json)
    },
    Route(
      .post, base, "createRole", tag: "roles",
      "Make a role of selected scopes. Nobody gives a scope that he doesn't hold himself, at least as far.",
      access: .scope(.rolesWrite), body: newRole, answer: .created(role), errors: [.conflict, .beyondAuthority],
      handler: create),
    Route(
      .get, base + "/{role}", "getRole", tag: "roles", "One role.", access: .scope(.rolesRead), answer: .data(role)
    ) { call, services in
      let found = try await services.store.role(named: try call.parameter("role"))
      return Reply.data(json(found)).tagged(content(found))
    },
    Route(
      .patch, base + "/{role}", "updateRole", tag: "roles", "Change a role, at once for everybody who has it.",
      access: .scope(.rolesWrite),
      body: .named("RolePatch", .object(newRole.partial().fields.filter { $0.name != "level" })), answer: .data(role),
      errors: [.conflict, .beyondAuthority, .preconditionFailed], handler: update),
    Route(
      .delete, base + "/{role}", "deleteRole", tag: "roles", "Delete a role; not while an account has it.",
      access: .scope(.rolesWrite), answer: .data(.object([.required("deleted", .boolean)])),
      errors: [.conflict, .beyondAuthority, .preconditionFailed]
    ) { call, services in
      let caller = try call.caller().permissions
      let precondition = try call.precondition(content)
      try await services.store.deleteRole(named: try call.parameter("role")) { role in
        try precondition(role)
        try caller.check(mayGrant: Permissions([.init(role)]))
      }
      return .data(["deleted": true])
    },
  ]

  private static let newRole = Schema.named(
    "NewRole",
    .object([
      .required("name", Shapes.name), .optional("description", .text(max: 512), default: ""),
      .optional(
        "level", .words(RoleLevel.allCases.map(\.rawValue)), default: "global",
        "Given to accounts, to members of teams, or for single resources; stays as it is"),
      .required("scopes", AccessShapes.scopes(min: 1), AccessShapes.scopesNote),
      .optional("limits", .nullable(AccessShapes.limits), "How far rules:write reaches; null: everywhere"),
    ]))

  private static let role = Schema.named(
    "CustomRole",
    .object([
      .required("id", Shapes.uuid), .required("name", .string()), .required("description", .string()),
      .required("level", .words(RoleLevel.allCases.map(\.rawValue))),
      .required("scopes", .array(.string(), max: Int.max)),
      .required("grants", .array(.words(Scope.allCases.map(\.rawValue)), max: Int.max), "What the scopes stand for"),
      .required("limits", .nullable(AccessShapes.limits)), .required("created_at", .timestamp),
      .required("updated_at", .timestamp),
    ]))

  /// What can be edited, for the entity tag.
  @Sendable private static func content(_ role: CustomRole) -> JSONValue {
    [
      "name": .string(role.name), "description": .string(role.description),
      "scopes": .strings(role.scopes.map(\.text)), "limits": AccessShapes.json(role.limits),
    ]
  }

  private static func json(_ role: CustomRole) -> JSONValue {
    [
      "id": .string(role.id.uuidString.lowercased()), "name": .string(role.name),
      "description": .string(role.description), "level": .string(role.level.rawValue),
      "scopes": .strings(role.scopes.map(\.text)),
      "grants": .strings(role.scopes.scopes.sorted().map(\.rawValue)), "limits": AccessShapes.json(role.limits),
      "created_at": .time(role.createdAt), "updated_at": .time(role.updatedAt),
    ]
  }

  @Sendable private static func create(_ call: Call, _ services: Services) async throws -> Reply {
    guard let scopes = try AccessShapes.scopes(call.body) else { throw Fault("scopes are required") }
    let new = NewCustomRole(
      name: try call.body.text("name"), description: try call.body.text("description"),
      level: call.body["level"]?.string.flatMap(RoleLevel.init) ?? .global, scopes: scopes,
      limits: try AccessShapes.limits(call.body) ?? nil)
    try call.caller().permissions.check(
      mayGrant: Permissions([.init(scopes: new.scopes.scopes, limits: new.limits)]))
    let role = try await services.store.createRole(new)
    return Reply.created(json(role), at: "\(base)/\(role.name)").tagged(content(role))
  }

  @Sendable private static func update(_ call: Call, _ services: Services) async throws -> Reply {
    let change = CustomRoleChange(
      name: call.body["name"]?.string, description: call.body["description"]?.string,
      scopes: try AccessShapes.scopes(call.body), limits: try AccessShapes.limits(call.body))
    let caller = try call.caller().permissions
    let precondition = try call.precondition(content)
    let role = try await services.store.updateRole(named: try call.parameter("role"), change) { old in
      try precondition(old)
      let scopes = (change.scopes ?? old.scopes).scopes
      try caller.check(mayGrant: Permissions([.init(old)]))
      try caller.check(mayGrant: Permissions([.init(scopes: scopes, limits: change.limits ?? old.limits)]))
    }
    services.authenticator.forgetAll()
    return Reply.data(json(role)).tagged(content(role))
  }
}

import ControlProtocol
import Foundation
import Hummingbird
import Identity
import Storage

/// Whose a rule set, node or attachment is, and to whom it is given by itself.
enum ResourceRoutes {
  private static let base = RouteTable.base + "/resources/{kind}/{resource}"
  private static let subject = RouteSubject.resource(kind: "kind", name: "resource")
  private static let tag = "resources"

  static let all: [Route] = [
    Route(
      .get, base, "getResource", tag: tag,
      "Whose a resource is. kind: rule-set, set, node or attachment; resource: its name or id, of an "
        + "attachment the id, of a set rule-set:set.",
      access: .scope(.grantsRead), on: subject, answer: .data(resource)
    ) { call, services in
      let found = try await named(call, services)
      return Reply.data(json(found)).tagged(content(found))
    },
    Route(
      .put, base + "/team", "setResourceTeam", tag: tag,
      "Give a resource to a team, or to none: to be done by who could be its Team Admin now.",
      access: .scope(.grantsWrite), on: subject,
      body: .named("ResourceTeam", .object([.required("team", .nullable(Shapes.name))])), answer: .data(resource),
      errors: [.beyondAuthority, .notFound, .preconditionFailed]
    ) { call, services in
      let found = try await named(call, services)
      guard found.ref.kind != .set else {
        throw APIError.validation("team", "part_of_rule_set", "a set belongs to its rule set: give that to a team")
      }
      let team = call.body.present("team")?.string
      let permissions = try call.caller().permissions
      // Its members get what their roles in the team say, up to everything that a Team Admin may.
      let all = AssignedRole(name: "", scopes: TeamRole.admin.scopes)
      try permissions.check(mayGrant: Permissions([.init(all, in: .resource(found.ref))]))
      if let team {
        let id = try await services.store.team(named: team).id
        try permissions.check(mayGrant: Permissions([.init(scopes: [.teamsWrite], reach: .team(id))]))
      }
      let changed = try await services.store.setOwner(of: found.ref, team: team, if: try call.precondition(content))
      services.authenticator.forgetAll()
      return Reply.data(json(changed)).tagged(content(changed))
    },
    Route(
      .get, base + "/grants", "listGrants", tag: tag,
      "To whom a resource is given by itself: accounts by their addresses, API clients by their names.",
      access: .scope(.grantsRead), on: subject, answer: .page(grant, by: .members)
    ) { call, services in
      let page = call.page
      return .page(try await services.store.grants(of: try await named(call, services).ref, page), page, json)
    },
    Route(
      .get, base + "/grants/{holder}", "getGrant", tag: tag, "What somebody is to a resource by himself.",
      access: .scope(.grantsRead), on: subject, answer: .data(grant)
    ) { call, services in
      let ref = try await named(call, services).ref
      let found = try await services.store.grant(of: ref, to: try call.holder("holder"))
      return Reply.data(json(found)).tagged(ScopedRoleShapes.content(found.role))
    },
    Route(
      .put, base + "/grants/{holder}", "setGrant", tag: tag,
      "Make an account (by its address) or an API client (by its name) Owner, Editor or Viewer of a resource, or give it "
        + "a custom role for it. Nobody gives what he doesn't hold for it.",
      access: .scope(.grantsWrite), on: subject, body: ScopedRoleShapes.assignment(.resource), answer: .data(grant),
      errors: [.beyondAuthority, .preconditionFailed]
    ) { call, services in
      let found = try await named(call, services)
      let check = try call.authority(over: found)
      let set = try await services.store.setGrant(
        of: found, to: try call.holder("holder"), role: try call.body.text("role"), if: check)
      services.authenticator.forgetAll()
      return Reply.data(json(set)).tagged(ScopedRoleShapes.content(set.role))
    },
    Route(
      .delete, base + "/grants/{holder}", "removeGrant", tag: tag,
      "Take a resource away from an account or an API client.",
      access: .scope(.grantsWrite), on: subject, answer: .data(.object([.required("deleted", .boolean)])),
      errors: [.beyondAuthority, .preconditionFailed]
    ) { call, services in
      let found = try await named(call, services)
      let check = try call.authority(over: found)
      try await services.store.removeGrant(of: found, to: try call.holder("holder"), if: check)
      services.authenticator.forgetAll()
      return .data(["deleted": true])
    },
  ]

  static let resource = Schema.named(
    "Resource",
    .object([
      .required("kind", .words(ResourceKind.allCases.map(\.rawValue))), .required("id", Shapes.uuid),
      .required("name", .string(), "Of an attachment node/interface, of a set rule-set:set"),
      .required("team", .nullable(.string())),
    ]))

  private static let grant = Schema.named(
    "ResourceGrant", .object(ScopedRoleShapes.holder + [.required("role", .string())]))

  /// What can be edited, for the entity tag.
  @Sendable private static func content(_ resource: NamedResource) -> JSONValue { ["team": .optional(resource.team)] }

  private static func named(_ call: Call, _ services: Services) async throws -> NamedResource {
    try await services.store.resource(try call.resourceKind("kind"), try call.parameter("resource"))
  }

  static func json(_ resource: NamedResource) -> JSONValue {
    [
      "kind": .string(resource.ref.kind.rawValue), "id": .string(resource.ref.id.uuidString.lowercased()),
      "name": .string(resource.name), "team": .optional(resource.team),
    ]
  }

  private static func json(_ grant: ResourceGrant) -> JSONValue {
    var members = ScopedRoleShapes.json(grant.holder, grant.holderID)
    members["role"] = .string(grant.role.name)
    return .object(members)
  }
}

import ControlProtocol
import Foundation
import Hummingbird
import Identity
import Storage

/// Teams, their members (accounts and API clients), and what they own.
enum TeamRoutes {
  private static let base = RouteTable.base + "/teams"

  static let all: [Route] = [
    Route(
      .get, base, "listTeams", tag: "teams", "The teams that the caller may see, by name.",
      access: .scope(.teamsRead), on: .anything, answer: .page(team, by: .teams)
    ) { call, services in
      let page = call.page
      let ids = try call.caller().permissions.teams(with: .teamsRead)
      return .page(try await services.store.teams(among: ids, page), page, json)
    },
    Route(
      .post, base, "createTeam", tag: "teams", "Make a team.", access: .scope(.teamsWrite), body: newTeam,
      answer: .created(team), errors: [.conflict]
    ) { call, services in
      let made = try await services.store.createTeam(
        name: try call.body.text("name"), description: try call.body.text("description"))
      return Reply.created(json(made), at: "\(base)/\(made.name)").tagged(content(made))
    },
    Route(
      .get, base + "/{team}", "getTeam", tag: "teams", "One team.", access: .scope(.teamsRead), on: .team("team"),
      answer: .data(team)
    ) { call, services in
      let found = try await services.store.team(named: try call.parameter("team"))
      return Reply.data(json(found)).tagged(content(found))
    },
    Route(
      .patch, base + "/{team}", "updateTeam", tag: "teams", "Change a team's name or description.",
      access: .scope(.teamsWrite), on: .team("team"), body: newTeam.partial(named: "TeamPatch"), answer: .data(team),
      errors: [.conflict, .preconditionFailed]
    ) { call, services in
      let changed = try await services.store.updateTeam(
        named: try call.parameter("team"), newName: call.body["name"]?.string,
        description: call.body["description"]?.string, if: try call.precondition(content))
      services.authenticator.forgetAll()
      return Reply.data(json(changed)).tagged(content(changed))
    },
    Route(
      .delete, base + "/{team}", "deleteTeam", tag: "teams", "Delete a team; what it owned belongs to no team any more.",
      access: .scope(.teamsWrite), answer: .data(.object([.required("deleted", .boolean)])),
      errors: [.preconditionFailed]
    ) { call, services in
      try await services.store.deleteTeam(named: try call.parameter("team"), if: try call.precondition(content))
      services.authenticator.forgetAll()
      return .data(["deleted": true])
    },
    Route(
      .get, base + "/{team}/members", "listMembers", tag: "teams",
      "Who is in a team: accounts by their addresses, API clients by their names.",
      access: .scope(.teamsRead), on: .team("team"), answer: .page(member, by: .members)
    ) { call, services in
      let page = call.page
      return .page(try await services.store.members(ofTeam: try call.parameter("team"), page), page, json)
    },
    Route(
      .get, base + "/{team}/members/{member}", "getMember", tag: "teams", "What somebody is in a team.",
      access: .scope(.teamsRead), on: .team("team"), answer: .data(member)
    ) { call, services in
      let found = try await services.store.member(try call.holder("member"), ofTeam: try call.parameter("team"))
      return Reply.data(json(found)).tagged(ScopedRoleShapes.content(found.role))
    },
    Route(
      .put, base + "/{team}/members/{member}", "setMember", tag: "teams",
      "Take an account (by its address) or an API client (by its name) into a team, or give another role there. Nobody "
        + "gives what he doesn't hold in the team.",
      access: .scope(.teamsWrite), on: .team("team"), body: ScopedRoleShapes.assignment(.team), answer: .data(member),
      errors: [.beyondAuthority, .preconditionFailed]
    ) { call, services in
      let name = try call.parameter("team")
      let check = try call.authority(over: .team(try await services.store.team(named: name).id))
      let set = try await services.store.setMember(
        try call.holder("member"), ofTeam: name, role: try call.body.text("role"), if: check)
      services.authenticator.forgetAll()
      return Reply.data(json(set)).tagged(ScopedRoleShapes.content(set.role))
    },
    Route(
      .delete, base + "/{team}/members/{member}", "removeMember", tag: "teams",
      "Take an account or an API client out of a team.",
      access: .scope(.teamsWrite), on: .team("team"), answer: .data(.object([.required("deleted", .boolean)])),
      errors: [.beyondAuthority, .preconditionFailed]
    ) { call, services in
      let name = try call.parameter("team")
      let check = try call.authority(over: .team(try await services.store.team(named: name).id))
      try await services.store.removeMember(try call.holder("member"), ofTeam: name, if: check)
      services.authenticator.forgetAll()
      return .data(["deleted": true])
    },
    Route(
      .get, base + "/{team}/resources", "listTeamResources", tag: "teams", "What a team owns, by kind and name.",
      access: .scope(.teamsRead), on: .team("team"), answer: .page(ResourceRoutes.resource, by: .resources)
    ) { call, services in
      let page = call.page
      return .page(
        try await services.store.resources(ofTeam: try call.parameter("team"), page), page, ResourceRoutes.json)
    },
  ]

  // MARK: Shapes

  private static let newTeam = Schema.named(
    "NewTeam",
    .object([.required("name", Shapes.name), .optional("description", .text(max: 512), default: "")]))

  private static let team = Schema.named(
    "Team",
    .object([
      .required("id", Shapes.uuid), .required("name", .string()), .required("description", .string()),
      .required("created_at", .timestamp), .required("updated_at", .timestamp),
    ]))

  private static let member = Schema.named(
    "TeamMember",
    .object(
      ScopedRoleShapes.holder + [
        .required("name", .string(), "Of the account; of an API client, its description"), .required("role", .string()),
      ]))

  /// What can be edited, for the entity tag.
  @Sendable private static func content(_ team: Team) -> JSONValue {
    ["name": .string(team.name), "description": .string(team.description)]
  }

  private static func json(_ team: Team) -> JSONValue {
    [
      "id": .string(team.id.uuidString.lowercased()), "name": .string(team.name),
      "description": .string(team.description), "created_at": .time(team.createdAt),
      "updated_at": .time(team.updatedAt),
    ]
  }

  private static func json(_ member: TeamMember) -> JSONValue {
    var members = ScopedRoleShapes.json(member.holder, member.id)
    members["name"] = .string(member.name)
    members["role"] = .string(member.role.name)
    return .object(members)
  }
}

/// Shapes of roles that hold in a team or for a resource.
enum ScopedRoleShapes {
  /// A built-in role of the level, or a custom one.
  static func assignment(_ level: RoleLevel) -> Schema {
    let words = level == .team ? TeamRole.allCases.map(\.rawValue) : ResourceRole.allCases.map(\.rawValue)
    return .named(
      level == .team ? "TeamRoleAssignment" : "ResourceRoleAssignment",
      .object([
        .required(
          "role", .text(max: 64, min: 1),
          "\(words.joined(separator: ", ")), or a custom role of the level \(level.rawValue)")
      ]))
  }

  /// What can be edited of a role that somebody has, for the entity tag; nil: he has none.
  static func content(_ role: AssignedRole?) -> JSONValue { ["role": .optional(role?.name)] }

  /// Who has a role.
  static let holder: [Field] = [
    .required("kind", .words(RoleHolder.Kind.allCases.map(\.rawValue))), .required("id", Shapes.uuid),
    .required("holder", .string(), "An account's address, or an API client's name"),
  ]

  static func json(_ holder: RoleHolder, _ id: UUID) -> [String: JSONValue] {
    [
      "kind": .string(holder.kind.rawValue), "id": .string(id.uuidString.lowercased()), "holder": .string(holder.text),
    ]
  }

  /// What somebody has in teams and for resources.
  static let held: [Field] = [
    .required("teams", .array(.object([.required("team", .string()), .required("role", .string())]), max: Int.max)),
    .required(
      "resources",
      .array(
        .object([
          .required("kind", .words(ResourceKind.allCases.map(\.rawValue))), .required("id", Shapes.uuid),
          .required("role", .string()),
        ]), max: Int.max), "Given by themselves"),
  ]

  static func json(_ memberships: [Membership], _ grants: [ResourceGrant]) -> [String: JSONValue] {
    [
      "teams": .array(memberships.map { ["team": .string($0.team), "role": .string($0.role.name)] }),
      "resources": .array(
        grants.map {
          [
            "kind": .string($0.resource.kind.rawValue), "id": .string($0.resource.id.uuidString.lowercased()),
            "role": .string($0.role.name),
          ]
        }),
    ]
  }
}

extension Call {
  /// Whom the path names, by an address or an API client's name; what is neither names nobody.
  func holder(_ parameter: String) throws -> RoleHolder {
    let text = try self.parameter(parameter)
    do throws(EmailError) { return try RoleHolder(parsing: text) } catch { throw APIError.notFound("user", text) }
  }

  /// Nobody gives or takes what he doesn't hold there, and only from what `If-Match` names.
  ///
  /// - Parameter things: what the role is for, and what that is part of.
  func authority(over things: Permissions.Reach...) throws -> Check<RoleChange> {
    let permissions = try caller().permissions
    let precondition: Check<RoleChange> = try precondition { ScopedRoleShapes.content($0.old) }
    return { change in
      try precondition(change)
      try permissions.check(mayGrant: [change.old, change.new].compactMap { $0 }, on: things)
    }
  }

  func authority(over resource: NamedResource) throws -> Check<RoleChange> {
    guard let parent = resource.parent else { return try authority(over: .resource(resource.ref)) }
    return try authority(over: .resource(resource.ref), .resource(parent))
  }
}

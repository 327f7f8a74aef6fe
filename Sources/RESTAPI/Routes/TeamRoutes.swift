import ControlProtocol
import Foundation
import Hummingbird
import Identity
import Storage

/// Teams, their members, and what they own.
enum TeamRoutes {
  private static let base = RouteTable.base + "/teams"

  static let all: [Route] = [
    Route(
      .get, base, "listTeams", tag: "teams", "The teams that the caller may see, by name.",
      access: .scope(.teamsRead), on: .anything, answer: .page(team)
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
      return .created(json(made), at: "\(base)/\(made.name)")
    },
    Route(
      .get, base + "/{team}", "getTeam", tag: "teams", "One team.", access: .scope(.teamsRead), on: .team("team"),
      answer: .data(team)
    ) { call, services in .data(json(try await services.store.team(named: try call.parameter("team")))) },
    Route(
      .patch, base + "/{team}", "updateTeam", tag: "teams", "Change a team's name or description.",
      access: .scope(.teamsWrite), on: .team("team"), body: newTeam.partial(named: "TeamPatch"), answer: .data(team),
      errors: [.conflict]
    ) { call, services in
      let changed = try await services.store.updateTeam(
        named: try call.parameter("team"), newName: call.body["name"]?.string,
        description: call.body["description"]?.string)
      services.authenticator.forgetAll()
      return .data(json(changed))
    },
    Route(
      .delete, base + "/{team}", "deleteTeam", tag: "teams", "Delete a team; what it owned belongs to no team any more.",
      access: .scope(.teamsWrite), answer: .data(.object([.required("deleted", .boolean)]))
    ) { call, services in
      try await services.store.deleteTeam(named: try call.parameter("team"))
      services.authenticator.forgetAll()
      return .data(["deleted": true])
    },
    Route(
      .get, base + "/{team}/members", "listMembers", tag: "teams", "Who is in a team, by address.",
      access: .scope(.teamsRead), on: .team("team"), answer: .page(member)
    ) { call, services in
      let page = call.page
      return .page(try await services.store.members(ofTeam: try call.parameter("team"), page), page, json)
    },
    Route(
      .put, base + "/{team}/members/{email}", "setMember", tag: "teams",
      "Take somebody into a team, or give him another role there. Nobody gives what he doesn't hold in the team.",
      access: .scope(.teamsWrite), on: .team("team"), body: ScopedRoleShapes.assignment(.team), answer: .data(member),
      errors: [.beyondAuthority]
    ) { call, services in
      let name = try call.parameter("team")
      let check = try call.authority(over: .team(try await services.store.team(named: name).id))
      let set = try await services.store.setMember(
        try call.email(), ofTeam: name, role: try call.body.text("role"), if: check)
      services.authenticator.forgetAll()
      return .data(json(set))
    },
    Route(
      .delete, base + "/{team}/members/{email}", "removeMember", tag: "teams", "Take somebody out of a team.",
      access: .scope(.teamsWrite), on: .team("team"), answer: .data(.object([.required("deleted", .boolean)])),
      errors: [.beyondAuthority]
    ) { call, services in
      let name = try call.parameter("team")
      let check = try call.authority(over: .team(try await services.store.team(named: name).id))
      try await services.store.removeMember(try call.email(), ofTeam: name, if: check)
      services.authenticator.forgetAll()
      return .data(["deleted": true])
    },
    Route(
      .get, base + "/{team}/resources", "listTeamResources", tag: "teams", "What a team owns, by kind and name.",
      access: .scope(.teamsRead), on: .team("team"), answer: .page(ResourceRoutes.resource)
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
    .object([
      .required("user_id", Shapes.uuid), .required("email", .string()), .required("name", .string()),
      .required("role", .string()),
    ]))

  private static func json(_ team: Team) -> JSONValue {
    [
      "id": .string(team.id.uuidString.lowercased()), "name": .string(team.name),
      "description": .string(team.description), "created_at": .time(team.createdAt),
      "updated_at": .time(team.updatedAt),
    ]
  }

  private static func json(_ member: TeamMember) -> JSONValue {
    [
      "user_id": .string(member.userID.uuidString.lowercased()), "email": .string(member.email.value),
      "name": .string(member.name), "role": .string(member.role.name),
    ]
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
}

extension Call {
  /// The address that the path names; what is none names nobody.
  func email() throws -> Email {
    let text = try parameter("email")
    do throws(EmailError) { return try Email(text) } catch { throw APIError.notFound("user", text) }
  }

  /// Nobody gives or takes what he doesn't hold there.
  func authority(over reach: Permissions.Reach) throws -> Check<RoleChange> {
    let permissions = try caller().permissions
    return { change in
      let roles = [change.old, change.new].compactMap { $0 }
      try permissions.check(mayGrant: Permissions(roles.map { Permissions.Grant($0, in: reach) }))
    }
  }
}

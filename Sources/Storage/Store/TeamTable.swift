import Audit
import Foundation
import Identity
import JSONValues
import Rules

/// The rows of teams and their members.
enum TeamTable {
  static let columns = "id, name, description, created_at, updated_at"

  static func read(_ row: inout RowReader) throws(StorageError) -> Team {
    Team(
      id: try row.uuid(), name: try row.text(), description: try row.text(), createdAt: try row.date(),
      updatedAt: try row.date())
  }

  static func find(_ name: String, _ session: any SQLSession) throws(StorageError) -> Team {
    let team = try session.first("SELECT \(columns) FROM teams WHERE name = $1", [.text(name)], read)
    guard let team else { throw .notFound(kind: "team", key: name) }
    return team
  }

  /// Until the transaction ends, nobody else changes the team or its members.
  static func lock(_ name: String, _ session: any SQLSession) throws(StorageError) -> Team {
    try session.lockLater("teams", where: "name = $1", [.text(name)])
    return try find(name, session)
  }

  /// Two columns of a row: a built-in role's name, or a custom role's id.
  static func readRole(
    _ row: inout RowReader, at level: RoleLevel, _ custom: [UUID: CustomRole]
  ) throws(StorageError) -> AssignedRole {
    let (name, id) = (try row.textOrNil(), try row.uuidOrNil())
    if let id, let role = custom[id] { return AssignedRole(role) }
    // A built-in role that this version doesn't know grants nothing.
    return name.flatMap { AssignedRole(builtIn: $0, at: level) } ?? AssignedRole(name: name ?? "", scopes: [])
  }

  /// The custom roles of a level, by id.
  static func customRoles(
    _ level: RoleLevel, _ session: any SQLSession
  ) throws(StorageError) -> [UUID: CustomRole] {
    let roles = try session.all(
      "SELECT \(RoleTable.columns) FROM roles WHERE level = $1", [.text(level.rawValue)], RoleTable.read)
    return Dictionary(roles.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
  }

  /// The role of this name at this level, and what the two columns hold.
  static func role(
    named name: String, at level: RoleLevel, _ session: any SQLSession
  ) throws(StorageError) -> (AssignedRole, [SQLValue]) {
    if let role = AssignedRole(builtIn: name, at: level) { return (role, [.text(name), .null]) }
    let custom: CustomRole
    do { custom = try RoleTable.lock(name, session) } catch .notFound {
      throw .invalid(field: "role", reason: "there is no such role for a \(level.rawValue)")
    }
    guard custom.level == level else {
      throw .invalid(field: "role", reason: "is a role of the level \(custom.level.rawValue), not \(level.rawValue)")
    }
    return (AssignedRole(custom), [.null, SQLValue(custom.id)])
  }
}

extension Team {
  var audited: AuditedState {
    AuditedState(id, ["name": .string(name), "description": .string(description)])
  }
}

// MARK: Teams

extension ListOrder {
  public static let teams = ListOrder(
    "name", key: .text("name"), fields: [.text("name"), .integer("created_at"), .integer("updated_at")])
}

extension SQLStore {
  func createTeam(name: String, description: String) async throws -> Team {
    let at = timestamp
    return try await change { session, trail in
      try session.execute(
        "INSERT INTO teams (\(TeamTable.columns)) VALUES ($1, $2, $3, $4, $4)",
        [SQLValue(UUID()), .text(name), .text(description), SQLValue(at)])
      let made = try TeamTable.find(name, session)
      trail.created("team", made.audited)
      return made
    }
  }

  func team(named name: String) async throws -> Team {
    try await database.read { try TeamTable.find(name, $0) }
  }

  func teams(among ids: Set<UUID>?, _ page: Page) async throws -> Paged<Team> {
    var conditions = Conditions()
    if let ids { conditions.add("id", among: ids) }
    return try await database.read { [conditions] session in
      try session.page(select: TeamTable.columns, from: "teams", conditions, order: .teams, page, TeamTable.read)
    }
  }

  func updateTeam(
    named name: String, newName: String?, description: String?, if check: @escaping Check<Team>
  ) async throws -> Team {
    let at = timestamp
    return try await change { session, trail in
      let old = try TeamTable.lock(name, session)
      try check(old)
      let new = newName ?? name
      try session.execute(
        "UPDATE teams SET name = $2, description = $3, updated_at = $4 WHERE id = $1",
        [SQLValue(old.id), .text(new), .text(description ?? old.description), SQLValue(at)])
      let updated = try TeamTable.find(new, session)
      trail.changed("team", from: old.audited, to: updated.audited)
      return updated
    }
  }

  func deleteTeam(named name: String, if check: @escaping Check<Team>) async throws {
    try await change { session, trail in
      let old = try TeamTable.lock(name, session)
      try check(old)
      try session.execute("DELETE FROM teams WHERE id = $1", [SQLValue(old.id)])
      trail.deleted("team", old.audited)
    }
  }
}

// MARK: Members

extension SQLStore {
  func members(ofTeam name: String, _ page: Page) async throws -> Paged<TeamMember> {
    try await database.read { session in
      try HeldRoleTable.page(at: .team(try TeamTable.find(name, session).id), session, page).map { TeamMember($0) }
    }
  }

  func member(_ holder: RoleHolder, ofTeam name: String) async throws -> TeamMember {
    try await database.read { session in
      TeamMember(try HeldRoleTable.find(holder, at: .team(try TeamTable.find(name, session).id), session))
    }
  }

  func setMember(
    _ holder: RoleHolder, ofTeam name: String, role: String, if check: @escaping Check<RoleChange>
  ) async throws -> TeamMember {
    try await change { session, trail in
      let team = try TeamTable.lock(name, session)
      let (held, change) = try HeldRoleTable.set(holder, role, at: .team(team.id), session, if: check)
      trail.add(change.event(AuditSubject(kind: "team", id: SQLValue(team.id).plainText), of: holder))
      return TeamMember(held)
    }
  }

  func removeMember(_ holder: RoleHolder, ofTeam name: String, if check: @escaping Check<RoleChange>) async throws {
    try await change { session, trail in
      let team = try TeamTable.lock(name, session)
      let change = try HeldRoleTable.remove(holder, at: .team(team.id), session, if: check)
      trail.add(change.event(AuditSubject(kind: "team", id: SQLValue(team.id).plainText), of: holder))
    }
  }
}

extension TeamMember {
  fileprivate init(_ held: HeldRole) {
    self.init(id: held.holderID, holder: held.holder, name: held.name, role: held.role)
  }
}

import Audit
import Foundation
import Identity
import JSONValues

/// Where somebody has a role beside those that hold everywhere.
enum RolePlace {
  case team(UUID)
  case resource(ResourceRef)

  var level: RoleLevel { if case .team = self { .team } else { .resource } }

  /// What a role here is called where there is none.
  var noun: String { if case .team = self { "member" } else { "grant" } }

  fileprivate func table(_ kind: RoleHolder.Kind) -> String {
    if case .team = self { kind.memberTable } else { kind.grantTable }
  }

  fileprivate var columns: [String] { if case .team = self { ["team_id"] } else { ["kind", "resource_id"] } }

  fileprivate var values: [SQLValue] {
    switch self {
    case .team(let id): [SQLValue(id)]
    case .resource(let ref): [.text(ref.kind.rawValue), SQLValue(ref.id)]
    }
  }
}

/// Accounts and API clients have their roles in tables of the same columns, each with a reference to its own.
extension RoleHolder.Kind {
  var memberTable: String { self == .user ? "team_members" : "team_clients" }
  var grantTable: String { self == .user ? "resource_grants" : "client_grants" }
  /// Of these two.
  fileprivate var column: String { self == .user ? "user_id" : "client_id" }
  fileprivate var table: String { self == .user ? "users" : "api_clients" }
  /// What names it.
  fileprivate var key: String { self == .user ? "email" : "name" }
  fileprivate var title: String { self == .user ? "name" : "description" }
  fileprivate var noun: String { self == .user ? "user" : "API client" }
}

/// A role as somebody has it at a place.
struct HeldRole {
  var holderID: UUID
  var holder: RoleHolder
  /// For people to read.
  var name: String
  var role: AssignedRole
}

extension ListOrder {
  /// Of a team, and of who has a role for a resource.
  public static let members = ListOrder(
    "holder", "kind", key: .text("id", "x.id"),
    fields: [.text("holder", "x.holder"), .text("kind", "x.holder_kind"), .text("name", "x.title")])
}

/// The rows of roles in teams and for resources.
enum HeldRoleTable {
  private static func source(at place: RolePlace) -> String {
    let parts = RoleHolder.Kind.allCases.map { kind in
      "SELECT '\(kind.rawValue)' AS holder_kind, h.id AS id, h.\(kind.key) AS holder, h.\(kind.title) AS title, "
        + "r.role AS role, r.role_id AS role_id, \(place.columns.map { "r.\($0) AS \($0)" }.joined(separator: ", ")) "
        + "FROM \(place.table(kind)) r JOIN \(kind.table) h ON h.id = r.\(kind.column)"
    }
    return "(\(parts.joined(separator: " UNION ALL "))) x"
  }

  /// By address or name.
  static func page(
    at place: RolePlace, _ session: any SQLSession, _ page: Page
  ) throws(StorageError) -> Paged<HeldRole> {
    var conditions = Conditions()
    for (column, value) in zip(place.columns, place.values) { conditions.add("x.\(column) = $?", value) }
    let custom = try TeamTable.customRoles(place.level, session)
    return try session.page(
      select: "x.holder_kind, x.id, x.holder, x.title, x.role, x.role_id", from: source(at: place), conditions,
      order: .members, page
    ) { row throws(StorageError) in
      let kind = try row.choice(RoleHolder.Kind.self)
      return HeldRole(
        holderID: try row.uuid(), holder: kind == .user ? .user(try row.email()) : .client(try row.text()),
        name: try row.text(), role: try TeamTable.readRole(&row, at: place.level, custom))
    }
  }

  /// `StorageError.notFound` where he has none here.
  static func find(
    _ holder: RoleHolder, at place: RolePlace, _ session: any SQLSession
  ) throws(StorageError) -> HeldRole {
    let (id, name) = try Self.holder(holder, session)
    guard let role = try role(of: id, holder.kind, at: place, session) else {
      throw .notFound(kind: place.noun, key: holder.text)
    }
    return HeldRole(holderID: id, holder: holder, name: name, role: role)
  }

  static func set(
    _ holder: RoleHolder, _ name: String, at place: RolePlace, _ session: any SQLSession, if check: Check<RoleChange>
  ) throws -> (HeldRole, RoleChange) {
    try lock(holder, session)
    let (id, title) = try Self.holder(holder, session)
    let (role, columns) = try TeamTable.role(named: name, at: place.level, session)
    let change = RoleChange(old: try Self.role(of: id, holder.kind, at: place, session), new: role)
    try check(change)
    try delete(id, holder.kind, at: place, session)
    try session.insert(
      into: place.table(holder.kind), place.columns + [holder.kind.column, "role", "role_id"],
      [place.values + [SQLValue(id)] + columns])
    if holder.kind == .user { try PasswordResetTable.remove(of: id, session) }
    return (HeldRole(holderID: id, holder: holder, name: title, role: role), change)
  }

  /// `StorageError.notFound` where he has none here.
  static func remove(
    _ holder: RoleHolder, at place: RolePlace, _ session: any SQLSession, if check: Check<RoleChange>
  ) throws -> RoleChange {
    try lock(holder, session)
    let held = try find(holder, at: place, session)
    let change = RoleChange(old: held.role, new: nil)
    try check(change)
    try delete(held.holderID, holder.kind, at: place, session)
    return change
  }

  /// Until the transaction ends, nobody else changes what he is.
  private static func lock(_ holder: RoleHolder, _ session: any SQLSession) throws(StorageError) {
    let kind = holder.kind
    try session.lockLater(kind.table, where: "\(kind.key) = $1", [.text(holder.text)])
  }

  private static func holder(
    _ holder: RoleHolder, _ session: any SQLSession
  ) throws(StorageError) -> (id: UUID, name: String) {
    let kind = holder.kind
    let found = try session.first(
      "SELECT id, \(kind.title) FROM \(kind.table) WHERE \(kind.key) = $1", [.text(holder.text)]
    ) { row throws(StorageError) in (try row.uuid(), try row.text()) }
    guard let found else { throw .notFound(kind: kind.noun, key: holder.text) }
    return found
  }

  private static func condition(_ kind: RoleHolder.Kind, at place: RolePlace) -> String {
    (place.columns + [kind.column]).enumerated().map { "\($1) = $\($0 + 1)" }.joined(separator: " AND ")
  }

  private static func role(
    of id: UUID, _ kind: RoleHolder.Kind, at place: RolePlace, _ session: any SQLSession
  ) throws(StorageError) -> AssignedRole? {
    let custom = try TeamTable.customRoles(place.level, session)
    return try session.first(
      "SELECT role, role_id FROM \(place.table(kind)) WHERE \(condition(kind, at: place))",
      place.values + [SQLValue(id)]
    ) { row throws(StorageError) in try TeamTable.readRole(&row, at: place.level, custom) }
  }

  private static func delete(
    _ id: UUID, _ kind: RoleHolder.Kind, at place: RolePlace, _ session: any SQLSession
  ) throws(StorageError) {
    try session.execute(
      "DELETE FROM \(place.table(kind)) WHERE \(condition(kind, at: place))", place.values + [SQLValue(id)])
  }
}

extension RoleChange {
  /// In the audit log, under the thing it is about.
  func event(_ subject: AuditSubject, of holder: RoleHolder) -> AuditEvent {
    func state(_ role: AssignedRole?) -> JSONValue {
      role.map { [holder.kind.rawValue: .string(holder.text), "role": .string($0.name)] } ?? .null
    }
    return AuditEvent(subject: subject, before: state(old), after: state(new))
  }
}

/// What somebody's teams and the resources that were given to him add.
struct ScopedRoles {
  var memberships: [Membership] = []
  var grants: [ResourceGrant] = []

  /// Of each that has any, with as many statements as for one. The holders are all of the kind.
  static func all(
    of holders: [UUID: RoleHolder], _ kind: RoleHolder.Kind, _ session: any SQLSession
  ) throws(StorageError) -> [UUID: ScopedRoles] {
    guard !holders.isEmpty else { return [:] }
    let choice = SQLChoice(holders.keys.map { SQLValue($0) })
    let (ids, isOneOf) = (choice.arguments, "\(kind.column) \(choice.sql)")
    let count = try session.count(
      """
      SELECT (SELECT COUNT(*) FROM \(kind.memberTable) WHERE \(isOneOf))
        + (SELECT COUNT(*) FROM \(kind.grantTable) WHERE \(isOneOf))
      """, ids)
    guard count > 0 else { return [:] }
    var all: [UUID: ScopedRoles] = [:]
    let teamRoles = try TeamTable.customRoles(.team, session)
    let owned = try session.all(
      """
      SELECT team_id, kind, resource_id FROM resource_owners
        WHERE team_id IN (SELECT team_id FROM \(kind.memberTable) WHERE \(isOneOf))
      """, ids
    ) { row throws(StorageError) in
      (team: try row.uuid(), ref: ResourceRef(try row.choice(), try row.uuid()))
    }
    let resources = Dictionary(grouping: owned, by: \.team).mapValues { Set($0.map(\.ref)) }
    let memberships = try session.all(
      """
      SELECT m.\(kind.column), t.id, t.name, m.role, m.role_id FROM \(kind.memberTable) m JOIN teams t ON t.id = m.team_id
        WHERE m.\(isOneOf) ORDER BY t.name
      """, ids
    ) { row throws(StorageError) in
      let (holder, team) = (try row.uuid(), try row.uuid())
      return (
        holder,
        Membership(
          teamID: team, team: try row.text(), role: try TeamTable.readRole(&row, at: .team, teamRoles),
          resources: resources[team] ?? [])
      )
    }
    for (id, membership) in memberships { all[id, default: ScopedRoles()].memberships.append(membership) }
    let resourceRoles = try TeamTable.customRoles(.resource, session)
    let grants = try session.all(
      """
      SELECT \(kind.column), kind, resource_id, role, role_id FROM \(kind.grantTable) WHERE \(isOneOf)
        ORDER BY kind, resource_id
      """, ids
    ) { row throws(StorageError) in
      let id = try row.uuid()
      guard let holder = holders[id] else { throw StorageError.corrupt("a grant of somebody else") }
      return ResourceGrant(
        resource: ResourceRef(try row.choice(), try row.uuid()), holderID: id, holder: holder,
        role: try TeamTable.readRole(&row, at: .resource, resourceRoles))
    }
    for grant in grants { all[grant.holderID, default: ScopedRoles()].grants.append(grant) }
    return all
  }
}

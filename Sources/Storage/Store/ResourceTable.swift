import Audit
import Foundation
import Identity
import JSONValues

/// Rule sets, nodes and attachments as things that belong to somebody.
enum ResourceTable {
  /// Every resource as `kind, id, name`, and of attachments `node_id`.
  private static let all =
    """
    (SELECT 'rule_set' AS kind, id, name, NULL AS node_id FROM rule_sets
      UNION ALL SELECT 'node', id, name, NULL FROM nodes
      UNION ALL SELECT 'attachment', a.id, n.name || '/' || a.interface, n.id
        FROM attachments a JOIN nodes n ON n.id = a.node_id) x
    """
  static let columns = "x.kind, x.id, x.name, x.node_id, t.name"
  static let tables =
    "\(all) LEFT JOIN resource_owners o ON o.kind = x.kind AND o.resource_id = x.id LEFT JOIN teams t ON t.id = o.team_id"

  static func read(_ row: inout RowReader) throws(StorageError) -> NamedResource {
    NamedResource(
      ref: ResourceRef(try row.choice(), try row.uuid()), name: try row.text(),
      parent: try row.uuidOrNil().map { ResourceRef(.node, $0) }, team: try row.textOrNil())
  }

  static func find(_ ref: ResourceRef, _ session: any SQLSession) throws(StorageError) -> NamedResource {
    let found = try session.first(
      "SELECT \(columns) FROM \(tables) WHERE x.kind = $1 AND x.id = $2", [.text(ref.kind.rawValue), SQLValue(ref.id)],
      read)
    guard let found else { throw .notFound(kind: ref.kind.noun, key: SQLValue(ref.id).plainText) }
    return found
  }

  /// Call where a resource is deleted: whoever gets its name later does not get its holders.
  static func forget(_ ref: ResourceRef, _ session: any SQLSession) throws(StorageError) {
    for table in ["resource_owners", "resource_grants"] {
      try session.execute(
        "DELETE FROM \(table) WHERE kind = $1 AND resource_id = $2", [.text(ref.kind.rawValue), SQLValue(ref.id)])
    }
  }

  static func setOwner(
    of ref: ResourceRef, teamID: UUID?, _ session: any SQLSession
  ) throws(StorageError) {
    let key: [SQLValue] = [.text(ref.kind.rawValue), SQLValue(ref.id)]
    try session.execute("DELETE FROM resource_owners WHERE kind = $1 AND resource_id = $2", key)
    guard let teamID else { return }
    try session.execute(
      "INSERT INTO resource_owners (kind, resource_id, team_id) VALUES ($1, $2, $3)", key + [SQLValue(teamID)])
  }
}

extension ResourceKind {
  /// As errors call it.
  public var noun: String { rawValue.replacing("_", with: " ") }
}

extension ResourceRef {
  fileprivate var subject: AuditSubject { AuditSubject(kind: kind.rawValue, id: SQLValue(id).plainText) }
}

extension RowReader {
  mutating func email() throws(StorageError) -> Email {
    let text = try text()
    do throws(EmailError) { return try Email(text) } catch { throw .corrupt("an address of an account") }
  }
}

extension Conditions {
  /// Only these; none where there are none.
  mutating func add(_ column: String, among ids: Set<UUID>) {
    addAny([(column, ids.sorted { $0.uuidString < $1.uuidString }.map { SQLValue($0) })])
  }
}

// MARK: A user's teams and resources

extension User {
  /// What his teams and the resources that were given to him add.
  func withScopedRoles(_ session: any SQLSession) throws(StorageError) -> User {
    let key = [SQLValue(id)]
    let count = try session.count(
      """
      SELECT (SELECT COUNT(*) FROM team_members WHERE user_id = $1)
        + (SELECT COUNT(*) FROM resource_grants WHERE user_id = $1)
      """, key)
    guard count > 0 else { return self }
    var copy = self
    let teamRoles = try TeamTable.customRoles(.team, session)
    copy.memberships = try session.all(
      """
      SELECT t.id, t.name, m.role, m.role_id FROM team_members m JOIN teams t ON t.id = m.team_id
        WHERE m.user_id = $1 ORDER BY t.name
      """, key
    ) { row throws(StorageError) in
      Membership(
        teamID: try row.uuid(), team: try row.text(), role: try TeamTable.readRole(&row, at: .team, teamRoles),
        resources: [])
    }
    let owned = try session.all(
      """
      SELECT team_id, kind, resource_id FROM resource_owners
        WHERE team_id IN (SELECT team_id FROM team_members WHERE user_id = $1)
      """, key
    ) { row throws(StorageError) in (try row.uuid(), ResourceRef(try row.choice(), try row.uuid())) }
    for index in copy.memberships.indices {
      copy.memberships[index].resources = Set(owned.filter { $0.0 == copy.memberships[index].teamID }.map(\.1))
    }
    let resourceRoles = try TeamTable.customRoles(.resource, session)
    copy.resourceGrants = try session.all(
      "SELECT kind, resource_id, role, role_id FROM resource_grants WHERE user_id = $1 ORDER BY kind, resource_id", key
    ) { row throws(StorageError) in
      ResourceGrant(
        resource: ResourceRef(try row.choice(), try row.uuid()), userID: id, email: email,
        role: try TeamTable.readRole(&row, at: .resource, resourceRoles))
    }
    return copy
  }
}

// MARK: Resources

extension SQLStore {
  func resource(_ kind: ResourceKind, _ text: String) async throws -> NamedResource {
    try await database.read { session in
      // A name may look like an id: what has the name goes first.
      var found: NamedResource?
      if kind != .attachment {
        found = try session.first(
          "SELECT \(ResourceTable.columns) FROM \(ResourceTable.tables) WHERE x.kind = $1 AND x.name = $2",
          [.text(kind.rawValue), .text(text)], ResourceTable.read)
      }
      if let found { return found }
      guard let id = UUID(uuidString: text) else { throw StorageError.notFound(kind: kind.noun, key: text) }
      return try ResourceTable.find(ResourceRef(kind, id), session)
    }
  }

  func resources(ofTeam name: String, _ page: Page) async throws -> Paged<NamedResource> {
    try await database.read { session in
      var conditions = Conditions()
      conditions.add("o.team_id = $?", SQLValue(try TeamTable.find(name, session).id))
      return try session.page(
        select: ResourceTable.columns, from: ResourceTable.tables, conditions, order: "x.kind, x.name", page,
        ResourceTable.read)
    }
  }

  func setOwner(of resource: ResourceRef, team: String?) async throws -> NamedResource {
    try await change { session, trail in
      let teamID = try team.map { name throws(StorageError) in try TeamTable.lock(name, session).id }
      let old = try ResourceTable.find(resource, session)
      try ResourceTable.setOwner(of: resource, teamID: teamID, session)
      let new = try ResourceTable.find(resource, session)
      if old != new {
        trail.add(
          AuditEvent(
            subject: resource.subject, before: ["team": .optional(old.team)], after: ["team": .optional(new.team)]))
      }
      return new
    }
  }

  private static func grant(
    of ref: ResourceRef, to userID: UUID, _ session: any SQLSession
  ) throws(StorageError) -> AssignedRole? {
    let custom = try TeamTable.customRoles(.resource, session)
    return try session.first(
      "SELECT role, role_id FROM resource_grants WHERE kind = $1 AND resource_id = $2 AND user_id = $3",
      [.text(ref.kind.rawValue), SQLValue(ref.id), SQLValue(userID)]
    ) { row throws(StorageError) in try TeamTable.readRole(&row, at: .resource, custom) }
  }

  func grants(of resource: ResourceRef, _ page: Page) async throws -> Paged<ResourceGrant> {
    try await database.read { session in
      var conditions = Conditions()
      conditions.add("g.kind = $?", .text(resource.kind.rawValue))
      conditions.add("g.resource_id = $?", SQLValue(resource.id))
      let custom = try TeamTable.customRoles(.resource, session)
      return try session.page(
        select: "u.id, u.email, g.role, g.role_id", from: "resource_grants g JOIN users u ON u.id = g.user_id",
        conditions, order: "u.email", page
      ) { row throws(StorageError) in
        ResourceGrant(
          resource: resource, userID: try row.uuid(), email: try row.email(),
          role: try TeamTable.readRole(&row, at: .resource, custom))
      }
    }
  }

  func setGrant(
    of resource: ResourceRef, to email: Email, role: String, if check: @escaping Check<RoleChange>
  ) async throws -> ResourceGrant {
    try await change { session, trail in
      _ = try ResourceTable.find(resource, session)
      let user = try TeamTable.user(email, session)
      _ = try UserTable.lock(user.id, session)
      let (role, columns) = try TeamTable.role(named: role, at: .resource, session)
      let change = RoleChange(old: try Self.grant(of: resource, to: user.id, session), new: role)
      try check(change)
      let key: [SQLValue] = [.text(resource.kind.rawValue), SQLValue(resource.id), SQLValue(user.id)]
      try session.execute(
        "DELETE FROM resource_grants WHERE kind = $1 AND resource_id = $2 AND user_id = $3", key)
      try session.execute(
        "INSERT INTO resource_grants (kind, resource_id, user_id, role, role_id) VALUES ($1, $2, $3, $4, $5)",
        key + columns)
      trail.add(change.event(resource.subject, of: email))
      return ResourceGrant(resource: resource, userID: user.id, email: email, role: role)
    }
  }

  func removeGrant(of resource: ResourceRef, to email: Email, if check: @escaping Check<RoleChange>) async throws {
    try await change { session, trail in
      let user = try TeamTable.user(email, session)
      guard try UserTable.lock(user.id, session) != nil, let role = try Self.grant(of: resource, to: user.id, session)
      else { throw StorageError.notFound(kind: "grant", key: email.value) }
      let change = RoleChange(old: role, new: nil)
      try check(change)
      try session.execute(
        "DELETE FROM resource_grants WHERE kind = $1 AND resource_id = $2 AND user_id = $3",
        [.text(resource.kind.rawValue), SQLValue(resource.id), SQLValue(user.id)])
      trail.add(change.event(resource.subject, of: email))
    }
  }
}

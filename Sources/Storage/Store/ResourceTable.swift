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
    for table in ["resource_owners"] + RoleHolder.Kind.allCases.map(\.grantTable) {
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

extension NamedResource {
  /// A set's name says more than what stands for it.
  fileprivate var subject: AuditSubject {
    ref.kind == .set ? AuditSubject(kind: ref.kind.rawValue, id: name) : ref.subject
  }
}

extension ResourceTable {
  /// `rule set:set`.
  ///
  /// - Parameter isLocked: until the transaction ends, nobody removes it.
  static func set(
    _ text: String, isLocked: Bool = false, _ session: any SQLSession
  ) throws(StorageError) -> NamedResource {
    let missing = StorageError.notFound(kind: ResourceKind.set.noun, key: text)
    let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
    guard parts.count == 2 else { throw missing }
    let head = isLocked ? try RuleSetTable.lock(parts[0], session) : try RuleSetTable.find(parts[0], session)
    let content = try RuleSetTable.content(head.revision, of: head.id, session).value.content
    guard content.sets.contains(where: { $0.name == parts[1] }) else { throw missing }
    return NamedResource(
      ref: ResourceRef(set: parts[1], ofRuleSet: head.id), name: text, parent: ResourceRef(.ruleSet, head.id), team: nil)
  }
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

// MARK: Resources

extension ListOrder {
  /// Of one team.
  public static let resources = ListOrder(
    "kind", "name", key: .text("id", "x.id"), fields: [.text("kind", "x.kind"), .text("name", "x.name")])
}

extension SQLStore {
  func resource(_ kind: ResourceKind, _ text: String) async throws -> NamedResource {
    try await database.read { session in
      if kind == .set { return try ResourceTable.set(text, session) }
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
        select: ResourceTable.columns, from: ResourceTable.tables, conditions, order: .resources, page,
        ResourceTable.read)
    }
  }

  func setOwner(
    of resource: ResourceRef, team: String?, if check: @escaping Check<NamedResource>
  ) async throws -> NamedResource {
    try await change { session, trail in
      let teamID = try team.map { name throws(StorageError) in try TeamTable.lock(name, session).id }
      let old = try ResourceTable.find(resource, session)
      try check(old)
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

  func grants(of resource: ResourceRef, _ page: Page) async throws -> Paged<ResourceGrant> {
    try await database.read { session in
      try HeldRoleTable.page(at: .resource(resource), session, page).map { ResourceGrant($0, of: resource) }
    }
  }

  func grant(of resource: ResourceRef, to holder: RoleHolder) async throws -> ResourceGrant {
    try await database.read { session in
      ResourceGrant(try HeldRoleTable.find(holder, at: .resource(resource), session), of: resource)
    }
  }

  func setGrant(
    of resource: NamedResource, to holder: RoleHolder, role: String, if check: @escaping Check<RoleChange>
  ) async throws -> ResourceGrant {
    try await change { session, trail in
      let ref = resource.ref
      let found =
        ref.kind == .set
        ? try ResourceTable.set(resource.name, isLocked: true, session) : try ResourceTable.find(ref, session)
      guard found.ref == ref else { throw StorageError.notFound(kind: ref.kind.noun, key: resource.name) }
      let (held, change) = try HeldRoleTable.set(holder, role, at: .resource(ref), session, if: check)
      trail.add(change.event(resource.subject, of: holder))
      return ResourceGrant(held, of: ref)
    }
  }

  func removeGrant(
    of resource: NamedResource, to holder: RoleHolder, if check: @escaping Check<RoleChange>
  ) async throws {
    try await change { session, trail in
      let change = try HeldRoleTable.remove(holder, at: .resource(resource.ref), session, if: check)
      trail.add(change.event(resource.subject, of: holder))
    }
  }
}

extension ResourceGrant {
  fileprivate init(_ held: HeldRole, of resource: ResourceRef) {
    self.init(resource: resource, holderID: held.holderID, holder: held.holder, role: held.role)
  }
}

import Audit
import Foundation
import Identity
import JSONValues
import Rules

/// The rows of custom roles.
enum RoleTable {
  static let columns = "id, name, description, scopes, limits, created_at, updated_at, level"

  static func read(_ row: inout RowReader) throws(StorageError) -> CustomRole {
    var role = CustomRole(
      id: try row.uuid(), name: try row.text(), description: try row.text(), scopes: try row.json(),
      limits: try row.jsonOrNil(), createdAt: try row.date(), updatedAt: try row.date())
    role.level = try row.choice()
    return role
  }

  static func find(_ name: String, _ session: any SQLSession) throws(StorageError) -> CustomRole {
    let role = try session.first("SELECT \(columns) FROM roles WHERE name = $1", [.text(name)], read)
    guard let role else { throw .notFound(kind: "role", key: name) }
    return role
  }

  /// Until the transaction ends, nobody else changes the role.
  static func lock(_ name: String, _ session: any SQLSession) throws(StorageError) -> CustomRole {
    try session.lockLater("roles", where: "name = $1", [.text(name)])
    return try find(name, session)
  }

  /// Of each account that has any, by name.
  static func roles(
    ofUsers ids: [UUID], _ session: any SQLSession
  ) throws(StorageError) -> [UUID: [CustomRole]] {
    guard !ids.isEmpty else { return [:] }
    let choice = SQLChoice(ids.map { SQLValue($0) })
    let rows = try session.all(
      """
      SELECT user_id, \(columns) FROM user_custom_roles JOIN roles ON id = role_id
        WHERE user_id \(choice.sql) ORDER BY name
      """, choice.arguments
    ) { row throws(StorageError) in (user: try row.uuid(), role: try read(&row)) }
    return Dictionary(grouping: rows, by: \.user).mapValues { $0.map(\.role) }
  }

  /// Replaces what the account has. `StorageError.notFound` for an unknown name.
  static func set(_ names: [String], ofUser id: UUID, _ session: any SQLSession) throws(StorageError) {
    try session.execute("DELETE FROM user_custom_roles WHERE user_id = $1", [SQLValue(id)])
    for name in Set(names).sorted() {
      // Locked: a role that is changed at the same time is granted as it was when it was looked at, or as it is then.
      let role = try lock(name, session)
      guard role.level == .global else {
        throw .invalid(field: "custom_roles", reason: "\(name) is a role of the level \(role.level.rawValue)")
      }
      try session.execute(
        "INSERT INTO user_custom_roles (user_id, role_id) VALUES ($1, $2)", [SQLValue(id), SQLValue(role.id)])
    }
  }
}

extension CustomRole {
  var audited: AuditedState {
    AuditedState(
      id,
      [
        "name": .string(name), "description": .string(description), "level": .string(level.rawValue), "scopes": .strings(scopes.map(\.text)),
        "limits": (try? limits.map { try .encoding($0) }) ?? .null,
      ])
  }
}

extension ListOrder {
  public static let roles = ListOrder(
    "name", key: .text("name"),
    fields: [.text("name"), .text("level"), .integer("created_at"), .integer("updated_at")])
}

extension SQLStore {
  func createRole(_ role: NewCustomRole) async throws -> CustomRole {
    let at = timestamp
    return try await change { session, trail in
      try session.execute(
        "INSERT INTO roles (\(RoleTable.columns)) VALUES ($1, $2, $3, $4, $5, $6, $6, $7)",
        [
          SQLValue(UUID()), .text(role.name), .text(role.description), try .json(role.scopes),
          try .json(role.limits), SQLValue(at), .text(role.level.rawValue),
        ])
      let made = try RoleTable.find(role.name, session)
      trail.created("role", made.audited)
      return made
    }
  }

  func role(named name: String) async throws -> CustomRole {
    try await database.read { try RoleTable.find(name, $0) }
  }

  func roles(_ page: Page) async throws -> Paged<CustomRole> {
    try await database.read { session in
      try session.page(select: RoleTable.columns, from: "roles", order: .roles, page, RoleTable.read)
    }
  }

  func updateRole(
    named name: String, _ change: CustomRoleChange, if check: @escaping Check<CustomRole>
  ) async throws -> CustomRole {
    let at = timestamp
    return try await self.change { session, trail in
      let old = try RoleTable.lock(name, session)
      try check(old)
      let new = change.name ?? old.name
      try session.execute(
        "UPDATE roles SET name = $2, description = $3, scopes = $4, limits = $5, updated_at = $6 WHERE id = $1",
        [
          SQLValue(old.id), .text(new), .text(change.description ?? old.description),
          try .json(change.scopes ?? old.scopes), try .json(change.limits ?? old.limits), SQLValue(at),
        ])
      let updated = try RoleTable.find(new, session)
      if updated.scopes != old.scopes || updated.limits != old.limits {
        try PasswordResetTable.remove(ofHoldersOf: old.id, session)
      }
      trail.changed("role", from: old.audited, to: updated.audited)
      return updated
    }
  }

  func deleteRole(named name: String, if check: @escaping Check<CustomRole>) async throws {
    try await change { session, trail in
      let old = try RoleTable.lock(name, session)
      try check(old)
      do throws(StorageError) {
        try session.execute("DELETE FROM roles WHERE id = $1", [SQLValue(old.id)])
      } catch { throw error.naming(kind: "role", by: "accounts, teams or resources") }
      trail.deleted("role", old.audited)
    }
  }
}

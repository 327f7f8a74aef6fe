import Foundation
import Identity

/// The rows of accounts.
enum UserTable {
  /// The roles as one column each: neither database has an aggregate of texts that the other has too.
  static let columns =
    "id, email, name, password_hash, is_active, must_change_password, created_at, updated_at, last_sign_in_at, "
    + "credentials_changed_at, "
    + "(SELECT COUNT(*) FROM second_factors f WHERE f.user_id = users.id AND f.confirmed_at IS NOT NULL), "
    + "(SELECT COUNT(*) FROM sign_ins i WHERE i.email = users.email AND i.succeeded = 0 "
    + "AND i.happened_at > COALESCE(users.last_sign_in_at, 0)), "
    + Role.allCases.map {
      "(SELECT COUNT(*) FROM user_roles r WHERE r.user_id = users.id AND r.role = '\($0.rawValue)')"
    }.joined(separator: ", ")

  static func read(_ row: inout RowReader) throws(StorageError) -> User {
    let id = try row.uuid()
    let emailText = try row.text()
    guard let email = try? Email(emailText) else { throw .corrupt("the address of user \(id)") }
    var user = User(
      id: id, email: email, name: try row.text(), passwordHash: try row.text(), roles: [], isActive: try row.flag(),
      mustChangePassword: try row.flag(), createdAt: try row.date(), updatedAt: try row.date(),
      lastSignInAt: try row.dateOrNil(), credentialsChangedAt: try row.dateOrNil(), hasSecondFactor: try row.flag())
    user.failedSignInCount = Int(try row.integer())
    for role in Role.allCases where try row.flag() { user.roles.insert(role) }
    return user
  }

  static func find(_ id: UUID, _ session: any SQLSession) throws(StorageError) -> User {
    guard let user = try findOrNil(id, session) else {
      throw .notFound(kind: "user", key: SQLValue(id).plainText)
    }
    return user
  }

  private static func findOrNil(_ id: UUID, _ session: any SQLSession) throws(StorageError) -> User? {
    let user = try session.first("SELECT \(columns) FROM users WHERE id = $1", [SQLValue(id)], read)
    guard let user else { return nil }
    return try whole([user], session)[0]
  }

  /// As they are, once their rows are read: with as many statements as for one.
  static func whole(_ users: [User], _ session: any SQLSession) throws(StorageError) -> [User] {
    let custom = try RoleTable.roles(ofUsers: users.map(\.id), session)
    let holders = Dictionary(users.map { ($0.id, RoleHolder.user($0.email)) }, uniquingKeysWith: { first, _ in first })
    let scoped = try ScopedRoles.all(of: holders, .user, session)
    return users.map { user in
      var copy = user
      copy.customRoles = custom[user.id] ?? []
      copy.memberships = scoped[user.id]?.memberships ?? []
      copy.resourceGrants = scoped[user.id]?.grants ?? []
      return copy
    }
  }

  /// Until the transaction ends, nobody else changes the account or signs it in. Nil if there is none.
  static func lock(_ id: UUID, _ session: any SQLSession) throws(StorageError) -> User? {
    try session.lockLater("users", where: "id = $1", [SQLValue(id)])
    return try findOrNil(id, session)
  }

  /// That something changed with which the account proves who it is.
  static func noteCredentials(_ id: UUID, at: Date, _ session: any SQLSession) throws(StorageError) {
    try session.execute("UPDATE users SET credentials_changed_at = $2 WHERE id = $1", [SQLValue(id), SQLValue(at)])
  }

  static func insert(
    _ new: NewUser, hasSeededPassword: Bool, at: Date, _ session: any SQLSession
  ) throws(StorageError) -> User {
    let id = UUID()
    try session.execute(
      """
      INSERT INTO users (id, email, name, password_hash, is_active, must_change_password, has_seeded_password,
        created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)
      """,
      [
        SQLValue(id), .text(new.email.value), .text(new.name), .text(new.passwordHash), SQLValue(new.isActive),
        SQLValue(new.mustChangePassword), SQLValue(hasSeededPassword), SQLValue(at),
      ])
    try insertRoles(new.roles, id, session)
    try RoleTable.set(new.customRoles, ofUser: id, session)
    return try find(id, session)
  }

  static func insertRoles(_ roles: Set<Role>, _ id: UUID, _ session: any SQLSession) throws(StorageError) {
    for role in roles.sorted() {
      try session.execute(
        "INSERT INTO user_roles (user_id, role) VALUES ($1, $2)", [SQLValue(id), .text(role.rawValue)])
    }
  }

  /// Serialises everything that could take the last Admin away.
  static func lockAdministrators(_ session: any SQLSession) throws(StorageError) {
    try session.execute("UPDATE guards SET version = version + 1 WHERE name = 'administrators'", [])
  }

  /// After the change, under ``lockAdministrators(_:)``.
  static func checkAdministrators(_ session: any SQLSession) throws(StorageError) {
    let count = try session.count(
      "SELECT COUNT(*) FROM users u JOIN user_roles r ON r.user_id = u.id WHERE u.is_active = 1 AND r.role = $1",
      [.text(Role.admin.rawValue)])
    guard count > 0 else { throw .lastAdministrator }
  }
}

extension User {
  fileprivate var isActiveAdmin: Bool { isActive && roles.contains(.admin) }
}

extension SQLValue {
  /// For messages.
  var plainText: String {
    switch self {
    case .null: ""
    case .integer(let integer): "\(integer)"
    case .text(let text): text
    }
  }
}

extension ListOrder {
  public static let users = ListOrder(
    "email", key: .text("email"),
    fields: [
      .text("email"), .text("name"), .integer("is_active"), .integer("created_at"), .integer("updated_at"),
      .integer("last_sign_in_at", "COALESCE(last_sign_in_at, -1)"),
    ])
}

extension SQLStore {
  func createUser(_ user: NewUser) async throws -> User {
    let at = timestamp
    return try await change { session, trail in
      let made = try UserTable.insert(user, hasSeededPassword: false, at: at, session)
      trail.created("user", made.audited)
      return made
    }
  }

  func user(id: UUID) async throws -> User {
    try await database.read { try UserTable.find(id, $0) }
  }

  func user(email: Email) async throws -> User? {
    try await database.read { session in
      let user = try session.first(
        "SELECT \(UserTable.columns) FROM users WHERE email = $1", [.text(email.value)], UserTable.read)
      return try user.map { try UserTable.whole([$0], session)[0] }
    }
  }

  func users(_ filter: UserFilter, _ page: Page) async throws -> Paged<User> {
    var conditions = Conditions()
    if let search = filter.search { conditions.search(search, in: "email", "name") }
    if let isActive = filter.isActive { conditions.add("is_active = $?", SQLValue(isActive)) }
    if let role = filter.role {
      conditions.add("id IN (SELECT user_id FROM user_roles WHERE role = $?)", .text(role.rawValue))
    }
    return try await database.read { [conditions] session in
      var users = try session.page(
        select: UserTable.columns, from: "users", conditions, order: .users, page, UserTable.read)
      users.items = try UserTable.whole(users.items, session)
      return users
    }
  }

  func updateUser(id: UUID, _ change: UserChange, if check: @escaping Check<User>) async throws -> User {
    let at = timestamp
    return try await self.change { session, trail in
      let mayRemoveAdmin = change.isActive == false || change.roles.map { !$0.contains(.admin) } ?? false
      if mayRemoveAdmin { try UserTable.lockAdministrators(session) }
      guard let old = try UserTable.lock(id, session) else {
        throw StorageError.notFound(kind: "user", key: SQLValue(id).plainText)
      }
      try check(old)
      try session.execute(
        """
        UPDATE users SET email = $2, name = $3, password_hash = $4, is_active = $5, must_change_password = $6,
          updated_at = $7 WHERE id = $1
        """,
        [
          SQLValue(id), .text((change.email ?? old.email).value), .text(change.name ?? old.name),
          .text(change.passwordHash ?? old.passwordHash), SQLValue(change.isActive ?? old.isActive),
          SQLValue(change.mustChangePassword ?? old.mustChangePassword), SQLValue(at),
        ])
      if change.passwordHash != nil {
        try session.execute("UPDATE users SET has_seeded_password = 0 WHERE id = $1", [SQLValue(id)])
        try UserTable.noteCredentials(id, at: at, session)
      }
      if let roles = change.roles, roles != old.roles {
        try session.execute("DELETE FROM user_roles WHERE user_id = $1", [SQLValue(id)])
        try UserTable.insertRoles(roles, id, session)
      }
      if let names = change.customRoles, names.sorted() != old.customRoles.map(\.name) {
        try RoleTable.set(names, ofUser: id, session)
      }
      let new = try UserTable.find(id, session)
      if old.isActiveAdmin && !new.isActiveAdmin { try UserTable.checkAdministrators(session) }
      if change.passwordHash != nil || new.roles != old.roles || new.customRoles != old.customRoles
        || (old.isActive && !new.isActive) {
        try RefreshTokenTable.revokeAll(of: id, at: at, session)
      }
      if change.passwordHash != nil || new.email != old.email || new.isActive != old.isActive || new.roles != old.roles
        || new.customRoles != old.customRoles
      {
        try PasswordResetTable.remove(of: id, session)
      }
      trail.changed("user", from: old.audited, to: new.audited(passwordChanged: change.passwordHash != nil))
      if change.passwordHash != nil { trail.credentials(.passwordChanged, of: new) }
      if new.email != old.email { trail.credentials(.addressChanged, of: new, formerly: old.email) }
      return new
    }
  }

  func deleteUser(id: UUID, if check: @escaping Check<User>) async throws {
    try await change { session, trail in
      try UserTable.lockAdministrators(session)
      guard let old = try UserTable.lock(id, session) else {
        throw StorageError.notFound(kind: "user", key: SQLValue(id).plainText)
      }
      try check(old)
      try session.execute("DELETE FROM users WHERE id = $1", [SQLValue(id)])
      if old.isActiveAdmin { try UserTable.checkAdministrators(session) }
      trail.deleted("user", old.audited)
    }
  }
}

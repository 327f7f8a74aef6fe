import DatabaseSupport
import Foundation
import Identity
import Testing

@testable import Storage

@Suite(.serialized) struct AccountKeyTests {
  private static let tables = [
    "user_roles", "refresh_tokens", "sign_ins", "user_custom_roles", "sessions", "second_factors", "recovery_codes",
    "password_resets", "team_members", "resource_grants",
  ]

  /// Two accounts of the schema before, each with a row in every table that refers to accounts.
  private func fill(_ session: any SQLSession) throws {
    try session.execute("INSERT INTO teams (id, name, description, created_at, updated_at) VALUES ('t', 't', '', 1, 1)", [])
    try session.execute(
      "INSERT INTO roles (id, name, description, scopes, created_at, updated_at) VALUES ('r', 'r', '', '[]', 1, 1)", [])
    for user in ["u1", "u2"] {
      for statement in [
        """
        INSERT INTO users (id, email, name, password_hash, is_active, must_change_password, has_seeded_password, created_at,
          updated_at) VALUES ($1, $1, '', '', 1, 0, 0, 1, 1)
        """,
        "INSERT INTO user_roles (user_id, role) VALUES ($1, 'Admin')",
        """
        INSERT INTO refresh_tokens (digest, family_id, user_id, created_at, expires_at, rotated_at) VALUES ($1, $1, $1, 1, 2, 3)
        """,
        """
        INSERT INTO sign_ins (id, email, user_id, succeeded, address, user_agent, happened_at)
          VALUES ($1, $1, $1, 1, 'ä', '', 1)
        """,
        "INSERT INTO user_custom_roles (user_id, role_id) VALUES ($1, 'r')",
        """
        INSERT INTO sessions (id, user_id, address, user_agent, started_at, last_used_at) VALUES ($1, $1, '', '', 1, 1)
        """,
        "INSERT INTO second_factors (user_id, secret, last_step, created_at) VALUES ($1, 's', 1, 1)",
        "INSERT INTO recovery_codes (user_id, digest, used_at) VALUES ($1, 'd', 7)",
        "INSERT INTO password_resets (user_id, digest, created_at, expires_at) VALUES ($1, $1, 1, 1)",
        "INSERT INTO team_members (team_id, user_id, role_id) VALUES ('t', $1, 'r')",
        "INSERT INTO resource_grants (kind, resource_id, user_id, role) VALUES ('node', 'n', $1, 'Owner')",
      ] { try session.execute(statement, [.text(user)]) }
    }
  }

  private func rows(_ session: any SQLSession) throws -> [String: Set<[SQLValue]>] {
    var rows: [String: Set<[SQLValue]>] = [:]
    for table in Self.tables { rows[table] = Set(try session.rows("SELECT * FROM \(table)", [])) }
    return rows
  }

  @Test("A filled database of the schema before keeps its rows, and they follow an id that changes", arguments: TestBackend.allCases)
  func follow(_ backend: TestBackend) async throws {
    try await withDatabase(backend) { database in
      try await Migrator(Array(Schema.migrations.prefix(14))).run(on: database)
      try await database.write { try fill($0) }
      let before = try await database.read { try rows($0) }
      #expect(before.values.allSatisfy { $0.count == 2 })
      #expect(try await Migrator(Schema.migrations).run(on: database).first == 15)
      #expect(try await database.read { try rows($0) } == before)

      _ = try await database.write { try $0.execute("UPDATE users SET id = 'other' WHERE id = 'u1'", []) }
      try await database.read { session in
        for table in Self.tables {
          let ids = try session.rows("SELECT user_id FROM \(table) ORDER BY user_id", [])
          #expect(ids == [[.text("other")], [.text("u2")]], "\(table)")
        }
      }
      // What goes with an account still goes with it, and only that.
      _ = try await database.write { try $0.execute("DELETE FROM users WHERE id = 'other'", []) }
      try await database.read { session in
        for table in Self.tables {
          let count = try session.count("SELECT COUNT(*) FROM \(table)", [])
          #expect(count == (table == "sign_ins" ? 2 : 1), "\(table)")
        }
        #expect(try session.count("SELECT COUNT(*) FROM sign_ins WHERE user_id IS NULL", []) == 1)
      }
      for statement in ["INSERT INTO user_roles (user_id, role) VALUES ('nobody', 'Admin')",
        "INSERT INTO password_resets (user_id, digest, created_at, expires_at) VALUES ('nobody', 'u2', 1, 1)"] {
        let error = await storageError { try await database.write { try $0.execute(statement, []) } }
        #expect(error != nil, "keys are checked")
      }
    }
  }

  @Test("SQLite's tables have the indexes that they had")
  func indexes() async throws {
    func indexes(_ count: Int) async throws -> [[SQLValue]] {
      var found: [[SQLValue]] = []
      try await withDatabase(.sqlite) { database in
        try await Migrator(Array(Schema.migrations.prefix(count))).run(on: database)
        found = try await database.read { session in
          try session.rows(
            "SELECT tbl_name, name, sql FROM sqlite_master WHERE type IN ('index', 'trigger') AND sql IS NOT NULL ORDER BY name",
            [])
        }
      }
      return found
    }
    let before = try await indexes(14)
    #expect(try await indexes(15) == before && before.count > 30)
  }

  @Test("Seeding leaves the account and the node of that name as they are, whatever their ids", arguments: TestBackend.allCases)
  func seeding(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      let own = try await store.createUser(.sample(SeededAdmin.email.value, [.viewer]))
      let node = try await store.createNode(NewNode(name: "local", address: "unix:/run/other.sock"))
      #expect(try await store.seed(adminPasswordHash: "$seeded"))
      #expect(try await store.user(email: SeededAdmin.email) == own)
      #expect(try await store.node(named: "local") == node)
      #expect(try await store.users(.init(), Page()).total == 1)
      #expect(try await !store.seededPasswordStands())
    }
  }

  @Test("A restore brings the account back under the id that it had", arguments: TestBackend.allCases)
  func restoring(_ backend: TestBackend) async throws {
    let directory = try TestDatabase.directory()
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let (test, path) = (try backend.make(), "\(directory)/backup")
    defer { test.remove() }
    let settings = try DatabaseSettings(environment: test.environment)
    let first = try await Stores.open(settings, logger: quiet)
    _ = try await first.seed(adminPasswordHash: "$one")
    let admin = try #require(try await first.user(email: SeededAdmin.email))
    _ = try await first.insertRefreshToken(digest: "d", userID: admin.id, limits: .init())
    _ = try await Backup.write(settings, to: path)
    let store = try #require(first as? SQLStore)
    let other = UUID()
    _ = try await store.database.write { session in
      try session.execute("UPDATE users SET id = $1 WHERE id = $2", [SQLValue(other), SQLValue(admin.id)])
    }
    #expect(try await first.user(email: SeededAdmin.email)?.id == other)
    #expect(try await first.sessions(userID: other).count == 1)
    await first.close()
    _ = try await Backup.restore(from: path, into: settings, overwrites: true)
    let again = try await Stores.open(settings, logger: quiet)
    #expect(try await again.user(email: SeededAdmin.email) == admin)
    #expect(try await again.sessions(userID: admin.id).count == 1)
    #expect(try await !again.seed(adminPasswordHash: "$two"))
    await again.close()
  }
}

/// The tables of teams, of what they own, and of resources that are given to somebody by themselves. A role is built in
/// (`role`) or custom (`role_id`). What belongs to a resource has no reference to it, which would be to one of several
/// tables: whoever deletes a resource deletes it too.
enum TeamSchema {
  static func migration(number: Int) -> Migration {
    Migration(
      number: number, name: "teams",
      statements: [
        """
        CREATE TABLE teams (
          id TEXT PRIMARY KEY,
          name TEXT NOT NULL,
          description TEXT NOT NULL,
          created_at BIGINT NOT NULL,
          updated_at BIGINT NOT NULL)
        """,
        "CREATE UNIQUE INDEX teams__name ON teams (name)",
        """
        CREATE TABLE team_members (
          team_id TEXT NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
          user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
          role TEXT,
          role_id TEXT REFERENCES roles (id),
          PRIMARY KEY (team_id, user_id),
          CHECK ((role IS NULL) <> (role_id IS NULL)))
        """,
        "CREATE INDEX team_members_by_user ON team_members (user_id)",
        "CREATE INDEX team_members_by_role ON team_members (role_id)",
        """
        CREATE TABLE resource_owners (
          kind TEXT NOT NULL,
          resource_id TEXT NOT NULL,
          team_id TEXT NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
          PRIMARY KEY (kind, resource_id))
        """,
        "CREATE INDEX resource_owners_by_team ON resource_owners (team_id)",
        """
        CREATE TABLE resource_grants (
          kind TEXT NOT NULL,
          resource_id TEXT NOT NULL,
          user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
          role TEXT,
          role_id TEXT REFERENCES roles (id),
          PRIMARY KEY (kind, resource_id, user_id),
          CHECK ((role IS NULL) <> (role_id IS NULL)))
        """,
        "CREATE INDEX resource_grants_by_user ON resource_grants (user_id)",
        "CREATE INDEX resource_grants_by_role ON resource_grants (role_id)",
        "ALTER TABLE roles ADD COLUMN level TEXT NOT NULL DEFAULT 'global'",
      ])
  }

  /// The same roles, of API clients.
  static func clientMigration(number: Int) -> Migration {
    Migration(
      number: number, name: "roles of clients",
      statements: [
        """
        CREATE TABLE team_clients (
          team_id TEXT NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
          client_id TEXT NOT NULL REFERENCES api_clients (id) ON DELETE CASCADE,
          role TEXT,
          role_id TEXT REFERENCES roles (id),
          PRIMARY KEY (team_id, client_id),
          CHECK ((role IS NULL) <> (role_id IS NULL)))
        """,
        "CREATE INDEX team_clients_by_client ON team_clients (client_id)",
        "CREATE INDEX team_clients_by_role ON team_clients (role_id)",
        """
        CREATE TABLE client_grants (
          kind TEXT NOT NULL,
          resource_id TEXT NOT NULL,
          client_id TEXT NOT NULL REFERENCES api_clients (id) ON DELETE CASCADE,
          role TEXT,
          role_id TEXT REFERENCES roles (id),
          PRIMARY KEY (kind, resource_id, client_id),
          CHECK ((role IS NULL) <> (role_id IS NULL)))
        """,
        "CREATE INDEX client_grants_by_client ON client_grants (client_id)",
        "CREATE INDEX client_grants_by_role ON client_grants (role_id)",
      ])
  }
}

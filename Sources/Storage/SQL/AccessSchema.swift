/// The tables of custom roles and of API clients with their keys. Scopes, limits and source prefixes are documents:
/// nothing searches in them.
enum AccessSchema {
  static func migration(number: Int) -> Migration {
    Migration(
      number: number, name: "roles and clients",
      statements: [
        """
        CREATE TABLE roles (
          id TEXT PRIMARY KEY,
          name TEXT NOT NULL,
          description TEXT NOT NULL,
          scopes TEXT NOT NULL,
          limits TEXT,
          created_at BIGINT NOT NULL,
          updated_at BIGINT NOT NULL)
        """,
        "CREATE UNIQUE INDEX roles__name ON roles (name)",
        """
        CREATE TABLE user_custom_roles (
          user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
          role_id TEXT NOT NULL REFERENCES roles (id),
          PRIMARY KEY (user_id, role_id))
        """,
        "CREATE INDEX user_custom_roles_by_role ON user_custom_roles (role_id)",
        """
        CREATE TABLE api_clients (
          id TEXT PRIMARY KEY,
          name TEXT NOT NULL,
          description TEXT NOT NULL,
          scopes TEXT NOT NULL,
          limits TEXT,
          sources TEXT NOT NULL,
          is_active BIGINT NOT NULL CHECK (is_active IN (0, 1)),
          created_by_id TEXT,
          created_by_email TEXT NOT NULL,
          created_at BIGINT NOT NULL,
          updated_at BIGINT NOT NULL)
        """,
        "CREATE UNIQUE INDEX api_clients__name ON api_clients (name)",
        """
        CREATE TABLE api_keys (
          id TEXT PRIMARY KEY,
          client_id TEXT NOT NULL REFERENCES api_clients (id) ON DELETE CASCADE,
          prefix TEXT NOT NULL,
          digest TEXT NOT NULL,
          created_at BIGINT NOT NULL,
          expires_at BIGINT,
          last_used_at BIGINT,
          last_used_from TEXT NOT NULL)
        """,
        "CREATE UNIQUE INDEX api_keys__prefix ON api_keys (prefix)",
        "CREATE INDEX api_keys_by_client ON api_keys (client_id)",
      ])
  }
}

/// The one list of migrations. A released one never changes: its checksum is in every database. Only types and clauses
/// that SQLite and PostgreSQL understand, and of which ``MySQLDefinition`` makes MariaDB's: an index stands in the same
/// migration as the text columns that it has, and rows have a key. A unique index is named `table__field`, and its last
/// column is the field: that is where ``StorageError/conflict(field:)`` gets the name from.
enum Schema {
  static let migrations =
    first + [
      AccountKeySchema.migration(number: 15, after: first), RevisionSchema.migration(number: 16),
      CredentialSchema.migration(number: 17), RevisionSchema.differencesMigration(number: 18),
      ApprovalSchema.accountsMigration(number: 19),
    ]

  private static let first: [Migration] = [
    Migration(
      number: 1, name: "identity",
      statements: [
        """
        CREATE TABLE users (
          id TEXT PRIMARY KEY,
          email TEXT NOT NULL,
          name TEXT NOT NULL,
          password_hash TEXT NOT NULL,
          is_active BIGINT NOT NULL CHECK (is_active IN (0, 1)),
          must_change_password BIGINT NOT NULL CHECK (must_change_password IN (0, 1)),
          has_seeded_password BIGINT NOT NULL CHECK (has_seeded_password IN (0, 1)),
          created_at BIGINT NOT NULL,
          updated_at BIGINT NOT NULL,
          last_sign_in_at BIGINT)
        """,
        "CREATE UNIQUE INDEX users__email ON users (email)",
        """
        CREATE TABLE user_roles (
          user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
          role TEXT NOT NULL,
          PRIMARY KEY (user_id, role))
        """,
        """
        CREATE TABLE refresh_tokens (
          digest TEXT PRIMARY KEY,
          family_id TEXT NOT NULL,
          user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
          created_at BIGINT NOT NULL,
          expires_at BIGINT NOT NULL,
          rotated_at BIGINT,
          revoked_at BIGINT)
        """,
        "CREATE INDEX refresh_tokens_by_family ON refresh_tokens (family_id)",
        "CREATE INDEX refresh_tokens_by_user ON refresh_tokens (user_id)",
        "CREATE INDEX refresh_tokens_by_expiry ON refresh_tokens (expires_at)",
        """
        CREATE TABLE sign_ins (
          id TEXT PRIMARY KEY,
          email TEXT NOT NULL,
          user_id TEXT REFERENCES users (id) ON DELETE SET NULL,
          succeeded BIGINT NOT NULL CHECK (succeeded IN (0, 1)),
          address TEXT NOT NULL,
          user_agent TEXT NOT NULL,
          happened_at BIGINT NOT NULL)
        """,
        "CREATE INDEX sign_ins_by_email ON sign_ins (email, happened_at)",
        "CREATE INDEX sign_ins_by_user ON sign_ins (user_id, happened_at)",
        "CREATE INDEX sign_ins_by_time ON sign_ins (happened_at)",
        // A row to lock by updating it, in both databases alike.
        "CREATE TABLE guards (name TEXT PRIMARY KEY, version BIGINT NOT NULL)",
        "INSERT INTO guards (name, version) VALUES ('administrators', 0)",
        "CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL, updated_at BIGINT NOT NULL)",
      ]),
    Migration(
      number: 2, name: "desired state",
      statements: [
        """
        CREATE TABLE nodes (
          id TEXT PRIMARY KEY,
          name TEXT NOT NULL,
          address TEXT NOT NULL,
          description TEXT NOT NULL,
          created_at BIGINT NOT NULL,
          updated_at BIGINT NOT NULL)
        """,
        "CREATE UNIQUE INDEX nodes__name ON nodes (name)",
        """
        CREATE TABLE rule_sets (
          id TEXT PRIMARY KEY,
          name TEXT NOT NULL,
          revision BIGINT NOT NULL,
          created_at BIGINT NOT NULL)
        """,
        "CREATE UNIQUE INDEX rule_sets__name ON rule_sets (name)",
        """
        CREATE TABLE rule_set_revisions (
          rule_set_id TEXT NOT NULL REFERENCES rule_sets (id) ON DELETE CASCADE,
          number BIGINT NOT NULL,
          author_id TEXT,
          author_email TEXT NOT NULL,
          reason TEXT,
          description TEXT NOT NULL,
          rule_count BIGINT NOT NULL,
          default_action TEXT NOT NULL,
          content TEXT NOT NULL,
          created_at BIGINT NOT NULL,
          PRIMARY KEY (rule_set_id, number))
        """,
        """
        CREATE TABLE attachments (
          id TEXT PRIMARY KEY,
          node_id TEXT NOT NULL REFERENCES nodes (id),
          interface TEXT NOT NULL,
          rule_set_id TEXT REFERENCES rule_sets (id),
          applied_revision BIGINT,
          applied_at BIGINT,
          mode TEXT NOT NULL,
          zero_copy TEXT NOT NULL,
          coexistence TEXT NOT NULL,
          capture_fallback TEXT NOT NULL,
          keep_on_exit BIGINT NOT NULL CHECK (keep_on_exit IN (0, 1)),
          created_at BIGINT NOT NULL,
          updated_at BIGINT NOT NULL)
        """,
        "CREATE UNIQUE INDEX attachments__interface ON attachments (node_id, interface)",
        "CREATE INDEX attachments_by_rule_set ON attachments (rule_set_id)",
      ]),
    Migration(
      number: 3, name: "captures",
      statements: [
        """
        CREATE TABLE captures (
          id TEXT PRIMARY KEY,
          node TEXT NOT NULL,
          interface TEXT NOT NULL,
          daemon_id TEXT NOT NULL,
          state TEXT NOT NULL,
          request TEXT NOT NULL,
          progress TEXT NOT NULL,
          started_by_id TEXT,
          started_by_email TEXT NOT NULL,
          started_at BIGINT NOT NULL,
          finished_at BIGINT)
        """,
        "CREATE INDEX captures_by_time ON captures (started_at)",
      ]),
    AuditSchema.migration(number: 4),
    Migration(
      number: 5, name: "idempotency keys",
      statements: [
        """
        CREATE TABLE idempotency_keys (
          owner TEXT NOT NULL,
          digest TEXT NOT NULL,
          request TEXT NOT NULL,
          answer TEXT,
          created_at BIGINT NOT NULL,
          finished_at BIGINT,
          PRIMARY KEY (owner, digest))
        """,
        "CREATE INDEX idempotency_keys_by_time ON idempotency_keys (created_at)",
      ]),
    AccessSchema.migration(number: 6),
    Migration(
      number: 7, name: "sessions",
      statements: [
        """
        CREATE TABLE sessions (
          id TEXT PRIMARY KEY,
          user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
          address TEXT NOT NULL,
          user_agent TEXT NOT NULL,
          started_at BIGINT NOT NULL,
          last_used_at BIGINT NOT NULL)
        """,
        "CREATE INDEX sessions_by_user ON sessions (user_id)",
        """
        INSERT INTO sessions (id, user_id, address, user_agent, started_at, last_used_at)
          SELECT family_id, user_id, '', '', MIN(created_at), MAX(created_at) FROM refresh_tokens
          GROUP BY family_id, user_id
        """,
      ]),
    FactorSchema.migration(number: 8),
    TeamSchema.migration(number: 9),
    ApprovalSchema.migration(number: 10),
    EventSchema.migration(number: 11),
    Migration(
      number: 12, name: "ended sessions",
      statements: ["CREATE INDEX refresh_tokens_by_revocation ON refresh_tokens (revoked_at)"]),
    TeamSchema.clientMigration(number: 13),
    WebhookSchema.migration(number: 14),
  ]
}

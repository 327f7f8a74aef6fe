/// Events about credentials beside those of the daemons, when an account's credentials were changed last, and which keys
/// were announced to end.
enum CredentialSchema {
  static func migration(number: Int) -> Migration {
    Migration(
      number: number, name: "credential events",
      statements: [
        "ALTER TABLE users ADD COLUMN credentials_changed_at BIGINT",
        // Of how many days before its end was told: 0, none; 1, of fourteen; 2, of one.
        "ALTER TABLE api_keys ADD COLUMN end_notices BIGINT NOT NULL DEFAULT 0",
        "ALTER TABLE events ADD COLUMN subject TEXT NOT NULL DEFAULT 'node'",
        "ALTER TABLE events ADD COLUMN account_id TEXT REFERENCES users (id) ON UPDATE CASCADE ON DELETE SET NULL",
      ],
      // SQLite changes no column of a table that is there: a new one takes its rows, its name and its index.
      sqlite: [
        """
        CREATE TABLE events_next (
          id BIGINT PRIMARY KEY,
          node_id TEXT REFERENCES nodes (id) ON DELETE CASCADE,
          epoch BIGINT NOT NULL,
          sequence BIGINT NOT NULL,
          kind TEXT NOT NULL,
          interface TEXT NOT NULL,
          rule_set TEXT,
          message TEXT NOT NULL,
          fields TEXT NOT NULL,
          happened_at BIGINT NOT NULL,
          subject TEXT NOT NULL DEFAULT 'node',
          account_id TEXT REFERENCES users (id) ON UPDATE CASCADE ON DELETE SET NULL)
        """,
        "INSERT INTO events_next SELECT * FROM events", "DROP TABLE events", "ALTER TABLE events_next RENAME TO events",
        "CREATE UNIQUE INDEX events__sequence ON events (node_id, epoch, sequence)",
      ],
      postgres: ["ALTER TABLE events ALTER COLUMN node_id DROP NOT NULL"],
      mysql: ["ALTER TABLE events MODIFY COLUMN node_id VARCHAR(\(MySQLDefinition.keyLengthMax))"])
  }
}

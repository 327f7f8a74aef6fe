/// A revision's content behind everything else in its row. SQLite finds a column behind a large one by way of all the pages
/// that this one fills, and to list revisions, or to know which one is the newest, no content is read. The others keep large
/// values beside the row.
enum RevisionSchema {
  private static let columns =
    "rule_set_id, number, author_id, author_email, reason, description, rule_count, default_action, created_at, content"

  static func migration(number: Int) -> Migration {
    Migration(
      number: number, name: "contents of revisions last", statements: [],
      sqlite: [
        """
        CREATE TABLE rule_set_revisions_next (
          rule_set_id TEXT NOT NULL REFERENCES rule_sets (id) ON DELETE CASCADE,
          number BIGINT NOT NULL,
          author_id TEXT,
          author_email TEXT NOT NULL,
          reason TEXT,
          description TEXT NOT NULL,
          rule_count BIGINT NOT NULL,
          default_action TEXT NOT NULL,
          created_at BIGINT NOT NULL,
          content TEXT NOT NULL,
          PRIMARY KEY (rule_set_id, number))
        """,
        "INSERT INTO rule_set_revisions_next (\(columns)) SELECT \(columns) FROM rule_set_revisions",
        "DROP TABLE rule_set_revisions",
        "ALTER TABLE rule_set_revisions_next RENAME TO rule_set_revisions",
      ])
  }

  /// From now on a content may say what differs from the one before, see ``StoredContent``: programs that don't know it are kept
  /// from reading it.
  static func differencesMigration(number: Int) -> Migration {
    Migration(number: number, name: "contents of revisions as differences", statements: [])
  }
}

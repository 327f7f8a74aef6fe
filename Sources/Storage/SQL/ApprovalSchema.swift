/// Which rule sets want a second person, and what such a person said about a revision.
enum ApprovalSchema {
  static func migration(number: Int) -> Migration {
    Migration(
      number: number, name: "approvals",
      statements: [
        "ALTER TABLE rule_sets ADD COLUMN requires_approval BIGINT NOT NULL DEFAULT 0",
        """
        CREATE TABLE rule_set_decisions (
          rule_set_id TEXT NOT NULL REFERENCES rule_sets (id) ON DELETE CASCADE,
          number BIGINT NOT NULL,
          is_approved BIGINT NOT NULL CHECK (is_approved IN (0, 1)),
          author_id TEXT,
          author_email TEXT NOT NULL,
          comment TEXT NOT NULL,
          decided_at BIGINT NOT NULL,
          PRIMARY KEY (rule_set_id, number))
        """,
      ])
  }

  /// Who stands behind a revision that an API client wrote: the client may be renamed or deleted afterwards. Beside the
  /// revisions, whose rows end with their content.
  static func accountsMigration(number: Int) -> Migration {
    Migration(
      number: number, name: "accounts behind clients",
      statements: [
        "ALTER TABLE api_keys ADD COLUMN created_by_id TEXT",
        """
        CREATE TABLE rule_set_revision_accounts (
          rule_set_id TEXT NOT NULL REFERENCES rule_sets (id) ON DELETE CASCADE,
          number BIGINT NOT NULL,
          account_id TEXT NOT NULL,
          PRIMARY KEY (rule_set_id, number, account_id))
        """,
      ])
  }
}

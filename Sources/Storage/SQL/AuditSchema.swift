/// The tables of the audit log. Triggers refuse what an append-only table must not have; the one way to remove records
/// is a checkpoint, which itself can only name the hash of a record that is there.
enum AuditSchema {
  static func migration(number: Int) -> Migration {
    Migration(
      number: number, name: "audit log",
      statements: [
        """
        CREATE TABLE audit_log (
          sequence BIGINT PRIMARY KEY,
          happened_at BIGINT NOT NULL,
          actor_id TEXT,
          actor_name TEXT NOT NULL,
          address TEXT NOT NULL,
          request_id TEXT NOT NULL,
          operation TEXT NOT NULL,
          outcome TEXT NOT NULL,
          subject_kind TEXT,
          subject_id TEXT,
          record TEXT NOT NULL,
          hash TEXT NOT NULL)
        """,
        "CREATE INDEX audit_log_by_time ON audit_log (happened_at)",
        "CREATE INDEX audit_log_by_actor ON audit_log (actor_name, sequence)",
        "CREATE INDEX audit_log_by_subject ON audit_log (subject_kind, subject_id, sequence)",
        "CREATE INDEX audit_log_by_request ON audit_log (request_id)",
        // The head of the chain: whoever appends locks it.
        "CREATE TABLE audit_chain (name TEXT PRIMARY KEY, sequence BIGINT NOT NULL, hash TEXT NOT NULL)",
        """
        INSERT INTO audit_chain (name, sequence, hash)
          VALUES ('head', 0, '0000000000000000000000000000000000000000000000000000000000000000')
        """,
        """
        CREATE TABLE audit_checkpoints (
          through_sequence BIGINT PRIMARY KEY,
          hash TEXT NOT NULL,
          removed_at BIGINT NOT NULL)
        """,
      ], sqlite: sqlite, postgres: postgres, mysql: mysql)
  }

  /// PostgreSQL's, which outlive their tables.
  static let functions = ["audit_log_guard()", "audit_checkpoint_guard()"]

  /// For a restore: a checkpoint that comes from a backup names a record that was removed long ago.
  static func withoutCheckOfCheckpoints(_ session: any SQLSession, _ body: () throws -> Void) throws {
    let trigger = "audit_checkpoints_are_true"
    switch session.dialect {
    case .sqlite:
      try session.define("DROP TRIGGER \(trigger)")
      try body()
      for statement in sqlite where statement.contains(" \(trigger) ") { try session.define(statement) }
    case .postgres:
      try session.define("ALTER TABLE audit_checkpoints DISABLE TRIGGER \(trigger)")
      try body()
      try session.define("ALTER TABLE audit_checkpoints ENABLE TRIGGER \(trigger)")
    case .mysql:
      // Each definition ends the transaction before it.
      try session.define("DROP TRIGGER IF EXISTS \(trigger)")
      try session.define("START TRANSACTION")
      try body()
      for statement in mysql where statement.contains(" \(trigger) ") { try session.define(statement) }
    }
  }

  private static let sqlite = [
    // Without this, INSERT OR REPLACE would replace a record without a word to the trigger on deletions.
    """
    CREATE TRIGGER audit_log_appends BEFORE INSERT ON audit_log
      WHEN NEW.sequence <= (SELECT COALESCE(MAX(sequence), 0) FROM audit_log)
      BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END
    """,
    """
    CREATE TRIGGER audit_log_keeps BEFORE UPDATE ON audit_log
      BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END
    """,
    """
    CREATE TRIGGER audit_log_stays BEFORE DELETE ON audit_log
      WHEN NOT EXISTS (SELECT 1 FROM audit_checkpoints WHERE through_sequence >= OLD.sequence)
      BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END
    """,
    """
    CREATE TRIGGER audit_checkpoints_are_true BEFORE INSERT ON audit_checkpoints
      WHEN NOT EXISTS (SELECT 1 FROM audit_log WHERE sequence = NEW.through_sequence AND hash = NEW.hash)
      BEGIN SELECT RAISE(ABORT, 'a checkpoint names a record of the audit log'); END
    """,
    """
    CREATE TRIGGER audit_checkpoints_keep BEFORE UPDATE ON audit_checkpoints
      BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END
    """,
    """
    CREATE TRIGGER audit_checkpoints_stay BEFORE DELETE ON audit_checkpoints
      BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END
    """,
  ]

  private static let postgres = [
    """
    CREATE FUNCTION audit_log_guard() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF TG_OP = 'DELETE' AND TG_TABLE_NAME = 'audit_log' THEN
        IF EXISTS (SELECT 1 FROM audit_checkpoints WHERE through_sequence >= OLD.sequence) THEN
          RETURN OLD;
        END IF;
      END IF;
      RAISE EXCEPTION 'the audit log is append-only';
    END $$
    """,
    """
    CREATE FUNCTION audit_checkpoint_guard() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF NOT EXISTS (SELECT 1 FROM audit_log WHERE sequence = NEW.through_sequence AND hash = NEW.hash) THEN
        RAISE EXCEPTION 'a checkpoint names a record of the audit log';
      END IF;
      RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER audit_log_stays BEFORE UPDATE OR DELETE ON audit_log
      FOR EACH ROW EXECUTE FUNCTION audit_log_guard()
    """,
    """
    CREATE TRIGGER audit_log_is_not_emptied BEFORE TRUNCATE ON audit_log
      FOR EACH STATEMENT EXECUTE FUNCTION audit_log_guard()
    """,
    """
    CREATE TRIGGER audit_checkpoints_stay BEFORE UPDATE OR DELETE ON audit_checkpoints
      FOR EACH ROW EXECUTE FUNCTION audit_log_guard()
    """,
    """
    CREATE TRIGGER audit_checkpoints_are_not_emptied BEFORE TRUNCATE ON audit_checkpoints
      FOR EACH STATEMENT EXECUTE FUNCTION audit_log_guard()
    """,
    """
    CREATE TRIGGER audit_checkpoints_are_true BEFORE INSERT ON audit_checkpoints
      FOR EACH ROW EXECUTE FUNCTION audit_checkpoint_guard()
    """,
  ]

  private static let mysql = [
    """
    CREATE TRIGGER IF NOT EXISTS audit_log_keeps BEFORE UPDATE ON audit_log FOR EACH ROW
      SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'the audit log is append-only'
    """,
    """
    CREATE TRIGGER IF NOT EXISTS audit_log_stays BEFORE DELETE ON audit_log FOR EACH ROW
      IF NOT EXISTS (SELECT 1 FROM audit_checkpoints WHERE through_sequence >= OLD.sequence) THEN
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'the audit log is append-only';
      END IF
    """,
    """
    CREATE TRIGGER IF NOT EXISTS audit_checkpoints_are_true BEFORE INSERT ON audit_checkpoints FOR EACH ROW
      IF NOT EXISTS (SELECT 1 FROM audit_log WHERE sequence = NEW.through_sequence AND hash = NEW.hash) THEN
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'a checkpoint names a record of the audit log';
      END IF
    """,
    """
    CREATE TRIGGER IF NOT EXISTS audit_checkpoints_keep BEFORE UPDATE ON audit_checkpoints FOR EACH ROW
      SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'the audit log is append-only'
    """,
    """
    CREATE TRIGGER IF NOT EXISTS audit_checkpoints_stay BEFORE DELETE ON audit_checkpoints FOR EACH ROW
      SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'the audit log is append-only'
    """,
    // No trigger sees TRUNCATE, but a table that another one refers to cannot be emptied so.
    """
    CREATE TABLE IF NOT EXISTS audit_log_guard (
      sequence BIGINT REFERENCES audit_log (sequence),
      through_sequence BIGINT REFERENCES audit_checkpoints (through_sequence)) \(MySQLDefinition.options)
    """,
  ]
}

/// The tables of second factors and of password resets: sealed secrets and digests, nothing that opens anything.
enum FactorSchema {
  static func migration(number: Int) -> Migration {
    Migration(
      number: number, name: "second factors",
      statements: [
        """
        CREATE TABLE second_factors (
          user_id TEXT PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
          secret TEXT NOT NULL,
          last_step BIGINT NOT NULL,
          created_at BIGINT NOT NULL,
          confirmed_at BIGINT)
        """,
        """
        CREATE TABLE recovery_codes (
          user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
          digest TEXT NOT NULL,
          used_at BIGINT,
          PRIMARY KEY (user_id, digest))
        """,
        """
        CREATE TABLE password_resets (
          user_id TEXT PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
          digest TEXT NOT NULL,
          created_at BIGINT NOT NULL,
          expires_at BIGINT NOT NULL)
        """,
        "CREATE UNIQUE INDEX password_resets__digest ON password_resets (digest)",
      ])
  }
}

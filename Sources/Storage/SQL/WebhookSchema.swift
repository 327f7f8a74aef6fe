/// Who is told of events, and how that went. A webhook tells events in their order: `last_event` is the last one that is
/// done with. A lease makes one copy of the API tell them at a time. `log_number` counts the rows that the log ever had.
enum WebhookSchema {
  static func migration(number: Int) -> Migration {
    Migration(
      number: number, name: "webhooks",
      statements: [
        """
        CREATE TABLE webhooks (
          id TEXT PRIMARY KEY,
          name TEXT NOT NULL,
          url TEXT NOT NULL,
          secret TEXT NOT NULL,
          kinds TEXT NOT NULL,
          is_active BIGINT NOT NULL CHECK (is_active IN (0, 1)),
          last_event BIGINT NOT NULL,
          failures BIGINT NOT NULL,
          next_attempt_at BIGINT NOT NULL,
          lease TEXT NOT NULL,
          leased_until BIGINT NOT NULL,
          log_number BIGINT NOT NULL,
          delivered_count BIGINT NOT NULL,
          abandoned_count BIGINT NOT NULL,
          last_delivered_at BIGINT,
          created_by_id TEXT,
          created_by_email TEXT NOT NULL,
          created_at BIGINT NOT NULL,
          updated_at BIGINT NOT NULL)
        """,
        "CREATE UNIQUE INDEX webhooks__name ON webhooks (name)",
        """
        CREATE TABLE webhook_deliveries (
          webhook_id TEXT NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
          number BIGINT NOT NULL,
          event_id BIGINT NOT NULL,
          event_type TEXT NOT NULL,
          attempt BIGINT NOT NULL,
          result TEXT NOT NULL,
          status BIGINT,
          error TEXT NOT NULL,
          duration_ms BIGINT NOT NULL,
          happened_at BIGINT NOT NULL,
          PRIMARY KEY (webhook_id, number))
        """,
      ])
  }
}

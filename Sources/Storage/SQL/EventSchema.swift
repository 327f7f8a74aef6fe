/// What happened in the daemons, numbered by one counter: a guard's row, so that numbers become visible in their order.
enum EventSchema {
  /// The guard's name.
  static let guardName = "events"

  static func migration(number: Int) -> Migration {
    Migration(
      number: number, name: "events",
      statements: [
        """
        CREATE TABLE events (
          id BIGINT PRIMARY KEY,
          node_id TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
          epoch BIGINT NOT NULL,
          sequence BIGINT NOT NULL,
          kind TEXT NOT NULL,
          interface TEXT NOT NULL,
          rule_set TEXT,
          message TEXT NOT NULL,
          fields TEXT NOT NULL,
          happened_at BIGINT NOT NULL)
        """,
        "CREATE UNIQUE INDEX events__sequence ON events (node_id, epoch, sequence)",
        // Outlives the events, which go by their number.
        """
        CREATE TABLE event_positions (
          node_id TEXT PRIMARY KEY REFERENCES nodes (id) ON DELETE CASCADE,
          epoch BIGINT NOT NULL,
          sequence BIGINT NOT NULL)
        """,
        "INSERT INTO guards (name, version) VALUES ('\(guardName)', 0)",
      ])
  }
}

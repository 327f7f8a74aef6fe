import Audit
import Foundation
import Identity
import JSONValues

/// The store in SQL; the same text for every database.
final class SQLStore: Store {
  let database: any Database
  /// The way of everything that is written.
  let writes: WriteCombiner
  /// The way of what is found by a key.
  let reads: ReadCombiner
  let revisions = RevisionCache()
  let now: @Sendable () -> Date

  /// - Parameters:
  ///   - database: has the newest schema.
  ///   - timeout: how long a call waits for its turn.
  init(_ database: any Database, timeout: Duration = .seconds(5), now: @escaping @Sendable () -> Date = { Date() }) {
    self.database = database
    writes = WriteCombiner(database, timeout: timeout)
    reads = ReadCombiner(database, timeout: timeout)
    self.now = now
  }

  /// The time to write into a row.
  var timestamp: Date { now().wholeMilliseconds }

  var poolState: PoolState {
    var state = database.poolState
    for counts in [reads.counts, writes.counts] {
      state.waiting += counts.waiting
      state.timeouts += counts.timeouts
    }
    return state
  }

  func ping(timeout: Duration) async throws {
    let late = StorageError.unavailable(
      reason: "no answer in \(timeout)", remedy: "check that the database runs and is not overloaded")
    _ = try await within(timeout, else: late) { [database] in
      try await database.read { session in
        try session.checkReady()
        return try session.count("SELECT 1", [])
      }
    }
  }

  func wakes(_ topic: WakeTopic) -> AsyncStream<Void> {
    database.dialect == .postgres ? database.wakes(topic) : writes.hub.wakes(topic)
  }

  var hearsCopies: Bool { database.dialect != .mysql }

  func close() async { await database.close() }
}

// MARK: First start

extension SQLStore {
  private static let seededKey = "seeded_at"

  func seed(adminPasswordHash: String) async throws -> Bool {
    let at = timestamp
    return try await change { session, trail in
      // Of several programs that start together, the others wait here for the first one's commit.
      let isFirst = try session.insertNew(
        into: "settings", ["key", "value", "updated_at"],
        [.text(Self.seededKey), .text("\(at.unixMilliseconds)"), SQLValue(at)], key: ["key"])
      guard isFirst else { return false }
      // Under whatever id they have: the address, and the name, are what they are known by.
      let hasAdmin = try session.count(
        "SELECT COUNT(*) FROM users WHERE email = $1", [.text(SeededAdmin.email.value)]) > 0
      let hasNode = try session.count("SELECT COUNT(*) FROM nodes WHERE name = $1", [.text(NewNode.local.name)]) > 0
      let admin = NewUser(
        email: SeededAdmin.email, name: SeededAdmin.name, passwordHash: adminPasswordHash, roles: [.admin],
        mustChangePassword: true)
      if !hasAdmin {
        trail.created("user", try UserTable.insert(admin, hasSeededPassword: true, at: at, session).audited)
      }
      if !hasNode { trail.created("node", try NodeTable.insert(.local, at: at, session).audited) }
      return true
    }
  }

  func isSeeded() async throws -> Bool { try await setting(Self.seededKey) != nil }

  func seededPasswordStands() async throws -> Bool {
    try await database.read { session in
      try session.count("SELECT COUNT(*) FROM users WHERE has_seeded_password = 1 AND is_active = 1", []) > 0
    }
  }
}

// MARK: Settings

extension SQLStore {
  func setting(_ key: String) async throws -> String? {
    try await reads.first(#"SELECT value FROM settings WHERE "key" = $1"#, [.text(key)]) { row throws(StorageError) in
      try row.text()
    }
  }

  func settings() async throws -> [String: String] {
    try await database.read { session in
      let pairs = try session.all(#"SELECT "key", value FROM settings"#, []) { row throws(StorageError) in
        (try row.text(), try row.text())
      }
      return Dictionary(uniqueKeysWithValues: pairs)
    }
  }

  func setSetting(_ key: String, to value: String?) async throws {
    let at = timestamp
    try await change { session, trail in
      // A value may be a secret: only that it changed is told.
      trail.add(AuditEvent(subject: AuditSubject(kind: "setting", id: key), after: ["is_set": .bool(value != nil)]))
      guard let value else {
        try session.execute(#"DELETE FROM settings WHERE "key" = $1"#, [.text(key)])
        return
      }
      try session.upsert(
        into: "settings", ["key", "value", "updated_at"], [.text(key), .text(value), SQLValue(at)], key: ["key"])
    }
  }
}

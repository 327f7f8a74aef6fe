import Audit
import Foundation
import JSONValues

extension ListOrder {
  /// Of one rule set.
  static let decisions = ListOrder("-number", key: .integer("number"), fields: [])
}

extension SQLStore {
  private static let decisionColumns = "number, is_approved, author_id, author_email, comment, decided_at"

  private static func readDecision(_ row: inout RowReader) throws(StorageError) -> RevisionDecision {
    RevisionDecision(
      revision: try row.revision(), isApproved: try row.flag(),
      author: Author(userID: try row.uuidOrNil(), email: try row.text()), comment: try row.text(),
      decidedAt: try row.date())
  }

  func requiresApproval(ruleSet name: String) async throws -> Bool {
    try await database.read { session in
      let required = try session.first("SELECT requires_approval FROM rule_sets WHERE name = $1", [.text(name)]) {
        row throws(StorageError) in try row.flag()
      }
      guard let required else { throw StorageError.notFound(kind: "rule set", key: name) }
      return required
    }
  }

  func setRequiresApproval(_ isRequired: Bool, ruleSet name: String, if check: @escaping Check<Bool>) async throws {
    try await change { session, trail in
      let head = try RuleSetTable.lock(name, session)
      try check(
        try session.count("SELECT requires_approval FROM rule_sets WHERE id = $1", [SQLValue(head.id)]) == 1)
      let count = try session.execute(
        "UPDATE rule_sets SET requires_approval = $2 WHERE id = $1 AND requires_approval <> $2",
        [SQLValue(head.id), SQLValue(isRequired)])
      guard count > 0 else { return }
      trail.add(
        AuditEvent(
          subject: .ruleSet(head.id), before: ["requires_approval": .bool(!isRequired)],
          after: ["requires_approval": .bool(isRequired)]))
    }
  }

  func decisions(ruleSet name: String, _ page: Page) async throws -> Paged<RevisionDecision> {
    try await database.read { session in
      var conditions = Conditions()
      conditions.add("rule_set_id = $?", SQLValue(try RuleSetTable.find(name, session).id))
      return try session.page(
        select: Self.decisionColumns, from: "rule_set_decisions", conditions, order: .decisions, page,
        Self.readDecision)
    }
  }

  private static func decision(
    _ revision: UInt64, of id: UUID, _ session: any SQLSession
  ) throws(StorageError) -> RevisionDecision? {
    try session.first(
      "SELECT \(decisionColumns) FROM rule_set_decisions WHERE rule_set_id = $1 AND number = $2",
      [SQLValue(id), SQLValue(revision: revision)], readDecision)
  }

  func decision(ruleSet name: String, revision: UInt64) async throws -> RevisionDecision? {
    try await database.read { session in
      try Self.decision(revision, of: try RuleSetTable.find(name, session).id, session)
    }
  }

  func decide(
    ruleSet name: String, revision: UInt64, isApproved: Bool, by author: Author, comment: String
  ) async throws -> RevisionDecision {
    let at = timestamp
    return try await change { session, trail in
      let head = try RuleSetTable.lock(name, session)
      let key = [SQLValue(head.id), SQLValue(revision: revision)]
      guard try session.count("SELECT COUNT(*) FROM rule_set_revisions WHERE rule_set_id = $1 AND number = $2", key) == 1 else {
        throw StorageError.notFound(kind: "revision", key: "\(revision)")
      }
      let approvedBefore = try session.count(
        "SELECT COALESCE(MAX(number), 0) FROM rule_set_decisions WHERE rule_set_id = $1 AND number < $2 AND is_approved = 1",
        key)
      // By the name of the client those that it wrote before its accounts were kept.
      let own = try session.count(
        """
        SELECT COUNT(*) FROM rule_set_revisions r WHERE r.rule_set_id = $1 AND r.number <= $2 AND r.number > $3
          AND (r.author_email = $4 OR r.author_id = $5
            OR r.author_email IN (SELECT 'client:' || name FROM api_clients WHERE created_by_id = $5)
            OR EXISTS (SELECT 1 FROM rule_set_revision_accounts a
              WHERE a.rule_set_id = r.rule_set_id AND a.number = r.number AND a.account_id = $5))
        """, key + [SQLValue(approvedBefore), .text(author.email), SQLValue(author.userID)])
      guard own == 0 else { throw StorageError.ownChange }
      let old = try Self.decision(revision, of: head.id, session)
      try session.execute("DELETE FROM rule_set_decisions WHERE rule_set_id = $1 AND number = $2", key)
      try session.execute(
        "INSERT INTO rule_set_decisions (rule_set_id, \(Self.decisionColumns)) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        key + [
          SQLValue(isApproved), SQLValue(author.userID), .text(author.email), .text(comment), SQLValue(at),
        ])
      let new = RevisionDecision(
        revision: revision, isApproved: isApproved, author: author, comment: comment, decidedAt: at)
      trail.add(AuditEvent(subject: .ruleSet(head.id), before: old?.audited ?? .null, after: new.audited))
      return new
    }
  }
}

extension AuditSubject {
  fileprivate static func ruleSet(_ id: UUID) -> AuditSubject {
    AuditSubject(kind: "rule_set", id: SQLValue(id).plainText)
  }
}

extension RevisionDecision {
  fileprivate var audited: JSONValue {
    [
      "revision": .count(revision), "decision": .string(isApproved ? "approved" : "rejected"),
      "by": .string(author.email), "comment": .string(comment),
    ]
  }
}

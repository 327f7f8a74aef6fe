import Audit
import Foundation
import Identity
import Rules

/// The rows of rule sets and their revisions. A revision is written once and never changed.
enum RuleSetTable {
  /// A rule set without its content.
  struct Head: Sendable {
    let id: UUID
    let revision: UInt64
    let createdAt: Date
  }

  static let infoColumns = "number, author_id, author_email, reason, rule_count, created_at"

  static func readHead(_ row: inout RowReader) throws(StorageError) -> Head {
    Head(id: try row.uuid(), revision: try row.revision(), createdAt: try row.date())
  }

  static func readInfo(_ row: inout RowReader) throws(StorageError) -> RuleSetRevisionInfo {
    RuleSetRevisionInfo(
      number: try row.revision(), author: Author(userID: try row.uuidOrNil(), email: try row.text()),
      reason: try row.textOrNil(), ruleCount: Int(try row.integer()), createdAt: try row.date())
  }

  static func find(_ name: String, _ session: any SQLSession) throws(StorageError) -> Head {
    let head = try session.first(
      "SELECT id, revision, created_at FROM rule_sets WHERE name = $1", [.text(name)], readHead)
    guard let head else { throw .notFound(kind: "rule set", key: name) }
    return head
  }

  /// Until the transaction ends, nobody else makes a revision.
  static func lock(_ name: String, _ session: any SQLSession) throws(StorageError) -> Head {
    try session.lockLater("rule_sets", where: "name = $1", [.text(name)])
    return try find(name, session)
  }

  /// A revision without its content, and the rule set that has it.
  struct Described: Sendable {
    let head: Head
    let info: RuleSetRevisionInfo
    let description: String

    /// - Parameter number: an expression; `$1` is the rule set's name.
    static func sql(number: String) -> String {
      """
      SELECT s.id, s.revision, s.created_at, r.number, r.author_id, r.author_email, r.reason, r.rule_count,
        r.created_at, r.description FROM rule_sets s JOIN rule_set_revisions r ON r.rule_set_id = s.id
        AND r.number = \(number) WHERE s.name = $1
      """
    }

    init(_ row: inout RowReader) throws(StorageError) {
      head = try readHead(&row)
      info = try readInfo(&row)
      description = try row.text()
    }
  }

  static func content(
    _ number: UInt64, of id: UUID, _ session: any SQLSession
  ) throws(StorageError) -> (value: RevisionCache.Value, textLength: Int) {
    guard let stored = try StoredContent(number, of: id, session) else {
      throw .notFound(kind: "revision", key: "\(number)")
    }
    var content = try stored.content()
    content.revision = number
    let known = stored.digest.map { RevisionCache.Stored(digest: $0, base: stored.base) }
    return (.init(content: content, stored: known), stored.bytes.count)
  }

  /// A revision that a transaction has made or is about to replace.
  struct Written: Sendable {
    let ruleSet: StoredRuleSet
    let text: RevisionText
    /// What the stored text is made from; nil: it may be another text.
    let base: StoredContent.Base?

    func keep(in cache: RevisionCache) {
      let stored = base.map { RevisionCache.Stored(digest: text.digest, base: $0) }
      cache.keep(
        .init(content: ruleSet.content, text: text, stored: stored), textLength: text.bytes.count,
        for: .init(ruleSetID: ruleSet.id, number: ruleSet.revision, createdAt: ruleSet.current.info.createdAt))
    }
  }

  /// Writes revision `number`.
  ///
  /// - Parameter old: the one before.
  static func insert(
    _ draft: RuleSetDraft, number: UInt64, of head: Head, _ edit: RuleSetEdit, after old: Written?, at: Date,
    _ session: any SQLSession
  ) throws -> Written {
    let text = try RevisionText(draft.content, after: old?.text)
    let row = StoredContent.row(
      text.bytes, number: number, after: old.flatMap { old in old.base.map { (old.text.bytes, $0) } })
    var content = draft.content
    content.revision = number
    try session.executeLater(
      """
      INSERT INTO rule_set_revisions (rule_set_id, number, author_id, author_email, reason, description, rule_count,
        default_action, content, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
      """,
      [
        SQLValue(head.id), SQLValue(revision: number), SQLValue(edit.author.userID), .text(edit.author.email),
        SQLValue(edit.reason), .text(draft.description), SQLValue(content.allRules.count),
        .text(content.defaultAction.rawValue), .text(row.text), SQLValue(at),
      ])
    if edit.author.userID == nil {
      for account in edit.author.accounts {
        try session.executeLater(
          "INSERT INTO rule_set_revision_accounts (rule_set_id, number, account_id) VALUES ($1, $2, $3)",
          [SQLValue(head.id), SQLValue(revision: number), SQLValue(account)])
      }
    }
    let info = RuleSetRevisionInfo(
      number: number, author: edit.author, reason: edit.reason, ruleCount: content.allRules.count, createdAt: at)
    return Written(
      ruleSet: StoredRuleSet(
        id: head.id, createdAt: head.createdAt,
        current: RuleSetRevision(info: info, description: draft.description, content: content)),
      text: text, base: row.base)
  }

  /// The newest revision, locked as by ``lock(_:_:)``, for the transaction that replaces it.
  ///
  /// - Parameter expected: what it is to be; nil: any.
  static func lockNewest(
    _ name: String, expected: UInt64?, _ cache: RevisionCache, _ session: any SQLSession
  ) throws -> (head: Head, newest: Written) {
    try session.lockLater("rule_sets", where: "name = $1", [.text(name)])
    let sql = Described.sql(number: "s.revision")
    guard let found = try session.first(sql, [.text(name)], Described.init) else {
      throw StorageError.notFound(kind: "rule set", key: name)
    }
    let (head, info) = (found.head, found.info)
    if let expected, expected != head.revision {
      throw StorageError.staleRevision(expected: expected, current: head.revision)
    }
    let known = try cache[.init(ruleSetID: head.id, number: info.number, createdAt: info.createdAt)]
      ?? content(info.number, of: head.id, session).value
    let revision = RuleSetRevision(info: info, description: found.description, content: known.content)
    let text = try known.text ?? RevisionText(known.content)
    return (
      head,
      Written(
        ruleSet: StoredRuleSet(id: head.id, createdAt: head.createdAt, current: revision), text: text,
        // Another version may have written the same otherwise.
        base: known.stored.flatMap { $0.digest == text.digest ? $0.base : nil })
    )
  }
}

extension ListOrder {
  public static let ruleSets = ListOrder(
    "name", key: .text("name", "s.name"),
    fields: [
      .text("name", "s.name"), .integer("revision", "s.revision"), .integer("rule_count", "r.rule_count"),
      .integer("created_at", "s.created_at"), .integer("updated_at", "r.created_at"),
    ])
  /// Of one rule set.
  public static let revisions = ListOrder(
    "-revision", key: .integer("revision", "number"),
    fields: [.integer("revision", "number"), .integer("rule_count"), .integer("created_at")])
}

extension SQLStore {
  func createRuleSet(
    _ content: RuleSet, description: String, team: String?, _ edit: RuleSetEdit
  ) async throws -> StoredRuleSet {
    if let limits = edit.limits { try content.checkDelegation(from: nil, limits: limits) }
    var content = content
    content.fixExpiry(atUnixMilliseconds: timestamp.unixMilliseconds)
    let head = RuleSetTable.Head(id: UUID(), revision: 1, createdAt: timestamp)
    let made = try await change { [content] session, trail in
      try session.execute(
        "INSERT INTO rule_sets (id, name, revision, created_at) VALUES ($1, $2, 1, $3)",
        [SQLValue(head.id), .text(content.name), SQLValue(head.createdAt)])
      let draft = RuleSetDraft(content: content, description: description)
      if let team {
        let teamID = try TeamTable.lock(team, session).id
        try ResourceTable.setOwner(of: ResourceRef(.ruleSet, head.id), teamID: teamID, session)
      }
      let made = try RuleSetTable.insert(draft, number: 1, of: head, edit, after: nil, at: head.createdAt, session)
      trail.created("rule_set", try made.audited)
      return made
    }
    made.keep(in: revisions)
    return made.ruleSet
  }

  func ruleSet(named name: String) async throws -> StoredRuleSet {
    let sql = RuleSetTable.Described.sql(number: "s.revision")
    guard let newest = try await reads.first(sql, [.text(name)], RuleSetTable.Described.init) else {
      throw StorageError.notFound(kind: "rule set", key: name)
    }
    return StoredRuleSet(id: newest.head.id, createdAt: newest.head.createdAt, current: try await revision(newest))
  }

  private func revision(_ described: RuleSetTable.Described) async throws -> RuleSetRevision {
    RuleSetRevision(
      info: described.info, description: described.description,
      content: try await content(of: described.head.id, described.info))
  }

  /// A revision is there for good unless its rule set goes: no snapshot has to hold the two statements together.
  private func content(of id: UUID, _ info: RuleSetRevisionInfo) async throws -> RuleSet {
    let key = RevisionCache.Key(ruleSetID: id, number: info.number, createdAt: info.createdAt)
    if let known = revisions[key] { return known.content }
    let read = try await database.read { session in try RuleSetTable.content(info.number, of: id, session) }
    revisions.keep(read.value, textLength: read.textLength, for: key)
    return read.value.content
  }

  func ruleSets(search: String?, among ids: Set<UUID>?, _ page: Page) async throws -> Paged<RuleSetSummary> {
    var conditions = Conditions()
    if let ids { conditions.add("s.id", among: ids) }
    if let search { conditions.search(search, in: "s.name", "r.description") }
    return try await database.read { [conditions] session in
      try session.page(
        select: "s.id, s.name, r.description, s.revision, r.rule_count, r.default_action, s.created_at, r.created_at",
        from: "rule_sets s JOIN rule_set_revisions r ON r.rule_set_id = s.id AND r.number = s.revision",
        conditions, order: .ruleSets, page
      ) { row throws(StorageError) in
        RuleSetSummary(
          id: try row.uuid(), name: try row.text(), description: try row.text(), revision: try row.revision(),
          ruleCount: Int(try row.integer()), defaultAction: try row.choice(), createdAt: try row.date(),
          updatedAt: try row.date())
      }
    }
  }

  func updateRuleSet(
    named name: String, _ edit: RuleSetEdit, _ change: @escaping @Sendable (inout RuleSetDraft) throws -> Void
  ) async throws -> StoredRuleSet {
    let at = timestamp
    let written = try await self.change { [revisions] session, trail in
      trail.concernsNoCopies()
      let (head, old) = try RuleSetTable.lockNewest(name, expected: edit.expectedRevision, revisions, session)
      let oldDraft = RuleSetDraft(content: old.ruleSet.content, description: old.ruleSet.description)
      var draft = oldDraft
      try change(&draft)
      draft.content.revision = head.revision
      draft.content.fixExpiry(atUnixMilliseconds: at.unixMilliseconds)
      if draft == oldDraft { return old }
      // Here, beside the change itself: no route can forget it, and nobody's edit comes in between.
      if let limits = edit.limits {
        try draft.content.checkDelegation(from: oldDraft.content, limits: limits)
        if draft.description != oldDraft.description { throw DelegationError.notARule }
      }
      let next = head.revision + 1
      try session.executeLater(
        "UPDATE rule_sets SET revision = $2, name = $3 WHERE id = $1",
        [SQLValue(head.id), SQLValue(revision: next), .text(draft.content.name)])
      let new = try RuleSetTable.insert(draft, number: next, of: head, edit, after: old, at: at, session)
      let gone = Set(oldDraft.content.sets.map(\.name)).subtracting(draft.content.sets.map(\.name))
      for set in gone.sorted() { try ResourceTable.forget(ResourceRef(set: set, ofRuleSet: head.id), session) }
      let audited = try old.audited(replacedBy: new)
      trail.changed("rule_set", from: audited.old, to: audited.new)
      return new
    }
    written.keep(in: revisions)
    return written.ruleSet
  }

  func deleteRuleSet(named name: String, expectedRevision: UInt64?) async throws {
    try await change { [revisions] session, trail in
      let (head, old) = try RuleSetTable.lockNewest(name, expected: expectedRevision, revisions, session)
      do throws(StorageError) {
        try session.execute("DELETE FROM rule_sets WHERE name = $1", [.text(name)])
      } catch { throw error.naming(kind: "rule set", by: "attachments") }
      try ResourceTable.forget(ResourceRef(.ruleSet, head.id), session)
      for set in old.ruleSet.content.sets {
        try ResourceTable.forget(ResourceRef(set: set.name, ofRuleSet: head.id), session)
      }
      trail.deleted("rule_set", try old.audited)
    }
  }

  func ruleSetRevisions(named name: String, _ page: Page) async throws -> Paged<RuleSetRevisionInfo> {
    try await database.read { session in
      var conditions = Conditions()
      conditions.add("rule_set_id = $?", SQLValue(try RuleSetTable.find(name, session).id))
      return try session.page(
        select: RuleSetTable.infoColumns, from: "rule_set_revisions", conditions, order: .revisions, page,
        RuleSetTable.readInfo)
    }
  }

  func ruleSetRevision(named name: String, number: UInt64) async throws -> RuleSetRevision {
    let sql = RuleSetTable.Described.sql(number: "$2")
    let arguments: [SQLValue] = [.text(name), SQLValue(revision: number)]
    guard let found = try await reads.first(sql, arguments, RuleSetTable.Described.init) else {
      throw StorageError.notFound(kind: "revision", key: "\(number)")
    }
    return try await revision(found)
  }
}

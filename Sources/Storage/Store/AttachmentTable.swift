import Foundation
import Identity
import Rules

/// The rows of attachments, with the names of what they refer to.
enum AttachmentTable {
  static let columns =
    "a.id, n.name, a.interface, s.name, a.applied_revision, a.applied_at, a.mode, a.zero_copy, a.coexistence, "
    + "a.capture_fallback, a.keep_on_exit, a.created_at, a.updated_at"
  static let tables =
    "attachments a JOIN nodes n ON n.id = a.node_id LEFT JOIN rule_sets s ON s.id = a.rule_set_id"

  static func read(_ row: inout RowReader) throws(StorageError) -> Attachment {
    Attachment(
      id: try row.uuid(), node: try row.text(), interface: try row.text(), ruleSet: try row.textOrNil(),
      appliedRevision: try row.integerOrNil().map { UInt64(clamping: $0) }, appliedAt: try row.dateOrNil(),
      options: AttachmentOptions(
        mode: try row.choice(), zeroCopy: try row.choice(), coexistence: try row.choice(),
        captureFallback: try row.choice(Fate.self), keepOnExit: try row.flag()),
      createdAt: try row.date(), updatedAt: try row.date())
  }

  static let byID = "SELECT \(columns) FROM \(tables) WHERE a.id = $1"

  static func find(_ id: UUID, _ session: any SQLSession) throws(StorageError) -> Attachment {
    let found = try session.first(byID, [SQLValue(id)], read)
    guard let found else { throw .notFound(kind: "attachment", key: SQLValue(id).plainText) }
    return found
  }

  /// Until the transaction ends, nobody else changes the attachment.
  static func lock(_ id: UUID, _ session: any SQLSession) throws(StorageError) -> Attachment {
    try session.lockLater("attachments", where: "id = $1", [SQLValue(id)])
    return try find(id, session)
  }

  /// NULL for nil.
  static func ruleSetID(_ name: String?, _ session: any SQLSession) throws(StorageError) -> SQLValue {
    guard let name else { return .null }
    let id = try session.first("SELECT id FROM rule_sets WHERE name = $1", [.text(name)]) {
      row throws(StorageError) in try row.text()
    }
    guard let id else { throw .notFound(kind: "rule set", key: name) }
    return .text(id)
  }
}

extension ListOrder {
  public static let attachments = ListOrder(
    "node", "interface", key: .text("id", "a.id"),
    fields: [
      .text("node", "n.name"), .text("interface", "a.interface"), .text("rule_set", "COALESCE(s.name, '')"),
      .integer("applied_revision", "COALESCE(a.applied_revision, -1)"),
      .integer("applied_at", "COALESCE(a.applied_at, -1)"), .integer("created_at", "a.created_at"),
      .integer("updated_at", "a.updated_at"),
    ])
}

extension SQLStore {
  func createAttachment(_ attachment: NewAttachment) async throws -> Attachment {
    let at = timestamp
    let id = UUID()
    return try await change { session, trail in
      let node = try NodeTable.find(attachment.node, session)
      let options = attachment.options
      do throws(StorageError) {
        try session.execute(
          """
          INSERT INTO attachments (id, node_id, interface, rule_set_id, mode, zero_copy, coexistence, capture_fallback,
            keep_on_exit, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)
          """,
          [
            SQLValue(id), SQLValue(node.id), .text(attachment.interface),
            try AttachmentTable.ruleSetID(attachment.ruleSet, session), .text(options.mode.rawValue),
            .text(options.zeroCopy.rawValue), .text(options.coexistence.rawValue),
            .text(options.captureFallback.rawValue), SQLValue(options.keepOnExit), SQLValue(at),
          ])
      } catch StorageError.inUse {
        throw StorageError.notFound(kind: "node or rule set", key: attachment.node)  // deleted since it was looked up
      }
      let made = try AttachmentTable.find(id, session)
      trail.created("attachment", made.audited)
      return made
    }
  }

  func attachment(id: UUID) async throws -> Attachment {
    let found = try await reads.first(AttachmentTable.byID, [SQLValue(id)], AttachmentTable.read)
    guard let found else { throw StorageError.notFound(kind: "attachment", key: SQLValue(id).plainText) }
    return found
  }

  func attachments(_ filter: AttachmentFilter, _ page: Page) async throws -> Paged<Attachment> {
    var conditions = Conditions()
    if let node = filter.node { conditions.add("n.name = $?", .text(node)) }
    if let interface = filter.interface { conditions.add("a.interface = $?", .text(interface)) }
    if let ruleSet = filter.ruleSet { conditions.add("s.name = $?", .text(ruleSet)) }
    if let among = filter.among {
      conditions.addAny([
        ("a.id", among.attachments.map { SQLValue($0) }), ("a.node_id", among.nodes.map { SQLValue($0) }),
      ])
    }
    return try await database.read { [conditions] session in
      try session.page(
        select: AttachmentTable.columns, from: AttachmentTable.tables, conditions, order: .attachments, page,
        AttachmentTable.read)
    }
  }

  func updateAttachment(
    id: UUID, _ change: AttachmentChange, if check: @escaping Check<Attachment>
  ) async throws -> Attachment {
    let at = timestamp
    return try await self.change { session, trail in
      let old = try AttachmentTable.lock(id, session)
      try check(old)
      let options = change.options ?? old.options
      try session.execute(
        """
        UPDATE attachments SET mode = $2, zero_copy = $3, coexistence = $4, capture_fallback = $5, keep_on_exit = $6,
          updated_at = $7 WHERE id = $1
        """,
        [
          SQLValue(id), .text(options.mode.rawValue), .text(options.zeroCopy.rawValue),
          .text(options.coexistence.rawValue), .text(options.captureFallback.rawValue), SQLValue(options.keepOnExit),
          SQLValue(at),
        ])
      if let ruleSet = change.ruleSet, ruleSet != old.ruleSet {
        try session.execute(
          "UPDATE attachments SET rule_set_id = $2, applied_revision = NULL, applied_at = NULL WHERE id = $1",
          [SQLValue(id), try AttachmentTable.ruleSetID(ruleSet, session)])
      }
      let new = try AttachmentTable.find(id, session)
      trail.changed("attachment", from: old.audited, to: new.audited)
      return new
    }
  }

  func recordApplied(attachmentID: UUID, ruleSet: String, revision: UInt64) async throws -> Attachment {
    let at = timestamp
    return try await change { session, trail in
      let old = try AttachmentTable.lock(attachmentID, session)
      let ruleSetID = try AttachmentTable.ruleSetID(ruleSet, session)
      let exists = try session.count(
        "SELECT COUNT(*) FROM rule_set_revisions WHERE rule_set_id = $1 AND number = $2",
        [ruleSetID, SQLValue(revision: revision)])
      guard exists > 0 else { throw StorageError.notFound(kind: "revision", key: "\(revision)") }
      try session.execute(
        """
        UPDATE attachments SET rule_set_id = $2, applied_revision = $3, applied_at = $4, updated_at = $4 WHERE id = $1
        """,
        [SQLValue(attachmentID), ruleSetID, SQLValue(revision: revision), SQLValue(at)])
      let new = try AttachmentTable.find(attachmentID, session)
      trail.changed("attachment", from: old.audited, to: new.audited)
      return new
    }
  }

  func deleteAttachment(id: UUID, if check: @escaping Check<Attachment>) async throws {
    try await change { session, trail in
      let old = try AttachmentTable.lock(id, session)
      try check(old)
      try session.execute("DELETE FROM attachments WHERE id = $1", [SQLValue(id)])
      try ResourceTable.forget(ResourceRef(.attachment, id), session)
      trail.deleted("attachment", old.audited)
    }
  }
}

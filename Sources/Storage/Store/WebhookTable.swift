import Audit
import Foundation
import JSONValues

/// The rows of webhooks and of their deliveries.
enum WebhookTable {
  static let columns = """
    id, name, url, secret, kinds, is_active, last_event, failures, next_attempt_at, delivered_count, abandoned_count, \
    last_delivered_at, created_by_id, created_by_email, created_at, updated_at
    """

  static func read(_ row: inout RowReader) throws(StorageError) -> Webhook {
    Webhook(
      id: try row.uuid(), name: try row.text(), url: try row.text(), sealedSecret: try row.text(),
      kinds: try row.json(), isActive: try row.flag(), lastEvent: UInt64(clamping: try row.integer()),
      failures: Int(try row.integer()), nextAttemptAt: try row.date(),
      deliveredCount: UInt64(clamping: try row.integer()), abandonedCount: UInt64(clamping: try row.integer()),
      lastDeliveredAt: try row.dateOrNil(),
      createdBy: Author(userID: try row.uuidOrNil(), email: try row.text()), createdAt: try row.date(),
      updatedAt: try row.date())
  }

  static func find(_ id: UUID, _ session: any SQLSession) throws(StorageError) -> Webhook {
    let webhook = try session.first("SELECT \(columns) FROM webhooks WHERE id = $1", [SQLValue(id)], read)
    guard let webhook else { throw .notFound(kind: "webhook", key: SQLValue(id).plainText) }
    return webhook
  }

  /// Until the transaction ends, nobody else changes it.
  static func lock(_ id: UUID, _ session: any SQLSession) throws(StorageError) -> Webhook {
    try session.lockLater("webhooks", where: "id = $1", [SQLValue(id)])
    return try find(id, session)
  }

  static func newestEvent(_ session: any SQLSession) throws(StorageError) -> Int64 {
    try session.first("SELECT version FROM guards WHERE name = $1", [.text(EventSchema.guardName)]) {
      row throws(StorageError) in try row.integer()
    } ?? 0
  }

  static func readDelivery(_ row: inout RowReader) throws(StorageError) -> WebhookDelivery {
    WebhookDelivery(
      eventID: UInt64(clamping: try row.integer()), eventKind: try row.text(), attempt: Int(try row.integer()),
      result: try row.choice(), status: try row.integerOrNil().map { Int($0) }, error: try row.text(),
      milliseconds: Int(try row.integer()), at: try row.date())
  }

  /// Into the webhook's log, which keeps the last ``Webhook/deliveriesMax``. The webhook's row is locked by this.
  static func log(_ delivery: WebhookDelivery, _ id: SQLValue, _ session: any SQLSession) throws(StorageError) {
    let number = try session.update(
      "webhooks", set: "log_number = log_number + 1", where: "id = $1", [id], returning: "log_number"
    ) { row throws(StorageError) in try row.integer() }
    guard let number else { throw .notFound(kind: "webhook", key: id.plainText) }
    try session.execute(
      """
      INSERT INTO webhook_deliveries (webhook_id, number, event_id, event_type, attempt, result, status, error, duration_ms,
        happened_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
      """,
      [
        id, .integer(number), .integer(Int64(clamping: delivery.eventID)), .text(delivery.eventKind),
        SQLValue(delivery.attempt), .text(delivery.result.rawValue), delivery.status.map { SQLValue($0) } ?? .null,
        .text(delivery.error), SQLValue(delivery.milliseconds), SQLValue(delivery.at),
      ])
    try session.execute(
      "DELETE FROM webhook_deliveries WHERE webhook_id = $1 AND number <= $2",
      [id, .integer(number - Int64(Webhook.deliveriesMax))])
  }
}

extension Webhook {
  /// Never the secret, only that it changed; and of the URL, which may hold one, the host.
  fileprivate func audited(secretChanged: Bool = false) -> AuditedState {
    var members: [String: JSONValue] = [
      "name": .string(name), "host": .optional(URLComponents(string: url)?.host), "types": .strings(kinds),
      "is_active": .bool(isActive),
    ]
    if secretChanged { members["secret_changed"] = true }
    return AuditedState(id, .object(members))
  }
}

extension ListOrder {
  public static let webhooks = ListOrder(
    "name", key: .text("name"),
    fields: [
      .text("name"), .integer("is_active"), .integer("created_at"), .integer("updated_at"),
      .integer("last_delivered_at", "COALESCE(last_delivered_at, -1)"),
    ])
  /// Of one webhook.
  public static let deliveries = ListOrder("-number", key: .integer("number"), fields: [.integer("at", "happened_at")])
}

extension SQLStore {
  func createWebhook(_ webhook: NewWebhook) async throws -> Webhook {
    let at = timestamp
    return try await change { session, trail in
      guard try session.count("SELECT COUNT(*) FROM webhooks", []) < Webhook.countMax else {
        throw StorageError.invalid(
          field: "name", reason: "there are at most \(Webhook.countMax) webhooks: delete one first")
      }
      try session.execute(
        """
        INSERT INTO webhooks (\(WebhookTable.columns), lease, leased_until, log_number)
          VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0, 0, 0, NULL, $8, $9, $10, $10, '', 0, 0)
        """,
        [
          SQLValue(webhook.id), .text(webhook.name), .text(webhook.url), .text(webhook.sealedSecret),
          try .json(webhook.kinds), SQLValue(webhook.isActive), .integer(try WebhookTable.newestEvent(session)),
          SQLValue(webhook.createdBy.userID), .text(webhook.createdBy.email), SQLValue(at),
        ])
      let made = try WebhookTable.find(webhook.id, session)
      trail.created("webhook", made.audited())
      return made
    }
  }

  func webhook(id: UUID) async throws -> Webhook { try await database.read { try WebhookTable.find(id, $0) } }

  func webhooks(_ page: Page) async throws -> Paged<Webhook> {
    try await database.read { session in
      try session.page(select: WebhookTable.columns, from: "webhooks", order: .webhooks, page, WebhookTable.read)
    }
  }

  func updateWebhook(
    id: UUID, _ change: WebhookChange, if check: @escaping Check<Webhook>
  ) async throws -> Webhook {
    let at = timestamp
    return try await self.change { session, trail in
      let old = try WebhookTable.lock(id, session)
      try check(old)
      let isActive = change.isActive ?? old.isActive
      let url = change.url ?? old.url
      let beginsAnew = (isActive && !old.isActive) || url != old.url
      let last = beginsAnew ? try WebhookTable.newestEvent(session) : Int64(clamping: old.lastEvent)
      // Who holds the lease has read what is no longer true: the lease is over.
      try session.execute(
        """
        UPDATE webhooks SET name = $2, url = $3, secret = $4, kinds = $5, is_active = $6, last_event = $7, failures = $8,
          next_attempt_at = $9, lease = '', leased_until = 0, updated_at = $10 WHERE id = $1
        """,
        [
          SQLValue(id), .text(change.name ?? old.name), .text(url), .text(change.sealedSecret ?? old.sealedSecret),
          try .json(change.kinds ?? old.kinds), SQLValue(isActive), .integer(last),
          SQLValue(beginsAnew ? 0 : old.failures), beginsAnew ? .integer(0) : SQLValue(old.nextAttemptAt), SQLValue(at),
        ])
      let new = try WebhookTable.find(id, session)
      trail.changed(
        "webhook", from: old.audited(), to: new.audited(secretChanged: new.sealedSecret != old.sealedSecret))
      return new
    }
  }

  func deleteWebhook(id: UUID, if check: @escaping Check<Webhook>) async throws {
    try await change { session, trail in
      let old = try WebhookTable.lock(id, session)
      try check(old)
      try session.execute("DELETE FROM webhooks WHERE id = $1", [SQLValue(id)])
      trail.deleted("webhook", old.audited())
    }
  }

  func webhookDeliveries(ofWebhook id: UUID, _ page: Page) async throws -> Paged<WebhookDelivery> {
    try await database.read { session in
      var conditions = Conditions()
      conditions.add("webhook_id = $?", SQLValue(try WebhookTable.find(id, session).id))
      return try session.page(
        select: "event_id, event_type, attempt, result, status, error, duration_ms, happened_at",
        from: "webhook_deliveries", conditions, order: .deliveries, page, WebhookTable.readDelivery)
    }
  }

  func webhookStates() async throws -> [WebhookState] {
    let at = timestamp
    return try await database.read { session in
      let newest = UInt64(clamping: try WebhookTable.newestEvent(session))
      return try session.all("SELECT failures, next_attempt_at, last_event FROM webhooks WHERE is_active = 1", []) {
        row throws(StorageError) in
        let circuit = WebhookCircuit(failures: Int(try row.integer()), nextAttemptAt: try row.date(), at: at)
        let last = UInt64(clamping: try row.integer())
        return WebhookState(circuit: circuit, backlog: newest - min(newest, last))
      }
    }
  }

  func leaseWebhook(for seconds: TimeInterval) async throws -> LeasedWebhook? {
    let at = timestamp
    let due = """
      SELECT id FROM webhooks WHERE is_active = 1 AND next_attempt_at <= $1 AND leased_until <= $1
        AND last_event < (SELECT version FROM guards WHERE name = $2) ORDER BY next_attempt_at, id LIMIT 1
      """
    // Asked again and again: only what finds something writes.
    let found = try await reads.first(due, [SQLValue(at), .text(EventSchema.guardName)]) { row throws(StorageError) in
      try row.uuid()
    }
    guard let id = found else { return nil }
    let lease = UUID()
    return try await bookkeep("who tells of events now; what was decided about the webhook is recorded") { session in
      let taken = try session.execute(
        """
        UPDATE webhooks SET lease = $2, leased_until = $3
          WHERE id = $1 AND is_active = 1 AND leased_until <= $4 AND next_attempt_at <= $4
        """,
        [SQLValue(id), SQLValue(lease), SQLValue(at.addingTimeInterval(seconds)), SQLValue(at)])
      guard taken == 1 else { return nil }
      return LeasedWebhook(
        webhook: try WebhookTable.find(id, session), lease: lease,
        newestEvent: UInt64(clamping: try WebhookTable.newestEvent(session)))
    }
  }

  func recordProgress(_ progress: WebhookProgress, of leased: LeasedWebhook) async throws -> Bool {
    let at = timestamp
    return try await bookkeep("how telling of events went; the webhook's own log has it") { session in
      let id = SQLValue(leased.webhook.id)
      let result = progress.delivery?.result
      let lease = progress.leaseSeconds.map { ($0, leased.lease) }
      let written = try session.execute(
        """
        UPDATE webhooks SET last_event = $3, failures = $4, next_attempt_at = $5, lease = $6, leased_until = $7,
          delivered_count = delivered_count + $8, abandoned_count = abandoned_count + $9,
          last_delivered_at = COALESCE($10, last_delivered_at) WHERE id = $1 AND lease = $2
        """,
        [
          id, SQLValue(leased.lease), .integer(Int64(clamping: progress.lastEvent)), SQLValue(progress.failures),
          SQLValue(progress.nextAttemptAt), lease.map { SQLValue($0.1) } ?? .text(""),
          lease.map { SQLValue(at.addingTimeInterval($0.0)) } ?? .integer(0),
          SQLValue(result == .delivered ? 1 : 0), SQLValue(result == .abandoned ? 1 : 0),
          result == .delivered ? SQLValue(at) : .null,
        ])
      guard written == 1 else { return false }
      if let delivery = progress.delivery { try WebhookTable.log(delivery, id, session) }
      return true
    }
  }

  func recordTest(_ delivery: WebhookDelivery, ofWebhook id: UUID) async throws {
    try await bookkeep("the request that asked for the test is recorded") { session in
      try WebhookTable.log(delivery, SQLValue(id), session)
      guard delivery.result == .delivered else { return }
      try session.execute("UPDATE webhooks SET next_attempt_at = 0 WHERE id = $1", [SQLValue(id)])
    }
  }
}

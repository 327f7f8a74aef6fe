import Audit
import Foundation
import Identity
import JSONValues
import Packets
import Rules

/// The rows of API clients and their keys.
enum ClientTable {
  static let columns =
    "id, name, description, scopes, limits, sources, is_active, created_by_id, created_by_email, created_at, updated_at"
  static let keyColumns = "id, prefix, digest, created_at, expires_at, last_used_at, last_used_from, created_by_id"

  static func read(_ row: inout RowReader) throws(StorageError) -> APIClientRecord {
    APIClientRecord(
      id: try row.uuid(), name: try row.text(), description: try row.text(), scopes: try row.json(),
      limits: try row.jsonOrNil(), sources: try row.json(), isActive: try row.flag(), keys: [],
      createdBy: Author(userID: try row.uuidOrNil(), email: try row.text()), createdAt: try row.date(),
      updatedAt: try row.date())
  }

  static func readKey(_ row: inout RowReader) throws(StorageError) -> APIKeyRecord {
    APIKeyRecord(
      id: try row.uuid(), prefix: try row.text(), digest: try row.text(), createdAt: try row.date(),
      expiresAt: try row.dateOrNil(), lastUsedAt: try row.dateOrNil(), lastUsedFrom: try row.text(),
      createdByID: try row.uuidOrNil())
  }

  /// As they are, once their rows are read: with as many statements as for one.
  static func whole(_ clients: [APIClientRecord], _ session: any SQLSession) throws(StorageError) -> [APIClientRecord] {
    guard !clients.isEmpty else { return [] }
    let choice = SQLChoice(clients.map { SQLValue($0.id) })
    let rows = try session.all(
      "SELECT client_id, \(keyColumns) FROM api_keys WHERE client_id \(choice.sql) ORDER BY created_at, id", choice.arguments
    ) { row throws(StorageError) in (client: try row.uuid(), key: try readKey(&row)) }
    let keys = Dictionary(grouping: rows, by: \.client)
    let holders = Dictionary(clients.map { ($0.id, RoleHolder.client($0.name)) }, uniquingKeysWith: { first, _ in first })
    let scoped = try ScopedRoles.all(of: holders, .client, session)
    return clients.map { client in
      var copy = client
      copy.keys = (keys[client.id] ?? []).map(\.key)
      copy.memberships = scoped[client.id]?.memberships ?? []
      copy.resourceGrants = scoped[client.id]?.grants ?? []
      return copy
    }
  }

  static func find(_ id: UUID, _ session: any SQLSession) throws(StorageError) -> APIClientRecord {
    let client = try session.first("SELECT \(columns) FROM api_clients WHERE id = $1", [SQLValue(id)], read)
    guard let client else { throw .notFound(kind: "API client", key: SQLValue(id).plainText) }
    return try whole([client], session)[0]
  }

  /// Until the transaction ends, nobody else changes the client or its keys.
  static func lock(_ id: UUID, _ session: any SQLSession) throws(StorageError) -> APIClientRecord {
    try session.lockLater("api_clients", where: "id = $1", [SQLValue(id)])
    return try find(id, session)
  }
}

extension APIClientRecord {
  /// Keys by their visible part.
  var audited: AuditedState {
    AuditedState(
      id,
      [
        "name": .string(name), "description": .string(description), "scopes": .strings(scopes.map(\.text)),
        "limits": (try? limits.map { try .encoding($0) }) ?? .null, "sources": .strings(sources.map(\.description)),
        "is_active": .bool(isActive),
        "keys": .array(
          keys.map { ["prefix": .string($0.prefix), "expires_at": .optional($0.expiresAt?.rfc3339)] }),
      ])
  }
}

extension ListOrder {
  public static let apiClients = ListOrder(
    "name", key: .text("name"),
    fields: [.text("name"), .integer("is_active"), .integer("created_at"), .integer("updated_at")])
}

extension SQLStore {
  func createAPIClient(_ client: NewAPIClient) async throws -> APIClientRecord {
    let at = timestamp
    let id = UUID()
    return try await change { session, trail in
      try session.execute(
        "INSERT INTO api_clients (\(ClientTable.columns)) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)",
        [
          SQLValue(id), .text(client.name), .text(client.description), try .json(client.scopes),
          try .json(client.limits), try .json(client.sources), SQLValue(client.isActive),
          SQLValue(client.createdBy.accounts.first), .text(client.createdBy.email), SQLValue(at),
        ])
      let made = try ClientTable.find(id, session)
      trail.created("api_client", made.audited)
      return made
    }
  }

  func apiClient(id: UUID) async throws -> APIClientRecord {
    try await database.read { try ClientTable.find(id, $0) }
  }

  func apiClients(_ page: Page) async throws -> Paged<APIClientRecord> {
    try await database.read { session in
      var clients = try session.page(
        select: ClientTable.columns, from: "api_clients", order: .apiClients, page, ClientTable.read)
      clients.items = try ClientTable.whole(clients.items, session)
      return clients
    }
  }

  func updateAPIClient(
    id: UUID, _ change: APIClientChange, if check: @escaping Check<APIClientRecord>
  ) async throws -> APIClientRecord {
    let at = timestamp
    return try await self.change { session, trail in
      let old = try ClientTable.lock(id, session)
      try check(old)
      try session.execute(
        """
        UPDATE api_clients SET name = $2, description = $3, scopes = $4, limits = $5, sources = $6, is_active = $7,
          updated_at = $8 WHERE id = $1
        """,
        [
          SQLValue(id), .text(change.name ?? old.name), .text(change.description ?? old.description),
          try .json(change.scopes ?? old.scopes), try .json(change.limits ?? old.limits),
          try .json(change.sources ?? old.sources), SQLValue(change.isActive ?? old.isActive), SQLValue(at),
        ])
      let new = try ClientTable.find(id, session)
      trail.changed("api_client", from: old.audited, to: new.audited)
      return new
    }
  }

  func deleteAPIClient(id: UUID, if check: @escaping Check<APIClientRecord>) async throws {
    try await change { session, trail in
      let old = try ClientTable.lock(id, session)
      try check(old)
      try session.execute("DELETE FROM api_clients WHERE id = $1", [SQLValue(id)])
      trail.deleted("api_client", old.audited)
    }
  }

  func addAPIKey(
    _ key: NewAPIKey, toClient id: UUID, if check: @escaping Check<APIClientRecord>
  ) async throws -> APIClientRecord {
    let at = timestamp
    return try await change { session, trail in
      let old = try ClientTable.lock(id, session)
      try check(old)
      // What has ended makes room.
      try session.execute(
        "DELETE FROM api_keys WHERE client_id = $1 AND expires_at IS NOT NULL AND expires_at <= $2",
        [SQLValue(id), SQLValue(at)])
      let count = try session.count("SELECT COUNT(*) FROM api_keys WHERE client_id = $1", [SQLValue(id)])
      guard count < NewAPIKey.countMax else {
        throw StorageError.invalid(
          field: "keys", reason: "a client has at most \(NewAPIKey.countMax) keys: revoke one first")
      }
      if let end = key.othersEndAt {
        try session.execute(
          "UPDATE api_keys SET expires_at = $2 WHERE client_id = $1 AND (expires_at IS NULL OR expires_at > $2)",
          [SQLValue(id), SQLValue(end)])
      }
      try session.execute(
        """
        INSERT INTO api_keys (id, client_id, prefix, digest, created_at, expires_at, last_used_from, created_by_id)
          VALUES ($1, $2, $3, $4, $5, $6, '', $7)
        """,
        [
          SQLValue(UUID()), SQLValue(id), .text(key.prefix), .text(key.digest), SQLValue(at), SQLValue(key.expiresAt),
          SQLValue(key.createdByID),
        ])
      let new = try ClientTable.find(id, session)
      trail.changed("api_client", from: old.audited, to: new.audited)
      trail.credentials(key.othersEndAt == nil ? .keyMade : .keyRotated, of: new, key: key.prefix)
      return new
    }
  }

  func removeAPIKey(
    id keyID: UUID, ofClient id: UUID, if check: @escaping Check<APIClientRecord>
  ) async throws -> APIClientRecord {
    try await change { session, trail in
      let old = try ClientTable.lock(id, session)
      try check(old)
      let removed = try session.execute(
        "DELETE FROM api_keys WHERE id = $1 AND client_id = $2", [SQLValue(keyID), SQLValue(id)])
      guard removed > 0 else { throw StorageError.notFound(kind: "key", key: SQLValue(keyID).plainText) }
      let new = try ClientTable.find(id, session)
      trail.changed("api_client", from: old.audited, to: new.audited)
      trail.credentials(.keyRevoked, of: new, key: old.keys.first { $0.id == keyID }?.prefix ?? "")
      return new
    }
  }

  func apiClient(keyPrefix: String) async throws -> APIClientRecord? {
    try await database.read { session in
      let id = try session.first("SELECT client_id FROM api_keys WHERE prefix = $1", [.text(keyPrefix)]) {
        row throws(StorageError) in try row.uuid()
      }
      return try id.map { try ClientTable.find($0, session) }
    }
  }

  func noteAPIKeyUse(id: UUID, from address: String) async throws {
    let at = timestamp
    try await bookkeep("what the client does with it is recorded") { session in
      _ = try session.execute(
        "UPDATE api_keys SET last_used_at = $2, last_used_from = $3 WHERE id = $1",
        [SQLValue(id), SQLValue(at), .text(address)])
    }
  }

  func tellOfEndingKeys() async throws -> Int {
    let at = timestamp
    return try await bookkeep("time tells it, nobody decides", wakes: { $0 > 0 ? [.events] : [] }) { session in
      var events: [CredentialEvent] = []
      // The later notice first: a key that is found a day before its end is told of once.
      for (notice, days) in [(2, 1), (1, 14)] {
        let seconds = TimeInterval(days * 86_400)
        let keys = try session.all(
          """
          SELECT k.id, k.prefix, k.expires_at, c.name FROM api_keys k JOIN api_clients c ON c.id = k.client_id
            WHERE c.is_active = 1 AND k.end_notices < $1 AND k.expires_at > $2 AND k.expires_at <= $3
              AND k.expires_at - k.created_at > $4 ORDER BY k.id
          """, [SQLValue(notice), SQLValue(at), SQLValue(at.addingTimeInterval(seconds)), .integer(Int64(seconds) * 1000)]
        ) { row throws(StorageError) in
          (id: try row.uuid(), prefix: try row.text(), end: try row.date(), client: try row.text())
        }
        for key in keys {
          // Of several copies of the API that found it, one gets it.
          let count = try session.execute(
            "UPDATE api_keys SET end_notices = $2 WHERE id = $1 AND end_notices < $2", [SQLValue(key.id), SQLValue(notice)])
          guard count > 0 else { continue }
          events.append(CredentialEvent(key: key.prefix, ofClient: key.client, endingAt: key.end, within: days))
        }
      }
      try EventTable.append(events, at: at, session)
      return events.count
    }
  }
}

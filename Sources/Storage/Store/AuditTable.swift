import Audit
import Foundation
import JSONValues

/// The rows of the audit log. `record` is what is hashed and what is shown; the columns beside it are for finding only.
enum AuditTable {
  static let name = "audit_log"
  /// The head of its chain.
  static let chain = "audit_chain"
  private static let columns = [
    "sequence", "happened_at", "actor_id", "actor_name", "address", "request_id", "operation", "outcome", "subject_kind",
    "subject_id", "record", "hash",
  ]

  /// Chains the records and writes them. The last statements of a transaction: the head of the chain is locked from
  /// here to the commit, and nobody who holds it waits for another lock.
  static func append(_ records: [WriteCombiner.Records], _ session: any SQLSession) throws(StorageError) {
    let count = records.reduce(0) { $0 + $1.list.count }
    guard count > 0 else { return }
    let head = try session.update(
      "audit_chain", set: "sequence = sequence + $1", where: "name = 'head'", [SQLValue(count)],
      returning: "sequence, hash"
    ) { row throws(StorageError) in (last: try row.integer(), hash: try row.text()) }
    guard var (sequence, previous) = head else { throw .corrupt("the audit log has no head") }
    sequence -= Int64(count)
    var rows: [[SQLValue]] = []
    for group in records {
      for record in group.list {
        sequence += 1
        let sealed = AuditChain.seal(record, sequence: UInt64(clamping: sequence), previousHash: previous)
        rows.append([
          .integer(sequence), SQLValue(group.at), SQLValue(record.actor.id), .text(record.actor.name),
          .text(record.address), .text(record.requestID), .text(record.operation), .text(record.outcome.rawValue),
          SQLValue(record.subject?.kind), SQLValue(record.subject.map { found($0.id) }), .text(sealed.text),
          .text(sealed.hash),
        ])
        previous = sealed.hash
      }
    }
    try session.insert(into: name, columns, rows)
    try session.executeLater("UPDATE audit_chain SET hash = $1 WHERE name = 'head'", [.text(previous)])
  }

  /// What an id is found by: as much of it as every database takes in an index. A caller chooses its length, in a path.
  private static func found(_ id: String) -> String { String(String.UnicodeScalarView(id.unicodeScalars.prefix(255))) }

  /// As it is exported: the record with its hash.
  static func read(_ row: inout RowReader) throws(StorageError) -> JSONValue {
    let sequence = try row.integer()
    let text = try row.text()
    let hash = try row.text()
    guard let record = try? JSONValue(parsing: Array(text.utf8)), case .object(var members) = record else {
      throw .corrupt("record \(sequence) of the audit log is not JSON")
    }
    members["hash"] = .string(hash)
    return .object(members)
  }

  static func conditions(_ filter: AuditFilter) -> Conditions {
    var conditions = Conditions()
    if let actor = filter.actor { conditions.add("actor_name = $? OR actor_id = $?", .text(actor)) }
    if let operation = filter.operation { conditions.add("operation = $?", .text(operation)) }
    if let outcome = filter.outcome { conditions.add("outcome = $?", .text(outcome.rawValue)) }
    if let kind = filter.subjectKind { conditions.add("subject_kind = $?", .text(kind)) }
    if let id = filter.subjectID { conditions.add("subject_id = $?", .text(found(id))) }
    if let requestID = filter.requestID { conditions.add("request_id = $?", .text(requestID)) }
    if let address = filter.address { conditions.add("address = $?", .text(address)) }
    if let since = filter.since { conditions.add("happened_at >= $?", SQLValue(since)) }
    if let until = filter.until { conditions.add("happened_at < $?", SQLValue(until)) }
    if let after = filter.after { conditions.add("sequence > $?", .integer(Int64(clamping: after))) }
    return conditions
  }
}

extension ListOrder {
  public static let auditLog = ListOrder(
    "-sequence", key: .integer("sequence"), fields: [.integer("sequence"), .integer("at", "happened_at")])
}

extension SQLStore {
  func recordAudit(_ event: AuditEvent) async throws {
    try await change { _, trail in
      trail.concernsNoCopies()
      trail.add(event)
    }
  }

  func auditLog(_ filter: AuditFilter, _ page: Page) async throws -> Paged<JSONValue> {
    try await database.read { session in
      try session.page(
        select: "sequence, record, hash", from: "audit_log", AuditTable.conditions(filter),
        order: filter.isAscending ? .auditLog.by("sequence") : .auditLog, page, AuditTable.read)
    }
  }

  func auditHead() async throws -> AuditAnchor {
    let head = try await reads.first("SELECT sequence, hash FROM audit_chain WHERE name = 'head'", []) {
      row throws(StorageError) in
      AuditAnchor(sequence: UInt64(clamping: try row.integer()), hash: try row.text())
    }
    guard let head else { throw StorageError.corrupt("the audit log has no head") }
    return head
  }

  /// In one go: a statement of seconds would keep all other writes waiting, or never come to its end.
  private static let removedRecordsMax: Int64 = 5000

  func removeAuditLog(before: Date) async throws -> AuditAnchor? {
    let at = timestamp
    return try await change { session, trail in
      // Only a whole stretch from the start can go: a clock that was set back leaves old times behind newer ones. The
      // last record stays in any case.
      let bound = try session.first(
        """
        SELECT COALESCE((SELECT MIN(sequence) FROM audit_log WHERE happened_at >= $1),
          (SELECT MAX(sequence) FROM audit_log), 0)
        """, [SQLValue(before)]
      ) { row throws(StorageError) in try row.integer() }
      let first = try session.first("SELECT COALESCE(MIN(sequence), 0) FROM audit_log", []) {
        row throws(StorageError) in try row.integer()
      }
      let last = try session.first(
        "SELECT sequence, hash FROM audit_log WHERE sequence < $1 ORDER BY sequence DESC LIMIT 1",
        [.integer(min(bound ?? 0, (first ?? 0) + Self.removedRecordsMax))]
      ) { row throws(StorageError) in
        AuditAnchor(sequence: UInt64(clamping: try row.integer()), hash: try row.text())
      }
      guard let last else { return nil }
      // The triggers let nothing be removed beyond this.
      try session.execute(
        "INSERT INTO audit_checkpoints (through_sequence, hash, removed_at) VALUES ($1, $2, $3)",
        [.integer(Int64(clamping: last.sequence)), .text(last.hash), SQLValue(at)])
      try session.execute(
        "DELETE FROM audit_log WHERE sequence <= $1", [.integer(Int64(clamping: last.sequence))])
      trail.add(
        AuditEvent(
          operation: AuditVerifier.checkpointOperation, subject: AuditSubject(kind: "audit_log", id: "log"),
          after: ["through_sequence": .count(last.sequence), "hash": .string(last.hash)]))
      return last
    }
  }
}

import Audit
import Foundation
import Identity
import JSONValues

/// What one run of a transaction has changed so far. Lives inside the closure of ``SQLStore/change(_:_:)``, on the
/// thread of the connection; a transaction that runs again starts with an empty one.
final class AuditTrail {
  private(set) var events: [AuditEvent] = []
  /// For whoever listens to events.
  private(set) var credentialEvents: [CredentialEvent] = []
  /// Other copies of the API keep something of what has changed in memory.
  private(set) var concernsCopies = true
  private let actor: AuditActor
  private let address: String

  /// - Parameters:
  ///   - actor: Who changes.
  ///   - address: From where; empty: the program itself.
  init(actor: AuditActor, address: String) {
    self.actor = actor
    self.address = address
  }

  /// Nothing of this change is kept in memory elsewhere: what happens often tells nobody.
  func concernsNoCopies() { concernsCopies = false }

  func add(_ event: AuditEvent) { events.append(event) }

  func credentials(_ change: CredentialChange, of user: User, formerly old: Email? = nil) {
    credentialEvents.append(CredentialEvent(change, of: user, formerly: old, by: actor.name, from: address))
  }

  /// - Parameter key: its visible part.
  func credentials(_ change: CredentialChange, of client: APIClientRecord, key: String) {
    credentialEvents.append(CredentialEvent(change, of: client, key: key, by: actor.name, from: address))
  }

  func created(_ kind: String, _ made: AuditedState) {
    add(AuditEvent(subject: AuditSubject(kind: kind, id: made.id), after: made.state))
  }

  /// Nothing where nothing changed.
  func changed(_ kind: String, from old: AuditedState, to new: AuditedState) {
    guard old.state != new.state else { return }
    add(AuditEvent(subject: AuditSubject(kind: kind, id: old.id), before: old.state, after: new.state))
  }

  func deleted(_ kind: String, _ old: AuditedState) {
    add(AuditEvent(subject: AuditSubject(kind: kind, id: old.id), before: old.state))
  }
}

/// A thing as the audit log shows it: without secrets.
struct AuditedState {
  let id: String
  let state: JSONValue

  init(_ id: UUID, _ state: JSONValue) {
    self.id = SQLValue(id).plainText
    self.state = state
  }
}

extension SQLStore {
  /// The way of everything that somebody does to the database: what the closure changes and the records of it are one
  /// transaction. The closure notes its changes in the trail; it may run again after a deadlock.
  ///
  /// - Parameter operation: how a change that no request asked for is called.
  func change<T: Sendable>(
    _ operation: String = #function,
    _ body: @escaping @Sendable (any SQLSession, AuditTrail) throws -> T
  ) async throws -> T {
    let request = AuditedRequest.current
    let name = request?.operation ?? String(operation.prefix { $0 != "(" })
    let actor = request?.actor ?? .system
    let at = timestamp
    let (value, count) = try await writes.write { session in
      let trail = AuditTrail(actor: actor, address: request?.address ?? "")
      let value = try body(session, trail)
      try EventTable.append(trail.credentialEvents, at: at, session)
      let records = trail.events.map { event in
        AuditRecord(
          at: at.rfc3339, actor: event.actor ?? actor, address: request?.address ?? "",
          requestID: request?.requestID ?? "", operation: event.operation ?? name, outcome: event.outcome,
          code: event.code, subject: event.subject, before: event.before, after: event.after)
      }
      var wakes: Set<WakeTopic> = trail.concernsCopies && !records.isEmpty ? [.access] : []
      if !trail.credentialEvents.isEmpty { wakes.insert(.events) }
      return ((value, records.count), WriteCombiner.Records(at: at, list: records, wakes: wakes))
    }
    request?.wrote(count)
    return value
  }

  /// Writes that nobody decided: progress of what was recorded before, and its removal by age.
  ///
  /// - Parameters:
  ///   - reason: why the audit log has nothing of it; for readers of the code.
  ///   - wakes: what other copies of the API are to hear, by the body's result.
  func bookkeep<T: Sendable>(
    _ reason: StaticString, wakes: @escaping @Sendable (T) -> Set<WakeTopic> = { _ in [] },
    _ body: @escaping @Sendable (any SQLSession) throws -> T
  ) async throws -> T {
    try await writes.write { session in
      let value = try body(session)
      return (value, WriteCombiner.Records(wakes: wakes(value)))
    }
  }
}

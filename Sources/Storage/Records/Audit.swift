import Audit
import Foundation
import JSONValues
import Synchronization

/// One request on its way through the store: whatever it changes is written into the audit log under its name, in the
/// transaction that changes it.
///
/// Set as ``current`` around the request; without one, a change is the program's own.
public final class AuditedRequest: Sendable {
  @TaskLocal public static var current: AuditedRequest?

  /// Without the port.
  public let address: String
  public let requestID: String
  /// The `operationId` of the route.
  public let operation: String
  /// As the client calls itself, at most 256 ASCII characters.
  public let userAgent: String
  private let state: Mutex<(actor: AuditActor, records: Int)>

  public init(
    actor: AuditActor = .anonymous, address: String, requestID: String, operation: String, userAgent: String = ""
  ) {
    self.userAgent = String(userAgent.filter { $0.isASCII && !$0.isNewline }.prefix(256))
    self.address = address
    self.requestID = requestID
    self.operation = operation
    state = Mutex((actor, 0))
  }

  public var actor: AuditActor { state.withLock { $0.actor } }
  /// Records that were written for it, and committed.
  public var recordCount: Int { state.withLock { $0.records } }

  /// He has proved who he is.
  public func identify(as actor: AuditActor) { state.withLock { $0.actor = actor } }

  func wrote(_ count: Int) { state.withLock { $0.records += count } }
}

/// What happened, for a record: who and when come from the ``AuditedRequest``.
public struct AuditEvent: Sendable {
  /// Nil: the request's own.
  public var operation: String?
  /// Nil: the request's own.
  public var actor: AuditActor?
  public var outcome: AuditOutcome
  public var code: String?
  public var subject: AuditSubject?
  public var before: JSONValue
  public var after: JSONValue

  public init(
    operation: String? = nil, actor: AuditActor? = nil, outcome: AuditOutcome = .succeeded, code: String? = nil,
    subject: AuditSubject? = nil, before: JSONValue = .null, after: JSONValue = .null
  ) {
    self.operation = operation
    self.actor = actor
    self.outcome = outcome
    self.code = code
    self.subject = subject
    self.before = before
    self.after = after
  }
}

/// Which records; nil is any.
public struct AuditFilter: Hashable, Sendable {
  /// Name or id.
  public var actor: String?
  public var operation: String?
  public var outcome: AuditOutcome?
  public var subjectKind: String?
  public var subjectID: String?
  public var requestID: String?
  public var address: String?
  public var since: Date?
  /// Not included.
  public var until: Date?
  /// Only records behind this one.
  public var after: UInt64?
  /// Oldest first; else newest first.
  public var isAscending: Bool

  public init(
    actor: String? = nil, operation: String? = nil, outcome: AuditOutcome? = nil, subjectKind: String? = nil,
    subjectID: String? = nil, requestID: String? = nil, address: String? = nil, since: Date? = nil, until: Date? = nil,
    after: UInt64? = nil, isAscending: Bool = false
  ) {
    self.actor = actor
    self.operation = operation
    self.outcome = outcome
    self.subjectKind = subjectKind
    self.subjectID = subjectID
    self.requestID = requestID
    self.address = address
    self.since = since
    self.until = until
    self.after = after
    self.isAscending = isAscending
  }
}

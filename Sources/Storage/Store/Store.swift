import Audit
import Foundation
import Identity
import JSONValues
import Rules

/// The database of the control plane, in the words of the domain.
///
/// Each call is one transaction: it happened or it didn't. Everything throws ``StorageError`` (and what a caller's
/// closure throws). Nothing blocks the caller's thread. Safe from any task.
public protocol Store:
  AccessStore, FactorStore, TeamStore, ApprovalStore, EventStore, WebhookStore, SealedSecretStore
{
  // MARK: Health

  /// Succeeds if the database answers within the time; `StorageError.unavailable` if not.
  func ping(timeout: Duration) async throws
  /// For metrics; a snapshot.
  var poolState: PoolState { get }
  /// Waits for running transactions; later calls throw `StorageError.unavailable`.
  func close() async

  // MARK: First start

  /// The seeded admin and the node `local`, once in the life of the database. False if that was done before, also by
  /// another process; what was deleted since does not come back.
  @discardableResult
  func seed(adminPasswordHash: String) async throws -> Bool
  func isSeeded() async throws -> Bool
  /// Whether an active account still has the seeded password: the API must not listen beyond loopback.
  func seededPasswordStands() async throws -> Bool

  // MARK: Users

  func createUser(_ user: NewUser) async throws -> User
  func user(id: UUID) async throws -> User
  /// Nil rather than an error: an unknown address is an ordinary answer at sign-in.
  func user(email: Email) async throws -> User?
  /// By address.
  func users(_ filter: UserFilter, _ page: Page) async throws -> Paged<User>
  func updateUser(id: UUID, _ change: UserChange, if check: @escaping Check<User>) async throws -> User
  func deleteUser(id: UUID, if check: @escaping Check<User>) async throws

  // MARK: Sign-ins and refresh tokens

  /// Writes the history, and the account's last sign-in if it succeeded.
  func recordSignIn(_ signIn: SignIn) async throws
  /// Newest first.
  func signIns(userID: UUID?, _ page: Page) async throws -> Paged<SignIn>
  /// Failures for this address since the time, successes in between resetting the count.
  func failedSignInCount(email: String, since: Date) async throws -> Int
  /// Starts a family, if the account as it is now passes the check. `StorageError.notFound` for an unknown user.
  func insertRefreshToken(
    digest: String, userID: UUID, limits: SessionLimits, if check: @escaping Check<User>
  ) async throws -> RefreshTokenRecord
  /// Uses up the token and stores its successor, or says why not; reuse revokes the family. The limits are those of now,
  /// also for a session that began under others. One transaction, serialised per token.
  func rotateRefreshToken(
    digest: String, successorDigest: String, limits: SessionLimits
  ) async throws -> RefreshTokenRotation
  /// Ends the family of this token; unknown tokens are ignored.
  func revokeRefreshTokenFamily(digest: String) async throws
  /// Those that go on, the one used last first.
  func sessions(userID: UUID) async throws -> [Session]
  /// A refresh token, whatever its state; nil for an unknown one.
  func refreshToken(digest: String) async throws -> RefreshTokenRecord?
  /// Ends one session of the user's; `StorageError.notFound` for another's.
  func revokeSession(id: UUID, userID: UUID) async throws
  /// Ends all of a user's families.
  func revokeRefreshTokens(userID: UUID) async throws
  /// Removes tokens that expired, and sign-ins that happened, before the time. Returns how many rows went.
  @discardableResult
  func purgeHistory(before: Date) async throws -> Int

  // MARK: Idempotency keys

  /// Takes the key for a request, once; `request` tells requests apart. Of several at once, one gets it.
  func claimIdempotencyKey(owner: String, digest: String, request: String) async throws -> IdempotencyClaim
  /// Keeps the answer of a claimed key; nil: only that it was done.
  func finishIdempotencyKey(owner: String, digest: String, answer: String?) async throws
  /// Gives a claimed key back: nothing was done.
  func releaseIdempotencyKey(owner: String, digest: String) async throws
  /// Forgets the keys that were claimed before the time. Returns how many.
  @discardableResult
  func purgeIdempotencyKeys(before: Date) async throws -> Int

  // MARK: Other copies of the API

  /// An element whenever a copy of the API on this database, this one too, has changed what the topic is about, or may
  /// have: PostgreSQL tells within the change's own commit. On the other databases only what this copy changes is told.
  /// Ends with the task that reads it.
  func wakes(_ topic: WakeTopic) -> AsyncStream<Void>
  /// Whether nothing that another copy does goes unheard for long: PostgreSQL tells, and an SQLite file is one copy's.
  var hearsCopies: Bool { get }
  /// Sessions that were ended since then, by whatever copy; the newest 10,000.
  func endedSessions(since: Date) async throws -> Set<UUID>

  // MARK: Nodes

  func createNode(_ node: NewNode) async throws -> Node
  func node(named name: String) async throws -> Node
  /// By name; `ids` nil: all of them.
  func nodes(among ids: Set<UUID>?, _ page: Page) async throws -> Paged<Node>
  func updateNode(named name: String, _ change: NodeChange, if check: @escaping Check<Node>) async throws -> Node
  /// `StorageError.inUse` while it has attachments.
  func deleteNode(named name: String, if check: @escaping Check<Node>) async throws

  // MARK: Attachments

  /// `StorageError.conflict("interface")` if the node's interface has one; `notFound` for unknown nodes and rule sets.
  func createAttachment(_ attachment: NewAttachment) async throws -> Attachment
  func attachment(id: UUID) async throws -> Attachment
  /// By node and interface.
  func attachments(_ filter: AttachmentFilter, _ page: Page) async throws -> Paged<Attachment>
  func updateAttachment(
    id: UUID, _ change: AttachmentChange, if check: @escaping Check<Attachment>
  ) async throws -> Attachment
  /// Notes which revision the daemon accepted; the rule set becomes the attachment's.
  func recordApplied(attachmentID: UUID, ruleSet: String, revision: UInt64) async throws -> Attachment
  func deleteAttachment(id: UUID, if check: @escaping Check<Attachment>) async throws

  // MARK: Rule sets

  /// Revision 1. `StorageError.conflict("name")` if there is one of that name.
  ///
  /// - Parameter team: that owns it from the start.
  func createRuleSet(
    _ content: RuleSet, description: String, team: String?, _ edit: RuleSetEdit
  ) async throws -> StoredRuleSet
  func ruleSet(named name: String) async throws -> StoredRuleSet
  /// By name; `search` is a part of the name or description, in any case; `ids` nil: all of them.
  func ruleSets(search: String?, among ids: Set<UUID>?, _ page: Page) async throws -> Paged<RuleSetSummary>
  /// Reads the newest revision, lets `change` edit it and writes the next one, in one transaction: two editors never
  /// lose each other's work. `change` may run more than once (a lost connection, a deadlock) and must not have effects;
  /// what it throws is thrown on and nothing is written. A draft left as it was makes no revision.
  func updateRuleSet(
    named name: String, _ edit: RuleSetEdit, _ change: @escaping @Sendable (inout RuleSetDraft) throws -> Void
  ) async throws -> StoredRuleSet
  /// With its revisions. `StorageError.inUse` while attachments name it.
  func deleteRuleSet(named name: String, expectedRevision: UInt64?) async throws
  /// Newest first.
  func ruleSetRevisions(named name: String, _ page: Page) async throws -> Paged<RuleSetRevisionInfo>
  func ruleSetRevision(named name: String, number: UInt64) async throws -> RuleSetRevision

  /// Runs the body while no other call, of any copy of the API on this database, does: what a daemon is told and what
  /// is written about it stay in one order. `StorageError.unavailable` where that takes too long.
  func exclusively<T: Sendable>(on node: String, _ body: () async throws -> T) async throws -> T

  // MARK: Captures

  func createCapture(_ capture: NewCapture) async throws -> CaptureRecord
  func capture(id: UUID) async throws -> CaptureRecord
  /// Newest first.
  func captures(_ filter: CaptureFilter, _ page: Page) async throws -> Paged<CaptureRecord>
  /// `finishedAt` is kept where the capture has one.
  func updateCapture(id: UUID, _ progress: CaptureProgress, finishedAt: Date?) async throws -> CaptureRecord

  // MARK: Audit log

  // Every other call that changes something writes its records in its own transaction, in the name of
  // ``AuditedRequest/current``.

  /// Writes a record of something that changed nothing here: a refusal, or a change that a daemon made.
  func recordAudit(_ event: AuditEvent) async throws
  /// Records as they are exported, each with its `hash`; newest first unless the filter says otherwise.
  func auditLog(_ filter: AuditFilter, _ page: Page) async throws -> Paged<JSONValue>
  /// The last record; sequence 0 before the first.
  func auditHead() async throws -> AuditAnchor
  /// Removes records before the time, from the start of the chain and never the last one, and leaves a checkpoint in
  /// the chain: some thousands at most, so that others write in between. Returns the last one removed; nil: none is left.
  @discardableResult
  func removeAuditLog(before: Date) async throws -> AuditAnchor?

  // MARK: Settings

  func setting(_ key: String) async throws -> String?
  func settings() async throws -> [String: String]
  /// Nil removes it.
  func setSetting(_ key: String, to value: String?) async throws
}

/// Looks at what is about to be changed, inside the transaction that changes it; what it throws is thrown on, and
/// nothing is written. May run more than once.
public typealias Check<Item> = @Sendable (Item) throws -> Void

/// Changes whatever is there, and lists all of it.
extension Store {
  public func nodes(_ page: Page) async throws -> Paged<Node> { try await nodes(among: nil, page) }
  public func ruleSets(search: String?, _ page: Page) async throws -> Paged<RuleSetSummary> {
    try await ruleSets(search: search, among: nil, page)
  }
  public func createRuleSet(
    _ content: RuleSet, description: String, _ edit: RuleSetEdit
  ) async throws -> StoredRuleSet {
    try await createRuleSet(content, description: description, team: nil, edit)
  }
  @discardableResult
  public func updateNode(named name: String, _ change: NodeChange) async throws -> Node {
    try await updateNode(named: name, change, if: { _ in })
  }
  public func deleteNode(named name: String) async throws { try await deleteNode(named: name, if: { _ in }) }
  @discardableResult
  public func updateAttachment(id: UUID, _ change: AttachmentChange) async throws -> Attachment {
    try await updateAttachment(id: id, change, if: { _ in })
  }
  public func deleteAttachment(id: UUID) async throws { try await deleteAttachment(id: id, if: { _ in }) }
  @discardableResult
  public func updateUser(id: UUID, _ change: UserChange) async throws -> User {
    try await updateUser(id: id, change, if: { _ in })
  }
  public func deleteUser(id: UUID) async throws { try await deleteUser(id: id, if: { _ in }) }
  @discardableResult
  public func insertRefreshToken(
    digest: String, userID: UUID, limits: SessionLimits
  ) async throws -> RefreshTokenRecord {
    try await insertRefreshToken(digest: digest, userID: userID, limits: limits, if: { _ in })
  }
  public func deleteRuleSet(named name: String) async throws {
    try await deleteRuleSet(named: name, expectedRevision: nil)
  }
}

/// What copies of the API on one database tell each other about.
public enum WakeTopic: String, Sendable, CaseIterable {
  /// What they keep in memory: accounts, roles, clients, sessions.
  case access
  /// New events of daemons.
  case events
}

/// The connections of a store at one moment.
public struct PoolState: Hashable, Sendable {
  /// DB_POOL_SIZE.
  public var size: Int
  public var inUse: Int
  /// Calls waiting for a connection.
  public var waiting: Int
  /// Calls that gave up waiting, since the start.
  public var timeouts: UInt64

  public init(size: Int, inUse: Int, waiting: Int, timeouts: UInt64) {
    self.size = size
    self.inUse = inUse
    self.waiting = waiting
    self.timeouts = timeouts
  }
}

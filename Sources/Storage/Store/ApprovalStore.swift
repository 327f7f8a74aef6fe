import Foundation

/// What somebody else than its authors said about a revision.
public struct RevisionDecision: Hashable, Sendable {
  public var revision: UInt64
  public var isApproved: Bool
  public var author: Author
  public var comment: String
  public var decidedAt: Date
}

/// The part of a ``Store`` about changes that want two people.
public protocol ApprovalStore: Sendable {
  /// Whether revisions of the rule set must be approved before they are applied.
  func requiresApproval(ruleSet name: String) async throws -> Bool
  /// - Parameter check: looks at whether they must now.
  func setRequiresApproval(_ isRequired: Bool, ruleSet name: String, if check: @escaping Check<Bool>) async throws
  /// Newest revision first; one decision each, the last one.
  func decisions(ruleSet name: String, _ page: Page) async throws -> Paged<RevisionDecision>
  /// Nil where nobody has decided.
  func decision(ruleSet name: String, revision: UInt64) async throws -> RevisionDecision?
  /// Approves or rejects, in place of an earlier decision. `StorageError.ownChange` where the decider has written the
  /// revision, or one before it since the last approved one: all of that would go live by his own word.
  func decide(
    ruleSet name: String, revision: UInt64, isApproved: Bool, by author: Author, comment: String
  ) async throws -> RevisionDecision
}

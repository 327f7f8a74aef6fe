import Foundation
import Identity
import Rules

/// Who made a change: the account then, and its address, which outlives it.
public struct Author: Hashable, Sendable {
  public var userID: UUID?
  public var email: String
  /// The accounts that stand behind it: its own, or for an API client whoever made the key and the client. Known of who writes,
  /// not of what is read.
  public var accounts: [UUID]

  public init(userID: UUID?, email: String, accounts: [UUID] = []) {
    self.userID = userID
    self.email = email
    self.accounts = userID.map { [$0] } ?? accounts
  }

  /// What the program itself does.
  public static let system = Author(userID: nil, email: "system")
}

/// A rule set with its newest content.
public struct StoredRuleSet: Hashable, Sendable, Identifiable {
  public let id: UUID
  public var createdAt: Date
  /// The newest revision; its content's `name` and `revision` are those of the rule set.
  public var current: RuleSetRevision

  public var description: String { current.description }
  public var name: String { current.content.name }
  public var revision: UInt64 { current.info.number }
  public var content: RuleSet { current.content }
}

/// A rule set in a list.
public struct RuleSetSummary: Hashable, Sendable, Identifiable {
  public let id: UUID
  public var name: String
  public var description: String
  /// Number of the newest revision.
  public var revision: UInt64
  public var ruleCount: Int
  public var defaultAction: Fate
  public var createdAt: Date
  /// When the newest revision was made.
  public var updatedAt: Date
}

/// Who made which revision when and why. Immutable.
public struct RuleSetRevisionInfo: Hashable, Sendable {
  /// From 1, without gaps, per rule set.
  public var number: UInt64
  public var author: Author
  public var reason: String?
  public var ruleCount: Int
  public var createdAt: Date
}

/// A revision with its content. Immutable.
public struct RuleSetRevision: Hashable, Sendable {
  public var info: RuleSetRevisionInfo
  public var description: String
  /// Under the name that the rule set had then.
  public var content: RuleSet
}

/// What an editor may change of a rule set.
public struct RuleSetDraft: Hashable, Sendable {
  /// A changed `content.name` renames the rule set. `content.revision` is ignored.
  public var content: RuleSet
  public var description: String
}

/// Who changes a rule set, why, and on the basis of which revision.
public struct RuleSetEdit: Sendable {
  public var author: Author
  public var reason: String?
  /// The revision that the editor saw; nil to change whatever is newest.
  public var expectedRevision: UInt64?
  /// How far the author may go: each change within one of these. Nil: without limits.
  public var limits: [DelegationLimits]?

  public init(
    author: Author, reason: String? = nil, expectedRevision: UInt64? = nil, limits: [DelegationLimits]? = nil
  ) {
    self.author = author
    self.reason = reason
    self.expectedRevision = expectedRevision
    self.limits = limits
  }
}

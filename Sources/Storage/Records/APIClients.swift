import Foundation
import Identity
import Packets
import Rules

/// A program that uses the API: with keys instead of a password, and with scopes of its own, roles in teams and
/// resources that are given to it.
public struct APIClientRecord: Hashable, Sendable, Identifiable {
  public let id: UUID
  /// Unique.
  public var name: String
  public var description: String
  /// What it may everywhere; empty where its teams and resources are all.
  public var scopes: [ScopeExpression]
  /// How far the rules:write of these reaches; nil: everywhere.
  public var limits: DelegationLimits?
  /// In teams, by their names.
  public var memberships: [Membership] = []
  /// What is given to it by itself.
  public var resourceGrants: [ResourceGrant] = []
  /// Where its requests may come from; empty: from anywhere.
  public var sources: [IPPrefix]
  public var isActive: Bool
  /// Every key that was not removed, oldest first.
  public var keys: [APIKeyRecord]
  public var createdBy: Author
  public var createdAt: Date
  public var updatedAt: Date
}

/// A key as it is stored: its digest, not the key.
public struct APIKeyRecord: Hashable, Sendable, Identifiable {
  public let id: UUID
  /// The part that may be shown.
  public var prefix: String
  /// Treat as a secret.
  public var digest: String
  public var createdAt: Date
  /// Nil: never.
  public var expiresAt: Date?
  /// To the minute.
  public var lastUsedAt: Date?
  public var lastUsedFrom: String
  /// The account that made it; nil: not known, as of keys from before that was kept.
  public var createdByID: UUID?

  public func isExpired(at now: Date) -> Bool { expiresAt.map { $0 <= now } ?? false }
}

public struct NewAPIClient: Sendable {
  public var name: String
  public var description: String
  public var scopes: [ScopeExpression]
  public var limits: DelegationLimits?
  public var sources: [IPPrefix]
  public var isActive: Bool
  public var createdBy: Author

  public init(
    name: String, description: String = "", scopes: [ScopeExpression], limits: DelegationLimits? = nil,
    sources: [IPPrefix] = [], isActive: Bool = true, createdBy: Author
  ) {
    self.name = name
    self.description = description
    self.scopes = scopes
    self.limits = limits
    self.sources = sources
    self.isActive = isActive
    self.createdBy = createdBy
  }
}

/// What changes of a client; nil stays as it is.
public struct APIClientChange: Sendable {
  public var name: String?
  public var description: String?
  public var scopes: [ScopeExpression]?
  /// `.some(nil)` takes the limits away.
  public var limits: DelegationLimits??
  public var sources: [IPPrefix]?
  public var isActive: Bool?

  public init(
    name: String? = nil, description: String? = nil, scopes: [ScopeExpression]? = nil,
    limits: DelegationLimits?? = nil, sources: [IPPrefix]? = nil, isActive: Bool? = nil
  ) {
    self.name = name
    self.description = description
    self.scopes = scopes
    self.limits = limits
    self.sources = sources
    self.isActive = isActive
  }
}

/// A key to be added.
public struct NewAPIKey: Sendable {
  /// Keys of one client at a time.
  public static let countMax = 8

  public var prefix: String
  public var digest: String
  public var expiresAt: Date?
  /// When the client's other keys end, at the latest; nil leaves them.
  public var othersEndAt: Date?
  /// The account that makes it.
  public var createdByID: UUID?

  public init(
    prefix: String, digest: String, expiresAt: Date? = nil, othersEndAt: Date? = nil, createdByID: UUID? = nil
  ) {
    self.createdByID = createdByID
    self.prefix = prefix
    self.digest = digest
    self.expiresAt = expiresAt
    self.othersEndAt = othersEndAt
  }
}

import Foundation
import Identity
import Rules

/// A role made of selected scopes, beside the three that are built in.
public struct CustomRole: Hashable, Sendable, Identifiable {
  public let id: UUID
  /// Unique.
  public var name: String
  public var description: String
  /// Where it can be given; it stays what it was made for.
  public var level: RoleLevel = .global
  public var scopes: [ScopeExpression]
  /// How far its rules:write reaches; nil: everywhere.
  public var limits: DelegationLimits?
  public var createdAt: Date
  public var updatedAt: Date
}

public struct NewCustomRole: Sendable {
  public var name: String
  public var description: String
  public var level: RoleLevel
  public var scopes: [ScopeExpression]
  public var limits: DelegationLimits?

  public init(
    name: String, description: String = "", level: RoleLevel = .global, scopes: [ScopeExpression],
    limits: DelegationLimits? = nil
  ) {
    self.level = level
    self.name = name
    self.description = description
    self.scopes = scopes
    self.limits = limits
  }
}

/// What changes of a role, at once for everybody who has it; nil stays as it is.
public struct CustomRoleChange: Sendable {
  public var name: String?
  public var description: String?
  public var scopes: [ScopeExpression]?
  /// `.some(nil)` takes the limits away.
  public var limits: DelegationLimits??

  public init(
    name: String? = nil, description: String? = nil, scopes: [ScopeExpression]? = nil, limits: DelegationLimits?? = nil
  ) {
    self.name = name
    self.description = description
    self.scopes = scopes
    self.limits = limits
  }
}

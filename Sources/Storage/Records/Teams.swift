import Foundation
import Identity
import Rules

/// People who look after rule sets, nodes and attachments together.
public struct Team: Hashable, Sendable, Identifiable {
  public let id: UUID
  /// Unique.
  public var name: String
  public var description: String
  public var createdAt: Date
  public var updatedAt: Date
}

/// A role as somebody has it in a team or for a resource: a built-in one, or a custom one of that level.
public struct AssignedRole: Hashable, Sendable {
  /// `Team Admin`, `Editor`, or the name of a custom role; those are in lower case.
  public var name: String
  public var scopes: Set<Scope>
  /// How far its rules:write reaches; nil: everywhere in the team's or the resource's rules.
  public var limits: DelegationLimits?

  public init(name: String, scopes: Set<Scope>, limits: DelegationLimits? = nil) {
    self.name = name
    self.scopes = scopes
    self.limits = limits
  }

  /// A built-in role; nil for another name.
  public init?(builtIn name: String, at level: RoleLevel) {
    let scopes: Set<Scope>? =
      switch level {
      case .global: nil
      case .team: TeamRole(rawValue: name)?.scopes
      case .resource: ResourceRole(rawValue: name)?.scopes
      }
    guard let scopes else { return nil }
    self.init(name: name, scopes: scopes)
  }

  init(_ role: CustomRole) { self.init(name: role.name, scopes: role.scopes.scopes, limits: role.limits) }
}

/// Somebody in a team.
public struct TeamMember: Hashable, Sendable {
  public var userID: UUID
  public var email: Email
  public var name: String
  public var role: AssignedRole
}

/// A team as one of its members has it.
public struct Membership: Hashable, Sendable {
  public var teamID: UUID
  public var team: String
  public var role: AssignedRole
  /// What the team owns.
  public var resources: Set<ResourceRef>
}

/// A resource that is given to somebody by itself.
public struct ResourceGrant: Hashable, Sendable {
  public var resource: ResourceRef
  public var userID: UUID
  public var email: Email
  public var role: AssignedRole
}

/// A resource with its name; an attachment's is `node/interface`.
public struct NamedResource: Hashable, Sendable {
  public var ref: ResourceRef
  public var name: String
  /// What it is part of: of an attachment, its node.
  public var parent: ResourceRef?
  /// Of the team that owns it; nil: none.
  public var team: String?

  public init(ref: ResourceRef, name: String, parent: ResourceRef? = nil, team: String?) {
    self.ref = ref
    self.name = name
    self.parent = parent
    self.team = team
  }
}

/// What becomes of somebody's role; nil: none.
public struct RoleChange: Hashable, Sendable {
  public var old: AssignedRole?
  public var new: AssignedRole?
}

import Foundation

/// Where a role holds: everywhere, for what a team owns, or for one resource.
public enum RoleLevel: String, Hashable, Sendable, Codable, CaseIterable {
  case global, team, resource
}

/// What somebody is in a team: over the rule sets, nodes and attachments that it owns.
public enum TeamRole: String, Hashable, Sendable, CaseIterable {
  case admin = "Team Admin"
  case maintainer = "Team Maintainer"
  case viewer = "Team Viewer"

  public var scopes: Set<Scope> {
    switch self {
    case .viewer: Role.viewer.scopes
    case .maintainer: Role.maintainer.scopes
    case .admin: Role.maintainer.scopes.union([.teamsRead, .teamsWrite, .grantsRead, .grantsWrite, .rulesApprove])
    }
  }
}

/// What somebody is to one resource.
public enum ResourceRole: String, Hashable, Sendable, CaseIterable {
  case owner = "Owner"
  case editor = "Editor"
  case viewer = "Viewer"

  public var scopes: Set<Scope> {
    switch self {
    case .viewer: Role.viewer.scopes
    case .editor: Role.maintainer.scopes
    case .owner: Role.maintainer.scopes.union([.grantsRead, .grantsWrite, .rulesApprove])
    }
  }
}

/// What can be given to somebody by itself, and belong to a team. The raw value is the API's word.
public enum ResourceKind: String, Hashable, Sendable, Codable, CaseIterable {
  case ruleSet = "rule_set"
  /// A named set of a rule set: its elements. A team has it with the rule set.
  case set
  case node
  case attachment
}

/// One resource.
public struct ResourceRef: Hashable, Sendable {
  public var kind: ResourceKind
  public var id: UUID

  public init(_ kind: ResourceKind, _ id: UUID) {
    self.kind = kind
    self.id = id
  }
}

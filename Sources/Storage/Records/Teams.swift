import Crypto
import Foundation
import Identity
import Rules

/// People and programs that look after rule sets, nodes and attachments together.
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

/// Who can have a role in a team or for a resource.
public enum RoleHolder: Hashable, Sendable {
  public enum Kind: String, Hashable, Sendable, CaseIterable { case user, client }

  /// An account, by its address.
  case user(Email)
  /// An API client, by its name.
  case client(String)

  /// From an address or a name: an address has an `@`, a client's name has none.
  public init(parsing text: String) throws(EmailError) {
    self = text.contains("@") ? .user(try Email(text)) : .client(text)
  }

  public var kind: Kind { if case .user = self { .user } else { .client } }

  /// The address, or the name.
  public var text: String {
    switch self {
    case .user(let email): email.value
    case .client(let name): name
    }
  }
}

/// Somebody, or a program, in a team.
public struct TeamMember: Hashable, Sendable {
  /// Of the account or the API client.
  public var id: UUID
  public var holder: RoleHolder
  /// Of the account; of an API client, its description.
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

/// A resource that is given to somebody, or to a program, by itself.
public struct ResourceGrant: Hashable, Sendable {
  public var resource: ResourceRef
  /// Of the account or the API client.
  public var holderID: UUID
  public var holder: RoleHolder
  public var role: AssignedRole
}

extension ResourceRef {
  /// A named set, which has no row of its own: the same name in the same rule set is the same set.
  public init(set name: String, ofRuleSet id: UUID) {
    let b = Array(SHA256.hash(data: Array("\(SQLValue(id).plainText)/\(name)".utf8)))
    // RFC 9562, version 8: made of something of one's own.
    let (version, variant) = (b[6] & 0x0f | 0x80, b[8] & 0x3f | 0x80)
    let uuid: uuid_t = (
      b[0], b[1], b[2], b[3], b[4], b[5], version, b[7], variant, b[9], b[10], b[11], b[12], b[13], b[14], b[15]
    )
    self.init(.set, UUID(uuid: uuid))
  }
}

/// A resource with its name; an attachment's is `node/interface`, a set's `rule set:set`.
public struct NamedResource: Hashable, Sendable {
  public var ref: ResourceRef
  public var name: String
  /// What it is part of: of an attachment, its node; of a set, its rule set.
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

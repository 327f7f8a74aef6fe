import ControlProtocol
import Foundation
import Identity
import Rules
import Storage

/// What somebody may: the union of what his roles, or his client, grant. Each grant has its own reach and limits.
public struct Permissions: Sendable, Hashable {
  /// Where a grant holds.
  enum Reach: Sendable, Hashable {
    case everything
    /// What the team owns, and the team itself.
    case team(UUID)
    case resource(ResourceRef)
  }

  /// Of one role or client.
  struct Grant: Sendable, Hashable {
    /// With what they imply.
    var scopes: Set<Scope>
    /// How far its rules:write reaches; nil: all rules within the reach.
    var limits: DelegationLimits?
    var reach = Reach.everything
  }

  let grants: [Grant]
  /// What his teams own.
  private let resources: [UUID: Set<ResourceRef>]

  init(_ grants: [Grant], resources: [UUID: Set<ResourceRef>] = [:]) {
    self.grants = grants
    self.resources = resources
  }

  /// Everything that is granted everywhere, limited or not.
  var scopes: Set<Scope> { grants.reduce(into: []) { if $1.reach == .everything { $0.formUnion($1.scopes) } } }

  /// Whether anything is granted for less than everything.
  var hasNarrowGrants: Bool { grants.contains { $0.reach != .everything } }

  /// Everywhere.
  func grants(_ scope: Scope) -> Bool { grants.contains { $0.reach == .everything && $0.scopes.grants(scope) } }

  /// For something, whatever it is.
  func grantsSomewhere(_ scope: Scope) -> Bool { grants.contains { $0.scopes.grants(scope) } }

  /// For a thing that is one of these, or part of it.
  func grants(_ scope: Scope, on things: [Reach]) -> Bool {
    grants.contains { $0.scopes.grants(scope) && reaches($0, things) }
  }

  /// Whether he may do anything at all with it.
  func sees(_ things: [Reach]) -> Bool { grants.contains { !$0.scopes.isEmpty && reaches($0, things) } }

  private func reaches(_ grant: Grant, _ things: [Reach]) -> Bool {
    switch grant.reach {
    case .everything: true
    case .resource: things.contains(grant.reach)
    case .team(let id):
      things.contains { thing in
        if case .resource(let ref) = thing { resources[id]?.contains(ref) ?? false } else { thing == grant.reach }
      }
    }
  }

  /// The things of a kind for which the scope is granted; nil: all there are.
  func things(_ kind: ResourceKind, with scope: Scope) -> Set<UUID>? {
    guard !grants(scope) else { return nil }
    return grants.reduce(into: []) { ids, grant in
      guard grant.scopes.grants(scope) else { return }
      switch grant.reach {
      case .everything: break
      case .resource(let ref): if ref.kind == kind { ids.insert(ref.id) }
      case .team(let id): ids.formUnion((resources[id] ?? []).filter { $0.kind == kind }.map(\.id))
      }
    }
  }

  /// The teams for which the scope is granted; nil: all there are.
  func teams(with scope: Scope) -> Set<UUID>? {
    guard !grants(scope) else { return nil }
    return Set(
      grants.compactMap { grant in
        if case .team(let id) = grant.reach, grant.scopes.grants(scope) { id } else { nil }
      })
  }

  /// Nil where the rules of a thing may be written without limits; else each change must be within one of these.
  func ruleLimits(on things: [Reach]) -> [DelegationLimits]? {
    let writing = grants.filter { $0.scopes.grants(.rulesWrite) && reaches($0, things) }
    let limits = writing.compactMap(\.limits)
    return limits.count < writing.count ? nil : limits
  }

  /// What the other ones grant and these don't; empty if whoever has these may give the others away.
  func missing(from other: Permissions) -> [Scope] { missing(from: other.grants) { reaches($0, $1.reach) } }

  private func missing(from others: [Grant], _ reaches: (_ mine: Grant, _ theirs: Grant) -> Bool) -> [Scope] {
    let missing = others.flatMap { theirs in
      theirs.scopes.filter { scope in
        !grants.contains { $0.covers(scope, limits: theirs.limits) && reaches($0, theirs) }
      }
    }
    return Set(missing).sorted()
  }

  private func reaches(_ grant: Grant, _ reach: Reach) -> Bool {
    reach == .everything ? grant.reach == .everything : reaches(grant, [reach])
  }

  /// Throws ``ErrorCode/beyondAuthority`` unless everything in the other ones is in these too: nobody gives what he
  /// doesn't hold, and nobody changes an account that may more than he.
  func check(mayGrant other: Permissions) throws { try Self.check(missing(from: other)) }

  /// The same, of roles for a thing that is one of these, or part of it.
  func check(mayGrant roles: [AssignedRole], on things: [Reach]) throws {
    let grants = roles.map { Grant(scopes: $0.scopes, limits: $0.limits) }
    try Self.check(missing(from: grants) { mine, _ in reaches(mine, things) })
  }

  private static func check(_ missing: [Scope]) throws {
    guard missing.isEmpty else {
      throw APIError(
        .beyondAuthority,
        "only who holds \(missing.map(\.rawValue).joined(separator: ", ")) in full may give it, take it or change who "
          + "has it",
        details: ["missing": .strings(missing.map(\.rawValue))])
    }
  }
}

extension Permissions.Grant {
  /// Whether this grants the scope at least as far as the limits go.
  fileprivate func covers(_ scope: Scope, limits other: DelegationLimits?) -> Bool {
    guard scopes.grants(scope) else { return false }
    guard scope == .rulesWrite, let limits else { return true }
    return other.map { limits.covers($0) } ?? false
  }
}

extension User {
  var permissions: Permissions {
    Permissions(
      everywhere: Permissions(roles: roles, customRoles: customRoles).grants, memberships, resourceGrants)
  }
}

extension APIClientRecord {
  var permissions: Permissions {
    Permissions(everywhere: [.init(scopes: scopes.scopes, limits: limits)], memberships, resourceGrants)
  }
}

extension Permissions {
  init(everywhere: [Grant], _ memberships: [Membership], _ resourceGrants: [ResourceGrant]) {
    let teams = memberships.map { Grant($0.role, in: .team($0.teamID)) }
    let resources = resourceGrants.map { Grant($0.role, in: .resource($0.resource)) }
    self.init(
      everywhere + teams + resources,
      resources: Dictionary(memberships.map { ($0.teamID, $0.resources) }, uniquingKeysWith: { first, _ in first }))
  }

  init(roles: Set<Role>, customRoles: [CustomRole]) {
    self.init(roles.sorted().map { Grant(scopes: $0.scopes) } + customRoles.map { Grant($0) })
  }
}

extension Permissions.Grant {
  init(_ role: CustomRole) { self.init(scopes: role.scopes.scopes, limits: role.limits) }

  init(_ role: AssignedRole, in reach: Permissions.Reach) {
    self.init(scopes: role.scopes, limits: role.limits, reach: reach)
  }
}

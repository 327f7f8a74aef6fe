import ControlProtocol
import Identity
import Rules
import Storage

/// What somebody may: the union of what his roles, or his client, grant. Each grant has its own limits.
public struct Permissions: Sendable, Hashable {
  /// Of one role or client.
  struct Grant: Sendable, Hashable {
    /// With what they imply.
    var scopes: Set<Scope>
    /// How far its rules:write reaches; nil: everywhere.
    var limits: DelegationLimits?
  }

  let grants: [Grant]

  init(_ grants: [Grant]) { self.grants = grants }

  /// Everything that is granted, limited or not.
  var scopes: Set<Scope> { grants.reduce(into: []) { $0.formUnion($1.scopes) } }

  func grants(_ scope: Scope) -> Bool { grants.contains { $0.scopes.grants(scope) } }

  /// Nil where rules may be written without limits; else each change must be within one of these.
  var ruleLimits: [DelegationLimits]? {
    let writing = grants.filter { $0.scopes.grants(.rulesWrite) }
    let limits = writing.compactMap(\.limits)
    return limits.count < writing.count ? nil : limits
  }

  /// What the other ones grant and these don't; empty if whoever has these may give the others away.
  func missing(from other: Permissions) -> [Scope] {
    let missing = other.grants.flatMap { theirs in
      theirs.scopes.filter { scope in !grants.contains { $0.covers(scope, limits: theirs.limits) } }
    }
    return Set(missing).sorted()
  }

  /// Throws ``ErrorCode/beyondAuthority`` unless everything in the other ones is in these too: nobody gives what he
  /// doesn't hold, and nobody changes an account that may more than he.
  func check(mayGrant other: Permissions) throws {
    let missing = missing(from: other)
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
  var permissions: Permissions { Permissions(roles: roles, customRoles: customRoles) }
}

extension APIClientRecord {
  var permissions: Permissions { Permissions([.init(scopes: scopes.scopes, limits: limits)]) }
}

extension Permissions {
  init(roles: Set<Role>, customRoles: [CustomRole]) {
    self.init(roles.sorted().map { Grant(scopes: $0.scopes) } + customRoles.map(Grant.init))
  }
}

extension Permissions.Grant {
  init(_ role: CustomRole) { self.init(scopes: role.scopes.scopes, limits: role.limits) }
}

import Identity
import Storage

/// The one account that the configuration names for the worst day: active and Admin whatever its record says.
///
/// It still needs its password, waits after failed sign-ins as everybody, and cannot renew a session while its record
/// is on hold: it signs in again. Every sign-in of it is in the log, the audit log and a metric.
struct BreakGlass: Sendable {
  let email: Email?

  /// The account as it counts, and whether that is more than its record says.
  func effective(_ user: User) -> (user: User, isUsed: Bool) {
    guard let email, user.email == email, !user.isActive || !user.roles.contains(.admin) else { return (user, false) }
    var copy = user
    copy.isActive = true
    copy.roles.insert(.admin)
    return (copy, true)
  }

  /// What the account may when it signs in: who could sign in as it needs as much.
  func permissions(of user: User) -> Permissions { effective(user).user.permissions }

  /// The roles that an account of that address counts with.
  func roles(_ roles: Set<Role>, of address: Email) -> Set<Role> { address == email ? roles.union([.admin]) : roles }
}

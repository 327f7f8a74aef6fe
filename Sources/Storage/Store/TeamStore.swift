import Foundation
import Identity

/// The part of a ``Store`` about teams, what they own, and resources that are given to somebody by themselves.
///
/// Who holds a role is an account or an API client; `StorageError.notFound` where there is none of that name. Roles are
/// named: a built-in one of the level, or a custom one of that level (`StorageError.invalid("role")` else).
public protocol TeamStore: Sendable {
  // MARK: Teams

  func createTeam(name: String, description: String) async throws -> Team
  func team(named name: String) async throws -> Team
  /// By name; nil: all of them.
  func teams(among ids: Set<UUID>?, _ page: Page) async throws -> Paged<Team>
  /// Nil stays as it is.
  func updateTeam(
    named name: String, newName: String?, description: String?, if check: @escaping Check<Team>
  ) async throws -> Team
  /// What it owned belongs to no team any more.
  func deleteTeam(named name: String, if check: @escaping Check<Team>) async throws

  // MARK: Members

  /// By address or name.
  func members(ofTeam name: String, _ page: Page) async throws -> Paged<TeamMember>
  func member(_ holder: RoleHolder, ofTeam name: String) async throws -> TeamMember
  /// Takes somebody in, or gives him another role.
  func setMember(
    _ holder: RoleHolder, ofTeam name: String, role: String, if check: @escaping Check<RoleChange>
  ) async throws -> TeamMember
  func removeMember(_ holder: RoleHolder, ofTeam name: String, if check: @escaping Check<RoleChange>) async throws

  // MARK: Resources

  /// By its name or id; an attachment by its id only, a set by its name only, `rule set:set`.
  func resource(_ kind: ResourceKind, _ text: String) async throws -> NamedResource
  /// By kind and name.
  func resources(ofTeam name: String, _ page: Page) async throws -> Paged<NamedResource>
  /// Gives a resource to a team, or to none; not a set.
  func setOwner(
    of resource: ResourceRef, team: String?, if check: @escaping Check<NamedResource>
  ) async throws -> NamedResource
  /// By address or name.
  func grants(of resource: ResourceRef, _ page: Page) async throws -> Paged<ResourceGrant>
  func grant(of resource: ResourceRef, to holder: RoleHolder) async throws -> ResourceGrant
  func setGrant(
    of resource: NamedResource, to holder: RoleHolder, role: String, if check: @escaping Check<RoleChange>
  ) async throws -> ResourceGrant
  func removeGrant(
    of resource: NamedResource, to holder: RoleHolder, if check: @escaping Check<RoleChange>
  ) async throws
}

/// Changes whatever is there.
extension TeamStore {
  public func deleteTeam(named name: String) async throws { try await deleteTeam(named: name, if: { _ in }) }
  public func setOwner(of resource: ResourceRef, team: String?) async throws -> NamedResource {
    try await setOwner(of: resource, team: team, if: { _ in })
  }
  public func setGrant(
    of ref: ResourceRef, to holder: RoleHolder, role: String, if check: @escaping Check<RoleChange>
  ) async throws -> ResourceGrant {
    try await setGrant(of: try await resource(ref.kind, ref.id.uuidString), to: holder, role: role, if: check)
  }
  public func removeGrant(
    of ref: ResourceRef, to holder: RoleHolder, if check: @escaping Check<RoleChange>
  ) async throws {
    try await removeGrant(of: try await resource(ref.kind, ref.id.uuidString), to: holder, if: check)
  }
}

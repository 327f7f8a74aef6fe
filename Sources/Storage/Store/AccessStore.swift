import Foundation
import Identity
import Rules

/// The part of a ``Store`` about who may what: custom roles, and API clients with their keys.
public protocol AccessStore: Sendable {
  // MARK: Custom roles

  func createRole(_ role: NewCustomRole) async throws -> CustomRole
  func role(named name: String) async throws -> CustomRole
  /// By name.
  func roles(_ page: Page) async throws -> Paged<CustomRole>
  func updateRole(
    named name: String, _ change: CustomRoleChange, if check: @escaping Check<CustomRole>
  ) async throws -> CustomRole
  /// `StorageError.inUse` while an account has it.
  func deleteRole(named name: String, if check: @escaping Check<CustomRole>) async throws

  // MARK: API clients

  func createAPIClient(_ client: NewAPIClient) async throws -> APIClientRecord
  func apiClient(id: UUID) async throws -> APIClientRecord
  /// By name.
  func apiClients(_ page: Page) async throws -> Paged<APIClientRecord>
  func updateAPIClient(
    id: UUID, _ change: APIClientChange, if check: @escaping Check<APIClientRecord>
  ) async throws -> APIClientRecord
  /// With its keys.
  func deleteAPIClient(id: UUID, if check: @escaping Check<APIClientRecord>) async throws
  /// Adds a key and, for a rotation, lets the others end. Keys that have ended are removed.
  func addAPIKey(
    _ key: NewAPIKey, toClient id: UUID, if check: @escaping Check<APIClientRecord>
  ) async throws -> APIClientRecord
  /// At once and for good.
  func removeAPIKey(
    id keyID: UUID, ofClient id: UUID, if check: @escaping Check<APIClientRecord>
  ) async throws -> APIClientRecord
  /// The client that has a key with this visible part; whether the rest of the key is right is for the caller to see.
  func apiClient(keyPrefix: String) async throws -> APIClientRecord?
  /// Notes the time and the address. Not for every use: a row is written.
  func noteAPIKeyUse(id: UUID, from address: String) async throws
}

import ControlProtocol
import Foundation
import Hummingbird
import Identity
import Storage

/// API clients: programs with keys, scopes of their own, and addresses that they may come from. Roles in teams and for
/// resources they get where accounts do.
enum ClientRoutes {
  static let tag = "api clients"
  private static let base = RouteTable.base + "/api-clients"

  static let all: [Route] = [
    Route(
      .get, base, "listClients", tag: tag, "All API clients, by name.", access: .scope(.clientsRead),
      answer: .page(client, by: .apiClients)
    ) { call, services in
      let page = call.page
      return .page(try await services.store.apiClients(page), page, json)
    },
    Route(
      .post, base, "createClient", tag: tag, "Create an API client; it can do nothing before it has a key.",
      access: .scope(.clientsWrite), body: newClient, answer: .created(client), errors: [.conflict, .beyondAuthority],
      handler: create),
    Route(
      .get, base + "/{id}", "getClient", tag: tag, "One API client.", access: .scope(.clientsRead),
      answer: .data(client)
    ) { call, services in
      let found = try await services.store.apiClient(id: try call.identifier("id", of: kind))
      return Reply.data(json(found)).tagged(content(found))
    },
    Route(
      .patch, base + "/{id}", "updateClient", tag: tag, "Change an API client, at once for all of its keys.",
      access: .scope(.clientsWrite), body: newClient.partial(named: "ClientPatch"), answer: .data(client),
      errors: [.conflict, .beyondAuthority, .preconditionFailed], handler: update),
    Route(
      .delete, base + "/{id}", "deleteClient", tag: tag, "Delete an API client with its keys.",
      access: .scope(.clientsWrite), answer: .data(.object([.required("deleted", .boolean)])),
      errors: [.beyondAuthority, .preconditionFailed]
    ) { call, services in
      let caller = try call.caller().permissions
      let precondition = try call.precondition(content)
      try await services.store.deleteAPIClient(id: try call.identifier("id", of: kind)) { client in
        try precondition(client)
        try caller.check(mayGrant: client.permissions)
      }
      services.authenticator.forgetAll()
      return .data(["deleted": true])
    },
    Route(
      .post, base + "/{id}/keys", "createClientKey", tag: tag,
      "Make a key. The answer shows it, and nothing does ever again. With overlap_seconds it replaces the client's "
        + "other keys, which work for so long.",
      access: .scope(.clientsWrite), body: newKey, bodyIsOptional: true, answer: .created(shownKey),
      errors: [.beyondAuthority], handler: createKey),
    Route(
      .delete, base + "/{id}/keys/{key}", "revokeClientKey", tag: tag, "Revoke a key, at once.",
      access: .scope(.clientsWrite), answer: .data(client), errors: [.beyondAuthority]
    ) { call, services in
      let caller = try call.caller().permissions
      let changed = try await services.store.removeAPIKey(
        id: try call.identifier("key", of: "key"), ofClient: try call.identifier("id", of: kind)
      ) { try caller.check(mayGrant: $0.permissions) }
      services.authenticator.forgetAll()
      return .data(json(changed))
    },
  ]

  private static let kind = "API client"

  // MARK: Shapes

  private static let newClient = Schema.named(
    "NewClient",
    .object([
      .required("name", Shapes.name), .optional("description", .text(max: 512), default: ""),
      .optional(
        "scopes", AccessShapes.scopes(min: 0), default: [],
        "What it may everywhere, beside its roles in teams and for resources. " + AccessShapes.scopesNote),
      .optional("limits", .nullable(AccessShapes.limits), "How far rules:write of these reaches; null: everywhere"),
      .optional(
        "sources", AccessShapes.prefixes(min: 0), default: [], "Where requests may come from; empty: from anywhere"),
      .optional("is_active", .boolean, default: true),
    ]))

  /// Ten years.
  private static let keySecondsMax: Int64 = 3650 * 86_400
  private static let overlapSecondsMax: Int64 = 90 * 86_400

  private static let newKey = Schema.named(
    "NewClientKey",
    .object([
      .optional("expires_in_seconds", .nullable(.integer(60...keySecondsMax)), "Null: never"),
      .optional(
        "overlap_seconds", .nullable(.integer(0...overlapSecondsMax)),
        "The client's other keys end after this time, at the latest; null leaves them"),
    ]))

  private static let keyFields: [Field] = [
    .required("id", Shapes.uuid), .required("prefix", .string(), "The part that may be shown"),
    .required("created_at", .timestamp), .required("expires_at", .nullable(.timestamp)),
    .required("last_used_at", .nullable(.timestamp), "To the minute"), .required("last_used_from", .string()),
  ]

  private static let shownKey = Schema.named(
    "ShownClientKey", .object(keyFields + [.required("key", .string(), "The key itself, this once")]))

  private static let client = Schema.named(
    "Client",
    .object([
      .required("id", Shapes.uuid), .required("name", .string()), .required("description", .string()),
      .required("scopes", .array(.string(), max: Int.max)),
      .required("grants", .array(.words(Scope.allCases.map(\.rawValue)), max: Int.max), "What the scopes stand for"),
      .required("limits", .nullable(AccessShapes.limits)), .required("sources", .array(.string(), max: Int.max)),
      .required("is_active", .boolean),
      .required("keys", .array(.named("ClientKey", .object(keyFields)), max: Int.max)),
      .required("created_by", Shapes.author), .required("created_at", .timestamp), .required("updated_at", .timestamp),
    ] + ScopedRoleShapes.held))

  /// What can be edited, for the entity tag; use of its keys changes nothing of it.
  @Sendable private static func content(_ client: APIClientRecord) -> JSONValue {
    [
      "name": .string(client.name), "description": .string(client.description),
      "scopes": .strings(client.scopes.map(\.text)), "limits": AccessShapes.json(client.limits),
      "sources": .strings(client.sources.map(\.description)), "is_active": .bool(client.isActive),
    ]
  }

  private static func json(_ client: APIClientRecord) -> JSONValue {
    let members: [String: JSONValue] = [
      "id": .string(client.id.uuidString.lowercased()), "name": .string(client.name),
      "description": .string(client.description), "scopes": .strings(client.scopes.map(\.text)),
      "grants": .strings(client.scopes.scopes.sorted().map(\.rawValue)), "limits": AccessShapes.json(client.limits),
      "sources": .strings(client.sources.map(\.description)), "is_active": .bool(client.isActive),
      "keys": .array(client.keys.map { .object(json($0)) }),
      "created_by": [
        "user_id": .optional(client.createdBy.userID?.uuidString.lowercased()),
        "email": .string(client.createdBy.email),
      ], "created_at": .time(client.createdAt), "updated_at": .time(client.updatedAt),
    ]
    return .object(members.merging(ScopedRoleShapes.json(client.memberships, client.resourceGrants)) { own, _ in own })
  }

  private static func json(_ key: APIKeyRecord) -> [String: JSONValue] {
    [
      "id": .string(key.id.uuidString.lowercased()), "prefix": .string(key.prefix), "created_at": .time(key.createdAt),
      "expires_at": .time(key.expiresAt), "last_used_at": .time(key.lastUsedAt),
      "last_used_from": .string(key.lastUsedFrom),
    ]
  }

  // MARK: Handlers

  @Sendable private static func create(_ call: Call, _ services: Services) async throws -> Reply {
    let new = NewAPIClient(
      name: try call.body.text("name"), description: try call.body.text("description"),
      scopes: try AccessShapes.scopes(call.body) ?? [],
      limits: try AccessShapes.limits(call.body) ?? nil,
      sources: try AccessShapes.prefixes(call.body["sources"]) ?? [],
      isActive: call.body["is_active"]?.bool ?? true, createdBy: try call.author())
    try call.caller().permissions.check(
      mayGrant: Permissions([.init(scopes: new.scopes.scopes, limits: new.limits)]))
    let client = try await services.store.createAPIClient(new)
    return Reply.created(json(client), at: "\(base)/\(client.id.uuidString.lowercased())").tagged(content(client))
  }

  @Sendable private static func update(_ call: Call, _ services: Services) async throws -> Reply {
    let change = APIClientChange(
      name: call.body["name"]?.string, description: call.body["description"]?.string,
      scopes: try AccessShapes.scopes(call.body), limits: try AccessShapes.limits(call.body),
      sources: try AccessShapes.prefixes(call.body["sources"]), isActive: call.body["is_active"]?.bool)
    let caller = try call.caller().permissions
    let id = try call.identifier("id", of: kind)
    let precondition = try call.precondition(content)
    let client = try await services.store.updateAPIClient(id: id, change) { old in
      try precondition(old)
      let scopes = (change.scopes ?? old.scopes).scopes
      try caller.check(mayGrant: old.permissions)
      try caller.check(mayGrant: Permissions([.init(scopes: scopes, limits: change.limits ?? old.limits)]))
    }
    services.authenticator.forgetAll()
    return Reply.data(json(client)).tagged(content(client))
  }

  @Sendable private static func createKey(_ call: Call, _ services: Services) async throws -> Reply {
    let id = try call.identifier("id", of: kind)
    let caller = try call.caller().permissions
    func date(_ name: String) -> Date? {
      call.body.present(name)?.integer.map { Date(timeIntervalSinceNow: TimeInterval($0)) }
    }
    let key = APIKey()
    let new = NewAPIKey(
      prefix: key.prefix, digest: key.digest, expiresAt: date("expires_in_seconds"),
      othersEndAt: date("overlap_seconds"), createdByID: try call.author().accounts.first)
    let client = try await services.store.addAPIKey(new, toClient: id) { try caller.check(mayGrant: $0.permissions) }
    services.authenticator.forgetAll()
    guard let stored = client.keys.first(where: { $0.prefix == key.prefix }) else { throw Fault("a key is gone") }
    var members = json(stored)
    members["key"] = .string(key.text)
    return .created(.object(members), at: "\(base)/\(client.id.uuidString.lowercased())")
  }
}

import ControlProtocol
import DatabaseSupport
import Foundation
import HTTPTypes
import Hummingbird
import Identity
import Storage
import Testing

@testable import RESTAPI

/// Every operation of the served OpenAPI document × every kind of caller, against a live server. What is expected
/// stands here, not in the code that decides: who has which scope is written down a second time.
@Suite("The authorisation matrix")
struct MatrixTests {
  /// Built-in roles by scope. A scope that is missing here fails the test.
  private static let holders: [String: Set<Role>] = [
    "users:read": [.admin], "users:write": [.admin], "audit:read": [.admin], "roles:read": [.admin],
    "roles:write": [.admin], "clients:read": [.admin], "clients:write": [.admin],
    "nodes:read": [.admin, .maintainer, .viewer], "nodes:write": [.admin, .maintainer],
    "interfaces:read": [.admin, .maintainer, .viewer], "attachments:read": [.admin, .maintainer, .viewer],
    "attachments:write": [.admin, .maintainer], "rules:read": [.admin, .maintainer, .viewer],
    "rules:write": [.admin, .maintainer], "rules:apply": [.admin, .maintainer],
    "counters:read": [.admin, .maintainer, .viewer], "captures:read": [.admin, .maintainer, .viewer],
    "events:read": [.admin, .maintainer, .viewer],
    "captures:write": [.admin, .maintainer], "teams:read": [.admin], "teams:write": [.admin],
    "webhooks:read": [.admin], "webhooks:write": [.admin], "grants:read": [.admin], "grants:write": [.admin],
    "rules:approve": [.admin],
  ]
  /// Whoever adds an operation for everybody, or for every account, adds it here and thinks twice.
  private static let open: Set<String> = [
    "health", "readiness", "metrics", "openapi", "reference", "publicKeys", "login", "loginSecondFactor", "refresh",
    "resetPassword",
  ]
  private static let forAccounts: Set<String> = [
    "logout", "me", "changePassword", "listSessions", "revokeSession", "listSignIns", "getSecondFactor",
    "beginSecondFactor", "confirmSecondFactor", "replaceRecoveryCodes", "disableSecondFactor",
  ]

  /// As the document has it.
  private struct Operation: Sendable {
    let id: String
    let method: HTTPRequest.Method
    let path: String
    let takesBody: Bool
    /// Nil: none is needed.
    let scope: String?
    let isOpen: Bool
  }

  private enum Expectation: Equatable {
    /// Let in: whatever the answer is, it isn't a refusal.
    case admitted
    case refused(String)
  }

  private static func operations(_ document: JSONValue) throws -> [Operation] {
    try #require(document["paths"]?.object).flatMap { path, item in
      try (item.object ?? [:]).compactMap { method, operation -> Operation? in
        guard let id = operation["operationId"]?.string else { return nil }
        return Operation(
          id: id, method: try #require(.init(rawValue: method.uppercased())), path: path,
          takesBody: operation["requestBody"] != nil, scope: operation["x-required-scope"]?.string,
          isOpen: operation["security"] == [])
      }
    }.sorted { $0.id < $1.id }
  }

  @Test("The document says of every operation who may, and opens none by accident")
  func document() async throws {
    try await TestAPI.with { api in
      let operations = try Self.operations(try await api.get("/openapi.json").json)
      #expect(operations.count == RouteTable.v1.routes.count && operations.count > 50)
      for operation in operations {
        #expect(operation.isOpen == Self.open.contains(operation.id), "\(operation.id)")
        if let scope = operation.scope {
          #expect(Self.holders[scope] != nil, "\(operation.id) needs \(scope), which the matrix doesn't know")
        } else {
          #expect(operation.isOpen || Self.forAccounts.contains(operation.id), "\(operation.id)")
        }
      }
      #expect(Set(Self.holders.keys) == Set(operations.compactMap(\.scope)), "a scope guards nothing")
    }
  }

  private func send(_ operation: Operation, _ api: TestAPI, _ token: String?) async throws -> Answer {
    let path = operation.path.split(separator: "/").map { segment in
      if !segment.hasPrefix("{") { return String(segment) }
      if segment == "{kind}" { return "rule-set" }
      return ["{id}", "{key}"].contains(segment) ? UUID().uuidString : "nothing"
    }.joined(separator: "/")
    var headers: HTTPFields = [:]
    if let token { headers[.authorization] = "Bearer \(token)" }
    if operation.takesBody { headers[.contentType] = "application/json" }
    let base = RouteTable.base.dropFirst()
    let below = path.hasPrefix(base) ? String(path.dropFirst(base.count)) : "/\(path)"
    return try await api.send(
      operation.method, below, headers: headers, bytes: operation.takesBody ? Array("{}".utf8) : nil)
  }

  private func expect(
    _ expectation: Expectation, _ operation: Operation, _ api: TestAPI, _ token: String?, _ who: String
  ) async throws {
    let answer = try await send(operation, api, token)
    switch expectation {
    case .admitted:
      let isRefused = answer.status == 401 || answer.status == 403 || answer.status >= 500
      #expect(!isRefused, "\(who) \(operation.id): \(answer.text)")
      #expect(answer.status != 405, "\(who) \(operation.id)")
    case .refused(let code): #expect(answer.code == code, "\(who) \(operation.id): \(answer.text.prefix(200))")
    }
  }

  private func accountToken(_ api: TestAPI, _ scopes: [ScopeExpression]) async throws -> String {
    let name = "role-\(UUID().uuidString.lowercased())"
    _ = try await api.store.createRole(NewCustomRole(name: name, scopes: scopes))
    return try await api.token(
      of: try await api.store.createUser(
        NewUser(
          email: Email("\(name)@example.org"), name: "", passwordHash: "$none", roles: [], customRoles: [name])))
  }

  private func clientKey(_ api: TestAPI, _ scopes: [ScopeExpression], sources: [String] = []) async throws -> String {
    let client = try await api.store.createAPIClient(
      NewAPIClient(
        name: "c-\(UUID().uuidString.lowercased())", scopes: scopes,
        sources: try sources.map { try .init(parsing: $0) }, createdBy: .system))
    let key = APIKey()
    _ = try await api.store.addAPIKey(
      NewAPIKey(prefix: key.prefix, digest: key.digest), toClient: client.id, if: { _ in })
    return key.text
  }

  /// Nothing that doesn't imply the scope: the other scopes, without those that hold it.
  private func everythingBut(_ scope: Scope) -> [ScopeExpression] {
    Scope.allCases.filter { $0 != scope && !$0.implied.contains(scope) }.map { ScopeExpression($0) }
  }

  @Test("Without a token, with a forged, an expired or a foreign one", arguments: TestBackend.allCases)
  func strangers(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend, .live) { api in
      let user = try await api.makeUser([.admin])
      let subject = AccessSubject(userID: user.id, email: user.email, roles: user.roles)
      let forged = try await AccessTokens(key: .ephemeral()).issue(to: subject).text
      let past = try await AccessTokens(key: api.signingKey, now: { Date(timeIntervalSinceNow: -7200) })
      let expired = try await past.issue(to: subject).text
      let audience = AccessTokens.Settings(audience: "elsewhere")
      let foreign = try await AccessTokens(key: api.signingKey, settings: audience).issue(to: subject).text
      let off = try await api.token(of: try await api.makeUser([.admin], isActive: false))
      for operation in try Self.operations(try await api.get("/openapi.json").json) where !operation.isOpen {
        for (who, token) in [("nobody", nil), ("forged", forged), ("foreign", foreign), ("inactive", off),
          ("no key", APIKey().text)] as [(String, String?)]
        {
          try await expect(.refused("unauthenticated"), operation, api, token, who)
        }
        try await expect(.refused("token_expired"), operation, api, expired, "expired")
      }
    }
  }

  @Test("Each built-in role", arguments: TestBackend.allCases, Role.allCases)
  func roles(_ backend: TestBackend, _ role: Role) async throws {
    try await TestAPI.with(backend, .live) { api in
      for operation in try Self.operations(try await api.get("/openapi.json").json) where !operation.isOpen {
        let mayCall = try operation.scope.map { try #require(Self.holders[$0]).contains(role) } ?? true
        try await expect(
          mayCall ? .admitted : .refused("missing_scope"), operation, api, try await api.token([role]), role.rawValue)
      }
    }
  }

  @Test("An account and a client with one scope, and with every other one", arguments: TestBackend.allCases)
  func scopes(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend, .live) { api in
      let operations = try Self.operations(try await api.get("/openapi.json").json)
      for (text, group) in Dictionary(grouping: operations.filter { $0.scope != nil }, by: { $0.scope ?? "" }) {
        let scope = try #require(Scope(rawValue: text))
        let one = [ScopeExpression(scope)], others = everythingBut(scope)
        let accounts = (try await accountToken(api, one), try await accountToken(api, others))
        let clients = (try await clientKey(api, one), try await clientKey(api, others))
        let away = try await clientKey(api, one, sources: ["192.0.2.0/24"])
        for operation in group {
          try await expect(.admitted, operation, api, accounts.0, "account with \(text)")
          try await expect(.refused("missing_scope"), operation, api, accounts.1, "account without \(text)")
          let isForPeople = ["approveRevision", "rejectRevision"].contains(operation.id)
          try await expect(
            isForPeople ? .refused("account_required") : .admitted, operation, api, clients.0, "client with \(text)")
          try await expect(.refused("missing_scope"), operation, api, clients.1, "client without \(text)")
          try await expect(.refused("address_not_allowed"), operation, api, away, "client from elsewhere")
        }
      }
      let client = try await clientKey(api, [try ScopeExpression("*:admin")])
      for operation in operations where Self.forAccounts.contains(operation.id) {
        try await expect(.refused("account_required"), operation, api, client, "client")
      }
    }
  }
}

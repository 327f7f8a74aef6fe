import ControlProtocol
import DatabaseSupport
import Foundation
import HTTPTypes
import Identity
import Rules
import Storage
import Testing

@testable import RESTAPI

@Suite("Custom roles, delegation and API clients")
struct AccessTests {
  /// The token of a new account with one new custom role.
  private func token(_ api: TestAPI, _ scopes: [String], limits: DelegationLimits? = nil) async throws -> String {
    let name = "role-\(UUID().uuidString.lowercased())"
    _ = try await api.store.createRole(
      NewCustomRole(name: name, scopes: try scopes.map { try ScopeExpression($0) }, limits: limits))
    let user = try await api.store.createUser(
      NewUser(
        email: Email("\(name)@example.org"), name: "", passwordHash: "$none", roles: [], customRoles: [name]))
    return try await api.token(of: user)
  }

  // MARK: Roles

  @Test("A role is made, given, changed, taken and deleted; it acts at once", arguments: TestBackend.allCases)
  func life(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let admin = try await api.token()
      let made = try await api.post("/roles", admin, ["name": "auditor", "scopes": ["audit:read", "*:read"]])
      #expect(made.status == 201 && made.data["scopes"] == ["*:read", "audit:read"] && made.data["limits"] == .null)
      #expect(try await api.post("/roles", admin, ["name": "auditor", "scopes": ["audit:read"]]).code == "conflict")
      let body: JSONValue = [
        "email": "v@example.org", "password": "a fine password", "roles": [], "custom_roles": ["auditor"],
      ]
      let user = try await api.post("/users", admin, body)
      #expect(user.status == 201 && user.data["custom_roles"] == ["auditor"])
      let login = try await api.post("/auth/login", nil, ["email": "v@example.org", "password": "a fine password"])
      let own = try #require(login.data["access_token"]?.string)
      #expect(try await api.get("/audit-log", own).status == 200)
      #expect(try await api.post("/rule-sets", own, ["name": "x"]).code == "missing_scope")
      #expect(try await api.send(.patch, "/roles/auditor", admin, ["scopes": ["rules:admin"]]).status == 200)
      #expect(try await api.get("/audit-log", own).code == "missing_scope")
      #expect(try await api.post("/rule-sets", own, ["name": "x"]).status == 201)
      #expect(try await api.send(.delete, "/roles/auditor", admin).code == "conflict")
      let id = try #require(user.data["id"]?.string)
      let none = try await api.send(.patch, "/users/\(id)", admin, ["custom_roles": []])
      #expect(none.data["custom_roles"] == [])
      #expect(try await api.get("/rule-sets", own).code == "missing_scope", "an account without a role may do nothing")
      let viewer = try await api.send(.patch, "/users/\(id)", admin, ["roles": ["Viewer"], "custom_roles": []])
      #expect(viewer.status == 200 && viewer.data["custom_roles"] == [])
      #expect(try await api.send(.delete, "/roles/auditor", admin).status == 200)
      #expect(try await api.get("/roles/auditor", admin).code == "not_found")
    }
  }

  private static let wrong: [(String, [String])] = [
    (#"{}"#, ["name", "scopes"]), (#"{"name":"A","scopes":[]}"#, ["name", "scopes"]), (#"{"name":"a","scopes":[]}"#, ["scopes"]),
    (#"{"name":"a","scopes":["king:read"]}"#, ["scopes[0]"]),
    (#"{"name":"a","scopes":["rules:read",7]}"#, ["scopes[1]"]),
    (#"{"name":"a","scopes":["*:*"]}"#, ["scopes[0]"]),
    (#"{"name":"a","scopes":["rules:write"],"limits":{"destination":["10.0.0.0/8"]}}"#, ["limits.destination"]),
    (#"{"name":"a","scopes":["rules:write"],"limits":{"destinations":["10.0.0.0/33"]}}"#, ["limits.destinations[0]"]),
    (#"{"name":"a","scopes":["rules:write"],"limits":{"destinations":[]}}"#, ["limits.destinations"]),
    (#"{"name":"a","scopes":["rules:write"],"limits":{"actions":["explode"]}}"#, ["limits.actions[0]"]),
    (#"{"name":"a","scopes":["rules:write"],"limits":[]}"#, ["limits"]),
  ]

  @Test("Wrong roles are refused, the wrong fields named", arguments: wrong)
  func wrongRoles(_ body: String, _ paths: [String]) async throws {
    try await TestAPI.with { api in
      let answer = try await api.post("/roles", try await api.token(), try JSONValue(parsing: Array(body.utf8)))
      #expect(answer.code == "validation_failed" && answer.problemPaths == paths, "\(answer.text)")
    }
  }

  @Test("Nobody gives what he doesn't hold, and nobody takes over who may more", arguments: TestBackend.allCases)
  func escalation(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let helpdesk = try await token(api, ["users:admin", "roles:admin", "clients:admin", "rules:read"])
      let admin = try await api.makeUser([.admin])
      let path = "/users/\(admin.id.uuidString)"
      let attempts: [Answer] = [
        try await api.send(.patch, path, helpdesk, ["password": "taken over now"]),
        try await api.send(.patch, path, helpdesk, ["email": "mine@example.org"]),
        try await api.send(.patch, path, helpdesk, ["is_active": false]), try await api.send(.delete, path, helpdesk),
        try await api.post(
          "/users", helpdesk, ["email": "n@example.org", "password": "a fine password", "roles": ["Admin"]]),
        try await api.post("/roles", helpdesk, ["name": "more", "scopes": ["rules:write"]]),
        try await api.post("/roles", helpdesk, ["name": "more", "scopes": ["*:read"]]),
        try await api.post("/api-clients", helpdesk, ["name": "more", "scopes": ["*:admin"]]),
      ]
      for answer in attempts {
        #expect(answer.code == "beyond_authority" && answer.status == 403, "\(answer.text)")
        #expect(answer.details["missing"]?.array?.isEmpty == false)
      }
      #expect(try await api.store.user(id: admin.id) == admin)
      let full = try await api.token()
      _ = try await api.post("/roles", full, ["name": "strong", "scopes": ["nodes:admin"]])
      let strong = try await api.post("/api-clients", full, ["name": "strong", "scopes": ["nodes:admin"]])
      let client = "/api-clients/\(try #require(strong.data["id"]?.string))"
      let more: [Answer] = [
        try await api.send(.patch, "/roles/strong", helpdesk, ["scopes": ["rules:read"]]),
        try await api.send(.delete, "/roles/strong", helpdesk),
        try await api.send(.patch, client, helpdesk, ["is_active": false]),
        try await api.send(.delete, client, helpdesk), try await api.post("\(client)/keys", helpdesk, [:]),
        try await api.post(
          "/users", helpdesk,
          ["email": "n@example.org", "password": "a fine password", "roles": [], "custom_roles": ["strong"]]),
      ]
      for answer in more { #expect(answer.code == "beyond_authority", "\(answer.text)") }
      // Its record says little; who signs in as it is Admin.
      let glass = try await api.makeUser([], email: TestAPI.breakGlassEmail, isActive: false)
      let record = "/users/\(glass.id.uuidString)"
      let worst: [Answer] = [
        try await api.send(.patch, record, helpdesk, ["password": "taken over now"]),
        try await api.send(.patch, record, helpdesk, ["is_active": true]),
        try await api.send(.delete, record, helpdesk), try await api.post(record + "/password-reset", helpdesk, [:]),
        try await api.send(.delete, record + "/second-factor", helpdesk),
      ]
      for answer in worst { #expect(answer.code == "beyond_authority", "\(answer.text)") }
      #expect(try await api.send(.delete, record, full).status == 200)
      let poor = try await api.makeUser([])
      let address: JSONValue = .string(TestAPI.breakGlassEmail)
      let takes = try await api.send(.patch, "/users/\(poor.id.uuidString)", helpdesk, ["email": address])
      let makes = try await api.post(
        "/users", helpdesk, ["email": address, "password": "a fine password", "roles": []])
      #expect(takes.code == "beyond_authority" && makes.code == "beyond_authority", "\(takes.text) \(makes.text)")
      let own = try await api.post("/roles", helpdesk, ["name": "fewer", "scopes": ["rules:read", "users:read"]])
      #expect(own.status == 201, "what he holds he gives")
      let user = try await api.post(
        "/users", helpdesk,
        ["email": "n@example.org", "password": "a fine password", "roles": [], "custom_roles": ["fewer"]])
      #expect(user.status == 201)
      #expect(try await api.send(.delete, "/users/\(user.data["id"]?.string ?? "")", helpdesk).status == 200)
    }
  }

  @Test("Whose rules are limited gives no role or client that reaches further", arguments: TestBackend.allCases)
  func limitedGrants(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let limits = DelegationLimits(destinations: [try .init(parsing: "198.51.100.0/24")])
      let token = try await token(api, ["roles:admin", "clients:admin", "rules:write"], limits: limits)
      func role(_ name: String, _ limits: JSONValue) async throws -> Answer {
        try await api.post("/roles", token, ["name": .string(name), "scopes": ["rules:write"], "limits": limits])
      }
      #expect(try await role("a", .null).code == "beyond_authority")
      #expect(try await role("a", ["destinations": ["198.51.0.0/16"]]).code == "beyond_authority")
      #expect(try await role("a", ["actions": ["drop"]]).code == "beyond_authority")
      #expect(try await role("a", ["destinations": ["198.51.100.128/25"], "actions": ["drop"]]).status == 201)
      #expect(try await api.send(.patch, "/roles/a", token, ["limits": .null]).code == "beyond_authority")
      let client: JSONValue = ["name": "c", "scopes": ["rules:write"]]
      #expect(try await api.post("/api-clients", token, client).code == "beyond_authority")
    }
  }

  @Test(
    "A customer's rules reach his own prefixes only, by every route that writes rules", arguments: TestBackend.allCases)
  func delegation(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let admin = try await api.token()
      let limits = DelegationLimits(destinations: [try .init(parsing: "198.51.100.0/24")], actions: ["drop", "pass"])
      let customer = try await token(api, ["rules:write"], limits: limits)
      let base = "/rule-sets/edge"
      func rule(_ name: String, _ to: String, _ action: String = "drop") -> JSONValue {
        ["name": .string(name), "match": ["destinations": [.string(to)]], "action": .string(action)]
      }
      _ = try await api.post("/rule-sets", admin, ["name": "edge", "rules": [rule("theirs", "203.0.113.0/24")]])
      #expect(try await api.post("\(base)/rules", customer, rule("own", "198.51.100.7")).status == 201)
      let changed: JSONValue = ["match": ["destinations": ["198.51.100.8"]], "action": "pass"]
      #expect(try await api.send(.put, "\(base)/rules/own", customer, changed).status == 200)
      #expect(try await api.post("\(base)/rules/own/move", customer, ["position": 0]).status == 200)
      let refused: [Answer] = [
        try await api.post("\(base)/rules", customer, rule("x", "198.51.101.1")),
        try await api.post("\(base)/rules", customer, rule("x", "198.51.100.1", "count")),
        try await api.post("\(base)/rules", customer, ["name": "x", "action": "drop"]),
        try await api.post(
          "\(base)/rules", customer,
          ["name": "x", "action": "drop", "match": ["destinations": ["not": ["198.51.100.1"]]]]),
        try await api.send(.put, "\(base)/rules/theirs", customer, changed),
        try await api.send(.delete, "\(base)/rules/theirs", customer),
        try await api.send(.put, "\(base)/rules", customer, ["rules": [rule("own", "198.51.100.7")]]),
        try await api.send(.patch, base, customer, ["default_action": "drop"]),
        try await api.send(.patch, base, customer, ["description": "mine"]),
        try await api.send(.patch, base, customer, ["rules": []]), try await api.send(.delete, base, customer),
        try await api.post("/rule-sets", customer, ["name": "mine"]),
      ]
      for answer in refused { #expect(answer.code == "outside_delegation" && answer.status == 403, "\(answer.text)") }
      #expect(refused[0].problemPaths == ["rules[2].match.destinations[0]"])
      #expect(try await api.get("\(base)/rules", admin).items.compactMap { $0["name"]?.string } == ["own", "theirs"])
      #expect(try await api.send(.delete, "\(base)/rules/own", customer).status == 200)
      let recorded = try await api.store.auditLog(AuditFilter(outcome: .refused), Page()).items
      #expect(recorded.count { $0["code"] == "outside_delegation" } == refused.count)
    }
  }
}

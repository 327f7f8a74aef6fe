import ControlProtocol
import DatabaseSupport
import Foundation
import HTTPTypes
import Identity
import Storage
import Testing

@testable import RESTAPI

/// Somebody without any right yet.
struct Caller: Sendable {
  let holder: RoleHolder
  let token: String
}

extension TestAPI {
  func caller(_ kind: RoleHolder.Kind) async throws -> Caller {
    switch kind {
    case .user:
      let user = try await makeUser([])
      return Caller(holder: .user(user.email), token: try await token(of: user))
    case .client:
      let name = "c-\(UUID().uuidString.lowercased())"
      let client = try await store.createAPIClient(NewAPIClient(name: name, scopes: [], createdBy: .system))
      let key = APIKey()
      _ = try await store.addAPIKey(
        NewAPIKey(prefix: key.prefix, digest: key.digest), toClient: client.id, if: { _ in })
      return Caller(holder: .client(name), token: key.text)
    }
  }
}

@Suite("Teams and resources")
struct TeamRouteTests {
  private func member(_ api: TestAPI, _ team: String, _ role: String) async throws -> (user: User, token: String) {
    let user = try await api.makeUser([])
    _ = try await api.store.setMember(.user(user.email), ofTeam: team, role: role, if: { _ in })
    return (user, try await api.token(of: user))
  }

  @Test("A team works on its own rule sets, and nobody gives what he doesn't hold", arguments: TestBackend.allCases)
  func life(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let admin = try await api.token()
      #expect(try await api.post("/teams", admin, ["name": "ops"]).status == 201)
      #expect(try await api.post("/teams", admin, ["name": "ops"]).code == "conflict")
      _ = try await api.post("/teams", admin, ["name": "others"])
      let lead = try await member(api, "ops", "Team Admin")
      let hand = try await member(api, "ops", "Team Maintainer")
      let guest = try await api.makeUser([])
      func set(_ team: String, _ who: User, _ role: String, _ token: String) async throws -> Answer {
        try await api.send(.put, "/teams/\(team)/members/\(who.email.value)", token, ["role": .string(role)])
      }
      #expect(try await api.post("/rule-sets", hand.token, ["name": "nobodys"]).code == "missing_scope")
      #expect(try await api.post("/rule-sets", hand.token, ["name": "edge", "team": "others"]).code == "not_found")
      #expect(try await api.post("/rule-sets", hand.token, ["name": "edge", "team": "ops"]).status == 201)
      let rule: JSONValue = ["name": "one", "action": "drop", "match": [:]]
      #expect(try await api.post("/rule-sets/edge/rules", hand.token, rule).status == 201)
      #expect(try await set("ops", guest, "Team Viewer", hand.token).code == "missing_scope")
      #expect(try await set("ops", guest, "Team Viewer", lead.token).status == 200)
      #expect(try await set("others", guest, "Team Viewer", lead.token).code == "not_found")
      _ = try await api.post(
        "/roles", admin, ["name": "auditing", "level": "team", "scopes": ["audit:read"]])
      #expect(try await set("ops", guest, "auditing", lead.token).code == "beyond_authority")
      #expect(try await set("ops", guest, "auditing", admin).status == 200)
      #expect(try await set("ops", guest, "Team Viewer", lead.token).code == "beyond_authority", "nor takes it")
      #expect(try await api.send(.delete, "/teams/ops/members/\(guest.email.value)", admin).status == 200)
      let me = try await api.get("/auth/me", lead.token).data
      #expect(me["teams"]?.array?.first?["role"] == "Team Admin")

      let grants = "/resources/rule-set/edge/grants/\(guest.email.value)"
      let guestToken = try await api.token(of: guest)
      #expect(try await api.get("/rule-sets/edge", guestToken).code == "missing_scope")
      #expect(try await api.send(.put, grants, hand.token, ["role": "Viewer"]).code == "missing_scope")
      #expect(try await api.send(.put, grants, lead.token, ["role": "Editor"]).status == 200)
      #expect(try await api.send(.put, "/rule-sets/edge/rules", guestToken, ["rules": []]).status == 200)
      #expect(try await api.send(.delete, grants, lead.token).status == 200)
      #expect(try await api.get("/rule-sets/edge", guestToken).code == "missing_scope")
      for role in ["Team Admin", "Admin", "nothing"] {
        #expect(try await api.send(.put, grants, lead.token, ["role": .string(role)]).code == "validation_failed")
      }
      let away = try await api.send(.put, "/resources/rule-set/edge/team", lead.token, ["team": "others"])
      #expect(away.code == "beyond_authority", "not into a team that isn't his")
      #expect(try await api.send(.put, "/resources/rule-set/edge/team", admin, ["team": "others"]).status == 200)
      #expect(try await api.get("/rule-sets/edge", hand.token).code == "not_found", "it shows at once")
      for path in ["/resources/rule_set/edge", "/resources/nothing/edge", "/resources/node/edge"] {
        #expect(try await api.get(path, admin).code == "not_found")
      }
    }
  }

  @Test("An account that may less somewhere cannot take over one that may more there")
  func takeover() async throws {
    try await TestAPI.with { api in
      _ = try await api.store.createTeam(name: "ops", description: "")
      let lead = try await member(api, "ops", "Team Admin")
      _ = try await api.store.createRole(NewCustomRole(name: "desk", scopes: [ScopeExpression("users:admin")]))
      let desk = try await api.token(
        of: try await api.store.createUser(
          NewUser(email: Email("desk@example.org"), name: "", passwordHash: "$none", roles: [], customRoles: ["desk"])))
      let path = "/users/\(lead.user.id)"
      let password: JSONValue = ["password": "a fine new password"]
      #expect(try await api.send(.patch, path, desk, password).code == "beyond_authority")
      #expect(try await api.post(path + "/password-reset", desk, [:]).code == "beyond_authority")
    }
  }

  @Test("Limits of a custom role hold in the team only")
  func limits() async throws {
    try await TestAPI.with { api in
      let admin = try await api.token()
      for name in ["ops", "more"] {
        _ = try await api.post("/teams", admin, ["name": .string(name)])
        _ = try await api.post("/rule-sets", admin, ["name": .string("set-\(name)"), "team": .string(name)])
      }
      _ = try await api.post(
        "/roles", admin,
        [
          "name": "narrow", "level": "team", "scopes": ["rules:write"],
          "limits": ["destinations": ["198.51.100.0/24"], "actions": ["drop"]],
        ])
      for kind in RoleHolder.Kind.allCases {
        let caller = try await api.caller(kind)
        _ = try await api.store.setMember(caller.holder, ofTeam: "ops", role: "narrow", if: { _ in })
        _ = try await api.store.setMember(caller.holder, ofTeam: "more", role: "Team Maintainer", if: { _ in })
        func add(_ destination: String, to set: String, _ action: String = "drop") async throws -> Answer {
          let match: JSONValue = ["destinations": [.string(destination)]]
          return try await api.post(
            "/rule-sets/\(set)/rules", caller.token,
            ["name": .string("r-\(kind)"), "action": .string(action), "match": match])
        }
        #expect(try await add("192.0.2.1", to: "set-ops").code == "outside_delegation", "\(kind)")
        #expect(try await add("198.51.100.1", to: "set-ops", "count").code == "outside_delegation", "\(kind)")
        #expect(try await add("198.51.100.1", to: "set-ops").status == 201, "\(kind)")
        #expect(try await add("192.0.2.1", to: "set-more").status == 201, "\(kind)")
      }
    }
  }

  @Test("An API client works for a team by its role there, nothing else, until that is taken away", arguments: TestBackend.allCases)
  func clients(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let admin = try await api.token()
      for name in ["ops", "others"] { _ = try await api.post("/teams", admin, ["name": .string(name)]) }
      for name in ["ops", "others"] {
        _ = try await api.post("/rule-sets", admin, ["name": .string("set-\(name)"), "team": .string(name)])
      }
      let lead = try await member(api, "ops", "Team Admin")
      let made = try await api.post("/api-clients", admin, ["name": "deploy"])
      #expect(made.status == 201 && made.data["scopes"] == [] && made.data["teams"] == [], "\(made.text)")
      let id = try #require(made.data["id"]?.string)
      let key = try #require(try await api.post("/api-clients/\(id)/keys", admin, [:]).data["key"]?.string)
      #expect(try await api.get("/rule-sets/set-ops", key).code == "missing_scope")

      let path = "/teams/ops/members/deploy"
      #expect(try await api.get(path, lead.token).code == "not_found")
      let set = try await api.send(.put, path, lead.token, ["role": "Team Maintainer"])
      #expect(set.data["kind"] == "client" && set.data["holder"] == "deploy" && set.data["id"]?.string == id)
      let tag = try #require(set.headers[.eTag])
      #expect(try await api.get(path, lead.token).headers[.eTag] == tag)
      #expect(try await api.get("/rule-sets/set-ops", key).status == 200, "at once")
      #expect(try await api.get("/rule-sets/set-others", key).code == "not_found")
      let rule: JSONValue = ["name": "one", "action": "drop", "match": [:]]
      let added = try await api.post("/rule-sets/set-ops/rules", key, rule)
      #expect(added.status == 201)
      #expect(try await api.get("/rule-sets/set-ops", key).data["author"]?["email"] == "client:deploy")
      #expect(try await api.send(.put, "/teams/ops/members/deploy", key, ["role": "Team Admin"]).code == "missing_scope")

      let old = try await api.send(.put, path, lead.token, ["role": "Team Viewer"], ifMatch: "\"\(UUID())\"")
      #expect(old.status == 412)
      #expect(try await api.send(.put, path, lead.token, ["role": "Team Viewer"], ifMatch: tag).status == 200)
      #expect(try await api.send(.delete, path, lead.token, ifMatch: tag).status == 412)
      #expect(try await api.post("/rule-sets/set-ops/rules", key, rule).code == "missing_scope", "it may only read now")

      let grant = "/resources/rule-set/set-others/grants/deploy"
      #expect(try await api.send(.put, grant, lead.token, ["role": "Editor"]).code == "not_found", "not his to give")
      #expect(try await api.send(.put, grant, admin, ["role": "Editor"]).status == 200)
      #expect(try await api.post("/rule-sets/set-others/rules", key, rule).status == 201)
      #expect(try await api.get("/api-clients/\(id)", admin).data["resources"]?.array?.first?["role"] == "Editor")
      let listed = try await api.get("/resources/rule-set/set-others/grants", admin).items
      #expect(listed.map { $0["holder"] } == ["deploy"])

      // Whoever could make a key of it would be it: he must hold all of what it has.
      let desk = try await api.token([.maintainer])
      _ = try await api.store.createRole(NewCustomRole(name: "keys", scopes: [ScopeExpression("clients:admin")]))
      let keeper = try await api.token(
        of: try await api.store.createUser(
          NewUser(email: Email("k@example.org"), name: "", passwordHash: "$none", roles: [], customRoles: ["keys"])))
      #expect(try await api.post("/api-clients/\(id)/keys", desk, [:]).code == "missing_scope")
      #expect(try await api.post("/api-clients/\(id)/keys", keeper, [:]).code == "beyond_authority")

      #expect(try await api.send(.delete, grant, admin).status == 200)
      #expect(try await api.send(.delete, path, lead.token).status == 200)
      for name in ["set-ops", "set-others"] {
        #expect(try await api.get("/rule-sets/\(name)", key).code == "missing_scope", "at once")
      }
      let changes = try await api.store.auditLog(AuditFilter(operation: "setMember", outcome: .succeeded), Page()).items
      #expect(changes.contains { $0["after"] == ["client": "deploy", "role": "Team Maintainer"] })
      for holder in ["nothing", "a@b@c", "nobody@example.org", "'%20OR%201=1--"] {
        let answer = try await api.send(.put, "/teams/ops/members/\(holder)", admin, ["role": "Team Viewer"])
        #expect(answer.code == "not_found", "\(holder): \(answer.text)")
      }
    }
  }
}

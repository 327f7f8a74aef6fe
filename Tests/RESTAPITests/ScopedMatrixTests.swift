import ControlProtocol
import DatabaseSupport
import Foundation
import HTTPTypes
import Hummingbird
import Identity
import Rules
import Storage
import Testing

@testable import RESTAPI

/// Every operation of the served document that may be about a part of what there is × every role of a team and of a
/// resource, for what is the caller's and for what is not, against a live server. What is expected stands here.
@Suite("The authorisation matrix of teams and resources")
struct ScopedMatrixTests {
  private static let reading: Set<String> = [
    "rules:read", "nodes:read", "interfaces:read", "attachments:read", "counters:read", "captures:read", "events:read",
  ]
  private static let writing = reading.union([
    "rules:write", "rules:apply", "nodes:write", "attachments:write", "captures:write",
  ])
  private static let teamRoles: [String: Set<String>] = [
    "Team Viewer": reading, "Team Maintainer": writing,
    "Team Admin": writing.union(["teams:read", "teams:write", "grants:read", "grants:write", "rules:approve"]),
  ]
  private static let resourceRoles: [String: Set<String>] = [
    "Viewer": reading, "Editor": writing, "Owner": writing.union(["grants:read", "grants:write", "rules:approve"]),
  ]

  private struct Operation: Sendable {
    let id: String
    let method: HTTPRequest.Method
    let path: String
    let takesBody: Bool
    let scope: String
    /// `x-resource`; nil: the scope must be held everywhere.
    let resource: String?
  }

  /// A rule set, a node, an attachment there and a capture of it.
  private struct Things: Sendable {
    let ruleSet, node, team: String
    let attachment, capture: UUID
    let refs: [ResourceRef]

    func path(_ operation: Operation) -> String {
      let values: [String: String] = [
        "team": team, "kind": "rule-set", "resource": ruleSet, "email": "nobody@example.org", "revision": "1",
        "rule": "none", "wire": "none", "key": UUID().uuidString,
        "id": (operation.resource == "capture" ? capture : attachment).uuidString,
        "name": operation.resource == "node" ? node : ruleSet,
      ]
      return operation.path.dropFirst(RouteTable.base.count).split(separator: "/").map { segment in
        segment.hasPrefix("{") ? values[String(segment.dropFirst().dropLast())] ?? "none" : String(segment)
      }.map { "/" + $0 }.joined()
    }

    /// A body that says which part it is about, where the path doesn't: a right one where it is to be refused, so that
    /// nothing else can be the reason; else a wrong one, which goes no further.
    func body(_ operation: Operation, isRight: Bool) -> JSONValue {
      switch operation.id {
      case "createRuleSet": ["name": isRight ? "new" : "../", "team": .string(team)]
      case "createAttachment", "startCapture", "streamCapture":
        ["node": .string(node), "interface": .string(isRight ? "eth0" : "a/b")]
      default: [:]
      }
    }
  }

  private func things(_ name: String, _ api: TestAPI) async throws -> Things {
    let team = try await api.store.createTeam(name: "team-\(name)", description: "")
    let ruleSet = try await api.store.createRuleSet(
      RuleSet(name: "set-\(name)"), description: "", team: team.name, RuleSetEdit(author: .system))
    let node = try await api.store.createNode(NewNode(name: "node-\(name)", address: "unix:\(api.socketPath)"))
    let attachment = try await api.store.createAttachment(NewAttachment(node: node.name, interface: "eth0"))
    let capture = try await api.store.createCapture(
      NewCapture(
        node: node.name, interface: "eth0", daemonID: "1", request: CaptureRequest(),
        progress: CaptureProgress(state: .finished), startedBy: .system, startedAt: Date()))
    let refs = [
      ResourceRef(.ruleSet, ruleSet.id), ResourceRef(.node, node.id), ResourceRef(.attachment, attachment.id),
    ]
    for ref in refs { _ = try await api.store.setOwner(of: ref, team: team.name) }
    return Things(
      ruleSet: ruleSet.name, node: node.name, team: team.name, attachment: attachment.id, capture: capture.id, refs: refs)
  }

  private func operations(_ api: TestAPI) async throws -> [Operation] {
    let document = try await api.get("/openapi.json").json
    return try #require(document["paths"]?.object).flatMap { path, item in
      try (item.object ?? [:]).compactMap { method, operation -> Operation? in
        guard let id = operation["operationId"]?.string, let scope = operation["x-required-scope"]?.string else {
          return nil
        }
        return Operation(
          id: id, method: try #require(.init(rawValue: method.uppercased())), path: path,
          takesBody: operation["requestBody"] != nil, scope: scope, resource: operation["x-resource"]?.string)
      }
    }.sorted { $0.id < $1.id }
  }

  private func send(
    _ operation: Operation, _ things: Things, _ api: TestAPI, _ token: String, isHeld: Bool
  ) async throws -> Answer {
    try await api.send(
      operation.method, things.path(operation), token,
      operation.takesBody ? things.body(operation, isRight: !isHeld) : nil)
  }

  /// Sends everything, as somebody who holds the scopes for his things and nothing for the others.
  private func walk(
    _ api: TestAPI, _ user: User, holds scopes: Set<String>, isOfTeam: Bool, _ mine: Things, _ theirs: Things,
    _ who: String
  ) async throws {
    let token = try await api.token(of: user)
    for operation in try await operations(api) {
      // What is destroyed on the way is needed by the others.
      guard !["deleteRuleSet", "deleteNode", "deleteAttachment", "setResourceTeam"].contains(operation.id),
        // The wires of the daemon of these tests are no real ones.
        operation.id != "listWires"
      else { continue }
      let isHeld = scopes.contains(operation.scope) && operation.resource != nil
        && (isOfTeam || operation.resource != "team")
      let own = try await send(operation, mine, api, token, isHeld: isHeld)
      if isHeld {
        let isRefused = own.status == 401 || own.status == 403 || own.status >= 500
        #expect(!isRefused, "\(who) \(operation.id): \(own.text.prefix(300))")
        #expect(own.status != 404 || own.details["kind"]?.string != operation.resource, "\(who) \(operation.id): \(own.text)")
      } else {
        #expect(["missing_scope", "not_found"].contains(own.code), "\(who) \(operation.id): \(own.text.prefix(300))")
      }
      guard operation.resource != "any" else { continue }
      let foreign = try await send(operation, theirs, api, token, isHeld: false)
      #expect(
        isHeld ? foreign.code == "not_found" : ["missing_scope", "not_found"].contains(foreign.code),
        "\(who) \(operation.id) elsewhere: \(foreign.text.prefix(300))")
    }
  }

  @Test("Each role of a team, in its own and in another team", arguments: TestBackend.allCases, teamRoles.keys.sorted())
  func teams(_ backend: TestBackend, _ role: String) async throws {
    try await TestAPI.with(backend, .live) { api in
      let (mine, theirs) = (try await things("a", api), try await things("b", api))
      let user = try await api.makeUser([])
      _ = try await api.store.setMember(user.email, ofTeam: mine.team, role: role, if: { _ in })
      try await walk(
        api, user, holds: try #require(Self.teamRoles[role]), isOfTeam: true, mine, theirs, role)
      let token = try await api.token(of: user)
      for (path, name) in [("/rule-sets", mine.ruleSet), ("/nodes", mine.node)] {
        let items = try await api.get(path, token).items
        #expect(items.map { $0["name"]?.string } == [name], "\(role) \(path)")
      }
      for path in ["/attachments", "/captures"] {
        let nodes = try await api.get(path, token).items.map { $0["node"]?.string }
        #expect(Set(nodes) == [mine.node], "\(role) \(path)")
      }
      #expect(try await api.get("/rule-sets", token).meta["total"] == 1)
      let anonymous = try await api.token(of: try await api.makeUser([]))
      #expect(try await api.get("/rule-sets", anonymous).code == "missing_scope")
    }
  }

  @Test("Each role of a resource, for it and for another one", arguments: TestBackend.allCases, resourceRoles.keys.sorted())
  func resources(_ backend: TestBackend, _ role: String) async throws {
    try await TestAPI.with(backend, .live) { api in
      let (mine, theirs) = (try await things("a", api), try await things("b", api))
      let user = try await api.makeUser([])
      for ref in mine.refs { _ = try await api.store.setGrant(of: ref, to: user.email, role: role, if: { _ in }) }
      try await walk(
        api, user, holds: try #require(Self.resourceRoles[role]), isOfTeam: false, mine, theirs, role)
    }
  }
}

@Suite("Teams and resources")
struct TeamRouteTests {
  private func member(_ api: TestAPI, _ team: String, _ role: String) async throws -> (user: User, token: String) {
    let user = try await api.makeUser([])
    _ = try await api.store.setMember(user.email, ofTeam: team, role: role, if: { _ in })
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
        ["name": "narrow", "level": "team", "scopes": ["rules:write"], "limits": ["destinations": ["198.51.100.0/24"]]])
      let user = try await member(api, "ops", "narrow")
      _ = try await api.store.setMember(user.user.email, ofTeam: "more", role: "Team Maintainer", if: { _ in })
      func rule(_ destination: String) -> JSONValue {
        ["name": "r", "action": "drop", "match": ["destinations": [.string(destination)]]]
      }
      #expect(try await api.post("/rule-sets/set-ops/rules", user.token, rule("192.0.2.1")).code == "outside_delegation")
      #expect(try await api.post("/rule-sets/set-ops/rules", user.token, rule("198.51.100.1")).status == 201)
      #expect(try await api.post("/rule-sets/set-more/rules", user.token, rule("192.0.2.1")).status == 201)
    }
  }
}

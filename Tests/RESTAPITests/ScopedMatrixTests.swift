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
/// resource, of an account and of an API client, for what is the caller's and for what is not, against a live server.
/// What is expected stands here.
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
        "team": team, "kind": "rule-set", "resource": ruleSet, "member": "nobody@example.org",
        "holder": "nobody@example.org", "revision": "1", "set": "blocked",
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
    var content = RuleSet(name: "set-\(name)")
    content.sets = ["blocked", "other"].map { name in
      var set = NamedSet(name: name, kind: .ipv4)
      set.hasCounters = true
      return set
    }
    let ruleSet = try await api.store.createRuleSet(
      content, description: "", team: team.name, RuleSetEdit(author: .system))
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

  /// For people: no API client can.
  private static let forAccounts: Set<String> = ["approveRevision", "rejectRevision"]

  /// Sends everything, as somebody who holds the scopes for his things and nothing for the others.
  private func walk(
    _ api: TestAPI, _ caller: Caller, holds scopes: Set<String>, isOfTeam: Bool, _ mine: Things, _ theirs: Things,
    _ role: String
  ) async throws {
    let (who, token) = ("\(role), \(caller.holder.kind)", caller.token)
    for operation in try await operations(api) {
      // What is destroyed on the way is needed by the others.
      guard
        !["deleteRuleSet", "deleteNode", "deleteAttachment", "setResourceTeam", "deleteSet"].contains(operation.id),
        // The wires of the daemon of these tests are no real ones.
        operation.id != "listWires"
      else { continue }
      let isHeld = scopes.contains(operation.scope) && operation.resource != nil
        && (isOfTeam || operation.resource != "team")
      let own = try await send(operation, mine, api, token, isHeld: isHeld)
      if isHeld, caller.holder.kind == .client, Self.forAccounts.contains(operation.id) {
        #expect(own.code == "account_required", "\(who) \(operation.id): \(own.text.prefix(300))")
      } else if isHeld {
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
      for kind in RoleHolder.Kind.allCases {
        let caller = try await api.caller(kind)
        _ = try await api.store.setMember(caller.holder, ofTeam: mine.team, role: role, if: { _ in })
        try await walk(
          api, caller, holds: try #require(Self.teamRoles[role]), isOfTeam: true, mine, theirs, role)
        try await seesOnly(mine, api, caller.token, role)
        try await api.store.removeMember(caller.holder, ofTeam: mine.team, if: { _ in })
        api.services.authenticator.forgetAll()
        #expect(try await api.get("/rule-sets", caller.token).code == "missing_scope", "\(kind) without a role")
      }
    }
  }

  private func seesOnly(_ mine: Things, _ api: TestAPI, _ token: String, _ role: String) async throws {
    for (path, name) in [("/rule-sets", mine.ruleSet), ("/nodes", mine.node)] {
      let items = try await api.get(path, token).items
      #expect(items.map { $0["name"]?.string } == [name], "\(role) \(path)")
    }
    for path in ["/attachments", "/captures"] {
      let nodes = try await api.get(path, token).items.map { $0["node"]?.string }
      #expect(Set(nodes) == [mine.node], "\(role) \(path)")
    }
    #expect(try await api.get("/rule-sets", token).meta["total"] == 1)
  }

  @Test("Each role of a resource, for it and for another one", arguments: TestBackend.allCases, resourceRoles.keys.sorted())
  func resources(_ backend: TestBackend, _ role: String) async throws {
    try await TestAPI.with(backend, .live) { api in
      let (mine, theirs) = (try await things("a", api), try await things("b", api))
      for kind in RoleHolder.Kind.allCases {
        let caller = try await api.caller(kind)
        for ref in mine.refs { _ = try await api.store.setGrant(of: ref, to: caller.holder, role: role, if: { _ in }) }
        try await walk(
          api, caller, holds: try #require(Self.resourceRoles[role]), isOfTeam: false, mine, theirs, role)
      }
    }
  }
}

extension ScopedMatrixTests {
  @Test(
    "Each role of one set: its elements and grants, nothing else of the rule set, until it or the set is taken away",
    arguments: TestBackend.allCases, resourceRoles.keys.sorted())
  func set(_ backend: TestBackend, _ role: String) async throws {
    try await TestAPI.with(backend, .live) { api in
      let (mine, theirs) = (try await things("a", api), try await things("b", api))
      let held = try #require(Self.resourceRoles[role])
      let admin = try await api.token()
      for kind in RoleHolder.Kind.allCases {
        let caller = try await api.caller(kind)
        let grant = "/resources/set/\(mine.ruleSet):blocked/grants/\(caller.holder.text)"
        #expect(try await api.send(.put, grant, admin, ["role": .string(role)]).status == 200)
        for operation in try await operations(api) where operation.id != "listWires" {
          let isHeld = held.contains(operation.scope) && ["set", "any"].contains(operation.resource)
          let own = try await send(operation, mine, api, caller.token, isHeld: isHeld)
          let isAsExpected =
            isHeld
            ? own.status < 300 || own.code == "validation_failed" : ["missing_scope", "not_found"].contains(own.code)
          #expect(isAsExpected, "\(role) \(operation.id): \(own.text.prefix(300))")
          guard operation.resource == "set" else { continue }
          let foreign = try await send(operation, theirs, api, caller.token, isHeld: false)
          #expect(["missing_scope", "not_found"].contains(foreign.code), "\(role) \(operation.id) elsewhere")
        }
        let (path, other) = ("/rule-sets/\(mine.ruleSet)/sets/blocked", "/rule-sets/\(mine.ruleSet)/sets/other")
        let body: JSONValue = ["elements": [.string("192.0.2.\(kind == .user ? 1 : 2)")]]
        let added = try await api.post(path + "/elements", caller.token, body)
        #expect(role == "Viewer" ? added.code == "missing_scope" : added.data["changed"] == 1, "\(added.text)")
        #expect(try await api.get(path + "/elements", caller.token).status == 200)
        #expect(try await api.get(other, caller.token).code == "not_found")
        let guest = try await api.makeUser([])
        let passed = try await api.send(
          .put, "/resources/set/\(mine.ruleSet):blocked/grants/\(guest.email.value)", caller.token, ["role": "Editor"])
        #expect(role == "Owner" ? passed.status == 200 : passed.code == "missing_scope", "\(role): \(passed.text)")
        #expect(try await api.send(.delete, grant, admin).status == 200)
        #expect(try await api.get(path, caller.token).code == "missing_scope", "at once")
        #expect(try await api.send(.put, grant, admin, ["role": .string(role)]).status == 200)
        #expect(try await api.send(.delete, path, admin).status == 200)
        #expect(try await api.send(.put, grant, admin, ["role": .string(role)]).code == "not_found")
        let again: JSONValue = ["name": "blocked", "type": "ipv4_addr", "counters": true]
        #expect(try await api.post("/rule-sets/\(mine.ruleSet)/sets", admin, again).status == 201)
        api.services.authenticator.forgetAll()
        #expect(try await api.get(path, caller.token).code == "missing_scope", "the same name is another set")
      }
    }
  }

  @Test("A set is given by whoever holds as much for its rule set; never to a team by itself")
  func givingSets() async throws {
    try await TestAPI.with { api in
      let mine = try await things("a", api)
      let owner = try await api.caller(.user)
      let guest = try await api.makeUser([])
      let ref = try #require(mine.refs.first)
      _ = try await api.store.setGrant(of: ref, to: owner.holder, role: "Owner", if: { _ in })
      let path = "/resources/set/\(mine.ruleSet):blocked"
      #expect(try await api.get(path, owner.token).data["name"]?.string == "\(mine.ruleSet):blocked")
      let grant = path + "/grants/\(guest.email.value)"
      #expect(try await api.send(.put, grant, owner.token, ["role": "Owner"]).status == 200)
      let away = try await api.send(.put, path + "/team", try await api.token(), ["team": .string(mine.team)])
      #expect(away.code == "validation_failed" && away.problemPaths == ["team"], "\(away.text)")
      for name in ["blocked", "\(mine.ruleSet):none", "\(mine.ruleSet):blocked:x", ":", "none:blocked"] {
        #expect(try await api.get("/resources/set/\(name)", try await api.token()).code == "not_found", "\(name)")
      }
      let records = try await api.store.auditLog(AuditFilter(subjectKind: "set"), Page()).items
      #expect(records.contains { $0["subject"]?["id"]?.string == "\(mine.ruleSet):blocked" })
    }
  }
}

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

/// Every operation of the served document that writes rules × whoever may write them for his own prefixes and actions
/// only (an account's role, a role in a team or for the rule set, an API client's scopes and roles), with a right body
/// that reaches further. An operation that is missing here fails the test.
@Suite("The authorisation matrix of prefixes and actions")
struct DelegationMatrixTests {
  private static let limits = #"{"destinations":["198.51.100.0/24"],"actions":["drop","pass"]}"#
  /// Written by nobody: it only looks at what is in its body.
  private static let harmless: Set<String> = ["checkRules"]

  private static func rule(_ name: String, _ destination: String, _ action: String = "drop") -> JSONValue {
    ["name": .string(name), "match": ["destinations": [.string(destination)]], "action": .string(action)]
  }

  /// Path below the rule set and bodies, each beyond the limits for one reason.
  private static let reaching: [String: [(path: String, body: JSONValue?)]] = [
    "addRule": [
      ("/rules", rule("x", "203.0.113.1")), ("/rules", rule("x", "198.51.100.0/23")), ("/rules", rule("x", "::/0")),
      ("/rules", rule("x", "198.51.100.1", "count")), ("/rules", ["name": "x", "action": "drop"]),
      ("/rules", ["name": "x", "action": "drop", "match": ["destinations": ["@blocked"]]]),
    ],
    "replaceRules": [("/rules", ["rules": [rule("own", "198.51.100.7")]]), ("/rules", ["rules": []])],
    "replaceRule": [("/rules/first", rule("first", "198.51.100.1").without("name")),
      ("/rules/own", rule("own", "203.0.113.1").without("name"))],
    "deleteRule": [("/rules/first", nil)], "moveRule": [("/rules/first/move", ["position": 1])],
    "updateSet": [("/sets/blocked", ["counters": true]), ("/sets/blocked", ["comment": "mine"])],
    "updateRuleSet": [
      ("", ["default_action": "drop"]), ("", ["description": "mine"]), ("", ["rules": []]), ("", ["name": "mine"]),
    ],
    "deleteRuleSet": [("", nil)], "createSet": [("/sets", ["name": "new", "type": "ipv4_addr"])],
    "deleteSet": [("/sets/blocked", nil)], "addElements": [("/sets/blocked/elements", ["elements": ["198.51.100.1"]])],
    "replaceElements": [("/sets/blocked/elements", ["elements": []])],
    "removeElements": [("/sets/blocked/elements/remove", ["elements": ["203.0.113.9"]])],
    "replaceChain": [("/chains/new", ["rules": [rule("x", "198.51.100.1")]]), ("/chains/odd", ["rules": []])],
    "deleteChain": [("/chains/odd", nil)], "restoreRevision": [("/revisions/1/restore", nil)],
    "importRuleSet": [("/text", ["text": "ruleset edge\ndefault drop\n"])],
  ]

  private enum Level: String, CaseIterable { case global, team, resource }

  /// Everybody whose rules:write is limited; `team`: where he might make a rule set.
  private func callers(_ api: TestAPI, _ admin: String) async throws -> [(who: String, team: String?, token: String)] {
    let limits = try JSONValue(parsing: Array(Self.limits.utf8))
    var callers: [(who: String, team: String?, token: String)] = []
    for level in Level.allCases {
      let role = "limited-\(level.rawValue)"
      let made = try await api.post(
        "/roles", admin,
        ["name": .string(role), "level": .string(level.rawValue), "scopes": ["rules:write"], "limits": limits])
      #expect(made.status == 201, "\(made.text)")
      for kind in RoleHolder.Kind.allCases {
        var caller = try await api.caller(kind)
        let text = caller.holder.text
        switch (level, kind) {
        case (.global, .user):
          let user = try #require(try await api.store.user(email: Email(text)))
          _ = try await api.store.updateUser(id: user.id, UserChange(customRoles: [role]))
        case (.global, .client):
          let clients = try await api.get("/api-clients?limit=1000", admin).items
          let path = "/api-clients/\(clients.first { $0["name"]?.string == text }?["id"]?.string ?? "")"
          let body: JSONValue = ["scopes": ["rules:write"], "limits": limits]
          #expect(try await api.send(.patch, path, admin, body).status == 200)
        case (.team, _):
          #expect(
            try await api.send(.put, "/teams/ops/members/\(text)", admin, ["role": .string(role)]).status == 200)
        case (.resource, _):
          #expect(
            try await api.send(.put, "/resources/rule-set/edge/grants/\(text)", admin, ["role": .string(role)]).status
              == 200)
        }
        if case (.global, .user) = (level, kind) {
          let user = try #require(try await api.store.user(email: Email(text)))
          caller = Caller(holder: caller.holder, token: try await api.token(of: user))
        }
        callers.append(("\(level) \(kind)", level == .team ? "ops" : nil, caller.token))
      }
    }
    api.services.authenticator.forgetAll()
    return callers
  }

  @Test("Nobody writes beyond his prefixes and actions, by whatever route and role", arguments: TestBackend.allCases)
  func matrix(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend, .live) { api in
      let admin = try await api.token()
      _ = try await api.post("/teams", admin, ["name": "ops"])
      let first: [JSONValue] = [Self.rule("first", "203.0.113.1"), Self.rule("second", "203.0.113.2")]
      let made = try await api.post(
        "/rule-sets", admin,
        [
          "name": "edge", "team": "ops", "rules": .array(first),
          "sets": [["name": "blocked", "type": "ipv4_addr", "elements": ["203.0.113.9"]]],
          "chains": [["name": "odd", "rules": [Self.rule("in-chain", "203.0.113.3")]]],
        ])
      #expect(made.status == 201, "\(made.text)")
      let second = try await api.post("/rule-sets/edge/rules", admin, Self.rule("third", "203.0.113.4"))
      #expect(second.status == 201, "\(second.text)")
      let writing = try #require(try await api.get("/openapi.json").json["paths"]?.object).flatMap { _, item in
        (item.object ?? [:]).compactMap { method, operation -> (id: String, method: String)? in
          guard operation["x-required-scope"] == "rules:write" else { return nil }
          return operation["operationId"]?.string.map { ($0, method.uppercased()) }
        }
      }
      #expect(Set(writing.map(\.id)).subtracting(Self.reaching.keys).subtracting(Self.harmless) == ["createRuleSet"])
      for (who, team, token) in try await callers(api, admin) {
        let own = try await api.post("/rule-sets/edge/rules", token, Self.rule("own", "198.51.100.7"))
        #expect(own.status == 201, "\(who): \(own.text)")
        let before = try await api.get("/rule-sets/edge", admin).text.split(separator: "\"meta\"").first
        for (id, method) in writing {
          for (path, body) in Self.reaching[id] ?? [] {
            let answer = try await api.send(
              try #require(.init(rawValue: method)), "/rule-sets/edge\(path)", token, body)
            #expect(answer.code == "outside_delegation", "\(who) \(id) \(path): \(answer.text.prefix(300))")
          }
        }
        var new: [String: JSONValue] = ["name": "mine"]
        if let team { new["team"] = .string(team) }
        let created = try await api.post("/rule-sets", token, .object(new))
        #expect(["outside_delegation", "missing_scope"].contains(created.code), "\(who): \(created.text)")
        let after = try await api.get("/rule-sets/edge", admin).text.split(separator: "\"meta\"").first
        #expect(before == after, "\(who) has changed something")
        #expect(try await api.send(.delete, "/rule-sets/edge/rules/own", token).status == 200, "\(who)")
      }
    }
  }
}

extension JSONValue {
  /// An object without one of its members.
  fileprivate func without(_ name: String) -> JSONValue {
    .object((object ?? [:]).filter { $0.key != name })
  }
}

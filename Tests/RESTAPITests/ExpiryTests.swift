import ControlProtocol
import DatabaseSupport
import Foundation
import Testing

@testable import RESTAPI

@Suite("Rules that end, in the API")
struct ExpiryTests {
  private static let rules = "/rule-sets/edge/rules"

  private static func rule(_ name: String, _ members: [String: JSONValue]) -> JSONValue {
    .object(members.merging(["name": .string(name), "action": "drop"]) { $1 })
  }

  @Test("A time becomes a moment when it is accepted, in every way to write a rule", arguments: TestBackend.allCases)
  func accepted(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let token = try await api.token()
      let before = Int64.now
      let made = try await api.post(
        "/rule-sets", token, ["name": "edge", "rules": [Self.rule("a", ["ttl_seconds": 60])]])
      #expect(made.status == 201, "\(made.text)")
      let moment = try #require(made.data["rules"]?.array?[0]["expires_at"]?.string.flatMap(RFC3339.unixMilliseconds))
      #expect((before + 60_000...Int64.now + 60_000).contains(moment))
      let added = try await api.post(Self.rules, token, Self.rule("b", ["expires_at": "2999-12-31T23:59:59+02:00"]))
      #expect(added.data["expires_at"] == "2999-12-31T21:59:59.000Z" && added.data["expired"] == false)
      let replaced = try await api.send(.put, Self.rules + "/b", token, ["action": "drop"])
      #expect(replaced.data["expires_at"] == nil, "a rule without an end has none")
      let text = try await api.send(
        .put, "/rule-sets/edge/text", token, ["text": "ruleset edge\nrule t: expires 1h drop\n"])
      #expect(text.data["rules"]?.array?[0]["expires_at"] != nil, "\(text.text)")
      let exported = try await api.get("/rule-sets/edge/text", token).data["text"]?.string ?? ""
      #expect(exported.contains("expires 2") && !exported.contains("3600"))
      let again = try await api.send(.put, "/rule-sets/edge/text", token, ["text": .string(exported)])
      #expect(again.meta["revision"] == text.meta["revision"], "what was exported says the same")
    }
  }

  @Test("A moment that is past is taken, said to be so, and left out by the analysis")
  func past() async throws {
    try await TestAPI.with { api in
      let token = try await api.token()
      _ = try await api.post("/rule-sets", token, ["name": "edge", "rules": [Self.rule("all", ["expires_at": "2020-01-01T00:00:00Z"])]])
      let added = try await api.post(Self.rules, token, Self.rule("later", [:]))
      #expect(added.status == 201)
      let patched = try await api.send(.patch, "/rule-sets/edge", token, ["default_action": "drop"])
      #expect(patched.warnings.contains { $0.contains("the rule all has expired") }, "\(patched.text)")
      #expect(patched.data["rules"]?.array?[0]["expired"] == true)
      let analysis = try await api.get("/rule-sets/edge/analysis", token)
      #expect(analysis.data["rules"] == 1, "\(analysis.text)")
    }
  }

  @Test("Hostile ends of rules are refused with their place")
  func hostile() async throws {
    try await TestAPI.with { api in
      let token = try await api.token()
      _ = try await api.post("/rule-sets", token, ["name": "edge"])
      let cases: [(String, JSONValue)] = [
        ("ttl_seconds", 0), ("ttl_seconds", -1), ("ttl_seconds", 316_224_001), ("ttl_seconds", .integer(.max)),
        ("ttl_seconds", "60"), ("ttl_seconds", .number(1.5)), ("ttl_seconds", true), ("expires_at", "tomorrow"),
        ("expires_at", ""), ("expires_at", 1_795_288_627), ("expires_at", "2026-02-30T00:00:00Z"),
        ("expires_at", .string(String(repeating: "9", count: 10_000))), ("expires_at", "2026-11-21T00:00:00Z\u{0}"),
      ]
      for (field, value) in cases {
        let answer = try await api.post(Self.rules, token, Self.rule("a", [field: value]))
        #expect(answer.code == "validation_failed" && answer.problemPaths == [field], "\(field) \(value)")
      }
      let both = try await api.post(
        Self.rules, token, Self.rule("a", ["ttl_seconds": 1, "expires_at": "2999-01-01T00:00:00Z"]))
      #expect(both.code == "validation_failed" && both.problemPaths == ["ttl_seconds"])
      let nulls = try await api.post(Self.rules, token, Self.rule("a", ["ttl_seconds": .null, "expires_at": .null]))
      #expect(nulls.status == 201)
    }
  }
}

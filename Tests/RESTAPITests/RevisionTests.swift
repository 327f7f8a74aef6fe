import ControlProtocol
import DatabaseSupport
import Foundation
import Packets
import Rules
import Testing

@testable import RESTAPI

@Suite("Revisions: compared, restored, as text, on trial")
struct RevisionTests {
  private static func rule(_ name: String, port: String = "22", action: String = "drop") -> JSONValue {
    [
      "name": .string(name), "action": .string(action), "comment": "why # not",
      "match": ["protocols": ["tcp"], "destination_ports": [.string(port)]],
    ]
  }

  private func made(_ api: TestAPI, _ token: String) async throws {
    _ = try await api.post("/rule-sets", token, ["name": "s", "rules": [Self.rule("a"), Self.rule("b"), Self.rule("c")]])
    _ = try await api.send(
      .patch, "/rule-sets/s", token,
      ["description": "new", "default_action": "drop", "rules": [Self.rule("c"), Self.rule("a", port: "23"), Self.rule("d")]])
  }

  @Test("A comparison says what was added, removed, changed, moved and set", arguments: TestBackend.allCases)
  func compare(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let token = try await api.token()
      try await made(api, token)
      let answer = try await api.get("/rule-sets/s/revisions/2/diff", token)
      #expect(answer.status == 200, "\(answer.text)")
      let names = { (member: String) in (answer.data[member]?.array ?? []).compactMap { $0["name"]?.string } }
      #expect(names("added") == ["d"] && names("removed") == ["b"])
      #expect(answer.data["changed"]?.array?.count == 1)
      #expect(answer.data["changed"]?.array?.first?["before"]?["match"]?["destination_ports"] == ["22"])
      #expect(answer.data["changed"]?.array?.first?["after"]?["match"]?["destination_ports"] == ["23"])
      #expect(answer.data["moved"]?.array?.count == 1)
      #expect(names("settings") == ["description", "default_action"])
      let back = try await api.get("/rule-sets/s/revisions/1/diff?from=2", token)
      #expect(back.data["added"]?.array?.first?["name"] == "b")
      let first = try await api.get("/rule-sets/s/revisions/1/diff", token)
      #expect(first.data["from"] == 0 && first.data["added"]?.array?.count == 3)
      #expect(try await api.get("/rule-sets/s/revisions/3/diff", token).status == 404)
      #expect(try await api.get("/rule-sets/s/revisions/x/diff", token).status == 404)
      #expect(try await api.get("/rule-sets/s/revisions/2/diff?from=9", token).status == 404)
      #expect(try await api.get("/rule-sets/s/revisions/2/diff?from=0", token).status == 422)
    }
  }

  @Test("As few rules as possible are called moved", arguments: [
    ([0, 1, 2, 3], 4), ([1, 2, 3, 0], 3), ([3, 2, 1, 0], 1), ([], 0), ([0], 1), ([4, 0, 5, 1, 2, 3], 4),
  ])
  func moves(_ order: [Int], _ stayed: Int) {
    let rise = RevisionRoutes.longestRise(order)
    #expect(rise.count == stayed)
    let kept = order.filter(rise.contains)
    #expect(kept == kept.sorted())
  }

  @Test("An older revision comes back as a new one", arguments: TestBackend.allCases)
  func restore(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let token = try await api.token()
      try await made(api, token)
      let stale = try await api.post("/rule-sets/s/revisions/1/restore", token, .null, ifMatch: "\"1\"")
      #expect(stale.status == 412)
      let restored = try await api.send(.post, "/rule-sets/s/revisions/1/restore", token, ifMatch: "\"2\"")
      #expect(restored.status == 200, "\(restored.text)")
      #expect(restored.meta["revision"] == 3 && restored.data["reason"] == "back to revision 1")
      let first = try await api.get("/rule-sets/s/revisions/1", token)
      #expect(restored.data["rules"] == first.data["rules"])
      #expect(restored.data["default_action"] == "pass" && restored.data["description"] == "")
      #expect(try await api.send(.post, "/rule-sets/s/revisions/9/restore", token).status == 404)
    }
  }

  @Test("A rule set goes out as text and comes back the same, comments too")
  func text() async throws {
    try await TestAPI.with { api in
      let token = try await api.token()
      try await made(api, token)
      let exported = try await api.get("/rule-sets/s/text", token)
      let text = try #require(exported.data["text"]?.string)
      #expect(text.contains("why # not"))
      let same = try await api.send(.put, "/rule-sets/s/text", token, ["text": .string(text)])
      #expect(same.status == 200 && same.meta["revision"] == 2, "\(same.text)")
      let old = try await api.get("/rule-sets/s/text?revision=1", token)
      let back = try await api.send(.put, "/rule-sets/s/text", token, old.data)
      #expect(back.meta["revision"] == 3)
      let first = try await api.get("/rule-sets/s/revisions/1", token)
      #expect(back.data["rules"] == first.data["rules"])
    }
  }

  @Test("A text that is none is refused and nothing changes", arguments: [
    "", "ruleset other\n", "ruleset s\nrule", "ruleset s\nrule a: tcp dport 99999 drop\n", "\u{0}", "ruleset s\u{1b}[2J",
    "rule a: drop\n", String(repeating: "x", count: 100_000),
  ])
  func hostileText(_ text: String) async throws {
    try await TestAPI.with { api in
      let token = try await api.token()
      try await made(api, token)
      let answer = try await api.send(.put, "/rule-sets/s/text", token, ["text": .string(text)])
      #expect(answer.code == "validation_failed")
      #expect(try await api.get("/rule-sets/s", token).meta["revision"] == 2)
    }
  }

  @Test("What is on trial is wanted once it is confirmed, and not if it is withdrawn")
  func trial() async throws {
    try await TestAPI.with { api in
      let token = try await api.token()
      try await made(api, token)
      _ = try await api.post("/attachments", token, ["interface": "eth0", "rule_set": "s"])
      #expect(try await api.post("/rule-sets/s/confirm", token, .null).details["reason"] == "no_trial")
      for (verb, revision) in [("withdraw", 2), ("confirm", 1)] as [(String, Int64)] {
        let applied = try await api.post("/rule-sets/s/apply", token, ["revision": 1, "confirm_within_seconds": 60])
        #expect(applied.status == 200 && applied.data["confirm_by"]?.string != nil, "\(applied.text)")
        let waiting = try await api.get("/attachments", token).items[0]
        #expect(waiting["applied_revision"] == 2 && waiting["observed"]?["revision"] == 1)
        let ended = try await api.send(.post, "/rule-sets/s/\(verb)", token)
        #expect(ended.status == 200, "\(ended.text)")
        let after = try await api.get("/attachments", token).items[0]
        #expect(after["applied_revision"] == .integer(revision) && after["in_sync"] == true)
      }
      #expect(try await api.post("/rule-sets/none/confirm", token, .null).status == 404)
      for seconds in [4, 86_401, -1] as [Int64] {
        let answer = try await api.post("/rule-sets/s/apply", token, ["confirm_within_seconds": .integer(seconds)])
        #expect(answer.code == "validation_failed")
      }
    }
  }
}

@Suite("The caller's own connection")
struct OwnConnectionTests {
  private let connection = OwnConnection(
    remote: IPAddress("198.51.100.7") ?? .v4(.init(value: 0)), remotePort: 40_000,
    local: IPAddress("192.0.2.1") ?? .v4(.init(value: 0)), localPort: 8080)

  @Test("A rule set that drops it is found, with the rule that does", arguments: [
    ("rule a: ip saddr 198.51.100.0/24 drop", "a"), ("rule a: tcp dport 8080 drop", "a"), ("default drop", "default"),
    ("rule a: tcp dport 8080 pass\ndefault drop", nil), ("rule a: tcp dport 22 drop", nil),
    ("rule a: udp dport 8080 drop", nil), ("rule a: iif eth1 tcp drop", nil), ("rule a: iif eth0 tcp drop", "a"),
    ("rule a: tcp flags syn/syn|ack drop", "a"), ("disabled rule a: drop", nil), ("rule a: ip6 saddr ::/0 drop", nil),
  ])
  func dropped(_ rules: String, _ rule: String?) throws {
    let ruleSet = try RuleSetText.parse("ruleset s\n\(rules)\n")
    #expect(connection.dropped(by: ruleSet, on: "eth0") == rule)
  }
}

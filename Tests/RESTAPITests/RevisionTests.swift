import ControlProtocol
import DatabaseSupport
import Foundation
import GRPCCore
import Packets
import Rules
import Storage
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

  @Test("A rule that goes to another list has moved, and is in the audit log, though the lists together are as before")
  func movedToChain() async throws {
    try await TestAPI.with { api in
      let token = try await api.token()
      _ = try await api.post("/rule-sets", token, ["name": "s"])
      func write(_ own: String, _ chain: String) async throws {
        let text = "ruleset s\nrule a: tcp dport 443 pass\n\(own)rule j: jump c\nchain c {\n\(chain)rule z: return\n}\n"
        let answer = try await api.send(.put, "/rule-sets/s/text", token, ["text": .string(text)])
        #expect(answer.status == 200, "\(answer.text)")
      }
      let rule = "rule ssh: tcp dport 22 drop\n"
      try await write("rule y: udp drop\n", "rule x: return\n" + rule)
      try await write("rule y: udp drop\n" + rule, "rule x: return\n")
      let out = try await api.get("/rule-sets/s/revisions/3/diff", token).data
      #expect(out["moved"] == ["ssh"] && out["changed"] == [] && out["added"] == [] && out["removed"] == [], "\(out)")
      let first = try await api.get("/rule-sets/s/revisions/2/diff", token).data
      let places = (first["added"]?.array ?? []).map { "\($0["name"]?.string ?? "") \($0["position"]?.integer ?? -1)" }
      #expect(places == ["a 0", "y 1", "j 2", "x 0", "ssh 1", "z 2"])
      let log = try await api.get("/audit-log?limit=20", token)
      let edit = log.items.first { $0["after"]?["rules"] != nil }
      #expect(edit?["before"]?["rules"]?.array?.map { $0["in_chain"] } == ["c"], "\(log.text)")
      #expect(edit?["after"]?["rules"]?.array?.map { $0["in_chain"] == nil } == [true], "\(log.text)")
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

  @Test("What is wrong in a text that can be read is told with line, column and a caret")
  func positions() async throws {
    try await TestAPI.with { api in
      let token = try await api.token()
      try await made(api, token)
      let text = "ruleset s\nrule ok: drop\nrule bad: dport 22 drop\n"
      let answer = try await api.send(.put, "/rule-sets/s/text", token, ["text": .string(text)])
      #expect(answer.code == "validation_failed" && answer.problemPaths == ["rules[1].match.destination_ports"])
      let message = answer.details.array?.first?["message"]?.string ?? ""
      #expect(message.hasPrefix("line 3, column 11: ") && message.hasSuffix("\n  rule bad: dport 22 drop\n            ^"), "\(message)")
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
      #expect(api.daemon.state.calls.contains("confirm eth0 s@1"), "what was seen, and not what waits then")
      #expect(try await api.post("/rule-sets/none/confirm", token, .null).status == 404)
      for seconds in [4, 86_401, -1] as [Int64] {
        let answer = try await api.post("/rule-sets/s/apply", token, ["confirm_within_seconds": .integer(seconds)])
        #expect(answer.code == "validation_failed")
      }
    }
  }
}

@Suite("Trials on several nodes")
struct TrialPlaceTests {
  @Test("A node that is away holds up nobody else's confirmation; alone it is what is told. Places choose")
  func away() async throws {
    try await TestAPI.with { api in
      let token = try await api.token()
      _ = try await api.post("/rule-sets", token, ["name": "s"])
      for interface in ["eth0", "eth1"] {
        #expect(try await api.post("/attachments", token, ["interface": .string(interface), "rule_set": "s"]).status == 201)
      }
      _ = try await api.store.createNode(NewNode(name: "away", address: "unix:/nowhere.sock"))
      _ = try await api.store.createAttachment(NewAttachment(node: "away", interface: "eth9", ruleSet: nil, options: .init()))
      _ = try await api.post("/rule-sets/s/rules", token, ["name": "a", "action": "drop"])
      func begin() async throws {
        let attachments = try await api.get("/attachments?node=local", token).items.compactMap { $0["id"] }
        let applied = try await api.post(
          "/rule-sets/s/apply", token, ["confirm_within_seconds": 60, "attachments": .array(attachments)])
        #expect(applied.status == 200, "\(applied.text)")
      }
      func waiting() -> [String] {
        api.daemon.state.attachments.values.filter { $0.confirmByUnixNanos > 0 }.map(\.interface).sorted()
      }
      try await begin()
      let one = try await api.post("/rule-sets/s/confirm?interface=eth1", token, .null)
      #expect(one.status == 200 && waiting() == ["eth0"] && one.data["unreachable"] == [], "\(one.text)")
      let none = try await api.post("/rule-sets/s/confirm?interface=eth1", token, .null)
      #expect(none.details["reason"] == "no_trial", "\(none.text)")
      let rest = try await api.post("/rule-sets/s/confirm", token, .null)
      #expect(rest.status == 200 && waiting() == [] && rest.data["unreachable"] == ["away"], "\(rest.text)")
      #expect(try await api.post("/rule-sets/s/confirm", token, .null).code == "node_unavailable")
      try await begin()
      #expect(try await api.post("/rule-sets/s/withdraw?node=away", token, .null).code == "node_unavailable")
      #expect(try await api.post("/rule-sets/s/withdraw", token, .null).status == 200)
      #expect(waiting() == [])
    }
  }

  @Test("A node that leaves after it was asked is told too, and what failed on one node after another was confirmed")
  func leaving() async throws {
    try await TestAPI.with { api in
      let token = try await api.token()
      _ = try await api.post("/rule-sets", token, ["name": "s"])
      try await api.attachOnTwoNodes(token)
      func begin() async throws {
        let applied = try await api.post("/rule-sets/s/apply", token, ["confirm_within_seconds": 60])
        #expect(applied.status == 200, "\(applied.text)")
      }
      try await begin()
      api.daemon.change { $0.statusesLeft = 2 }
      let away = try await api.post("/rule-sets/s/confirm", token, .null)
      #expect(away.code == "node_unavailable", "not that nothing waits: \(away.text)")
      api.daemon.change { $0.statusesLeft = 3 }
      let half = try await api.post("/rule-sets/s/confirm", token, .null)
      #expect(half.status == 200 && half.data["results"]?.array?.count == 1, "\(half.text)")
      let told = [half.data["results"]?.array?.first?["node"]?.string, half.data["unreachable"]?.array?.first?.string]
      #expect(told.compactMap { $0 }.sorted() == ["local", "other"], "\(half.text)")

      api.daemon.change { $0.statusesLeft = nil }
      try await begin()
      api.daemon.change { $0.failures["eth1"] = RPCError(code: .failedPrecondition, message: "another one waits") }
      let partly = try await api.post("/rule-sets/s/confirm", token, .null)
      #expect(partly.code == "node_refused" && partly.message.hasPrefix("done on some nodes only"), "\(partly.text)")
      #expect(partly.details["applied"] == [["node": "local", "interface": "eth0", "revision": 1]])
      #expect(partly.details["cause"]?["node"] == "other")
      api.daemon.change { $0.failures = [:] }
      let rest = try await api.post("/rule-sets/s/confirm", token, .null)
      #expect(rest.data["results"] == [["node": "other", "interface": "eth1", "revision": 1]], "\(rest.text)")
    }
  }

  @Test("The comparison of revisions counts the elements that came and went, and tells what else a set says")
  func comparedSets() async throws {
    try await TestAPI.with { api in
      let token = try await api.token()
      _ = try await api.post("/rule-sets", token, ["name": "s"])
      let set: JSONValue = ["name": "bad", "type": "ipv4_addr", "elements": ["192.0.2.1", "192.0.2.2"]]
      _ = try await api.post("/rule-sets/s/sets", token, set)
      _ = try await api.send(.put, "/rule-sets/s/sets/bad/elements", token, ["elements": ["192.0.2.1", "192.0.2.3"]])
      let difference = try await api.get("/rule-sets/s/revisions/3/diff", token).data
      #expect(difference["sets"] == [["name": "bad", "added": 1, "removed": 1]], "\(difference)")
      #expect(difference["settings"] == [], "\(difference)")
      _ = try await api.send(.patch, "/rule-sets/s/sets/bad", token, ["comment": "worst"])
      let comment = try await api.get("/rule-sets/s/revisions/4/diff", token).data
      #expect(comment["sets"] == [] && comment["settings"]?.array?.count == 1, "\(comment)")
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
    ("rule a: tcp redirect eth1", "a"), ("rule a: tcp capture", nil), ("rule a: tcp count\nrule b: tcp drop", "b"),
  ])
  func dropped(_ rules: String, _ rule: String?) throws {
    let ruleSet = try RuleSetText.parse("ruleset s\n\(rules)\n")
    #expect(connection.lost(by: ruleSet, at: .init(interface: "eth0")) == rule)
  }

  @Test("What is captured is lost where the interface drops what nobody captures")
  func captured() throws {
    let ruleSet = try RuleSetText.parse("ruleset s\nrule a: tcp capture\n")
    #expect(connection.lost(by: ruleSet, at: .init(interface: "eth0", captureFallback: .drop)) == "a")
  }
}

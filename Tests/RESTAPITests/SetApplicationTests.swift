import ControlProtocol
import DatabaseSupport
import Foundation
import GRPCCore
import Testing

@testable import RESTAPI

@Suite("Rules that go to the daemons one by one")
struct RuleApplicationTests {
  @Test("What differs by one rule from what runs goes out as that rule; all else goes out whole")
  func applied() async throws {
    try await TestAPI.with(.sqlite) { api in
      let token = try await api.token()
      func rule(_ name: String, _ port: String) -> JSONValue {
        ["name": .string(name), "action": "drop", "match": ["destination_ports": [.string(port)], "protocols": ["tcp"]]]
      }
      let rules = "/rule-sets/edge/rules"
      _ = try await api.post("/rule-sets", token, ["name": "edge", "rules": [rule("a", "1"), rule("b", "2")]])
      #expect(try await api.post("/attachments", token, ["interface": "eth0", "rule_set": "edge"]).status == 201)
      func apply() async throws -> Bool? {
        let answer = try await api.post("/rule-sets/edge/apply", token, [:])
        #expect(answer.status == 200, "\(answer.text)")
        return answer.data["results"]?.array?.first?["in_place"]?.bool
      }
      api.daemon.change { $0.changesRules = true }
      #expect(try await apply() == false, "the same revision again is a new generation")
      _ = try await api.post(rules, token, rule("c", "3"))
      #expect(try await apply() == true)
      _ = try await api.send(.put, rules + "/a", token, rule("a", "4"))
      #expect(try await apply() == true)
      _ = try await api.post(rules + "/c/move", token, ["position": 0])
      #expect(try await apply() == true)
      _ = try await api.send(.delete, rules + "/b", token)
      #expect(try await apply() == true)
      _ = try await api.post(rules, token, rule("d", "5"))
      _ = try await api.post(rules, token, rule("e", "6"))
      #expect(try await apply() == false, "two rules")
      _ = try await api.post(rules, token, rule("f", "7"))
      api.daemon.change { $0.attachments["eth0"]?.revision = 1 }
      #expect(try await apply() == false, "somebody else applied something there")
      let calls = api.daemon.state.calls.filter { $0.hasPrefix("rule") || ($0.hasPrefix("apply") && !$0.contains("dry")) }
      #expect(
        calls.suffix(6) == [
          "rule@2 - +c <", "rule@3 -a +a <b", "rule@4 -c +c <a", "rule@5 -b + <", "apply edge@7", "apply edge@8",
        ], "\(calls)")
      let last = try await api.get("/attachments", token).data.array?.first
      #expect(last?["applied_revision"] == 8, "\(last ?? .null)")
    }
  }
}

@Suite("Elements that go to the daemons at once")
struct SetApplicationTests {
  @Test("A change goes out with both revisions; where another one runs it is refused, and stays a revision", arguments: TestBackend.allCases)
  func applied(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let token = try await api.token()
      _ = try await api.post("/rule-sets", token, ["name": "edge"])
      #expect(try await api.post("/attachments", token, ["interface": "eth0", "rule_set": "edge"]).status == 201)
      let set: JSONValue = ["name": "bad", "type": "ipv4_addr", "elements": ["192.0.2.1"]]
      #expect(try await api.post("/rule-sets/edge/sets", token, set).status == 201)
      #expect(try await api.post("/rule-sets/edge/apply", token, [:]).status == 200)
      let elements = "/rule-sets/edge/sets/bad/elements"
      let added = try await api.post(elements + "?apply=true", token, ["elements": ["192.0.2.2", "192.0.2.1"]])
      #expect(added.status == 200 && added.data["changed"] == 1, "\(added.text)")
      #expect(added.data["applied"]?.array?.first?["in_place"] == true, "\(added.text)")
      #expect(api.daemon.state.calls.contains(#"change bad@3 +["192.0.2.2"] -[]"#), "\(api.daemon.state.calls)")
      let same = try await api.post(elements + "?apply=true", token, ["elements": ["192.0.2.1"]])
      #expect(same.data["applied"] == [] && same.meta["revision"] == 3)

      #expect(try await api.post(elements, token, ["elements": ["192.0.2.3"]]).meta["revision"] == 4)
      let late = try await api.post(elements + "/remove?apply=true", token, ["elements": ["192.0.2.1"]])
      #expect(late.status != 200 && late.text.contains("apply the newest"), "\(late.text)")
      #expect(try await api.get("/rule-sets/edge", token).data["revision"] == 5)
      // Sent again there is nothing left to change, but it is live nowhere.
      let again = try await api.post(elements + "/remove?apply=true", token, ["elements": ["192.0.2.1"]])
      #expect(again.status == 409 && again.details["reason"] == "not_live", "\(again.text)")
      #expect(try await api.post("/rule-sets/edge/apply", token, [:]).status == 200)
      let live = try await api.post(elements + "/remove?apply=true", token, ["elements": ["192.0.2.1"]])
      #expect(live.data["changed"] == 0 && live.data["applied"] == [], "\(live.text)")
    }
  }

  @Test("Where a later node fails, the answer tells on which ones before it the change is live")
  func partly() async throws {
    try await TestAPI.with { api in
      let token = try await api.token()
      _ = try await api.post("/rule-sets", token, ["name": "s"])
      let set: JSONValue = ["name": "bad", "type": "ipv4_addr", "elements": ["192.0.2.1"]]
      #expect(try await api.post("/rule-sets/s/sets", token, set).status == 201)
      try await api.attachOnTwoNodes(token)
      api.daemon.change { $0.failures["eth1"] = RPCError(code: .failedPrecondition, message: "no room") }
      let answer = try await api.post("/rule-sets/s/sets/bad/elements?apply=true", token, ["elements": ["192.0.2.2"]])
      #expect(answer.code == "node_refused" && answer.message.hasPrefix("done on some nodes only"), "\(answer.text)")
      #expect(answer.details["applied"]?.array?.count == 1)
      #expect(answer.details["applied"]?.array?.first?["node"] == "local")
      #expect(answer.details["cause"]?["node"] == "other")
      #expect(try await api.get("/attachments?node=local", token).items[0]["applied_revision"] == 3)
      #expect(try await api.get("/attachments?node=other", token).items[0]["applied_revision"] == 2)
    }
  }
}

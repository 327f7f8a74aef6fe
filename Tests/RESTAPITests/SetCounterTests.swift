import ControlProtocol
import DatabaseSupport
import Foundation
import Testing

@testable import RESTAPI

@Suite("What elements of sets have counted, over HTTP")
struct SetCounterTests {
  @Test("Counters of a page and the greatest; a set says whether its elements count", arguments: TestBackend.allCases)
  func counters(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let token = try await api.token()
      _ = try await api.post("/rule-sets", token, ["name": "edge"])
      #expect(try await api.post("/attachments", token, ["interface": "eth0", "rule_set": "edge"]).status == 201)
      let set: JSONValue = ["name": "bad", "type": "ipv4_addr", "elements": ["192.0.2.1", "192.0.2.20", "198.51.100.0/24"]]
      let made = try await api.post("/rule-sets/edge/sets", token, set)
      #expect(made.status == 201 && made.data["counters"] == false)
      let path = "/rule-sets/edge/sets/bad"
      #expect(try await api.get(path + "/counters", token).status == 409)
      let changed = try await api.send(.patch, path, token, ["counters": true, "comment": "why"])
      #expect(changed.data["counters"] == true && changed.data["comment"] == "why", "\(changed.text)")
      #expect(try await api.send(.patch, path, token, ["counters": 1]).status == 422)
      #expect(try await api.send(.patch, path, token, ["elements": []]).status == 422)
      #expect(try await api.post("/rule-sets/edge/apply", token, [:]).status == 200)

      let page = try await api.get(path + "/counters?limit=2&offset=1", token)
      #expect(page.data.array?.map { $0["element"] } == ["192.0.2.20", "198.51.100.0/24"], "\(page.text)")
      #expect(page.data.array?.first?["packets"] == 10 && page.meta["total"] == 3)
      let top = try await api.get(path + "/top?limit=2", token)
      #expect(top.data["elements"]?.array?.map { $0["element"] } == ["192.0.2.20", "192.0.2.1"], "\(top.text)")
      #expect(top.data["packets"] == 36 && top.data["interfaces"]?.array?.count == 1)
      for limit in ["0", "1001", "x"] { #expect(try await api.get(path + "/top?limit=\(limit)", token).status == 422) }
      #expect(try await api.get("/rule-sets/edge/sets/none/top", token).status == 404)

      // Replacing the elements leaves the counters on.
      _ = try await api.send(.put, path + "/elements", token, ["elements": ["192.0.2.1"]])
      #expect(try await api.get(path, token).data["counters"] == true)
      let ports: JSONValue = ["name": "ports", "type": "inet_service", "counters": true]
      let refused = try await api.post("/rule-sets/edge/sets", token, ports)
      #expect(refused.status == 422 && refused.text.contains("counters_of_ports"), "\(refused.text)")
    }
  }
}

import ControlProtocol
import DatabaseSupport
import Foundation
import Testing

@testable import RESTAPI

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
    }
  }
}

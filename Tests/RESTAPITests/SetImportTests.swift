import ControlProtocol
import DatabaseSupport
import Foundation
import HTTPTypes
import Rules
import Testing

@testable import RESTAPI

@Suite("Elements as lines")
struct SetImportTests {
  private static let elements = "/rule-sets/edge/sets/bad/elements"

  private static func make(_ api: TestAPI) async throws -> String {
    let token = try await api.token()
    _ = try await api.post("/rule-sets", token, ["name": "edge"])
    #expect(try await api.post("/attachments", token, ["interface": "eth0", "rule_set": "edge"]).status == 201)
    let set: JSONValue = ["name": "bad", "type": "ipv4_addr", "elements": ["192.0.2.1"]]
    #expect(try await api.post("/rule-sets/edge/sets", token, set).status == 201)
    #expect(try await api.post("/rule-sets/edge/apply", token, [:]).status == 200)
    return token
  }

  private static func put(_ api: TestAPI, _ token: String, _ text: String, _ query: String = "") async throws -> Answer {
    try await api.send(
      .put, elements + query, headers: [.authorization: "Bearer \(token)", .contentType: "text/plain; charset=utf-8"],
      bytes: Array(text.utf8))
  }

  private static func get(_ api: TestAPI, _ token: String) async throws -> String {
    try await api.send(.get, elements, headers: [.authorization: "Bearer \(token)", .accept: "text/plain"], bytes: nil).text
  }

  @Test("A file becomes one revision, goes to the daemon in parts, and what is exported is what was imported", arguments: TestBackend.allCases)
  func roundTrip(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let token = try await Self.make(api)
      let lines = (0..<25_000).map { "10.1.\($0 / 250).\($0 % 250)" }
      let text = "# the list\n" + lines.joined(separator: "\r\n") + "\n\n2.0.0.0/24 expires 2999-01-01T00:00:00Z, 1.0.0.1 # two"
      let answer = try await Self.put(api, token, text, "?apply=true&reason=today")
      #expect(answer.status == 200 && answer.data["changed"] == 25_003, "\(answer.text)")
      #expect(answer.data["element_count"] == 25_002 && answer.meta["revision"] == 3)
      #expect(api.daemon.state.calls.contains("parts [1, 10000, 10000, 5002]"), "\(api.daemon.state.calls.map { $0.prefix(100) })")
      let exported = try await Self.get(api, token)
      #expect(exported == "1.0.0.1\n2.0.0.0/24 expires 2999-01-01T00:00:00.000Z\n" + lines.joined(separator: "\n") + "\n")
      let again = try await Self.put(api, token, exported, "?apply=true")
      #expect(again.data["changed"] == 0 && again.meta["revision"] == 3 && again.data["applied"] == [])
      #expect(try await Self.put(api, token, "").data["element_count"] == 0)
      #expect(try await Self.get(api, token) == "")
    }
  }

  @Test("What is wrong is named by its line, and nothing has changed")
  func hostile() async throws {
    try await TestAPI.with { api in
      let token = try await Self.make(api)
      let cases = [
        ("192.0.2.9\nx\n", "line 2"), ("192.0.2.9\n\n# c\n192.0.2.1 timeout 0s", "line 4"), ("2001:db8::1", "line 1"),
        ("192.0.2.9 192.0.2.8", "line 1"), ("192.0.2.9\n" + String(repeating: "1", count: 5000), "line 2"),
        ("192.0.2.9\u{0}", "line 1"), ("192.0.2.1\n\u{feff}192.0.2.9", "line 2"), ("192.0.2.1 # ö\n192.0.2.256", "line 2"),
      ]
      for (text, place) in cases {
        let answer = try await Self.put(api, token, text)
        #expect(answer.code == "validation_failed" && answer.problemPaths == [place], "\(text.prefix(40)): \(answer.text)")
      }
      let many = try await Self.put(api, token, String(repeating: "x\n", count: 100_000))
      #expect(many.code == "validation_failed" && many.problemPaths.count == Limits.issuesMax)
      let other = try await api.send(
        .put, Self.elements, headers: [.authorization: "Bearer \(token)", .contentType: "text/csv"], bytes: [0x31])
      #expect(other.code == "unsupported_media_type")
      let elsewhere = try await api.send(
        .post, Self.elements, headers: [.authorization: "Bearer \(token)", .contentType: "text/plain"], bytes: [0x31])
      #expect(elsewhere.code == "unsupported_media_type", "lines replace")
      #expect(try await Self.get(api, token) == "192.0.2.1\n")
    }
  }

  @Test("A file beyond the limit is refused, and says its limit")
  func tooLarge() async throws {
    try await TestAPI.with(interface: InterfaceSettings(importBytesMax: 1 << 20)) { api in
      let token = try await Self.make(api)
      let answer = try await Self.put(api, token, String(repeating: "# nothing\n", count: 110_000))
      #expect(answer.code == "payload_too_large", "\(answer.text)")
      let fits = try await Self.put(api, token, String(repeating: "# nothing\n", count: 100_000) + "192.0.2.7")
      #expect(fits.data["element_count"] == 1, "\(fits.text)")
    }
  }

  @Test("However the bytes come, the lines are the same", arguments: [1, 2, 7, 4096])
  func pieces(_ size: Int) throws {
    let text = Array("\u{feff}192.0.2.1\r\n\n # x\n192.0.2.2, 192.0.2.3\ttimeout\t1h\r\n192.0.2.4".utf8)
    var lines = MemberLines(kind: .ipv4)
    for start in stride(from: 0, to: text.count, by: size) { try lines.read(text[start..<min(start + size, text.count)]) }
    #expect(try lines.finish().map(\.text) == ["192.0.2.1", "192.0.2.2", "192.0.2.3 timeout 3600s", "192.0.2.4"])
  }
}

import ControlProtocol
import DatabaseSupport
import Foundation
import Testing

@testable import RESTAPI

@Suite("Elements that end, in the API")
struct ElementExpiryTests {
  private static let set = "/rule-sets/edge/sets/bad"

  private static func make(_ api: TestAPI, _ elements: JSONValue = ["192.0.2.1"]) async throws -> String {
    let token = try await api.token()
    _ = try await api.post("/rule-sets", token, ["name": "edge"])
    let made = try await api.post(
      "/rule-sets/edge/sets", token, ["name": "bad", "type": "ipv4_addr", "elements": elements])
    #expect(made.status == 201, "\(made.text)")
    return token
  }

  @Test("A time becomes a moment when it is accepted, in every way to write an element", arguments: TestBackend.allCases)
  func accepted(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let before = Int64.now
      let token = try await Self.make(api, ["192.0.2.1", "192.0.2.2 timeout 60s"])
      let summary = try await api.get(Self.set, token).data
      #expect(summary["element_count"] == 2 && summary["expiring_count"] == 1)
      let moment = try #require(summary["next_expiry"]?.string.flatMap(RFC3339.unixMilliseconds))
      #expect((before + 60_000...Int64.now + 60_000).contains(moment))

      let added = try await api.post(
        Self.set + "/elements", token,
        ["elements": ["192.0.2.3", "192.0.2.4 expires 2999-12-31T23:59:59+02:00"], "ttl_seconds": 3600])
      #expect(added.data["changed"] == 2, "\(added.text)")
      let listed = try await api.get(Self.set + "/elements", token).items.compactMap(\.string)
      #expect(listed[0] == "192.0.2.1" && listed[2].hasPrefix("192.0.2.3 expires 2"))
      #expect(listed[3] == "192.0.2.4 expires 2999-12-31T21:59:59.000Z")

      // What was listed says the same; the same time once more is another moment, and no end is none.
      let same = try await api.post(Self.set + "/elements", token, ["elements": .strings(listed)])
      #expect(same.data["changed"] == 0 && same.meta["revision"] == added.meta["revision"])
      try await Task.sleep(for: .milliseconds(5))
      let renewed = try await api.post(Self.set + "/elements", token, ["elements": ["192.0.2.3"], "ttl_seconds": 3600])
      #expect(renewed.data["changed"] == 1 && renewed.data["element_count"] == 4)
      let kept = try await api.post(Self.set + "/elements", token, ["elements": ["192.0.2.3"]])
      #expect(kept.data["changed"] == 1)
      let text = try await api.get("/rule-sets/edge/text", token).data["text"]?.string ?? ""
      #expect(text.contains("192.0.2.4 expires 2999-12-31T21:59:59.000Z") && !text.contains("timeout"))
      let again = try await api.send(.put, "/rule-sets/edge/text", token, ["text": .string(text)])
      #expect(again.meta["revision"] == kept.meta["revision"], "what was exported says the same")
      let removed = try await api.post(Self.set + "/elements/remove", token, ["elements": .strings([listed[3]])])
      #expect(removed.data["changed"] == 1, "as it is listed")
    }
  }

  @Test("What has ended isn't listed or counted, and the next change drops it; the daemon is told of moments")
  func past() async throws {
    try await TestAPI.with { api in
      let token = try await Self.make(api, ["192.0.2.1", "192.0.2.2 expires 2020-01-01T00:00:00Z"])
      #expect(try await api.post("/attachments", token, ["interface": "eth0", "rule_set": "edge"]).status == 201)
      #expect(try await api.post("/rule-sets/edge/apply", token, [:]).status == 200)
      #expect(try await api.get(Self.set, token).data["element_count"] == 1)
      #expect(try await api.get(Self.set + "/elements", token).items == ["192.0.2.1"])
      let nothing = try await api.post(Self.set + "/elements", token, ["elements": ["192.0.2.1"]])
      #expect(nothing.data["changed"] == 0 && nothing.meta["revision"] == 2)
      let element: JSONValue = ["elements": ["192.0.2.2 expires 2999-01-01T00:00:00Z"]]
      let added = try await api.post(Self.set + "/elements?apply=true", token, element)
      #expect(added.data["changed"] == 1 && added.data["element_count"] == 2, "\(added.text)")
      let call = #"change bad@3 +["192.0.2.2 expires 2999-01-01T00:00:00.000Z"] -[]"#
      #expect(api.daemon.state.calls.contains(call), "\(api.daemon.state.calls)")
    }
  }

  @Test("Hostile ends of elements are refused with their place")
  func hostile() async throws {
    try await TestAPI.with { api in
      let token = try await Self.make(api)
      let ends = [
        "timeout", "timeout 0s", "timeout -1s", "timeout 1.5h", "timeout 9999999999999999999d", "expires soon", "ends 1h",
        "expires 2026-02-30T00:00:00Z", "timeout 1h timeout 1h", "timeout 2999-01-01T00:00:00Z", "timeout\u{0} 1h",
        String(repeating: "9", count: 200),
      ]
      for end in ends {
        let answer = try await api.post(
          Self.set + "/elements", token, ["elements": ["192.0.2.9", .string("192.0.2.1 \(end)")]])
        #expect(answer.code == "validation_failed" && answer.problemPaths == ["elements[1]"], "\(end): \(answer.text)")
      }
      let members: [(String, JSONValue)] = [
        ("ttl_seconds", 0), ("ttl_seconds", -1), ("ttl_seconds", 316_224_001), ("ttl_seconds", "60"),
        ("expires_at", "tomorrow"), ("expires_at", 5),
      ]
      for (name, value) in members {
        let answer = try await api.post(Self.set + "/elements", token, ["elements": ["192.0.2.9"], name: value])
        #expect(answer.code == "validation_failed" && answer.problemPaths == [name], "\(name) \(value)")
      }
      let both = try await api.post(
        Self.set + "/elements", token, ["elements": ["192.0.2.9"], "ttl_seconds": 1, "expires_at": "2999-01-01T00:00:00Z"])
      #expect(both.code == "validation_failed" && both.problemPaths == ["ttl_seconds"])
      #expect(try await api.get(Self.set, token).data["element_count"] == 1)
    }
  }
}

import ControlProtocol
import DatabaseSupport
import Foundation
import GRPCCore
import Rules
import Testing

@testable import RESTAPI

@Suite("Nodes, attachments, apply and captures")
struct NodeTests {
  private static let rules: JSONValue = [["name": "drop-telnet", "action": "drop", "match": ["protocols": ["tcp"]]]]

  @Test("A node is registered, changed and removed, but not while it has attachments", arguments: TestBackend.allCases)
  func nodes(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let token = try await api.token([.maintainer])
      #expect(try await api.get("/nodes", token).items.map { $0["name"]?.string } == ["local"])
      let body: JSONValue = ["name": "far", "address": "unix:/run/far.sock", "description": "far away"]
      #expect(try await api.post("/nodes", token, body).status == 201)
      #expect(try await api.post("/nodes", token, body).code == "conflict")
      let changed = try await api.send(
        .patch, "/nodes/far", token, ["name": "near", "address": .string("unix:\(api.socketPath)")])
      #expect(changed.data["name"] == "near")
      #expect(try await api.get("/nodes/far", token).code == "not_found")
      // Whoever may change one node does not lead it to another one's daemon.
      let editor = try await api.makeUser([])
      let grant = "/resources/node/near/grants/\(editor.email.value)"
      #expect(try await api.send(.put, grant, try await api.token(), ["role": "Editor"]).status == 200)
      let own = try await api.token(of: editor)
      #expect(try await api.send(.patch, "/nodes/near", own, ["address": "unix:/run/other.sock"]).code == "missing_scope")
      #expect(try await api.send(.patch, "/nodes/near", own, ["description": "mine"]).data["description"] == "mine")
      #expect(try await api.post("/attachments", token, ["node": "near", "interface": "eth2"]).status == 201)
      #expect(try await api.send(.delete, "/nodes/near", token).code == "conflict")
      let id = try #require(try await api.get("/attachments?node=near", token).items[0]["id"]?.string)
      #expect(try await api.send(.delete, "/attachments/\(id)", token).status == 200)
      #expect(try await api.send(.delete, "/nodes/near", token).status == 200)
    }
  }

  @Test(
    "Only unix sockets are addresses of nodes",
    arguments: [
      "", "/run/a", "tcp:1.2.3.4:5", "unix:", "unix:a", "http://x", "unix:/" + String(repeating: "a", count: 107),
    ])
  func addresses(_ address: String) async throws {
    try await TestAPI.with { api in
      let token = try await api.token()
      let answer = try await api.post("/nodes", token, ["name": "n", "address": .string(address)])
      #expect(answer.problemPaths == ["address"])
    }
  }

  @Test("Status, interfaces and counters come from the daemon")
  func observation() async throws {
    try await TestAPI.with { api in
      let token = try await api.token([.viewer])
      let admin = try await api.token()
      #expect(try await api.get("/nodes/local/status", token).data["version"] == "0.0.0-fake")
      #expect(try await api.post("/attachments", admin, ["interface": "eth1"]).status == 201)
      let interfaces = try await api.get("/nodes/local/interfaces", token)
      #expect(interfaces.items.map { $0["name"]?.string } == ["eth0", "eth1", "eth2"])
      #expect(interfaces.items[0]["attachment"] == .null && interfaces.items[1]["attachment"]?["mode"] == "native")
      let counters = try await api.get("/nodes/local/counters?interface=eth1", token)
      #expect(counters.items[0]["actions"]?["pass"] == ["packets": 7, "bytes": 420])
      #expect(counters.items[0]["rules"]?.array?.first?["packets"] == .integer(.max), "beyond 63 bits")
      #expect(try await api.get("/nodes/local/counters?interface=eth0", token).code == "not_found")
      #expect(try await api.get("/nodes/nowhere/status", token).code == "not_found")
    }
  }

  @Test("The counters of as many rules as there may be come in one answer")
  func manyCounters() async throws {
    try await TestAPI.with { api in
      let token = try await api.token()
      #expect(try await api.post("/attachments", token, ["interface": "eth1"]).status == 201)
      api.daemon.change { state in
        state.countedRules = (0..<Limits.rulesMax).map { "rule-with-a-name-of-some-length-\($0)" }
      }
      let counters = try await api.get("/nodes/local/counters", token)
      #expect(counters.items[0]["rules"]?.array?.count == Limits.rulesMax + 1, "\(counters.status)")
    }
  }

  @Test("Attaching with a rule set: desired and observed side by side", arguments: TestBackend.allCases)
  func attach(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let token = try await api.token([.maintainer])
      _ = try await api.post("/rule-sets", token, ["name": "edge", "rules": Self.rules])
      let made = try await api.post(
        "/attachments", token, ["interface": "eth0", "rule_set": "edge", "keep_on_exit": true, "colour": "red"])
      #expect(made.status == 201)
      #expect(made.warnings == ["unknown field ignored: colour"])
      #expect(made.data["applied_revision"] == 1 && made.data["in_sync"] == true)
      #expect(made.data["observed"]?["rule_set"] == "edge")
      #expect(made.data["observed"]?["options"]?["keep_on_exit"] == true)
      let again = try await api.post("/attachments", token, ["interface": "eth0"])
      #expect(again.code == "conflict" && again.problemPaths == ["interface"])
      #expect(try await api.send(.delete, "/rule-sets/edge", token).code == "conflict")
      // Somebody changes it behind the API's back.
      api.daemon.change { $0.attachments["eth0"]?.revision = 99 }
      let id = try #require(made.data["id"]?.string)
      #expect(try await api.get("/attachments/\(id)", token).data["in_sync"] == false)
      api.daemon.change { $0.attachments = [:] }
      let gone = try await api.get("/attachments/\(id)", token)
      #expect(gone.data["in_sync"] == false && gone.data["observed"] == .null)
      #expect(try await api.send(.delete, "/attachments/\(id)", token).status == 200, "detached already")
      #expect(try await api.get("/attachments", token).meta["total"] == 0)
    }
  }

  private static let unacceptable: [(String, Int, String)] = [
    (#"{"interface":"nope0"}"#, 404, "not_found"), (#"{"interface":"eth0","node":"nowhere"}"#, 404, "not_found"),
    (#"{"interface":"eth0","rule_set":"nothing"}"#, 404, "not_found"),
    (#"{"interface":"eth0","zero_copy":"required"}"#, 422, "node_refused"),
    (#"{"interface":"eth0","rule_set":"redirecting"}"#, 422, "node_refused"),
    (#"{"interface":"eth0","mode":"warp"}"#, 422, "validation_failed"),
    (#"{"interface":"a/b"}"#, 422, "validation_failed"),
    (#"{"interface":"sixteen-bytes-xx"}"#, 422, "validation_failed"),
    (#"{}"#, 422, "validation_failed"),
  ]

  @Test("What cannot be attached is refused in the daemon's words, and nothing is stored", arguments: unacceptable)
  func refused(_ body: String, _ status: Int, _ code: String) async throws {
    try await TestAPI.with { api in
      let token = try await api.token()
      _ = try await api.post(
        "/rule-sets", token,
        ["name": "redirecting", "rules": [["name": "r", "action": "redirect", "redirect_to": "gone0"]]])
      let answer = try await api.post("/attachments", token, try JSONValue(parsing: Array(body.utf8)))
      #expect(answer.status == status && answer.code == code, "\(answer.text)")
      #expect(try await api.get("/attachments", token).meta["total"] == 0)
      #expect(api.daemon.state.attachments.isEmpty)
      if code == "node_refused" { #expect(answer.message.contains("eth0") || answer.message.contains("gone0")) }
    }
  }

  @Test(
    "Of many who attach the same interface at once one succeeds, and it stays attached", arguments: TestBackend.allCases
  )
  func attachRace(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let token = try await api.token()
      let statuses = try await withThrowingTaskGroup(of: Int.self) { group in
        for _ in 0..<8 { group.addTask { try await api.post("/attachments", token, ["interface": "eth0"]).status } }
        return try await group.reduce(into: []) { $0.append($1) }
      }
      #expect(statuses.sorted() == [201] + Array(repeating: 409, count: 7))
      #expect(api.daemon.state.attachments["eth0"] != nil)
      #expect(try await api.get("/attachments", token).items[0]["in_sync"] == true)
    }
  }

  @Test("A refused rule set takes nothing away from who attached before")
  func refusedKeeps() async throws {
    try await TestAPI.with { api in
      let token = try await api.token()
      api.daemon.change {
        $0.attachments["eth0"] = .with {
          $0.interface = "eth0"
          $0.options = .init(.init())
        }
      }
      _ = try await api.post(
        "/rule-sets", token,
        ["name": "redirecting", "rules": [["name": "r", "action": "redirect", "redirect_to": "gone0"]]])
      let answer = try await api.post("/attachments", token, ["interface": "eth0", "rule_set": "redirecting"])
      #expect(answer.code == "node_refused")
      #expect(api.daemon.state.attachments["eth0"] != nil)
    }
  }

  @Test("Options and rule sets of an attachment change on the daemon first", arguments: TestBackend.allCases)
  func patch(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let token = try await api.token()
      _ = try await api.post("/rule-sets", token, ["name": "edge", "rules": Self.rules])
      let id = try #require(try await api.post("/attachments", token, ["interface": "eth0"]).data["id"]?.string)
      let path = "/attachments/\(id)"
      let set = try await api.send(.patch, path, token, ["rule_set": "edge"])
      #expect(set.data["in_sync"] == true && set.data["rule_set"] == "edge")
      for (body, word) in [
        (["capture_fallback": "drop"], "detach"), (["zero_copy": "required"], "zero-copy"),
        (["zero_copy": "required", "rule_set": .null], "zero-copy"),
      ] as [(JSONValue, String)] {
        let refused = try await api.send(.patch, path, token, body)
        #expect(refused.code == "node_refused" && refused.message.contains(word), "\(refused.text)")
        let after = try await api.get(path, token)
        #expect(after.data["zero_copy"] == "auto" && after.data["capture_fallback"] == "pass")
        #expect(after.data["in_sync"] == true && after.data["observed"]?["rule_set"] == "edge")
      }
      let cleared = try await api.send(.patch, path, token, ["rule_set": .null, "capture_fallback": "drop"])
      #expect(cleared.data["rule_set"] == .null && cleared.data["in_sync"] == true)
      #expect(cleared.data["capture_fallback"] == "drop")
      #expect(api.daemon.state.attachments["eth0"]?.ruleSet == "")
    }
  }

  @Test("Applying publishes a revision on the attachments and notes it", arguments: TestBackend.allCases)
  func apply(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let token = try await api.token()
      _ = try await api.post("/rule-sets", token, ["name": "edge", "rules": Self.rules])
      #expect(try await api.post("/rule-sets/edge/apply", token, [:]).code == "conflict", "nowhere to apply")
      for interface in ["eth0", "eth1"] {
        _ = try await api.post("/attachments", token, ["interface": .string(interface), "rule_set": "edge"])
      }
      _ = try await api.post("/rule-sets/edge/rules", token, ["name": "more", "action": "count"])
      let before = try await api.get("/attachments", token)
      #expect(before.items.allSatisfy { $0["applied_revision"] == 1 })
      let dry = try await api.post("/rule-sets/edge/apply", token, ["dry_run": true])
      #expect(dry.data["revision"] == 2 && dry.data["results"]?.array?.count == 2)
      #expect(try await api.get("/attachments", token).items.allSatisfy { $0["applied_revision"] == 1 })
      let applied = try await api.send(
        .post, "/rule-sets/edge/apply", headers: [.authorization: "Bearer \(token)"], bytes: nil)
      #expect(applied.status == 200 && applied.data["revision"] == 2)
      #expect(applied.data["results"]?.array?.first?["self_test_packets"] == 12)
      let after = try await api.get("/attachments", token)
      #expect(after.items.allSatisfy { $0["applied_revision"] == 2 && $0["in_sync"] == true })
      let id = try #require(after.items[0]["id"]?.string)
      let back = try await api.post("/rule-sets/edge/apply", token, ["revision": 1, "attachments": [.string(id)]])
      #expect(back.data["results"]?.array?.count == 1)
      #expect(
        api.daemon.state.attachments["eth0"]?.revision == 1 && api.daemon.state.attachments["eth1"]?.revision == 2)
      let unknown = try await api.post(
        "/rule-sets/edge/apply", token, ["attachments": [.string(UUID().uuidString), "x"]])
      #expect(unknown.problemPaths == ["attachments[0]"])
      #expect(try await api.post("/rule-sets/edge/apply", token, ["revision": 9]).code == "not_found")
      #expect(try await api.post("/rule-sets/none/apply", token, [:]).code == "not_found")
    }
  }

  @Test("A rule set that the daemon refuses changes nothing")
  func applyRefused() async throws {
    try await TestAPI.with { api in
      let token = try await api.token()
      _ = try await api.post("/rule-sets", token, ["name": "edge", "rules": Self.rules])
      _ = try await api.post("/attachments", token, ["interface": "eth0", "rule_set": "edge"])
      _ = try await api.post(
        "/rule-sets/edge/rules", token, ["name": "r", "action": "redirect", "redirect_to": "gone0"])
      let answer = try await api.post("/rule-sets/edge/apply", token, [:])
      #expect(answer.code == "node_refused" && answer.message.contains("gone0"))
      #expect(try await api.get("/attachments", token).items[0]["applied_revision"] == 1)
      #expect(api.daemon.state.attachments["eth0"]?.revision == 1)
    }
  }

  private static let failures: [(RPCError.Code, Int, String)] = [
    (.invalidArgument, 422, "node_refused"), (.failedPrecondition, 422, "node_refused"),
    (.resourceExhausted, 422, "node_refused"), (.alreadyExists, 422, "node_refused"), (.notFound, 404, "not_found"),
    (.unavailable, 502, "node_unavailable"), (.internalError, 502, "node_unavailable"),
    (.permissionDenied, 502, "node_unavailable"), (.unimplemented, 502, "node_unavailable"),
  ]

  @Test("Each of the daemon's codes has one meaning in the API", arguments: failures)
  func mapping(_ code: RPCError.Code, _ status: Int, _ expected: String) async throws {
    try await TestAPI.with { api in
      let token = try await api.token()
      _ = try await api.post("/rule-sets", token, ["name": "edge", "rules": Self.rules])
      _ = try await api.post("/attachments", token, ["interface": "eth0", "rule_set": "edge"])
      api.daemon.change { $0.applyFailure = RPCError(code: code, message: "the daemon's own words") }
      let answer = try await api.post("/rule-sets/edge/apply", token, [:])
      #expect(answer.status == status && answer.code == expected)
      #expect(answer.message.contains("the daemon's own words"))
    }
  }

  @Test("With the daemon down: 502 with a hint, and the desired state as it was", arguments: TestBackend.allCases)
  func daemonDown(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let token = try await api.token()
      _ = try await api.post("/rule-sets", token, ["name": "edge", "rules": Self.rules])
      let id = try #require(
        try await api.post("/attachments", token, ["interface": "eth0", "rule_set": "edge"]).data["id"]?.string)
      _ = try await api.send(.patch, "/nodes/local", token, ["address": "unix:/nowhere/at/all.sock"])
      let before = try await api.store.attachment(id: try #require(UUID(uuidString: id)))
      for (method, path, body) in [
        (.get, "/nodes/local/status", nil), (.get, "/nodes/local/interfaces", nil),
        (.get, "/nodes/local/counters", nil),
        (.post, "/attachments", ["interface": "eth1"]), (.delete, "/attachments/\(id)", nil),
        (.patch, "/attachments/\(id)", ["mode": "generic"]), (.post, "/rule-sets/edge/apply", [:]),
        (.post, "/captures", ["interface": "eth0"]),
      ] as [(HTTPRequestMethod, String, JSONValue?)] {
        let answer = try await api.send(method, path, token, body)
        #expect(answer.code == "node_unavailable", "\(method) \(path): \(answer.text)")
        #expect(answer.message.contains("/nowhere/at/all.sock") && answer.message.contains("sluiced"))
      }
      #expect(try await api.store.attachment(id: before.id) == before)
      let list = try await api.get("/attachments", token)
      #expect(list.status == 200 && list.items[0]["in_sync"] == .null)
      #expect(list.items[0]["observed_error"]?.string?.contains("cannot be reached") == true)
      #expect(try await api.get("/attachments", token).meta["total"] == 1)
      let forced = try await api.send(.delete, "/attachments/\(id)?force=true", token)
      #expect(forced.status == 200 && forced.warnings.count == 1)
    }
  }

  @Test("A capture is started, read, stopped and remembered", arguments: TestBackend.allCases)
  func captures(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let token = try await api.token([.maintainer])
      #expect(try await api.post("/captures", token, ["interface": "eth0"]).code == "not_found", "not attached")
      _ = try await api.post("/attachments", token, ["interface": "eth0"])
      let body: JSONValue = ["interface": "eth0", "path": "a.pcapng", "packet_limit": 10, "rules": ["x"]]
      let made = try await api.post("/captures", token, body)
      #expect(made.status == 201 && made.data["state"] == "running" && made.data["packet_limit"] == 10)
      let id = try #require(made.data["id"]?.string)
      api.daemon.change { ($0.captures[0].packetsReceived, $0.captures[0].packetsLostByKernel) = (3, 2) }
      let running = try await api.get("/captures/\(id)", token).data
      #expect(running["packets_received"] == 3 && running["packets_lost_by_kernel"] == 2)
      let stopped = try await api.post("/captures/\(id)/stop", token, [:])
      #expect(stopped.data["state"] == "finished" && stopped.data["packets_written"] == 5)
      #expect(stopped.data["finished_at"] != .null && stopped.data["packets_lost_by_kernel"] == 2)
      #expect(try await api.post("/captures/\(id)/stop", token, [:]).data == stopped.data, "twice is once")
      #expect(try await api.get("/captures?state=finished", token).meta["total"] == 1)
      #expect(try await api.get("/captures?state=running", token).meta["total"] == 0)
      let refused = try await api.post("/captures", token, ["interface": "eth0", "path": "unwritable.pcapng"])
      #expect(refused.code == "node_refused" && refused.message.contains("Permission denied"))
      #expect(try await api.get("/captures", token).meta["total"] == 1)
    }
  }

  @Test("A running capture that a restarted daemon has forgotten has failed")
  func lostCapture() async throws {
    try await TestAPI.with { api in
      let token = try await api.token()
      _ = try await api.post("/attachments", token, ["interface": "eth0"])
      let id = try #require(try await api.post("/captures", token, ["interface": "eth0"]).data["id"]?.string)
      api.daemon.change { $0.captures = [] }
      let lost = try await api.get("/captures/\(id)", token)
      #expect(lost.data["state"] == "failed" && lost.data["error"]?.string?.contains("restarted") == true)

      // Or it has had many captures since.
      let other = try #require(try await api.post("/captures", token, ["interface": "eth0"]).data["id"]?.string)
      api.daemon.change { ($0.captures, $0.startedAt) = ([], $0.startedAt - 1_000_000_000) }
      let old = try await api.get("/captures/\(other)", token)
      #expect(old.data["state"] == "finished" && old.data["error"]?.string?.contains("no longer") == true, "\(old.text)")
    }
  }

  @Test(
    "A capture's file is a plain name",
    arguments: [
      "../x", "/etc/passwd", "a/b", ".hidden", "-x", "", "a b", "a\u{0}", "ä", String(repeating: "a", count: 129),
    ])
  func captureNames(_ name: String) async throws {
    try await TestAPI.with { api in
      let token = try await api.token()
      let answer = try await api.post("/captures", token, ["interface": "eth0", "path": .string(name)])
      #expect(answer.problemPaths == ["path"])
    }
  }
}

import ControlProtocol
import DatabaseSupport
import Foundation
import GRPCCore
import HTTPTypes
import Storage
import Testing

@testable import RESTAPI

@Suite("Changes on a condition, and changes that are sent twice")
struct ConditionalTests {
  /// Something that can be edited: how it is made, and a change of it.
  struct Subject: Sendable, CustomTestStringConvertible {
    let path: String
    let made: JSONValue
    /// Path below `path` to the thing, from the answer of the creation.
    let place: @Sendable (JSONValue) -> String
    let change: JSONValue
    let other: JSONValue
    var testDescription: String { path }
  }

  static let subjects = [
    Subject(
      path: "/users",
      made: ["email": "a@example.org", "password": "a long and fine one", "roles": ["Viewer"]],
      place: { $0["id"]?.string ?? "" }, change: ["name": "one"], other: ["name": "two"]),
    Subject(
      path: "/nodes", made: ["name": "n1", "address": "unix:/run/n1.sock"], place: { $0["name"]?.string ?? "" },
      change: ["description": "one"], other: ["description": "two"]),
    Subject(
      path: "/attachments", made: ["interface": "eth0"], place: { $0["id"]?.string ?? "" },
      change: ["rule_set": "s"], other: ["rule_set": .null]),
    Subject(
      path: "/rule-sets", made: ["name": "r"], place: { $0["name"]?.string ?? "" },
      change: ["description": "one"], other: ["description": "two"]),
    Subject(
      path: "/roles", made: ["name": "r", "scopes": ["rules:read"]], place: { $0["name"]?.string ?? "" },
      change: ["scopes": ["rules:write"]], other: ["description": "two"]),
    Subject(
      path: "/teams", made: ["name": "t"], place: { $0["name"]?.string ?? "" },
      change: ["description": "one"], other: ["description": "two"]),
    Subject(
      path: "/api-clients", made: ["name": "c"], place: { $0["id"]?.string ?? "" },
      change: ["scopes": ["rules:read"]], other: ["is_active": false]),
  ]

  @Test("Of two who edit what both have read, the second gets 412 and loses nothing", arguments: subjects)
  func twoEditors(_ subject: Subject) async throws {
    for backend in TestBackend.allCases {
      try await TestAPI.with(backend) { api in
        let token = try await api.token()
        _ = try await api.post("/rule-sets", token, ["name": "s"])
        let made = try await api.post(subject.path, token, subject.made)
        let path = "\(subject.path)/\(subject.place(made.data))"
        let read = try await api.get(path, token)
        let tag = try #require(read.headers[.eTag], "\(subject.path) has no ETag")
        #expect(made.headers[.eTag] == tag)
        let first = try await api.send(.patch, path, token, subject.change, ifMatch: tag)
        #expect(first.status == 200, "\(first.text)")
        let next = try #require(first.headers[.eTag])
        #expect(next != tag)
        let second = try await api.send(.patch, path, token, subject.other, ifMatch: tag)
        #expect(second.status == 412, "\(second.text)")
        let deletion = try await api.send(.delete, path, token, ifMatch: tag)
        #expect(deletion.status == 412, "\(deletion.text)")
        #expect(try await api.get(path, token).headers[.eTag] == next, "nothing was changed")
        #expect(try await api.send(.patch, path, token, subject.other, ifMatch: "\"zzz\", \(next)").status == (subject.path == "/rule-sets" ? 400 : 200))
        #expect(try await api.send(.delete, path, token, ifMatch: "*").status == 200)
      }
    }
  }

  @Test("Many editors at once: each change is made once, and who was late knows", arguments: TestBackend.allCases)
  func manyEditors(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let token = try await api.token()
      let node = try await api.post("/nodes", token, ["name": "n", "address": "unix:/run/n.sock"])
      let tag = try #require(node.headers[.eTag])
      let statuses = try await withThrowingTaskGroup(of: Int.self) { group in
        for n in 0..<8 {
          group.addTask {
            try await api.send(.patch, "/nodes/n", token, ["description": .string("by \(n)")], ifMatch: tag).status
          }
        }
        return try await group.reduce(into: []) { $0.append($1) }
      }
      #expect(statuses.count { $0 == 200 } == 1)
      #expect(statuses.count { $0 == 412 } == 7)
    }
  }

  @Test(
    "An attachment to which somebody applies something is not detached by who has not seen it",
    arguments: TestBackend.allCases)
  func deletionWaits(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let token = try await api.token()
      _ = try await api.post("/rule-sets", token, ["name": "s"])
      let made = try await api.post("/attachments", token, ["interface": "eth0"])
      let tag = try #require(made.headers[.eTag])
      let id = try #require(made.data["id"]?.string.flatMap(UUID.init(uuidString:)))
      let deletion = try await api.store.exclusively(on: "local") {
        let deletion = Task { try await api.send(.delete, "/attachments/\(id)", token, ifMatch: tag) }
        _ = try await api.store.recordApplied(attachmentID: id, ruleSet: "s", revision: 1)
        return deletion
      }
      let answer = try await deletion.value
      #expect(answer.status == 412, "\(answer.text)")
      #expect(!api.daemon.state.calls.contains("detach eth0"))
    }
  }

  @Test("If-Match that is none is refused", arguments: [
    "7", "\"", "\"\"", "W/", "\"a b\"", "\"a", "\"1\",", ",", String(repeating: "\"a\",", count: 40) + "\"b\"",
  ])
  func malformed(_ header: String) async throws {
    try await TestAPI.with { api in
      let token = try await api.token()
      let answer = try await api.send(.patch, "/nodes/local", token, ["description": "x"], ifMatch: header)
      #expect(answer.code == "invalid_request")
    }
  }

  @Test("Where it is a duty, a change without If-Match is 428 and changes nothing")
  func duty() async throws {
    try await TestAPI.with(interface: InterfaceSettings(requiresIfMatch: true)) { api in
      let token = try await api.token()
      let answer = try await api.send(.patch, "/nodes/local", token, ["description": "x"])
      #expect(answer.status == 428)
      #expect(answer.code == "precondition_required")
      #expect(try await api.get("/nodes/local", token).data["description"] != "x")
      #expect(try await api.send(.patch, "/nodes/local", token, ["description": "x"], ifMatch: "*").status == 200)
      #expect(try await api.post("/rule-sets", token, ["name": "s"]).status == 201, "what is new needs none")
    }
  }

  // MARK: Idempotency keys

  private func post(
    _ api: TestAPI, _ token: String, _ path: String, _ body: JSONValue, key: String
  ) async throws -> Answer {
    var headers: HTTPFields = [.authorization: "Bearer \(token)", .contentType: "application/json"]
    headers[Idempotency.header] = key
    return try await api.send(.post, path, headers: headers, bytes: body.bytes())
  }
  private let key = "0e2b8a0e-8f0f-4a5e-9d5b-0c1f4a4c1111"

  @Test("The same request with the same key is answered again, not done again", arguments: TestBackend.allCases)
  func replay(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let token = try await api.token()
      _ = try await api.post("/rule-sets", token, ["name": "s"])
      let rule: JSONValue = ["name": "a", "action": "drop", "match": [:]]
      let first = try await post(api, token, "/rule-sets/s/rules", rule, key: key)
      let second = try await post(api, token, "/rule-sets/s/rules", rule, key: key)
      #expect(first.status == 201 && second.status == 201, "\(second.text)")
      #expect(second.data == first.data)
      #expect(second.headers[.eTag] == first.headers[.eTag])
      #expect(second.headers[.location] == first.headers[.location])
      #expect(first.headers[Idempotency.replayed] == nil)
      #expect(second.headers[Idempotency.replayed] == "true")
      #expect(try await api.get("/rule-sets/s", token).meta["revision"] == 2)
      let other = try await post(api, token, "/rule-sets/s/rules", ["name": "b", "action": "drop", "match": [:]], key: key)
      #expect(other.code == "idempotency_key_reused")
      let stranger = try await post(
        api, try await api.token(), "/rule-sets/s/rules", ["name": "c", "action": "drop", "match": [:]], key: key)
      #expect(stranger.status == 201, "a key belongs to its caller")
    }
  }

  @Test("Sent many times at once, it is done once", arguments: TestBackend.allCases)
  func concurrent(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let token = try await api.token()
      let answers = try await withThrowingTaskGroup(of: Answer.self) { group in
        for _ in 0..<8 { group.addTask { try await post(api, token, "/rule-sets", ["name": "s"], key: key) } }
        return try await group.reduce(into: [Answer]()) { $0.append($1) }
      }
      #expect(answers.contains { $0.status == 201 })
      #expect(answers.allSatisfy { $0.status == 201 || $0.details["reason"] == "idempotency_key_in_use" })
      #expect(try await post(api, token, "/rule-sets", ["name": "s"], key: key).status == 201)
      #expect(try await api.get("/rule-sets/s", token).meta["revision"] == 1)
    }
  }

  @Test("What was refused may be tried again with its key")
  func refused() async throws {
    try await TestAPI.with { api in
      let token = try await api.token()
      let rule: JSONValue = ["name": "a", "action": "drop", "match": [:]]
      #expect(try await post(api, token, "/rule-sets/s/rules", rule, key: key).status == 404)
      _ = try await api.post("/rule-sets", token, ["name": "s"])
      #expect(try await post(api, token, "/rule-sets/s/rules", rule, key: key).status == 201)
    }
  }

  @Test("Where it is not known what a daemon did, that is told, and the key stays taken")
  func unknownOutcome() async throws {
    let cancelled = NodeCallError(node: "local", ControlError(.cancelled, "the call was cancelled"))
    #expect(cancelled.isOutcomeUnknown && cancelled.apiError.details?["reason"] == "outcome_unknown")
    try await TestAPI.with { api in
      let token = try await api.token()
      _ = try await api.post("/rule-sets", token, ["name": "s"])
      try await api.attachOnTwoNodes(token)
      let late = RPCError(code: .deadlineExceeded, message: "too late")
      api.daemon.change { $0.applyFailure = late }
      let answer = try await post(api, token, "/rule-sets/s/apply", [:], key: key)
      #expect(answer.code == "node_unavailable" && answer.details["reason"] == "outcome_unknown", "\(answer.text)")
      #expect(!answer.message.contains("cannot be reached"))
      api.daemon.change { $0.failures["eth1"] = late }
      let other = key + "-2"
      let partly = try await post(api, token, "/rule-sets/s/apply", [:], key: other)
      #expect(partly.details["applied"]?.array?.count == 1, "\(partly.text)")
      #expect(partly.details["cause"]?["reason"] == "outcome_unknown", "\(partly.text)")
      api.daemon.change { $0.failures = [:] }
      for taken in [key, other] {
        let again = try await post(api, token, "/rule-sets/s/apply", [:], key: taken)
        #expect(again.details["reason"] == "idempotency_key_in_use", "\(again.text)")
      }
    }
  }

  @Test("A key has 16 to 128 printable characters", arguments: ["short", "a b c d e f g h i j", String(repeating: "a", count: 129)])
  func badKeys(_ key: String) async throws {
    try await TestAPI.with { api in
      let answer = try await post(api, try await api.token(), "/rule-sets", ["name": "s"], key: key)
      #expect(answer.code == "invalid_request")
    }
  }

  @Test("The database holds neither the key nor the answer in the clear")
  func sealed() async throws {
    try await TestAPI.with { api in
      let token = try await api.token()
      _ = try await post(api, token, "/rule-sets", ["name": "very-secret-name"], key: key)
      let principal = try await api.services.authenticator.principal("Bearer \(token)", from: "127.0.0.1")
      let owned = Idempotency.Key(key, owner: principal.id)
      #expect(!owned.digest.contains(key))
      let sealed = try owned.seal(.data(["name": "very-secret-name"])) ?? ""
      #expect(!sealed.contains("very"))
      #expect(throws: (any Error).self) { try Idempotency.Key(key + "x", owner: principal.id).open(sealed) }
      #expect(throws: (any Error).self) { try Idempotency.Key(key, owner: "other").open(sealed) }
      #expect(try await api.store.purgeIdempotencyKeys(before: Date(timeIntervalSinceNow: 60)) == 1)
      let again = try await post(api, token, "/rule-sets", ["name": "very-secret-name"], key: key)
      #expect(again.code == "conflict", "a forgotten key is a new one")
    }
  }
}

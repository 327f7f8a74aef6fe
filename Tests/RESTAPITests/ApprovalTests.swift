import ControlProtocol
import DatabaseSupport
import Foundation
import Identity
import Storage
import Testing

@testable import RESTAPI

@Suite("Changes that want two people")
struct ApprovalTests {
  @Test("A revision is applied once somebody else than its authors approves it", arguments: TestBackend.allCases)
  func life(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let (author, second) = (try await api.token(), try await api.token())
      _ = try await api.post("/rule-sets", author, ["name": "edge"])
      let attachment = try await api.post("/attachments", author, ["interface": "eth0", "rule_set": "edge"])
      #expect(attachment.status == 201, "nobody has to, yet")
      let on = try await api.send(.put, "/rule-sets/edge/approval", author, ["is_required": true])
      #expect(on.data["is_required"] == true && on.data["decisions"] == [])
      func apply(_ revision: Int64? = nil, dryRun: Bool = false) async throws -> Answer {
        let body: JSONValue = ["revision": revision.map { .integer($0) } ?? .null, "dry_run": .bool(dryRun), "force": true]
        return try await api.post("/rule-sets/edge/apply", author, body)
      }
      func decide(_ verb: String, _ revision: Int, _ token: String) async throws -> Answer {
        try await api.post("/rule-sets/edge/revisions/\(revision)/\(verb)", token, ["comment": "seen"])
      }
      #expect(try await apply().details["reason"] == "approval_required")
      #expect(try await apply(dryRun: true).status == 200)
      #expect(try await decide("approve", 1, author).code == "own_change")
      #expect(try await decide("approve", 9, second).code == "not_found")
      let approved = try await decide("approve", 1, second)
      #expect(approved.data["decision"] == "approved" && approved.data["comment"] == "seen")
      #expect(try await apply().status == 200)

      // Another change voids it; who wrote a part of what would go live does not approve.
      let rule: JSONValue = ["name": "one", "action": "drop", "match": [:]]
      #expect(try await api.post("/rule-sets/edge/rules", author, rule).status == 201)
      #expect(try await apply().code == "conflict")
      #expect(try await apply(1).status == 200, "the approved one still may")
      _ = try await api.send(.delete, "/rule-sets/edge/rules/one", second)
      #expect(try await decide("approve", 3, author).code == "own_change", "revision 2 is his")
      #expect(try await decide("approve", 3, second).code == "own_change")
      let third = try await api.token()
      #expect(try await decide("reject", 3, third).data["decision"] == "rejected")
      #expect(try await apply().message.contains("has rejected"))
      #expect(try await decide("approve", 3, third).status == 200)
      #expect(try await apply().status == 200)

      // By way of an attachment as well.
      _ = try await api.post("/rule-sets/edge/rules", author, rule)
      let other = try await api.post("/attachments", author, ["interface": "eth1", "rule_set": "edge"])
      #expect(other.details["reason"] == "approval_required")
      let id = try #require(attachment.data["id"]?.string)
      #expect(try await api.send(.patch, "/attachments/\(id)", author, ["rule_set": "edge"]).code == "conflict")
      let maintainer = try await api.token([.maintainer])
      #expect(try await api.send(.put, "/rule-sets/edge/approval", maintainer, ["is_required": false]).code == "missing_scope")
      let tag = try #require(try await api.get("/rule-sets/edge/approval", author).headers[.eTag])
      let wrong = try await api.send(
        .put, "/rule-sets/edge/approval", author, ["is_required": false], ifMatch: "\"\(UUID())\"")
      #expect(wrong.status == 412)
      let off = try await api.send(.put, "/rule-sets/edge/approval", author, ["is_required": false], ifMatch: tag)
      #expect(off.status == 200 && off.headers[.eTag] != tag)
      #expect(try await apply().status == 200)
      let log = try await api.get("/audit-log?limit=100", author).text
      #expect(log.contains("approveRevision") && log.contains("\"rejected\"") && log.contains("requires_approval"))
    }
  }

  @Test(
    "What a program wrote is approved neither by who made it nor by who made its key, whatever became of the program",
    arguments: TestBackend.allCases)
  func programs(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let (maker, keyMaker, third) = (try await api.token(), try await api.token(), try await api.token())
      _ = try await api.post("/rule-sets", third, ["name": "edge"])
      func make(_ name: String, by token: String) async throws -> String {
        let made = try await api.post("/api-clients", token, ["name": .string(name), "scopes": ["*:admin"]])
        return try #require(made.data["id"]?.string, "\(made.text)")
      }
      func key(of id: String, by token: String) async throws -> String {
        let made = try await api.post("/api-clients/\(id)/keys", token, [:])
        return try #require(made.data["key"]?.string, "\(made.text)")
      }
      let first = try await make("robot", by: maker)
      let text = try await key(of: first, by: keyMaker)
      // A program of a program.
      let second = try await make("child", by: text)
      let childText = try await key(of: second, by: text)
      for (index, token) in [text, childText].enumerated() {
        let rule: JSONValue = ["name": .string("rule-\(index)"), "action": "drop", "match": [:]]
        #expect(try await api.post("/rule-sets/edge/rules", token, rule).status == 201)
      }
      #expect(try await api.send(.patch, "/api-clients/\(first)", third, ["name": "other"], ifMatch: "*").status == 200)
      func approve(_ revision: Int, _ token: String) async throws -> Answer {
        try await api.post("/rule-sets/edge/revisions/\(revision)/approve", token, [:])
      }
      for isThere in [true, false] {
        if !isThere {
          for id in [first, second] { #expect(try await api.send(.delete, "/api-clients/\(id)", third, ifMatch: "*").status == 200) }
        }
        for revision in [2, 3] {
          #expect(try await approve(revision, keyMaker).code == "own_change", "\(revision), \(isThere)")
        }
        #expect(try await approve(2, maker).code == "own_change", "\(isThere)")
      }
      #expect(try await approve(3, third).code == "own_change", "revision 1 is his")
      let fourth = try await api.token()
      #expect(try await approve(3, fourth).status == 200)
    }
  }

  @Test("What is on trial is confirmed only with the approval that it needs then")
  func trial() async throws {
    try await TestAPI.with { api in
      let (author, second) = (try await api.token(), try await api.token())
      _ = try await api.post("/rule-sets", author, ["name": "edge"])
      _ = try await api.post("/attachments", author, ["interface": "eth0", "rule_set": "edge"])
      _ = try await api.post("/rule-sets/edge/rules", author, ["name": "one", "action": "drop"])
      _ = try await api.send(.put, "/rule-sets/edge/approval", author, ["is_required": true])
      func decide(_ verb: String) async throws -> Answer {
        try await api.post("/rule-sets/edge/revisions/2/\(verb)", second, [:])
      }
      #expect(try await decide("approve").status == 200)
      let applied = try await api.post("/rule-sets/edge/apply", author, ["confirm_within_seconds": 60])
      #expect(applied.status == 200, "\(applied.text)")
      // The second person has looked again.
      #expect(try await decide("reject").status == 200)
      let refused = try await api.post("/rule-sets/edge/confirm", author, .object([:]))
      #expect(refused.details["reason"] == "approval_required", "\(refused.text)")
      #expect(api.daemon.state.attachments["eth0"]?.confirmByUnixNanos ?? 0 > 0, "the daemon was not told")
      #expect(try await decide("approve").status == 200)
      #expect(try await api.post("/rule-sets/edge/confirm", author, .object([:])).status == 200)
      #expect(api.daemon.state.attachments["eth0"]?.confirmByUnixNanos == 0)
    }
  }

  @Test("Going back needs no approval")
  func withdrawal() async throws {
    try await TestAPI.with { api in
      let author = try await api.token()
      _ = try await api.post("/rule-sets", author, ["name": "edge"])
      _ = try await api.post("/attachments", author, ["interface": "eth0", "rule_set": "edge"])
      _ = try await api.post("/rule-sets/edge/apply", author, ["confirm_within_seconds": 60])
      _ = try await api.send(.put, "/rule-sets/edge/approval", author, ["is_required": true])
      #expect(try await api.post("/rule-sets/edge/confirm", author, .object([:])).code == "conflict")
      #expect(try await api.post("/rule-sets/edge/withdraw", author, .object([:])).status == 200)
    }
  }

  @Test("A program approves nothing")
  func client() async throws {
    try await TestAPI.with { api in
      let admin = try await api.token()
      _ = try await api.post("/rule-sets", admin, ["name": "edge"])
      let client = try await api.store.createAPIClient(
        NewAPIClient(name: "robot", scopes: [try ScopeExpression("*:admin")], createdBy: .system))
      let key = APIKey()
      _ = try await api.store.addAPIKey(
        NewAPIKey(prefix: key.prefix, digest: key.digest), toClient: client.id, if: { _ in })
      let answer = try await api.post("/rule-sets/edge/revisions/1/approve", key.text, [:])
      #expect(answer.code == "account_required")
    }
  }

  @Test("What a program of one's own wrote is one's own", arguments: TestBackend.allCases)
  func ownClient(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let (owner, second) = (try await api.token(), try await api.token())
      _ = try await api.post("/rule-sets", second, ["name": "edge"])
      #expect(try await api.post("/rule-sets/edge/revisions/1/approve", owner, [:]).status == 200)
      let made = try await api.post("/api-clients", owner, ["name": "robot", "scopes": ["rules:read", "rules:write"]])
      let client = try #require(made.data["id"]?.string, "\(made.text)")
      let key = try await api.post("/api-clients/\(client)/keys", owner, [:])
      let rule: JSONValue = ["name": "one", "action": "drop", "match": [:]]
      let written = try await api.post("/rule-sets/edge/rules", try #require(key.data["key"]?.string, "\(key.text)"), rule)
      #expect(written.status == 201, "\(written.text)")
      #expect(try await api.post("/rule-sets/edge/revisions/2/approve", owner, [:]).code == "own_change")
      #expect(try await api.post("/rule-sets/edge/revisions/2/approve", second, [:]).status == 200)
    }
  }
}

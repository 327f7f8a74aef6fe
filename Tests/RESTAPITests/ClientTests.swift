import ControlProtocol
import DatabaseSupport
import Foundation
import HTTPTypes
import Identity
import Storage
import Testing

@testable import RESTAPI

@Suite("API clients")
struct ClientTests {
  /// A new client's id.
  private func makeClient(_ api: TestAPI, _ admin: String, _ body: [String: JSONValue]) async throws -> String {
    var members = body
    members["name"] = .string("c-\(UUID().uuidString.lowercased())")
    let made = try await api.post("/api-clients", admin, .object(members))
    #expect(made.status == 201, "\(made.text)")
    return try #require(made.data["id"]?.string)
  }

  private func makeKey(
    _ api: TestAPI, _ admin: String, _ id: String, _ body: JSONValue = [:]
  ) async throws -> (text: String, answer: Answer) {
    let made = try await api.post("/api-clients/\(id)/keys", admin, body)
    #expect(made.status == 201, "\(made.text)")
    return (try #require(made.data["key"]?.string), made)
  }

  @Test("An IPv4 peer is known as one, also at a socket for both families", arguments: [
    ("::ffff:192.0.2.1", "192.0.2.1"), ("192.0.2.1", "192.0.2.1"), ("::1", "::1"), ("::ffff:0:1", "::ffff:0:1"),
    ("2001:db8::ffff:1", "2001:db8::ffff:1"),
  ])
  func mapped(_ address: String, _ plain: String) { #expect(APIContext.plain(address) == plain) }

  @Test("A key does what its client's scopes say, in the client's name", arguments: TestBackend.allCases)
  func works(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let admin = try await api.token()
      let id = try await makeClient(api, admin, ["scopes": ["rules:write"]])
      let name = try #require(try await api.get("/api-clients/\(id)", admin).data["name"]?.string)
      let key = try await makeKey(api, admin, id).text
      let set = try await api.post("/rule-sets", key, ["name": "edge"])
      #expect(set.status == 201 && set.data["author"] == ["user_id": .null, "email": .string("client:\(name)")])
      #expect(try await api.get("/rule-sets/edge", key).status == 200)
      #expect(try await api.post("/rule-sets/edge/apply", key, [:]).code == "missing_scope")
      for (method, path) in [(HTTPRequest.Method.get, "/auth/me"), (.post, "/auth/logout")] {
        #expect(try await api.send(method, path, key).code == "account_required")
      }
      let records = try await api.store.auditLog(AuditFilter(actor: name), Page()).items
      #expect(records.count == 4 && records.allSatisfy { $0["actor"]?["kind"] == "client" })
      #expect(try await api.send(.patch, "/api-clients/\(id)", admin, ["scopes": ["nodes:read"]]).status == 200)
      #expect(try await api.get("/rule-sets/edge", key).code == "missing_scope", "at once")
    }
  }

  @Test("A key is shown once, and nowhere is more of it than its visible part", arguments: TestBackend.allCases)
  func shownOnce(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let admin = try await api.token()
      let id = try await makeClient(api, admin, ["scopes": ["*:read"]])
      let path = "/api-clients/\(id)/keys"
      let headers: HTTPFields = [
        .authorization: "Bearer \(admin)", .contentType: "application/json", HTTPField.Name("Idempotency-Key")!: "one",
      ]
      let made = try await api.send(.post, path, headers: headers, bytes: Array("{}".utf8))
      let text = try #require(made.data["key"]?.string)
      let prefix = try #require(made.data["prefix"]?.string)
      let secret = String(text.dropFirst(prefix.count + 1))
      #expect(secret.utf8.count == 43)
      let again = try await api.send(.post, path, headers: headers, bytes: Array("{}".utf8))
      #expect(again.data["key"]?.string != text, "its answer is not kept")
      #expect(try await api.get("/rule-sets", text).status == 200)
      let shown = try await api.get("/api-clients/\(id)", admin)
      #expect(shown.text.contains(prefix) && !shown.text.contains(secret) && !shown.text.contains("digest"))
      let log = try await api.get("/audit-log?limit=1000", admin)
      #expect(log.text.contains(prefix) && !log.text.contains(secret))
      #expect(!api.logs.lines.contains { $0.contains(secret) })
      let stored = try #require(try await api.store.apiClient(keyPrefix: prefix))
      #expect(!"\(stored)".contains(secret))
    }
  }

  @Test("A wrong, cut, foreign, revoked or expired key opens nothing; all but the expired one look the same")
  func badKeys() async throws {
    try await TestAPI.with { api in
      let admin = try await api.token()
      let id = try await makeClient(api, admin, ["scopes": ["*:admin"]])
      let key = try await makeKey(api, admin, id).text
      let (revoked, made) = try await makeKey(api, admin, id)
      let other = try await makeKey(api, admin, try await makeClient(api, admin, ["scopes": ["*:admin"]])).text
      #expect(try await api.get("/users", revoked).status == 200)
      let keyID = try #require(made.data["id"]?.string)
      #expect(try await api.send(.delete, "/api-clients/\(id)/keys/\(keyID)", admin).status == 200)
      let mixed = String(key.prefix(17)) + other.dropFirst(17)
      let bad = [revoked, mixed, key + "A", String(key.dropLast()), APIKey().text, "slk_", "slk_x_y", key.uppercased()]
      for text in bad {
        let answer = try await api.get("/users", text)
        #expect(answer.code == "unauthenticated" && answer.headers[.wwwAuthenticate] != nil, "\(text.prefix(20))")
      }
      let messages = try await [revoked, mixed, APIKey().text].asyncMap { try await api.get("/users", $0).message }
      #expect(Set(messages).count == 1)
      #expect(try await api.send(.patch, "/api-clients/\(id)", admin, ["is_active": false]).status == 200)
      #expect(try await api.get("/users", key).code == "unauthenticated", "at once")
      #expect(try await api.send(.delete, "/api-clients/\(id)", admin).status == 200)
      #expect(try await api.get("/users", key).code == "unauthenticated")
    }
  }

  @Test("A rotation lets the old key live for the overlap, then no longer", arguments: TestBackend.allCases)
  func rotation(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let admin = try await api.token()
      let id = try await makeClient(api, admin, ["scopes": ["*:read"]])
      let old = try await makeKey(api, admin, id, ["expires_in_seconds": 3600]).text
      let new = try await makeKey(api, admin, id, ["overlap_seconds": 60]).text
      for key in [old, new] { #expect(try await api.get("/nodes", key).status == 200) }
      let keys = try await api.get("/api-clients/\(id)", admin).data["keys"]?.array ?? []
      let end = try #require(keys.first?["expires_at"]?.string.flatMap(Shapes.date))
      #expect(abs(end.timeIntervalSinceNow - 60) < 20, "sooner than it would have")
      #expect(keys.last?["expires_at"] == .null)
      let newest = try await makeKey(api, admin, id, ["overlap_seconds": 0]).text
      for key in [old, new] { #expect(try await api.get("/nodes", key).code == "token_expired") }
      #expect(try await api.get("/nodes", newest).status == 200)
    }
  }

  @Test(
    "A client comes from its prefixes only, and every try from elsewhere is recorded", arguments: TestBackend.allCases)
  func sources(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend, .live) { api in
      let admin = try await api.token()
      let away = try await makeClient(
        api, admin, ["scopes": ["*:admin"], "sources": ["192.0.2.0/24", "2001:db8::/32"]])
      let here = try await makeClient(api, admin, ["scopes": ["*:read"], "sources": ["127.0.0.0/8", "::1"]])
      let awayKey = try await makeKey(api, admin, away).text
      #expect(try await api.get("/nodes", awayKey).code == "address_not_allowed")
      #expect(try await api.post("/rule-sets", awayKey, ["name": "x"]).code == "address_not_allowed")
      let refused = try await api.store.auditLog(AuditFilter(outcome: .refused), Page()).items
      #expect(refused.count { $0["code"] == "address_not_allowed" && $0["actor"]?["kind"] == "client" } == 2)
      let key = try await makeKey(api, admin, here).text
      #expect(try await api.get("/nodes", key).status == 200)
      let used = try await api.get("/api-clients/\(here)", admin).data["keys"]?.array?.first
      #expect(used?["last_used_at"] != .null && used?["last_used_from"]?.string?.isEmpty == false)
      let unused = try await api.get("/api-clients/\(away)", admin).data["keys"]?.array?.first
      #expect(unused?["last_used_at"] == .null)
    }
  }

  private static let wrong: [(String, [String])] = [
    (#"{}"#, ["name"]), (#"{"name":"a","scopes":["rules:everything"]}"#, ["scopes[0]"]),
    (#"{"name":"a","scopes":["*:read"],"sources":["anywhere"]}"#, ["sources[0]"]),
    (#"{"name":"a","scopes":["*:read"],"sources":["10.0.0.1/8/8"]}"#, ["sources[0]"]),
    (#"{"name":"a b","scopes":["*:read"]}"#, ["name"]), (#"{"name":"a","scopes":"*:read"}"#, ["scopes"]),
  ]

  @Test("Wrong clients and keys are refused, the wrong fields named", arguments: wrong)
  func wrongClients(_ body: String, _ paths: [String]) async throws {
    try await TestAPI.with { api in
      let admin = try await api.token()
      let answer = try await api.post("/api-clients", admin, try JSONValue(parsing: Array(body.utf8)))
      #expect(answer.code == "validation_failed" && answer.problemPaths == paths, "\(answer.text)")
      let id = try await makeClient(api, admin, ["scopes": ["*:read"]])
      for body in [["expires_in_seconds": 59], ["expires_in_seconds": 99_999_999_999], ["overlap_seconds": -1]]
        as [JSONValue]
      {
        #expect(try await api.post("/api-clients/\(id)/keys", admin, body).code == "validation_failed")
      }
      #expect(try await api.post("/api-clients/\(UUID().uuidString)/keys", admin, [:]).code == "not_found")
    }
  }
}

extension Sequence {
  fileprivate func asyncMap<Result>(_ body: (Element) async throws -> Result) async throws -> [Result] {
    var results: [Result] = []
    for element in self { results.append(try await body(element)) }
    return results
  }
}

import Audit
import ControlProtocol
import DatabaseSupport
import Foundation
import HTTPTypes
import Hummingbird
import Identity
import Storage
import Testing

@testable import RESTAPI

@Suite("The audit log over the API")
struct AuditTests {
  private static func path(_ route: Route) -> String {
    let values = ["id": UUID().uuidString.lowercased(), "revision": "1"]
    let segments = route.segments.map { segment in
      segment.hasPrefix("{") ? values[String(segment.dropFirst().dropLast())] ?? "nothing" : String(segment)
    }
    let full = "/" + segments.joined(separator: "/")
    return full.hasPrefix(RouteTable.base) ? String(full.dropFirst(RouteTable.base.count)) : full
  }

  private func send(_ route: Route, _ api: TestAPI, _ token: String, id: String) async throws -> Answer {
    var headers: HTTPFields = [.authorization: "Bearer \(token)", .requestID: id]
    if route.body != nil { headers[.contentType] = "application/json" }
    return try await api.send(
      route.method, Self.path(route), headers: headers, bytes: route.body == nil ? nil : Array("{}".utf8))
  }

  private func records(_ api: TestAPI, _ filter: AuditFilter) async throws -> [JSONValue] {
    try await api.store.auditLog(filter, Page(limit: Page.limitMax)).items
  }

  private func expectWhole(_ api: TestAPI) async throws {
    var verifier = AuditVerifier()
    let page = try await api.store.auditLog(AuditFilter(isAscending: true), Page(limit: Page.limitMax))
    for record in page.items { try verifier.check(record) }
    try verifier.finish(end: try await api.store.auditHead())
  }

  @Test("No route can forget it: every request that may change something leaves a record", arguments: TestBackend.allCases)
  func everyRoute(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      for route in RouteTable.v1.routes where route.changes && route.access != .open {
        let user = try await api.makeUser([.admin])
        let answer = try await send(route, api, try await api.token(of: user), id: "walk-\(route.operation)")
        let found = try await records(api, AuditFilter(requestID: "walk-\(route.operation)"))
        #expect(!found.isEmpty, "\(route.operation) answered \(answer.status)")
        for record in found {
          #expect(record["operation"]?.string == route.operation)
          #expect(record["actor"]?["name"]?.string == user.email.value)
          #expect(record["code"]?.string == answer.code)
          #expect((record["outcome"] == "succeeded") == (answer.status < 300), "\(route.operation)")
        }
      }
      try await expectWhole(api)
    }
  }

  @Test("Every refusal for want of a scope is recorded, of reads too", arguments: TestBackend.allCases)
  func refusals(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let user = try await api.makeUser([.viewer])
      let token = try await api.token(of: user)
      for route in RouteTable.v1.routes {
        guard case .scope(let scope) = route.access, !user.roles.scopes.grants(scope) else { continue }
        _ = try await send(route, api, token, id: "no-\(route.operation)")
        let found = try await records(api, AuditFilter(outcome: .refused, requestID: "no-\(route.operation)"))
        #expect(found.count == 1 && found[0]["code"] == "missing_scope", "\(route.operation)")
      }
      #expect(try await records(api, AuditFilter(actor: user.email.value, outcome: .succeeded)).isEmpty)
      try await expectWhole(api)
    }
  }

  @Test("Reads leave nothing, and neither does who is nobody")
  func reads() async throws {
    try await TestAPI.with { api in
      let token = try await api.token()
      let before = try await api.store.auditHead()
      for path in ["/users", "/nodes", "/rule-sets", "/auth/me", "/audit-log"] {
        #expect(try await api.get(path, token).status == 200)
        #expect(try await api.get(path).status == 401)
      }
      #expect(try await api.store.auditHead() == before)
    }
  }

  @Test("Sign-ins, refused ones and lock-outs are recorded, a lock-out once", arguments: TestBackend.allCases)
  func signIns(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let user = try await api.makeUser([.viewer])
      func login(_ password: String) async throws -> Answer {
        try await api.post("/auth/login", nil, ["email": .string(user.email.value), "password": .string(password)])
      }
      #expect(try await login(TestAPI.password).status == 200)
      for _ in 0..<APILimits.loginFailuresMax { #expect(try await login("Tr0ub4dor&3 guess").status == 401) }
      for _ in 0..<5 { #expect(try await login("Tr0ub4dor&3 guess").status == 429) }
      let found = try await records(api, AuditFilter(operation: "login", isAscending: true))
      #expect(found[0]["actor"]?["kind"] == "user" && found[0]["outcome"] == "succeeded")
      #expect(found.count { $0["code"] == "unauthenticated" } == APILimits.loginFailuresMax)
      let locks = found.filter { $0["code"] == "locked_out" }
      #expect(locks.count == 1 && locks[0]["after"] == ["by": "pair", "seconds": 30])
      #expect(found.count == APILimits.loginFailuresMax + 2)
      #expect(!JSONValue.array(found).text.contains("Tr0ub4dor"))
      try await expectWhole(api)
    }
  }

  @Test("A password typed for the address, a password, a token: no secret is in the log", arguments: TestBackend.allCases)
  func secrets(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let admin = try await api.makeUser([.admin])
      let token = try await api.token(of: admin)
      _ = try await api.post("/auth/login", nil, ["email": "S3cret-typed-here", "password": "S3cret-1"])
      _ = try await api.post(
        "/users", token, ["email": "v@example.org", "password": "S3cret-2 and longer", "roles": ["Viewer"]])
      _ = try await api.post("/users", token, ["email": "v@example.org", "password": "S3cret-3 again", "roles": ["Viewer"]])
      let session = try await api.post(
        "/auth/login", nil, ["email": "v@example.org", "password": "S3cret-2 and longer"])
      let own = try #require(session.data["access_token"]?.string)
      let refresh = try #require(session.data["refresh_token"]?.string)
      _ = try await api.post(
        "/auth/change-password", own, ["current_password": "S3cret-4", "new_password": "S3cret-5 and longer"])
      let changed = try await api.post(
        "/auth/change-password", own,
        ["current_password": "S3cret-2 and longer", "new_password": "S3cret-6 and longer"])
      #expect(changed.status == 200)
      _ = try await api.post("/auth/logout", changed.data["access_token"]?.string, ["refresh_token": .string(refresh)])
      let text = JSONValue.array(try await records(api, AuditFilter())).text
      #expect(!text.contains("S3cret") && !text.contains(refresh) && !text.contains(own) && !text.contains("$argon"))
      #expect(text.contains("<redacted>"), "the refused account's request is there, without its password")
    }
  }

  @Test("What only a daemon changes is recorded with what was asked")
  func daemonChanges() async throws {
    try await TestAPI.with { api in
      let token = try await api.token()
      let attached = try await api.post("/attachments", token, ["interface": "eth0"])
      let id = try #require(attached.data["id"]?.string)
      let made = try await records(api, AuditFilter(operation: "createAttachment"))
      #expect(made.count == 1 && made[0]["after"]?["interface"] == "eth0" && made[0]["subject"]?["id"]?.string == id)
      let wire = try await api.post("/nodes/local/wires", token, ["name": "bump", "a": "eth0", "b": "eth1"])
      let found = try await records(api, AuditFilter(operation: "createWire"))
      #expect(found.count == 1 && found[0]["code"]?.string == wire.code && found[0]["subject"]?["id"] == "local")
      #expect(found[0]["after"]?["request"]?["a"] == "eth0")
    }
  }

  @Test("The log is listed, filtered and paged, for who may read it", arguments: TestBackend.allCases)
  func list(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let token = try await api.token()
      for name in ["one", "two", "three"] {
        #expect(try await api.post("/rule-sets", token, ["name": .string(name)]).status == 201)
      }
      let page = try await api.get("/audit-log?operation=createRuleSet&limit=2", token)
      #expect(page.meta["total"] == 3 && page.items.compactMap { $0["after"]?["name"]?.string } == ["three", "two"])
      let head = try await api.get("/audit-log/head", token)
      #expect(head.data["sequence"] == page.items[0]["sequence"] && head.data["hash"] == page.items[0]["hash"])
      let first = try await api.get("/audit-log?order=asc&limit=1", token)
      #expect(first.items[0]["sequence"] == 1)
      let rest = try await api.get("/audit-log?order=asc&after=1&limit=1", token)
      #expect(rest.items[0]["previous_hash"] == first.items[0]["hash"])
      #expect(try await api.get("/audit-log?since=2999-01-01T00:00:00Z", token).meta["total"] == 0)
      #expect(try await api.get("/audit-log", try await api.token([.maintainer])).code == "missing_scope")
    }
  }

  @Test(
    "Its filters are checked",
    arguments: [
      ("since=yesterday", "since"), ("until=2026-13-01T00:00:00Z", "until"), ("outcome=won", "outcome"),
      ("after=-1", "after"), ("order=up", "order"), ("subject_kind=" + String(repeating: "a", count: 65), "subject_kind"),
    ])
  func badFilters(_ query: String, _ path: String) async throws {
    try await TestAPI.with { api in
      let answer = try await api.get("/audit-log?\(query)", try await api.token())
      #expect(answer.code == "validation_failed" && answer.problemPaths == [path])
    }
  }

  @Test("Nothing in the API changes or removes a record")
  func readOnly() async throws {
    try await TestAPI.with { api in
      let token = try await api.token()
      for method in [HTTPRequest.Method.post, .put, .patch, .delete] {
        #expect(try await api.send(method, "/audit-log", token).status == 405)
        #expect([404, 405].contains(try await api.send(method, "/audit-log/1", token).status))
      }
    }
  }
}

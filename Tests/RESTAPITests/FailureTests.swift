import ControlProtocol
import DatabaseSupport
import Foundation
import HTTPTypes
import HummingbirdTesting
import Identity
import NIOCore
import Storage
import Testing

@testable import RESTAPI

typealias HTTPRequestMethod = HTTPRequest.Method

@Suite("Wrong requests and failing parts")
struct FailureTests {
  private static let transports: [TestingSetup] = [.router, .live]

  private func send(
    _ api: TestAPI, _ type: String?, _ bytes: [UInt8]?, path: String = "/rule-sets"
  ) async throws -> Answer {
    var headers: HTTPFields = [.authorization: "Bearer \(try await api.token())"]
    if let type { headers[.contentType] = type }
    return try await api.send(.post, path, headers: headers, bytes: bytes)
  }

  @Test("A body of 10 MB is refused, and so is one a byte too long; the longest is read", arguments: [0, 1])
  func bodySize(_ transport: Int) async throws {
    try await TestAPI.with(.sqlite, Self.transports[transport]) { api in
      let limits = [("/users", APILimits.bodyBytesMax), ("/rule-sets", APILimits.ruleSetBodyBytesMax)]
      for (path, limit) in limits {
        for count in [limit + (10 << 20), limit + 1] {
          let answer = try await send(api, "application/json", Array(repeating: 0x20, count: count), path: path)
          #expect(answer.code == "payload_too_large")
          #expect(answer.details["bytes_max"]?.integer == Int64(limit))
        }
      }
      var longest = Array("{\"name\":\"s\"}".utf8)
      longest += Array(repeating: 0x20, count: APILimits.ruleSetBodyBytesMax - longest.count)
      #expect(try await send(api, "application/json", longest).status == 201)
    }
  }

  @Test(
    "A body that is not JSON is refused", arguments: ["{", "name=a", "\u{0}", "{\"name\":\"a\"}}", "[", "\u{FEFF}{}"])
  func notJSON(_ body: String) async throws {
    try await TestAPI.with { api in
      let answer = try await send(api, "application/json", Array(body.utf8))
      #expect(answer.status == 400 && answer.code == "invalid_json")
      #expect(answer.details["offset"]?.integer != nil)
    }
  }

  @Test("No body is not JSON either, where one is needed")
  func noBody() async throws {
    try await TestAPI.with { api in
      let typed = try await send(api, "application/json", nil)
      #expect(typed.code == "invalid_json")
      let untyped = try await send(api, nil, nil)
      #expect(untyped.code == "unsupported_media_type")
    }
  }

  @Test(
    "A body of another type is refused",
    arguments: [
      nil, "text/plain", "application/x-www-form-urlencoded", "application/jsonx", "json",
      "multipart/form-data; boundary=x", "",
    ])
  func otherTypes(_ type: String?) async throws {
    try await TestAPI.with { api in
      let answer = try await send(api, type, Array("{\"name\":\"a\"}".utf8))
      #expect(answer.status == 415 && answer.code == "unsupported_media_type")
    }
  }

  @Test(
    "JSON with a charset is JSON",
    arguments: ["application/json; charset=utf-8", "APPLICATION/JSON", "application/json;charset=UTF-8"])
  func charset(_ type: String) async throws {
    try await TestAPI.with { api in
      let answer = try await send(api, type, Array("{\"name\":\"a\"}".utf8))
      #expect(answer.status == 201)
    }
  }

  @Test("A stranger's body is not read")
  func strangersBody() async throws {
    try await TestAPI.with { api in
      let answer = try await api.send(
        .post, "/rule-sets", headers: [.contentType: "application/json"], bytes: Array(repeating: 0x20, count: 10 << 20)
      )
      #expect(answer.code == "unauthenticated")
    }
  }

  @Test("Headers beyond their limits end the connection with 400, and the server lives on")
  func headers() async throws {
    try await TestAPI.with(.sqlite, .live) { api in
      let huge = String(repeating: "a", count: APILimits.headerBytesMax * 2)
      let status = try? await api.client.execute(
        uri: "/healthz", method: .get, headers: [.userAgent: huge]
      ) { $0.status.code }
      #expect(status == nil || status == 400 || status == 431)
      let port = try #require(api.client.port)
      try await TestClient.withClient(host: "localhost", port: port) { other in
        let response = try await other.get("/healthz")
        #expect(response.status == .ok)
      }
    }
  }

  @Test("A path beyond its limit is refused")
  func longPath() async throws {
    try await TestAPI.with { api in
      let answer = try await api.get(
        "/users/" + String(repeating: "a", count: APILimits.pathBytesMax), try await api.token())
      #expect(answer.code == "invalid_request")
    }
  }

  @Test("A plain request id is taken over, any other is replaced")
  func requestIDs() async throws {
    try await TestAPI.with { api in
      for (sent, isKept) in [
        ("abc-DEF_1.2", true), (String(repeating: "a", count: 64), true), (String(repeating: "a", count: 65), false),
        ("a b", false), ("a\"b", false), ("", false), ("é", false),
      ] {
        let answer = try await api.send(.get, "/nothing", headers: [.requestID: sent], bytes: nil)
        let id = try #require(answer.headers[.requestID])
        #expect((id == sent) == isKept)
        #expect(!id.isEmpty && answer.meta["request_id"]?.string == id)
      }
    }
  }

  @Test("With the database gone: 503 everywhere but /healthz, and all is well when it is back")
  func databaseDown() async throws {
    let server = try PostgresServer()
    defer { server.remove() }
    try await TestAPI.with(on: try TestDatabase(on: server)) { api in
      let token = try await api.token()
      #expect(try await api.get("/readyz").status == 200)
      try server.kill()
      #expect(try await api.get("/healthz").status == 200)
      let unready = try await api.get("/readyz")
      #expect(unready.status == 503 && unready.headers[.retryAfter] != nil)
      for (method, path, body) in [
        (.get, "/rule-sets", nil), (.post, "/rule-sets", ["name": "s"]),
        (.post, "/auth/login", ["email": "a@b.c", "password": "x"]), (.get, "/nodes/local/status", nil),
      ] as [(HTTPRequestMethod, String, JSONValue?)] {
        let answer = try await api.send(method, path, token, body)
        #expect(answer.code == "database_unavailable", "\(method) \(path): \(answer.text)")
        #expect(answer.headers[.retryAfter] != nil)
        #expect(!answer.message.contains("\(server.port)"), "what the database says stays in the log")
      }
      try server.start()
      let deadline = ContinuousClock.now + .seconds(20)
      var status = 0
      while status != 200, ContinuousClock.now < deadline {
        status = try await api.get("/rule-sets", token).status
      }
      #expect(status == 200)
    }
  }

  @Test("What is wrong inside stands in the log, and in the answer only where that is wanted", arguments: [false, true])
  func internalErrors(_ showsInternals: Bool) async throws {
    try await TestAPI.with(showsInternals: showsInternals) { api in
      let user = try await api.makeUser([.viewer])
      let token = try await api.token()
      let path = try #require(api.database.environment["DB_PATH"])
      _ = try TLSTests.shell(
        "python3 -c \"import sqlite3; c = sqlite3.connect('\(path)', timeout=10); "
          + "c.execute(\\\"UPDATE users SET email = 'nobody' WHERE email = '\(user.email.value)'\\\"); c.commit()\"")
      let answer = try await api.get("/users/\(user.id.uuidString)", token)
      #expect(answer.status == 500 && answer.code == "internal", "\(answer.text)")
      #expect(answer.text.contains("cannot be understood") == showsInternals, "\(answer.text)")
      #expect(api.logs.lines.contains { $0.contains("request failed") && $0.contains("cannot be understood") })
    }
  }

  @Test("No secret reaches the log: passwords, tokens, hashes")
  func secrets() async throws {
    try await TestAPI.with { api in
      let user = try await api.makeUser([.admin])
      let wrong = "a-wrong-secret-1"
      let new = "a-new-secret-42"
      _ = try await api.post("/auth/login", nil, ["email": .string(user.email.value), "password": .string(wrong)])
      _ = try await api.post("/auth/login?password=query-secret-7", nil, ["email": 1, "password": .string(wrong)])
      let session = try await api.post(
        "/auth/login", nil, ["email": .string(user.email.value), "password": .string(TestAPI.password)])
      let ended = try #require(session.data["access_token"]?.string)
      let refresh = try #require(session.data["refresh_token"]?.string)
      _ = try await api.post("/auth/refresh", nil, ["refresh_token": .string(refresh)])
      _ = try await api.post("/auth/refresh", nil, ["refresh_token": .string(refresh)])
      // The token used twice has ended its session.
      let again = try await api.post(
        "/auth/login", nil, ["email": .string(user.email.value), "password": .string(TestAPI.password)])
      let access = try #require(again.data["access_token"]?.string)
      _ = try await api.post(
        "/users", access, ["email": "n@example.org", "password": .string(new), "roles": ["Viewer"]])
      let change = try await api.post(
        "/auth/change-password", access, ["current_password": .string(TestAPI.password), "new_password": .string(new)])
      _ = try await api.get("/users", access + "x")
      let secrets = [
        wrong, new, TestAPI.password, "query-secret-7", access, ended, refresh, "argon2", "Bearer ",
        try #require(change.data["refresh_token"]?.string), try #require(change.data["access_token"]?.string),
        try await api.store.user(id: user.id).passwordHash,
      ]
      let log = api.logs.lines.joined(separator: "\n")
      #expect(api.logs.lines.count { $0.contains("route=/api/v1/auth/login") } == 4, "the log is not empty")
      for secret in secrets { #expect(!log.contains(secret), "\(secret.prefix(12))…") }
    }
  }

  @Test("Every request is one line with its id, route and status, and no line is forged by a path")
  func accessLog() async throws {
    try await TestAPI.with { api in
      let answer = try await api.get("/users/\(UUID().uuidString)", try await api.token())
      let id = try #require(answer.headers[.requestID])
      let lines = api.logs.lines.filter { $0.contains("request_id=\(id)") }
      #expect(lines.count == 1)
      #expect(lines[0].contains("route=/api/v1/users/{id}") && lines[0].contains("status=404"))
      #expect(lines[0].contains("error=not_found") && lines[0].contains("user_id="))
    }
  }

  @Test("No caller makes new series: unknown paths and methods share one label")
  func metricLabels() async throws {
    try await TestAPI.with { api in
      for index in 0..<20 {
        _ = try await api.get("/nothing/\(index)")
        _ = try await api.send(try #require(HTTPRequestMethod(rawValue: "BREW\(index)")), "/nothing")
      }
      let text = try await api.get("/metrics").text
      #expect(text.contains("sluice_api_requests_total{method=\"GET\",route=\"unmatched\",status=\"404\"} 20"))
      #expect(text.contains("sluice_api_requests_total{method=\"other\",route=\"unmatched\",status=\"404\"} 20"))
      #expect(!text.contains("BREW") && !text.contains("nothing"))
      #expect(text.contains("sluice_api_database_pool_size 4"))
    }
  }
}

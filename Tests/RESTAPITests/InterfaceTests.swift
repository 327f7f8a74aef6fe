import ControlProtocol
import DatabaseSupport
import Foundation
import HTTPTypes
import Hummingbird
import Synchronization
import Testing

@testable import RESTAPI

@Suite("The interface: who is answered, how often, in which form")
struct InterfaceTests {
  private func headers(_ token: String?, _ more: HTTPFields = [:]) -> HTTPFields {
    var headers = more
    if let token { headers[.authorization] = "Bearer \(token)" }
    return headers
  }

  // MARK: Rates

  @Test("A bucket admits its burst, then one request per interval, and says how long to wait")
  func bucket() throws {
    let limiter = RateLimiter()
    let rate = Rate(perSecond: 2)
    let start = ContinuousClock.now
    for _ in 0..<4 { #expect(limiter.wait(.address("a"), rate, now: start) == nil) }
    let wait = try #require(limiter.wait(.address("a"), rate, now: start))
    #expect(abs(wait.inSeconds - 0.5) < 0.001)
    #expect(limiter.wait(.address("b"), rate, now: start) == nil, "another address has its own")
    #expect(limiter.wait(.address("a"), rate, now: start + .milliseconds(499)) != nil)
    #expect(limiter.wait(.address("a"), rate, now: start + .milliseconds(501)) == nil)
    #expect(limiter.wait(.address("a"), rate, now: start + .seconds(3600)) == nil)
  }

  @Test("However many callers there are, only so many are remembered, and a busy one is not forgotten for idle ones")
  func bounded() {
    let limiter = RateLimiter(bucketsMax: 100)
    let rate = Rate(perSecond: 1)
    let start = ContinuousClock.now
    for _ in 0..<2 { _ = limiter.wait(.address("busy"), rate, now: start + .seconds(9)) }
    for n in 0..<5000 {
      _ = limiter.wait(.address("n\(n)"), rate, now: start + .seconds(9) + .milliseconds(n / 10))
      #expect(limiter.bucketCount <= 101)
      if n % 40 == 0 { _ = limiter.wait(.address("busy"), rate, now: start + .seconds(9) + .milliseconds(n / 10)) }
    }
    #expect(limiter.wait(.address("busy"), rate, now: start + .milliseconds(9600)) != nil)
  }

  @Test("Addresses of one /64 of IPv6 are one caller", arguments: [
    ("2001:db8::1", "2001:db8::/64"), ("2001:db8::ffff:1", "2001:db8::/64"), ("fe80::1%eth0", "fe80::/64"),
    ("192.0.2.1", "192.0.2.1"), ("unix", "unix"), ("x:y", "x:y"),
  ])
  func network(_ address: String, _ key: String) { #expect(RateLimiter.network(of: address) == key) }

  @Test("Who asks too often with one token gets 429 with Retry-After; others and the probes are answered")
  func tokenRate() async throws {
    let interface = InterfaceSettings(tokenRate: Rate(perSecond: 1), routeRates: ["login": Rate(perSecond: 0.5)])
    try await TestAPI.with(interface: interface) { api in
      let (one, other) = (try await api.token(), try await api.token())
      var statuses: [Int] = []
      for _ in 0..<4 { statuses.append(try await api.get("/auth/me", one).status) }
      #expect(statuses.prefix(2) == [200, 200])
      let refused = try await api.get("/auth/me", one)
      #expect(refused.code == "too_many_requests")
      #expect(refused.details["limit"] == "token")
      #expect((1...2).contains(Int(refused.headers[.retryAfter] ?? "") ?? 0))
      #expect(try await api.get("/auth/me", other).status == 200)
      for path in ["/healthz", "/readyz", "/metrics"] { #expect(try await api.get(path, one).status == 200) }
      #expect(try await api.get("/metrics").text.contains("sluice_api_rate_limited_total{limit=\"token\"}"))
      let login: JSONValue = ["email": "nobody@example.org", "password": "x"]
      #expect(try await api.post("/auth/login", nil, login).status == 401)
      let second = try await api.post("/auth/login", nil, login)
      #expect(second.code == "too_many_requests")
      #expect(second.details["limit"] == "route")
    }
  }

  @Test("Every route with a limit of its own is a route, and those that hash passwords or reach a daemon's rules have one")
  func costly() async throws {
    let limited = Set(InterfaceSettings.costlyRoutes.keys)
    #expect(limited.subtracting(RouteTable.v1.routes.map(\.operation)) == [])
    #expect(limited.isSuperset(of: ["login", "changePassword", "resetPassword", "applyRuleSet", "startCapture", "topElements"]))
    let interface = InterfaceSettings(routeRates: ["startCapture": Rate(perSecond: 0.5)])
    try await TestAPI.with(interface: interface) { api in
      let token = try await api.token()
      #expect(try await api.post("/captures", token, [:]).code == "validation_failed")
      #expect(try await api.post("/captures", token, [:]).code == "too_many_requests")
    }
  }

  @Test("An answer that nobody asks for ends what it is made of")
  func droppedAnswer() async throws {
    let channel = PieceChannel<Int>()
    let (ended, tell) = AsyncStream<Bool>.makeStream()
    do {
      let production = Production(into: channel) {
        defer { tell.yield(Task.isCancelled) }
        for piece in 0... { try await channel.put(piece) }
      }
      #expect(try await channel.next() == 0)
      withExtendedLifetime(production) {}
    }
    var iterator = ended.makeAsyncIterator()
    #expect(await iterator.next() == true)
  }

  @Test("The limit of an address counts over connections and tokens")
  func addressRate() async throws {
    try await TestAPI.with(.sqlite, .live, interface: InterfaceSettings(addressRate: Rate(perSecond: 1))) { api in
      let token = try await api.token()
      _ = try await api.get("/auth/me", token)
      _ = try await api.get("/auth/me", try await api.token())
      let third = try await api.get("/auth/me", try await api.token())
      #expect(third.code == "too_many_requests")
      #expect(third.details["limit"] == "address")
    }
  }

  // MARK: Hosts and origins

  @Test("Only the listed names are answered; probes under any", arguments: [
    ("sluice.example.org", 200), ("SLUICE.example.org:8443", 200), ("a.b.example.net", 200), ("example.net", 421),
    ("evil.example", 421), ("sluice.example.org.evil.example", 421), ("[::1]:8080", 200), ("", 421), ("*", 421),
  ])
  func hosts(_ host: String, _ status: Int) async throws {
    let middleware = TrustedHostsMiddleware(hosts: ["sluice.example.org", "*.example.net", "[::1]"])
    #expect(middleware.isTrusted(host) == (status == 200))
  }

  @Test("A request for another server is misdirected")
  func misdirected() async throws {
    try await TestAPI.with(interface: InterfaceSettings(trustedHosts: ["sluice.example.org"])) { api in
      let answer = try await api.get("/openapi.json")
      #expect(answer.code == "untrusted_host")
      #expect(try await api.get("/healthz").status == 200)
    }
  }

  private static let allowOrigin = HTTPField.Name("Access-Control-Allow-Origin")!
  private static let preflight: HTTPFields = [
    .origin: "https://console.example.org", HTTPField.Name("Access-Control-Request-Method")!: "PATCH",
  ]

  @Test("Without listed origins no page may read anything")
  func corsIsOff() async throws {
    try await TestAPI.with { api in
      let answer = try await api.send(.options, "/users", headers: Self.preflight, bytes: nil)
      #expect(answer.status == 405)
      #expect(answer.headers[Self.allowOrigin] == nil)
    }
  }

  @Test("Pages of a listed origin may read answers, failures too; others may not")
  func cors() async throws {
    try await TestAPI.with(interface: InterfaceSettings(corsOrigins: ["https://console.example.org"])) { api in
      let preflight = try await api.send(.options, "/users", headers: Self.preflight, bytes: nil)
      #expect(preflight.status == 204)
      #expect(preflight.headers[Self.allowOrigin] == "https://console.example.org")
      #expect(preflight.headers[HTTPField.Name("Access-Control-Allow-Headers")!]?.contains("If-Match") == true)
      let refused = try await api.send(.get, "/users", headers: [.origin: "https://console.example.org"], bytes: nil)
      #expect(refused.status == 401)
      #expect(refused.headers[Self.allowOrigin] == "https://console.example.org")
      for origin in ["https://evil.example", "null", "https://console.example.org.evil.example", "*"] {
        let other = try await api.send(.get, "/openapi.json", headers: [.origin: origin], bytes: nil)
        #expect(other.headers[Self.allowOrigin] == nil)
        #expect(other.headers[.vary]?.contains("Origin") == true)
      }
    }
  }

  // MARK: Compression

  @Test("A large answer is compressed for whom it helps, and is the same")
  func compression() async throws {
    try await TestAPI.with { api in
      let plain = try await api.get("/openapi.json")
      #expect(plain.headers[.contentEncoding] == nil)
      #expect(plain.headers[.vary]?.contains("Accept-Encoding") == true)
      try await api.client.execute(
        uri: "/api/v1/openapi.json", method: .get, headers: [.acceptEncoding: "br;q=1.0, gzip;q=0.8"]
      ) { response in
        #expect(response.headers[.contentEncoding] == "gzip")
        let packed = Array(response.body.readableBytesView)
        #expect(packed.count < plain.text.utf8.count / 3)
        #expect(Gzip.expanded(packed, byteCountMax: 1 << 20) == Array(plain.text.utf8))
      }
      let small = try await api.send(.get, "/healthz", headers: [.acceptEncoding: "gzip"], bytes: nil)
      #expect(small.headers[.contentEncoding] == nil)
    }
  }

  @Test("Accept-Encoding is read as RFC 9110 says", arguments: [
    ("gzip", true), ("GZIP", true), ("*", true), ("deflate, gzip;q=1.0, *;q=0.5", true), ("gzip;q=0", false),
    ("gzip; q=0.000", false), ("identity", false), ("", false), ("br", false), (";", false), ("gzip;q=x", true),
  ])
  func acceptEncoding(_ header: String, _ accepts: Bool) { #expect(CompressionMiddleware.accepts(header) == accepts) }

  @Test("Nothing that isn't gzip, and nothing too large, is expanded")
  func hostileGzip() {
    #expect(Gzip.expanded([], byteCountMax: 100) == nil)
    #expect(Gzip.expanded([0x1f, 0x8b, 8, 0, 0], byteCountMax: 100) == nil)
    let packed = Gzip.compressed([UInt8](repeating: 7, count: 100_000)) ?? []
    #expect(packed.count < 1000)
    #expect(Gzip.expanded(packed, byteCountMax: 99_999) == nil)
    #expect(Gzip.expanded(packed, byteCountMax: 100_000)?.count == 100_000)
    #expect(Gzip.expanded(Array(packed.dropLast()), byteCountMax: 100_000) == nil)
  }

  // MARK: Traces

  @Test("The caller's trace goes on to the daemon; the answer and the log name it")
  func trace() async throws {
    try await TestAPI.with { api in
      let id = "4bf92f3577b34da6a3ce929d0e0e4736"
      var fields = headers(try await api.token())
      fields[HTTPField.Name("traceparent")!] = "00-\(id)-00f067aa0ba902b7-01"
      fields[HTTPField.Name("tracestate")!] = "vendor=1"
      fields[.requestID] = "my-request.1"
      let answer = try await api.send(.get, "/nodes/local/status", headers: fields, bytes: nil)
      #expect(answer.status == 200)
      let response = try #require(answer.headers[HTTPField.Name("traceresponse")!])
      #expect(response.hasPrefix("00-\(id)-") && response.hasSuffix("-01") && !response.contains("00f067aa0ba902b7"))
      let seen = try #require(api.daemon.lastTrace)
      #expect(seen.traceID == id)
      #expect(seen.requestID == "my-request.1")
      #expect(seen.state == "vendor=1")
      #expect(api.logs.lines.contains { $0.contains("request_id=my-request.1") && $0.contains("trace_id=\(id)") })
    }
  }

  @Test("A trace context that is not one starts a new trace", arguments: [
    "", "00", "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g", String(repeating: "0", count: 5000),
  ])
  func badTrace(_ parent: String) {
    let trace = RequestTrace(requestID: "r", parent: parent, state: "a=b")
    #expect(trace.traceID != "4bf92f3577b34da6a3ce929d0e0e4736")
    #expect(trace.state == nil)
    #expect(RequestTrace(requestID: "", parent: trace.parent, state: nil).traceID == trace.traceID)
  }

  // MARK: The page and the end of a route

  @Test("The page for people loads nothing from elsewhere, and its policy knows its script and style")
  func page() async throws {
    try await TestAPI.with { api in
      let answer = try await api.get("/docs")
      #expect(answer.headers[.contentType] == "text/html; charset=utf-8")
      #expect(!answer.text.contains("http:") && !answer.text.contains("https:") && !answer.text.contains("src="))
      let policy = try #require(answer.headers[.contentSecurityPolicy])
      #expect(policy == ReferencePage.policy)
      #expect(!policy.contains("unsafe"))
    }
  }

  @Test("A route that is about to go says so in every answer and in the document")
  func deprecation() throws {
    var headers: HTTPFields = [:]
    let old = Deprecation(
      since: Date(timeIntervalSince1970: 1_800_000_000), sunset: Date(timeIntervalSince1970: 784_111_777),
      successor: "/api/v2/rule-sets")
    old.write(into: &headers)
    #expect(headers[HTTPField.Name("Deprecation")!] == "@1800000000")
    #expect(headers[HTTPField.Name("Sunset")!] == "Sun, 06 Nov 1994 08:49:37 GMT")
    #expect(headers[HTTPField.Name("Link")!] == "</api/v2/rule-sets>; rel=\"successor-version\"")
    let route = Route(
      .get, "/api/v1/old", "old", tag: "t", "Old.", access: .open, answer: .document, deprecation: old
    ) { _, _ in .data(.null) }
    let document = OpenAPIDocument.make(RouteTable(routes: [route]), version: "1")
    #expect(document["paths"]?["/api/v1/old"]?["get"]?["deprecated"] == true)
  }

  @Test("A request that takes over a second is counted under its route, and logged as slow; others are not")
  func slow() async throws {
    try await TestAPI.with { api in
      func route(_ name: String, _ time: Duration) -> Route {
        Route(.get, "/api/v1/\(name)", name, tag: "t", "It waits.", access: .open, answer: .document) { _, _ in
          try await Task.sleep(for: time)
          return .data(.null)
        }
      }
      let late = Duration.milliseconds(APILimits.slowRequestMilliseconds + 50)
      let table = RouteTable(routes: [route("late", late), route("early", .zero)])
      try await Application(router: table.router(services: api.services)).test(.router) { client in
        for name in ["late", "early"] {
          try await client.execute(uri: "/api/v1/\(name)", method: .get) { #expect($0.status == .ok) }
        }
      }
      let counted = try await api.get("/metrics").text.split(separator: "\n").filter { $0.contains("slow_requests_total{") }
      #expect(counted.contains { $0.contains("/late") && $0.hasSuffix(" 1") } && !counted.contains { $0.contains("/early") })
    }
  }

  @Test("A deprecated route's headers reach the caller")
  func deprecatedAnswer() async throws {
    try await TestAPI.with { api in
      let route = Route(
        .get, "/api/v1/old", "old", tag: "t", "Old.", access: .open, answer: .document,
        deprecation: Deprecation(since: Date(timeIntervalSince1970: 1))
      ) { _, _ in .data(.null) }
      let router = RouteTable(routes: [route]).router(services: api.services)
      try await Application(router: router).test(.router) { client in
        try await client.execute(uri: "/api/v1/old", method: .get) {
          #expect($0.headers[HTTPField.Name("Deprecation")!] == "@1")
        }
      }
    }
  }
}

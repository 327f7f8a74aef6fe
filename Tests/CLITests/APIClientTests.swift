import AsyncHTTPClient
import Foundation
import Hummingbird
import HummingbirdTesting
import Synchronization
import Testing

@testable import sluice

/// A peer that hands out tokens which are good for one use each, and answers a list in pages.
private final class Peer: Sendable {
  struct State {
    var access = 0
    var refresh = 0
    var refreshes = 0
    var isSessionOver = false
    var counterReadings = 0
  }
  let state = Mutex(State())

  func tokens(expiresIn: Int64 = 3600) -> JSON {
    state.withLock { state in
      state.access += 1
      state.refresh += 1
      return [
        "access_token": .string("access-\(state.access)"), "refresh_token": .string("refresh-\(state.refresh)"),
        "expires_in": .integer(expiresIn), "must_change_password": false, "user": ["email": "ops@example.org"],
      ]
    }
  }

  /// Makes every access token given out so far useless.
  func expireAccess() { state.withLock { $0.access += 1 } }

  private static func answer(_ status: HTTPResponse.Status, _ body: JSON) -> Response {
    Response(
      status: status, headers: [.contentType: "application/json"], body: .init(byteBuffer: .init(string: body.text())))
  }
  private static func success(_ data: JSON, meta: JSON = [:]) -> Response {
    answer(.ok, ["status": "success", "data": data, "meta": meta])
  }
  private static func failure(_ status: HTTPResponse.Status, _ code: String, _ message: String) -> Response {
    answer(status, ["status": "error", "error": ["code": .string(code), "message": .string(message)]])
  }

  func application() -> some ApplicationProtocol {
    let router = Router()
    let base = router.group("api/v1")
    base.post("auth/login") { request, _ in
      let body = JSON.parse(try await request.body.collect(upTo: 4096).readableBytesView) ?? .null
      guard body["password"].string == "right" else {
        return Self.failure(.unauthorized, "unauthenticated", "the email or the password is wrong")
      }
      return Self.success(self.tokens())
    }
    base.post("auth/refresh") { request, _ in
      let body = JSON.parse(try await request.body.collect(upTo: 4096).readableBytesView) ?? .null
      let isGood = self.state.withLock { state in
        state.refreshes += 1
        return !state.isSessionOver && body["refresh_token"].string == "refresh-\(state.refresh)"
      }
      guard isGood else { return Self.failure(.unauthorized, "unauthenticated", "used before: the session is ended") }
      return Self.success(self.tokens())
    }
    base.post("auth/logout") { _, _ in Self.success(["signed_out": true]) }
    base.get("auth/me") { request, _ in
      self.authorized(request) { Self.success(["user": ["email": "ops@example.org"]]) }
    }
    base.get("things") { request, _ in
      self.authorized(request) {
        let first = request.uri.queryParameters.get("cursor").flatMap { Int($0.dropFirst()) } ?? 0
        let end = min(first + (request.uri.queryParameters.get("limit", as: Int.self) ?? 0), 450)
        let page = (first..<end).map { JSON.count($0) }
        return Self.success(.array(page), meta: end < 450 ? ["next_cursor": .string("c\(end)")] : [:])
      }
    }
    base.get("forbidden") { _, _ in Self.failure(.forbidden, "missing_scope", "no") }
    base.get("stranger") { _, _ in Response(status: .ok, body: .init(byteBuffer: .init(string: "<html>"))) }
    base.get("nodes/local/counters") { _, _ in
      let reading = self.state.withLock { state in
        state.counterReadings += 1
        return state.counterReadings
      }
      return reading == 2 ? Self.failure(.serviceUnavailable, "unavailable", "busy") : Self.success([])
    }
    base.delete("rule-sets/edge/rules/:rule") { request, context in
      guard request.headers[.ifMatch] == "*" else { return Self.failure(.preconditionRequired, "precondition_required", "If-Match") }
      let isThere = context.parameters.get("rule") != "typo"
      return isThere ? Self.success(["deleted": true]) : Self.failure(.notFound, "not_found", "there is no rule typo")
    }
    base.post("captures/stream") { _, _ in Self.failure(.notFound, "not_found", "nope is not attached") }
    base.get("stalled") { _, _ in
      Response(
        status: .ok,
        body: .init { writer in
          try await writer.write(ByteBuffer(string: "{"))
          try await Task.sleep(for: .seconds(20))
          try await writer.finish(nil)
        })
    }
    base.get("elsewhere") { _, _ in Response(status: .found, headers: [.location: "http://192.0.2.1/steal"]) }
    return Application(router: router)
  }

  private func authorized(_ request: Request, _ body: () -> Response) -> Response {
    let good = state.withLock { "Bearer access-\($0.access)" }
    return request.headers[.authorization] == good
      ? body() : Self.failure(.unauthorized, "token_expired", "the access token has ended")
  }
}

@Suite("The client of the API", .timeLimit(.minutes(1)))
struct APIClientTests {
  private func withPeer(_ body: @escaping @Sendable (Peer, APIClient, URL) async throws -> Void) async throws {
    let peer = Peer()
    try await withFolder { folder in
      try await peer.application().test(.live) { server in
        let http = HTTPClient(
          eventLoopGroupProvider: .singleton, configuration: APIOptions.configuration(silenceMax: .seconds(2)))
        let base = "http://127.0.0.1:\(try #require(server.port))"
        let store = CredentialStore(folder: folder.appending(path: ".config/sluice"))
        let client = APIClient(base: base, http: http, store: store)
        do { try await body(peer, client, folder) } catch {
          try await http.shutdown()
          throw error
        }
        try await http.shutdown()
      }
    }
  }

  private func signIn(_ client: APIClient) async throws {
    _ = try await client.beginSession("/auth/login", ["email": "ops@example.org", "password": "right"])
  }

  private func failure(_ body: @Sendable () async throws -> Void) async throws -> CommandError {
    do { try await body() } catch let error as CommandError { return error }
    Issue.record("it should have failed")
    throw CancellationError()
  }

  @Test("Signing in keeps the tokens; a wrong password keeps nothing")
  func login() async throws {
    try await withPeer { _, client, _ in
      let wrong = try await failure {
        _ = try await client.beginSession("/auth/login", ["email": "x", "password": "wrong"])
      }
      #expect(wrong.status == .notAuthenticated)
      #expect(try client.store.credentials(for: client.base) == nil)
      try await signIn(client)
      #expect(try client.store.credentials(for: client.base)?.accessToken == "access-1")
      #expect(try await client.call(.get, "/auth/me")["data"]["user"]["email"] == "ops@example.org")
    }
  }

  @Test("Without credentials the command says what to do, without asking the API")
  func signedOut() async throws {
    try await withPeer { _, client, _ in
      let error = try await failure { _ = try await client.call(.get, "/auth/me") }
      #expect(error.status == .notAuthenticated)
      #expect(error.message.contains("sluice login"))
    }
  }

  @Test("An access token that has ended is renewed once, and the request repeated")
  func renewal() async throws {
    try await withPeer { peer, client, _ in
      try await signIn(client)
      peer.expireAccess()
      #expect(try await client.call(.get, "/auth/me")["data"]["user"]["email"] == "ops@example.org")
      #expect(peer.state.withLock { $0.refreshes } == 1)
      var old = try #require(try client.store.credentials(for: client.base))
      old.expiresAt = Date(timeIntervalSinceNow: 5)
      try client.store.set(old, for: client.base)
      _ = try await client.call(.get, "/auth/me")
      #expect(peer.state.withLock { $0.refreshes } == 2)
    }
  }

  @Test("Many commands at once use a refresh token once")
  func concurrentRenewal() async throws {
    try await withPeer { peer, client, _ in
      try await signIn(client)
      peer.expireAccess()
      try await withThrowingTaskGroup(of: Void.self) { group in
        for _ in 0..<8 { group.addTask { _ = try await client.call(.get, "/auth/me") } }
        try await group.waitForAll()
      }
      #expect(peer.state.withLock { $0.refreshes } == 1)
    }
  }

  @Test("A session that has ended is forgotten, with the advice to sign in")
  func ended() async throws {
    try await withPeer { peer, client, _ in
      try await signIn(client)
      peer.expireAccess()
      peer.state.withLock { $0.isSessionOver = true }
      let error = try await failure { _ = try await client.call(.get, "/auth/me") }
      #expect(error.status == .notAuthenticated)
      #expect(error.message.contains("sluice login"))
      #expect(try client.store.credentials(for: client.base) == nil)
    }
  }

  @Test("Signing out forgets the tokens")
  func logout() async throws {
    try await withPeer { _, client, _ in
      try await signIn(client)
      try await client.endSession()
      #expect(try client.store.credentials(for: client.base) == nil)
      try await client.endSession()
    }
  }

  @Test("A list is read to its end")
  func pages() async throws {
    try await withPeer { _, client, _ in
      try await signIn(client)
      #expect(try await client.list("/things") == (0..<450).map { JSON.count($0) })
      #expect(try await client.list("/things", max: 250) == (0..<250).map { JSON.count($0) })
    }
  }

  @Test("Errors keep their code; an answer of something else is recognised; redirections are not followed")
  func errors() async throws {
    try await withPeer { _, client, _ in
      try await signIn(client)
      #expect(try await failure { _ = try await client.call(.get, "/forbidden") }.status == .forbidden)
      #expect(try await failure { _ = try await client.call(.get, "/stranger") }.code == "bad_answer")
      #expect(try await failure { _ = try await client.call(.get, "/elsewhere") }.code == "http_302")
    }
  }

  @Test("An answer that doesn't go on is given up; the system looks whether the peer is there still")
  func stalled() async throws {
    try await withPeer { _, client, folder in
      try await signIn(client)
      let port = try #require(client.base.split(separator: ":").last)
      let start = ContinuousClock.now
      async let failed = failure { _ = try await client.call(.get, "/stalled") }
      try await Task.sleep(for: .milliseconds(700))
      let sockets = try shell("ss -tnoH state established dport = :\(port)").output
      #expect(sockets.contains("timer:(keepalive,"), "\(sockets)")
      let error = try await failed
      #expect(error.status == .unavailable && error.message.contains("no answer in time"), "\(error)")
      #expect(start.duration(to: .now) < .seconds(15))
    }
  }

  @Test("The built command with a key, and no home: rules that went before an error are named; a refused capture leaves no file")
  func key() async throws {
    try await withPeer { _, client, folder in
      let environment = ["SLUICE_API": client.base, "SLUICE_API_KEY": "access-0", "HOME": ""]
      let me = try await sluice(["whoami", "--json"], home: folder, environment: environment)
      #expect(me.status == 0 && me.errors.isEmpty, "\(me)")
      let removal = try await sluice(
        ["rule", "remove", "edge", "a", "b", "typo", "c"], home: folder, environment: environment)
      #expect(removal.status == 5 && removal.errors.contains("removed a, b; then typo: "), "\(removal)")
      let all = try await sluice(["rule", "remove", "edge", "a", "b"], home: folder, environment: environment)
      #expect(all.status == 0, "\(all)")
      let file = folder.appending(path: "x.pcapng").path
      let capture = try await sluice(["capture", "nope", "-w", file], home: folder, environment: environment)
      #expect(capture.status == 5 && !FileManager.default.fileExists(atPath: file), "\(capture)")
      let watched = try await sluice(
        ["counters", "--watch", "--count", "2", "--interval", "100ms"], home: folder, environment: environment)
      #expect(watched.status == 0 && watched.errors.contains("trying again"), "\(watched)")
      let signedOut = try await sluice(["whoami"], home: folder, environment: ["SLUICE_API": client.base, "HOME": ""])
      #expect(signedOut.status == 1 && signedOut.errors.contains("SLUICE_API_KEY"), "\(signedOut)")
    }
  }

  @Test("The built command signs in, asks, signs out; statuses and files are right")
  func command() async throws {
    try await withPeer { _, client, home in
      let api = ["--api", client.base]
      let wrong = try await sluice(["login", "ops@example.org", "--password-stdin"] + api, home: home, input: "no\n")
      #expect(wrong.status == 3)
      #expect(wrong.errors.hasPrefix("error: "))
      let login = try await sluice(["login", "ops@example.org", "--password-stdin"] + api, home: home, input: "right\n")
      #expect(login.status == 0, "\(login)")
      #expect(login.output.contains("signed in to \(client.base) as ops@example.org"))
      #expect(try mode(home.appending(path: ".config/sluice/credentials.json")) == 0o600)
      #expect(!login.output.contains("access-1"))
      let me = try await sluice(["whoami", "--json"] + api, home: home)
      #expect(JSON.parse(me.output.utf8)?["user"]["email"] == "ops@example.org")
      let environment = try await sluice(["whoami"], home: home, environment: ["SLUICE_API": client.base])
      #expect(environment.status == 0)
      #expect(try await sluice(["logout"] + api, home: home).status == 0)
      #expect(try await sluice(["whoami"] + api, home: home).status == 3)
    }
  }
}

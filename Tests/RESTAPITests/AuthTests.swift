import DatabaseSupport
import Foundation
import Identity
import Storage
import Testing

@testable import RESTAPI

@Suite("Signing in and out")
struct AuthTests {
  private func login(_ api: TestAPI, _ email: String, _ password: String) async throws -> Answer {
    try await api.post("/auth/login", nil, ["email": .string(email), "password": .string(password)])
  }

  private func refresh(_ api: TestAPI, _ token: String) async throws -> Answer {
    try await api.post("/auth/refresh", nil, ["refresh_token": .string(token)])
  }

  @Test("The first sign-in can only change the password, and afterwards everything", arguments: TestBackend.allCases)
  func firstSignIn(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let first = try await login(api, "admin@localhost.local", "admin123")
      #expect(first.status == 200)
      #expect(first.data["must_change_password"] == true)
      #expect(first.data["token_type"] == "Bearer" && first.data["expires_in"] == 900)
      let token = try #require(first.data["access_token"]?.string)
      #expect(try await api.get("/users", token).code == "password_change_required")
      #expect(try await api.get("/auth/me", token).data["must_change_password"] == true)
      #expect(try await api.store.seededPasswordStands())
      let change = try await api.post(
        "/auth/change-password", token,
        ["current_password": "admin123", "new_password": "a much better one"])
      #expect(change.status == 200)
      #expect(change.data["must_change_password"] == false)
      let newToken = try #require(change.data["access_token"]?.string)
      #expect(try await api.get("/users", newToken).status == 200)
      #expect(try await api.store.seededPasswordStands() == false)
      #expect(try await login(api, "admin@localhost.local", "admin123").status == 401)
      #expect(try await login(api, "Admin@LOCALHOST.local ", "a much better one").status == 200)
      let oldRefresh = try #require(first.data["refresh_token"]?.string)
      #expect(try await refresh(api, oldRefresh).code == "unauthenticated")
    }
  }

  @Test("A wrong password, an unknown account, a deactivated one and no address at all look the same")
  func refusals() async throws {
    try await TestAPI.with { api in
      let user = try await api.makeUser([.viewer])
      let inactive = try await api.makeUser([.viewer], isActive: false)
      let refusals = [
        try await login(api, user.email.value, "wrong password"),
        try await login(api, "nobody@example.org", TestAPI.password),
        try await login(api, inactive.email.value, TestAPI.password),
        try await login(api, "not an address", TestAPI.password),
      ]
      for refusal in refusals {
        #expect(refusal.code == "unauthenticated")
        #expect(refusal.message == refusals[0].message)
        #expect(refusal.details == .null)
      }
    }
  }

  @Test("A refresh token works once; using it again ends the session", arguments: TestBackend.allCases)
  func rotation(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let user = try await api.makeUser([.viewer])
      let session = try await login(api, user.email.value, TestAPI.password)
      let first = try #require(session.data["refresh_token"]?.string)
      let second = try #require(try await refresh(api, first).data["refresh_token"]?.string)
      #expect(first != second)
      let third = try #require(try await refresh(api, second).data["refresh_token"]?.string)
      #expect(try await refresh(api, second).code == "unauthenticated", "used before")
      #expect(try await refresh(api, third).code == "unauthenticated", "the thief's or the owner's: both end")
      #expect(api.logs.lines.contains { $0.contains("used twice") && $0.contains(user.id.uuidString) })
    }
  }

  @Test("Two uses of a refresh token at once give one new pair at most")
  func rotationRace() async throws {
    try await TestAPI.with { api in
      let user = try await api.makeUser([.viewer])
      let session = try await login(api, user.email.value, TestAPI.password)
      let token = try #require(session.data["refresh_token"]?.string)
      let statuses = try await withThrowingTaskGroup(of: Int.self) { group in
        for _ in 0..<8 { group.addTask { try await refresh(api, token).status } }
        return try await group.reduce(into: []) { $0.append($1) }
      }
      #expect(statuses.filter { $0 == 200 }.count <= 1)
      #expect(statuses.allSatisfy { $0 == 200 || $0 == 401 })
    }
  }

  @Test("What never was a refresh token is refused", arguments: ["x", "", String(repeating: "A", count: 43), "ä"])
  func badRefresh(_ text: String) async throws {
    try await TestAPI.with { api in
      let answer = try await refresh(api, text)
      #expect(answer.status == (text.isEmpty ? 422 : 401))
    }
  }

  @Test("Signing out ends the session of the token, or all of them")
  func logout() async throws {
    try await TestAPI.with { api in
      let user = try await api.makeUser([.viewer])
      var tokens: [String] = []
      for _ in 0..<3 {
        let session = try await login(api, user.email.value, TestAPI.password)
        tokens.append(try #require(session.data["refresh_token"]?.string))
      }
      let access = try await api.token(of: user)
      #expect(try await api.post("/auth/logout", access, ["refresh_token": .string(tokens[0])]).status == 200)
      #expect(try await refresh(api, tokens[0]).status == 401)
      let next = try #require(try await refresh(api, tokens[1]).data["refresh_token"]?.string)
      // Without any body.
      let bare = try await api.send(.post, "/auth/logout", headers: [.authorization: "Bearer \(access)"], bytes: nil)
      #expect(bare.status == 422 && bare.problemPaths == ["current_password"])
      #expect(try await api.post("/auth/logout", access, ["current_password": "not this one"]).status == 422)
      #expect(try await api.post("/auth/logout", access, ["current_password": .string(TestAPI.password)]).status == 200)
      #expect(try await refresh(api, next).status == 401)
      #expect(try await refresh(api, tokens[2]).status == 401)
    }
  }

  @Test("A new password must be good, and the current one right")
  func changePassword() async throws {
    try await TestAPI.with { api in
      let user = try await api.makeUser([.viewer], email: "somebody-long@example.org")
      let token = try await api.token(of: user)
      func change(_ current: String, _ new: String) async throws -> Answer {
        try await api.post(
          "/auth/change-password", token, ["current_password": .string(current), "new_password": .string(new)])
      }
      #expect(try await change("wrong", "a much better one").problemPaths == ["current_password"])
      for bad in [
        "short", TestAPI.password, "password123", "somebody-long@example.org", String(repeating: "a", count: 129),
      ] {
        let answer = try await change(TestAPI.password, bad)
        #expect(answer.status == 422)
        #expect(answer.problemPaths == ["new_password"], "\(bad)")
      }
      #expect(try await change(TestAPI.password, "a much better one").status == 200)
    }
  }

  @Test("A changed password ends the access tokens from before it")
  func oldTokens() async throws {
    try await TestAPI.with { api in
      let user = try await api.makeUser([.viewer])
      let earlier = try await AccessTokens(key: api.signingKey, now: { Date(timeIntervalSinceNow: -10) })
      let old = try await earlier.issue(
        to: AccessSubject(userID: user.id, email: user.email, roles: user.roles)
      ).text
      #expect(try await api.get("/auth/me", old).status == 200)
      let change = try await api.post(
        "/auth/change-password", old,
        ["current_password": .string(TestAPI.password), "new_password": "a much better one"])
      #expect(try await api.get("/auth/me", old).code == "unauthenticated")
      let new = try #require(change.data["access_token"]?.string)
      #expect(try await api.get("/auth/me", new).status == 200)
      let admin = try await api.token()
      _ = try await api.send(.patch, "/users/\(user.id.uuidString)", admin, ["password": "yet another one"])
      #expect(try await api.get("/auth/me", old).code == "unauthenticated")
    }
  }

  @Test("A deactivated, deleted or demoted account feels it at the next request")
  func changesActAtOnce() async throws {
    try await TestAPI.with { api in
      let admin = try await api.token()
      let user = try await api.makeUser([.maintainer])
      let token = try await api.token(of: user)
      let path = "/users/\(user.id.uuidString)"
      #expect(try await api.post("/nodes", token, ["name": "a", "address": "unix:/a"]).status == 201)
      #expect(try await api.send(.patch, path, admin, ["roles": ["Viewer"]]).status == 200)
      #expect(try await api.post("/nodes", token, ["name": "b", "address": "unix:/a"]).code == "missing_scope")
      #expect(try await api.send(.patch, path, admin, ["is_active": false]).status == 200)
      #expect(try await api.get("/nodes", token).code == "unauthenticated")
      #expect(try await api.send(.patch, path, admin, ["is_active": true]).status == 200)
      #expect(try await api.get("/nodes", token).status == 200)
      #expect(try await api.send(.delete, path, admin).status == 200)
      #expect(try await api.get("/nodes", token).code == "unauthenticated")
    }
  }

  @Test("Ten failures lock an account out for the address, at first not for long, and not for others")
  func lockOut() async throws {
    try await TestAPI.with { api in
      let user = try await api.makeUser([.viewer])
      for _ in 0..<APILimits.loginFailuresMax {
        #expect(try await login(api, user.email.value, "wrong password").status == 401)
      }
      let locked = try await login(api, user.email.value, TestAPI.password)
      #expect(locked.code == "too_many_requests")
      let wait = try #require(locked.headers[.retryAfter].flatMap { Int($0) })
      #expect((1...31).contains(wait), "the first wait is short")
      let other = try await api.makeUser([.viewer])
      #expect(try await login(api, other.email.value, TestAPI.password).status == 200)
      let metrics = try await api.get("/metrics").text
      #expect(metrics.contains("sluice_api_login_failures_total{reason=\"credentials\"} 10"))
      #expect(metrics.contains("sluice_api_login_failures_total{reason=\"throttled\"} 1"))
      #expect(metrics.contains("sluice_api_lock_outs_total{subject=\"pair\"} 1"))
      #expect(metrics.contains("sluice_api_locked_out{subject=\"pair\"} 1"))
      #expect(metrics.contains("sluice_api_locked_out{subject=\"account\"} 0"))
    }
  }

  @Test("Guesses that come at once learn no more than one after the other")
  func guessesAtOnce() async throws {
    try await TestAPI.with { api in
      let user = try await api.makeUser([.viewer])
      let answers = try await withThrowingTaskGroup(of: Int.self) { group in
        for index in 0..<20 {
          // Blanks around it make no other account of it.
          let email = String(repeating: " ", count: index) + user.email.value
          group.addTask { try await login(api, email, "wrong password").status }
        }
        return try await group.reduce(into: [Int: Int]()) { $0[$1, default: 0] += 1 }
      }
      #expect(Set(answers.keys) == [401, 429])
      // Those that are told at this very moment, on each CPU.
      let atOnce = ProcessInfo.processInfo.activeProcessorCount
      #expect(answers[401, default: 0] < APILimits.loginFailuresMax + atOnce, "\(answers)")
    }
  }

  private static let policies: [LoginThrottle.Subject: LoginThrottle.Policy] = [
    .pair: .init(failuresMax: 3, firstWait: .seconds(2), longestWait: .seconds(10)),
    .account: .init(failuresMax: 6, firstWait: .seconds(1), longestWait: .seconds(4)),
    .address: .init(failuresMax: 12, firstWait: .seconds(5), longestWait: .seconds(20)),
  ]

  @Test("Each further failure doubles the wait, up to the longest; success forgives")
  func growingWait() {
    let throttle = LoginThrottle(policies: Self.policies, memory: .seconds(1000), recordsMax: 100)
    var now = ContinuousClock.now
    for _ in 0..<2 { #expect(throttle.failed(account: "A", address: "x", now: now).isEmpty) }
    var waits: [Duration] = []
    for _ in 0..<3 {
      let locks = throttle.failed(account: "a", address: "x", now: now)
      waits += locks.filter { $0.subject == .pair }.map(\.wait)
      #expect(throttle.wait(account: "A", address: "x", now: now) == waits.last)
      #expect(throttle.wait(account: "a", address: "y", now: now) == nil, "not from elsewhere")
      #expect(throttle.wait(account: "b", address: "x", now: now) == nil, "not another account")
      now = now + (waits.last ?? .zero)
      #expect(throttle.wait(account: "a", address: "x", now: now) == nil, "over when it is over")
    }
    #expect(waits == [.seconds(2), .seconds(4), .seconds(8)])
    #expect(throttle.failed(account: "a", address: "x", now: now).first?.wait == .seconds(10), "the longest")
    throttle.succeeded(account: "a", address: "x")
    #expect(throttle.wait(account: "a", address: "x", now: now) == nil)
    #expect(throttle.failed(account: "a", address: "x", now: now).isEmpty)
    for _ in 0..<3 { throttle.failed(account: "c", address: "z", now: now) }
    let later = now + .seconds(1000)
    #expect(throttle.failed(account: "c", address: "z", now: later).isEmpty, "old failures don't count")
  }

  @Test("Guesses at nobody's account make the address wait that they come from, and no other")
  func nobody() {
    let throttle = LoginThrottle(policies: Self.policies, memory: .seconds(1000), recordsMax: 100)
    let now = ContinuousClock.now
    for _ in 0..<12 { throttle.failed(account: "", address: "x", now: now) }
    #expect(throttle.wait(account: "", address: "x", now: now) == .seconds(5))
    #expect(throttle.wait(account: "", address: "y", now: now) == nil)
    #expect(throttle.recordCount == 1)
  }

  @Test("Guessing at one account from many addresses, and at many accounts from one, is slowed down as well")
  func spread() {
    let now = ContinuousClock.now
    let throttle = LoginThrottle(policies: Self.policies, memory: .seconds(1000), recordsMax: 1000)
    for index in 0..<5 { #expect(throttle.failed(account: "a", address: "10.0.0.\(index)", now: now).isEmpty) }
    #expect(throttle.failed(account: "a", address: "10.0.0.9", now: now).map(\.subject) == [.account])
    #expect(throttle.wait(account: "a", address: "192.0.2.1", now: now) == .seconds(1), "the owner waits, but shortly")
    for _ in 0..<20 { throttle.failed(account: "a", address: "10.0.1.\(Int.random(in: 0..<99))", now: now) }
    #expect(throttle.wait(account: "a", address: "192.0.2.1", now: now) == .seconds(4))
    for index in 0..<11 { throttle.failed(account: "u\(index)", address: "2001:db8::\(index + 1)", now: now) }
    #expect(throttle.failed(account: "v", address: "2001:db8::99", now: now).map(\.subject) == [.address])
    #expect(throttle.wait(account: "w", address: "2001:db8::ffff", now: now) != nil, "a network of IPv6 is one host's")
    #expect(throttle.wait(account: "w", address: "2001:db8:0:1::1", now: now) == nil)
    throttle.succeeded(account: "w", address: "2001:db8::99")
    #expect(throttle.wait(account: "w", address: "2001:db8::99", now: now) != nil, "a success buys no more guesses")
  }

  @Test("An attacker with many accounts neither fills the memory nor loses the newest records")
  func throttleMemory() {
    let start = ContinuousClock.now
    let throttle = LoginThrottle(policies: Self.policies, memory: .seconds(1000), recordsMax: 100)
    for index in 0..<10_000 {
      for _ in 0..<3 { throttle.failed(account: "user\(index)", address: "x", now: start + .milliseconds(index)) }
    }
    #expect(throttle.wait(account: "user9999", address: "x", now: start + .seconds(10)) != nil)
    #expect(throttle.recordCount <= 100)
  }

  @Test("The queue of costly work is bounded")
  func costlyWork() async throws {
    let worker = CostlyWork("pages are turned", threads: 1, queueMax: 2)
    let gate = DispatchSemaphore(value: 0)
    async let first: Void = worker.run { gate.wait() }
    async let second: Void = worker.run { gate.wait() }
    let deadline = ContinuousClock.now + .seconds(10)
    while worker.waitingCount < 2, ContinuousClock.now < deadline { await Task.yield() }
    let error = await #expect(throws: CostlyWork.QueueFull.self) { try await worker.run {} }
    let answer = error.flatMap { ErrorMapping.apiError(for: $0) }
    #expect(answer?.code == .tooManyRequests && answer?.message == "too many pages are turned at once")
    gate.signal()
    gate.signal()
    _ = try await (first, second)
    try await worker.run {}
    try await worker.shutdown()
  }
}

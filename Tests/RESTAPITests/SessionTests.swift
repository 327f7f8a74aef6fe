import ControlProtocol
import DatabaseSupport
import Foundation
import HTTPTypes
import Identity
import Storage
import Testing

@testable import RESTAPI

@Suite("Sessions")
struct SessionTests {
  private func signIn(_ api: TestAPI, _ user: User, agent: String) async throws -> (access: String, refresh: String) {
    let body: JSONValue = ["email": .string(user.email.value), "password": .string(TestAPI.password)]
    let answer = try await api.send(
      .post, "/auth/login", headers: [.contentType: "application/json", .userAgent: agent], bytes: body.bytes())
    return (
      try #require(answer.data["access_token"]?.string), try #require(answer.data["refresh_token"]?.string)
    )
  }

  private static let password: JSONValue = ["current_password": .string(TestAPI.password)]

  @Test("Guesses at the password of a session that is to be ended are counted as those at a sign-in are")
  func guesses() async throws {
    try await TestAPI.with { api in
      let user = try await api.makeUser([.viewer])
      let session = try await signIn(api, user, agent: "x")
      var last = 0
      for _ in 0..<11 {
        last = try await api.post("/auth/logout", session.access, ["current_password": "not this one"]).status
      }
      #expect(last == 429)
      #expect(try await api.post("/auth/logout", session.access, Self.password).status == 429)
    }
  }

  @Test("What an administrator may do to the credentials of others he does to his own with the password only")
  func ownAccount() async throws {
    try await TestAPI.with { api in
      let admin = try await api.makeUser([.admin])
      let (token, path) = (try await api.token(of: admin), "/users/\(admin.id.uuidString)")
      let patched = try await api.send(.patch, path, token, ["password": "another long password"])
      #expect(patched.status == 422 && patched.problemPaths == ["password"])
      #expect(try await api.post("\(path)/password-reset", token, [:]).details["reason"] == "own_account")
      #expect(try await api.send(.delete, "\(path)/second-factor", token).details["reason"] == "own_account")
      #expect(try await api.send(.patch, path, token, ["name": "Somebody"]).status == 200)
      let other = try await api.makeUser([.viewer])
      let theirs = "/users/\(other.id.uuidString)"
      #expect(try await api.send(.patch, theirs, token, ["password": "another long password"]).status == 200)
      #expect(try await api.post("\(theirs)/password-reset", token, [:]).status == 201)
    }
  }

  private func refresh(_ api: TestAPI, _ token: String) async throws -> Answer {
    try await api.post("/auth/refresh", nil, ["refresh_token": .string(token)])
  }

  @Test("Own sessions are listed with where and when, and ended one by one, at once", arguments: TestBackend.allCases)
  func life(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend, .live) { api in
      let user = try await api.makeUser([.viewer])
      let laptop = try await signIn(api, user, agent: "laptop/1")
      let phone = try await signIn(api, user, agent: "phone/2 \u{e4}")
      let list = try await api.get("/auth/sessions", laptop.access)
      #expect(list.meta["total"] == 2 && list.items.compactMap { $0["user_agent"]?.string } == ["phone/2 ", "laptop/1"])
      #expect(list.items.map { $0["is_current"] } == [false, true])
      #expect(list.items.allSatisfy { $0["address"]?.string?.isEmpty == false })
      let id = try #require(list.items[0]["id"]?.string)
      #expect(try await api.get("/nodes", phone.access).status == 200)
      for wrong: JSONValue? in [nil, [:], ["current_password": "not this one"]] {
        let refused = try await api.send(.delete, "/auth/sessions/\(id)", laptop.access, wrong)
        #expect(refused.status == 422 && refused.problemPaths == ["current_password"])
      }
      #expect(try await api.get("/nodes", phone.access).status == 200)
      #expect(try await api.send(.delete, "/auth/sessions/\(id)", laptop.access, Self.password).status == 200)
      #expect(try await api.get("/nodes", phone.access).code == "unauthenticated", "its access token too")
      #expect(try await refresh(api, phone.refresh).status == 401)
      #expect(try await api.get("/nodes", laptop.access).status == 200)
      #expect(try await api.get("/auth/sessions", laptop.access).meta["total"] == 1)
      let renewed = try #require(try await refresh(api, laptop.refresh).data["access_token"]?.string)
      let after = try await api.get("/auth/sessions", renewed)
      #expect(after.items.map { $0["is_current"] } == [true], "the same session, renewed")
      let own = try #require(after.items[0]["id"]?.string)
      #expect(try await api.send(.delete, "/auth/sessions/\(own)", renewed).status == 200, "one's own, as signing out")
      #expect(try await api.get("/nodes", renewed).code == "unauthenticated")
    }
  }

  @Test("Another's session is as good as none", arguments: TestBackend.allCases)
  func others(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let owner = try await api.makeUser([.viewer])
      let stranger = try await api.token([.admin])
      let session = try await signIn(api, owner, agent: "x")
      let id = try #require(try await api.get("/auth/sessions", session.access).items[0]["id"]?.string)
      #expect(try await api.get("/auth/sessions", stranger).meta["total"] == 0)
      #expect(try await api.send(.delete, "/auth/sessions/\(id)", stranger, Self.password).code == "not_found")
      #expect(try await api.send(.delete, "/auth/sessions/nothing", stranger).code == "not_found")
      #expect(try await api.get("/nodes", session.access).status == 200)
    }
  }

  @Test(
    "Signing out and a refresh token used twice end the access tokens of the session too",
    arguments: TestBackend.allCases)
  func ends(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let user = try await api.makeUser([.viewer])
      let (one, two, three) = (
        try await signIn(api, user, agent: "1"), try await signIn(api, user, agent: "2"),
        try await signIn(api, user, agent: "3")
      )
      #expect(try await api.post("/auth/logout", one.access, ["refresh_token": .string(one.refresh)]).status == 200)
      #expect(try await api.get("/auth/me", one.access).code == "unauthenticated")
      #expect(try await api.get("/auth/me", two.access).status == 200)
      let renewed = try #require(try await refresh(api, two.refresh).data["access_token"]?.string)
      #expect(try await refresh(api, two.refresh).code == "unauthenticated")
      for token in [two.access, renewed] { #expect(try await api.get("/auth/me", token).code == "unauthenticated") }
      #expect(try await api.get("/auth/me", three.access).status == 200)
      #expect(try await api.post("/auth/logout", three.access, [:]).problemPaths == ["current_password"])
      #expect(try await api.get("/auth/me", three.access).status == 200)
      #expect(try await api.post("/auth/logout", three.access, Self.password).status == 200)
      #expect(try await api.get("/auth/me", three.access).code == "unauthenticated")
      #expect(try await api.store.sessions(userID: user.id).isEmpty)
    }
  }

  @Test("A session that is over cannot be renewed, says why, and is not listed; its access token ends with it")
  func limits() async throws {
    try await TestAPI.with(sessions: SessionLimits(idle: .zero)) { api in
      let user = try await api.makeUser([.viewer])
      let session = try await signIn(api, user, agent: "x")
      let refused = try await refresh(api, session.refresh)
      #expect(refused.status == 401 && refused.code == "token_expired")
      #expect(refused.message.contains("720 minutes after the sign-in"), "\(refused.message)")
      #expect(try await api.get("/auth/sessions", try await api.token(of: user)).meta["total"] == 0)
    }
    try await TestAPI.with(sessions: SessionLimits(lifetime: .seconds(300))) { api in
      let user = try await api.makeUser([.viewer])
      let body: JSONValue = ["email": .string(user.email.value), "password": .string(TestAPI.password)]
      let answer = try await api.post("/auth/login", nil, body)
      #expect((295...300).contains(answer.data["expires_in"]?.integer ?? 0), "not the 15 minutes of others")
      let renewed = try await refresh(api, try #require(answer.data["refresh_token"]?.string))
      #expect((1...300).contains(renewed.data["expires_in"]?.integer ?? 0))
    }
  }

  @Test("The sign-in history has the attempts, one's own only", arguments: TestBackend.allCases)
  func history(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let user = try await api.makeUser([.viewer])
      let other = try await api.makeUser([.viewer])
      _ = try await signIn(api, other, agent: "other")
      _ = try await api.post("/auth/login", nil, ["email": .string(user.email.value), "password": "wrong one"])
      let session = try await signIn(api, user, agent: "mine")
      let history = try await api.get("/auth/sign-ins", session.access)
      #expect(history.items.map { $0["succeeded"] } == [true, false] && history.meta["total"] == 2)
      #expect(history.items[0]["user_agent"] == "mine")
    }
  }

  @Test(
    "The break-glass account is active and Admin on hold, with its password only, and every use is told",
    arguments: TestBackend.allCases)
  func breakGlass(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let user = try await api.makeUser([.viewer], email: TestAPI.breakGlassEmail, isActive: false)
      let wrong: JSONValue = ["email": .string(user.email.value), "password": "not this one"]
      #expect(try await api.post("/auth/login", nil, wrong).code == "unauthenticated")
      #expect(try await api.store.auditLog(AuditFilter(operation: "breakGlass"), Page()).total == 0)
      let session = try await signIn(api, user, agent: "x")
      #expect(try await api.get("/users", session.access).status == 200)
      let fixed = try await api.send(.patch, "/users/\(user.id.uuidString)", session.access, ["is_active": true])
      #expect(fixed.status == 200 && fixed.data["roles"] == ["Viewer"], "its record is not changed by being used")
      let records = try await api.store.auditLog(AuditFilter(operation: "breakGlass"), Page()).items
      #expect(records.count == 1 && records[0]["actor"]?["name"]?.string == user.email.value)
      #expect(try await api.get("/metrics").text.contains("sluice_api_break_glass_total 1"))
      #expect(api.logs.lines.contains { $0.hasPrefix("warning") && $0.contains("break-glass") })
      let other = try await api.makeUser([.viewer], isActive: false)
      #expect(try await api.get("/users", try await api.token(of: other)).code == "unauthenticated", "nobody else's")
    }
  }

  @Test("On hold, the break-glass account cannot renew its session: it signs in again")
  func breakGlassRefresh() async throws {
    try await TestAPI.with { api in
      let user = try await api.makeUser([.viewer], email: TestAPI.breakGlassEmail, isActive: false)
      let session = try await signIn(api, user, agent: "x")
      #expect(try await refresh(api, session.refresh).code == "unauthenticated")
    }
  }
}

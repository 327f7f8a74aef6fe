import ControlProtocol
import DatabaseSupport
import Foundation
import Testing

@testable import Identity
@testable import RESTAPI
@testable import Storage

@Suite("Second factors and password resets")
struct SecondFactorTests {
  private func login(_ api: TestAPI, _ email: String, _ password: String = TestAPI.password) async throws -> Answer {
    try await api.post("/auth/login", nil, ["email": .string(email), "password": .string(password)])
  }

  private func second(_ api: TestAPI, _ first: Answer, _ code: String) async throws -> Answer {
    let challenge = try #require(first.details["challenge"]?.string)
    return try await api.post(
      "/auth/login/second-factor", nil, ["challenge": .string(challenge), "code": .string(code)])
  }

  /// The app on somebody's phone. `offset`: time steps from now.
  private func code(_ secret: String, _ offset: Int64 = 0) throws -> String {
    let bits = secret.flatMap { character -> [UInt8] in
      let value = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".firstIndex(of: character).map {
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".distance(from: "A".startIndex, to: $0)
      } ?? 0
      return (0..<5).map { UInt8(value >> (4 - $0) & 1) }
    }
    let bytes = stride(from: 0, to: bits.count - 7, by: 8).map { start in bits[start..<start + 8].reduce(0) { $0 << 1 | $1 } }
    return TOTP(secret: bytes).code(step: TOTP.step(at: Date()) + offset)
  }

  /// Sets a factor up; its secret and the recovery codes.
  private func enable(_ api: TestAPI, _ token: String) async throws -> (secret: String, recovery: [String]) {
    let begun = try await api.post("/auth/second-factor", token, ["current_password": .string(TestAPI.password)])
    let secret = try #require(begun.data["secret"]?.string)
    #expect(begun.data["uri"]?.string?.contains("secret=\(secret)&") == true)
    // The step before now, so that a test can use the code of now.
    let done = try await api.post("/auth/second-factor/confirm", token, ["code": .string(try code(secret, -1))])
    return (secret, (done.data["recovery_codes"]?.array ?? []).compactMap(\.string))
  }

  @Test("Set up, signed in with in two steps, each code once, and taken away again", arguments: TestBackend.allCases)
  func life(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let user = try await api.makeUser([.maintainer])
      let email = user.email.value
      let session = try await login(api, email)
      let token = try #require(session.data["access_token"]?.string)
      let other = try #require(try await login(api, email).data["access_token"]?.string)
      #expect(try await api.get("/auth/second-factor", token).data["is_enabled"] == false)
      #expect(
        try await api.post("/auth/second-factor", token, ["current_password": "not the password"]).code
          == "validation_failed")
      #expect(try await api.post("/auth/second-factor/confirm", token, ["code": "123456"]).code == "conflict")
      let (secret, recovery) = try await enable(api, token)
      #expect(recovery.count == 10)
      #expect(try await api.get("/auth/me", token).data["has_second_factor"] == true, "this session goes on")
      #expect(try await api.get("/auth/me", other).code == "unauthenticated", "the others end")
      let stored = try #require(try await api.store.secondFactor(userID: user.id))
      #expect(!stored.sealedSecret.contains(secret))

      let first = try await login(api, email)
      #expect(first.status == 401 && first.code == "second_factor_required")
      #expect(try await second(api, first, "000000").code == "unauthenticated")
      let now = try code(secret)
      let signedIn = try await second(api, first, now)
      #expect(signedIn.status == 200 && signedIn.data["user"]?["email"]?.string == email)
      #expect(try await second(api, first, now).code == "unauthenticated", "a code is good once")
      #expect(try await second(api, first, recovery[0].uppercased()).status == 200)
      #expect(try await second(api, first, recovery[0]).code == "unauthenticated", "and so is a recovery code")
      #expect(try await api.get("/auth/second-factor", token).data["recovery_codes_left"] == 9)
      #expect(try await login(api, email, "wrong password").code == "unauthenticated")

      let renewed = try await api.post("/auth/second-factor/recovery-codes", token, ["code": .string(recovery[1])])
      let fresh = (renewed.data["recovery_codes"]?.array ?? []).compactMap(\.string)
      #expect(fresh.count == 10 && Set(fresh).isDisjoint(with: recovery))
      #expect(try await second(api, first, recovery[2]).code == "unauthenticated")
      let off = try await api.post(
        "/auth/second-factor/disable", token,
        ["current_password": .string(TestAPI.password), "code": .string(fresh[0])])
      #expect(off.status == 200)
      #expect(try await login(api, email).status == 200)
      let log = try await api.get("/audit-log?subject_kind=second_factor", try await api.token()).text
      #expect(!log.contains(secret) && !log.contains(recovery[0]) && !log.contains(now))
      #expect(api.logs.lines.allSatisfy { !$0.contains(secret) && !$0.contains(recovery[0]) })
    }
  }

  @Test("Guesses at the code bring the same waits as guesses at the password; a right password doesn't reset them")
  func guessing() async throws {
    try await TestAPI.with { api in
      let user = try await api.makeUser([.viewer])
      let token = try #require(try await login(api, user.email.value).data["access_token"]?.string)
      _ = try await enable(api, token)
      var codes: Set<String?> = []
      for _ in 0..<APILimits.loginFailuresMax {
        let first = try await login(api, user.email.value)
        codes.insert(first.code)
        codes.insert(try await second(api, first, "000000").code)
      }
      #expect(codes == ["second_factor_required", "unauthenticated"])
      #expect(try await login(api, user.email.value).code == "too_many_requests")
    }
  }

  @Test("A challenge is of one account with one password")
  func challenges() async throws {
    try await TestAPI.with { api in
      let user = try await api.makeUser([.viewer])
      let token = try #require(try await login(api, user.email.value).data["access_token"]?.string)
      let (secret, _) = try await enable(api, token)
      let first = try await login(api, user.email.value)
      let hash = try api.services.hasher.hash(Password("another fine password"))
      _ = try await api.store.updateUser(id: user.id, UserChange(passwordHash: hash))
      #expect(try await second(api, first, try code(secret)).code == "unauthenticated")
      for challenge in ["x", String(repeating: "a", count: 1024), "v1.00000000.AAAA"] {
        let answer = try await api.post(
          "/auth/login/second-factor", nil, ["challenge": .string(challenge), "code": .string(try code(secret))])
        #expect(answer.code == "unauthenticated")
      }
    }
  }

  @Test("Where a role requires one, nothing else is possible before; break glass is never kept out")
  func required() async throws {
    try await TestAPI.with(secondFactorRoles: ["Admin", "careful", "Team Admin", "Owner"]) { api in
      _ = try await api.store.createRole(NewCustomRole(name: "careful", scopes: [ScopeExpression(.rulesRead)]))
      let admin = try await api.makeUser([.admin])
      let session = try await login(api, admin.email.value)
      #expect(session.data["must_set_up_second_factor"] == true)
      let token = try #require(session.data["access_token"]?.string)
      #expect(try await api.get("/users", token).code == "second_factor_setup_required")
      let (_, recovery) = try await enable(api, token)
      #expect(try await api.get("/users", token).status == 200)
      let off = try await api.post(
        "/auth/second-factor/disable", token,
        ["current_password": .string(TestAPI.password), "code": .string(recovery[0])])
      #expect(off.code == "conflict")
      let careful = try await api.store.createUser(
        NewUser(
          email: Email("careful@example.org"), name: "", passwordHash: "$none", roles: [], customRoles: ["careful"]))
      #expect(
        try await api.get("/rule-sets", try await api.token(of: careful)).code == "second_factor_setup_required")
      #expect(try await api.get("/rule-sets", try await api.token([.viewer])).status == 200)
      _ = try await api.post("/teams", token, ["name": "ops"])
      _ = try await api.post("/rule-sets", token, ["name": "edge"])
      for (path, role) in [("/teams/ops/members", "Team Admin"), ("/resources/rule-set/edge/grants", "Owner")] {
        let member = try await api.makeUser([.viewer])
        let session = try await api.token(of: member)
        #expect(try await api.get("/rule-sets", session).status == 200)
        let put = try await api.send(.put, "\(path)/\(member.email.value)", token, ["role": .string(role)])
        #expect(put.status == 200, "\(put.text)")
        #expect(try await api.get("/rule-sets", session).code == "second_factor_setup_required", "\(role)")
      }
      let glass = try await api.makeUser([.viewer], email: TestAPI.breakGlassEmail, isActive: false)
      let broken = try await login(api, glass.email.value)
      #expect(broken.data["must_set_up_second_factor"] == false)
      #expect(try await api.get("/users", try #require(broken.data["access_token"]?.string)).status == 200)
    }
  }

  @Test("An administrator takes a lost factor away, if he may as much as the account", arguments: TestBackend.allCases)
  func reset(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let user = try await api.makeUser([.admin])
      let token = try #require(try await login(api, user.email.value).data["access_token"]?.string)
      _ = try await enable(api, token)
      let path = "/users/\(user.id.uuidString.lowercased())"
      _ = try await api.store.createRole(NewCustomRole(name: "desk", scopes: [ScopeExpression("users:admin")]))
      let desk = try await api.token(
        of: try await api.store.createUser(
          NewUser(email: Email("desk@example.org"), name: "", passwordHash: "$none", roles: [], customRoles: ["desk"])))
      #expect(try await api.send(.delete, path + "/second-factor", desk).code == "beyond_authority")
      #expect(try await api.post(path + "/password-reset", desk, [:]).code == "beyond_authority")
      #expect(try await api.send(.delete, path + "/second-factor", try await api.token()).status == 200)
      #expect(try await api.get("/auth/me", token).code == "unauthenticated", "its sessions end")
      #expect(try await login(api, user.email.value).status == 200)
      #expect(try await api.send(.delete, path + "/second-factor", try await api.token()).code == "not_found")
    }
  }

  @Test("A password is reset with a token, once; the second factor stays", arguments: TestBackend.allCases)
  func passwordReset(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let user = try await api.makeUser([.viewer])
      let token = try #require(try await login(api, user.email.value).data["access_token"]?.string)
      _ = try await enable(api, token)
      let admin = try await api.token()
      let made = try await api.post("/users/\(user.id)/password-reset", admin, ["expires_in_seconds": 300])
      #expect(made.status == 201)
      let reset = try #require(made.data["token"]?.string)
      func use(_ token: String, _ password: String) async throws -> Answer {
        try await api.post("/auth/reset-password", nil, ["token": .string(token), "new_password": .string(password)])
      }
      #expect(try await use(reset, "qwertyuiop").code == "validation_failed", "the policy counts, and uses nothing up")
      #expect(try await use("slr_x", "a fine new password").code == "unauthenticated")
      #expect(try await use(ResetToken().text, "a fine new password").code == "unauthenticated")
      #expect(try await use(reset, "a fine new password").status == 200)
      #expect(try await use(reset, "a fine new password 2").code == "unauthenticated")
      #expect(try await api.get("/auth/me", token).code == "unauthenticated")
      #expect(try await login(api, user.email.value).code == "unauthenticated")
      #expect(try await login(api, user.email.value, "a fine new password").code == "second_factor_required")
      let log = try await api.get("/audit-log", admin).text
      #expect(!log.contains(reset) && log.contains("resetPassword") && log.contains("password_reset_until"))
      #expect(api.logs.lines.allSatisfy { !$0.contains(reset) })
      for seconds in [0, 299, 86_401, -1] as [JSONValue] {
        let answer = try await api.post("/users/\(user.id)/password-reset", admin, ["expires_in_seconds": seconds])
        #expect(answer.code == "validation_failed")
      }
    }
  }
}

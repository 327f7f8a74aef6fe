import ControlProtocol
import DatabaseSupport
import Foundation
import HTTPTypes
import Identity
import Storage
import Testing

@testable import RESTAPI

@Suite("Events about credentials")
struct CredentialEventTests {
  private static let newPassword = "quite another horse 2"

  private func login(_ api: TestAPI, _ user: User, _ password: String = TestAPI.password) async throws -> Answer {
    try await api.post("/auth/login", nil, ["email": .string(user.email.value), "password": .string(password)])
  }

  private func changePassword(_ api: TestAPI, _ token: String) async throws {
    let body: JSONValue = [
      "current_password": .string(TestAPI.password), "new_password": .string(Self.newPassword),
    ]
    #expect(try await api.post("/auth/change-password", token, body).status == 200)
  }

  @Test("Who may read accounts or API clients is told of theirs, everybody of his own, and nobody of another's",
    arguments: TestBackend.allCases)
  func visibility(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let (person, stranger) = (try await api.makeUser([.viewer]), try await api.makeUser([.viewer]))
      let admin = try await api.token()
      let before = try await api.token(of: stranger)
      try await changePassword(api, try await api.token(of: person))
      let client = try await api.post("/api-clients", admin, ["name": "deploy", "scopes": ["events:read"]])
      let id = try #require(client.data["id"]?.string)
      let key = try await api.post("/api-clients/\(id)/keys", admin, [:])
      let text = try #require(key.data["key"]?.string)
      let session = try #require(try await login(api, person, Self.newPassword).data["access_token"]?.string)
      func types(_ token: String) async throws -> [String] {
        try await api.get("/events?after=0", token).items.compactMap { $0["type"]?.string }
      }
      #expect(try await types(admin) == ["account_credentials_changed", "client_credentials_changed"])
      #expect(try await types(session) == ["account_credentials_changed"])
      #expect(try await types(before) == [])
      #expect(try await types(text) == [], "a client has no account, and may not read clients")
      let own = try #require(try await api.get("/events?type=account_credentials_changed", session).items.first)
      let email = person.email.value
      #expect(own["node"] == .null && own["fields"]?["account"]?.string == email)
      #expect(own["fields"]?["change"] == "password_changed" && own["fields"]?["by"]?.string == email)
      #expect(own["message"]?.string?.hasPrefix("\(email): the password was changed, by \(email)") == true)
      let all = try await api.get("/events", admin).text
      for secret in [Self.newPassword, text, TestAPI.password] { #expect(!all.contains(secret)) }
      #expect(all.contains(String(text.prefix(12))), "the part of the key that may be shown")
      #expect(try await types(try await api.token([.maintainer])) == [], "reads no accounts, whatever else he may")
    }
  }

  @Test("A webhook is told of credentials only where it names the events, and its maker may read what they are about",
    arguments: TestBackend.allCases)
  func webhooks(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend, webhooks: .loopback) { api in
      let (all, named) = (Receiver(), Receiver())
      try await all.serve { allURL in
        try await named.serve { namedURL in
          let admin = try await api.token()
          let types: JSONValue = ["account_credentials_changed", "client_credentials_changed", "applied"]
          #expect(try await api.post("/webhooks", admin, ["name": "all", "url": .string(allURL)]).status == 201)
          let made = try await api.post("/webhooks", admin, ["name": "named", "url": .string(namedURL), "types": types])
          #expect(made.status == 201)
          let person = try await api.makeUser([.viewer])
          try await changePassword(api, try await api.token(of: person))
          try await api.happen(1...1)
          try await api.sending {
            try await eventually("both are told") { all.told.count == 1 && named.told.count == 2 }
          }
          #expect(all.told.map { $0.json["type"]?.string } == ["applied"])
          #expect(named.told.map { $0.json["type"]?.string } == ["account_credentials_changed", "applied"])
          let told = try #require(named.told.first)
          #expect(told.json["fields"]?["account"]?.string == person.email.value && told.json["node"] == .null)
          #expect(told.isSigned(by: made.data["secret"]?.string ?? ""))

          // Somebody who has webhooks and reads events, and not accounts.
          _ = try await api.store.createRole(
            NewCustomRole(name: "hooks", scopes: [ScopeExpression(.webhooksWrite), ScopeExpression(.eventsRead)]))
          let hooks = try await api.token(
            of: try await api.store.createUser(
              NewUser(email: Email("hooks@example.org"), name: "", passwordHash: "$none", roles: [], customRoles: ["hooks"])))
          for (type, scope) in [
            ("account_credentials_changed", "users:read"), ("client_credentials_changed", "clients:read"),
            ("client_key_expires", "clients:read"),
          ] {
            let refused = try await api.post(
              "/webhooks", hooks, ["name": "mine", "url": .string(allURL), "types": [.string(type)]])
            #expect(refused.code == "missing_scope" && refused.details["required"]?.string == scope, "\(refused.text)")
          }
          let mine = try await api.post("/webhooks", hooks, ["name": "mine", "url": .string(allURL), "types": ["applied"]])
          #expect(mine.status == 201)
          let own = "/webhooks/\(mine.data["id"]?.string ?? "")"
          #expect(try await api.send(.patch, own, hooks, ["types": types]).code == "missing_scope")
          #expect(try await api.send(.patch, own, hooks, ["types": ["refused"]]).status == 200)
          let path = "/webhooks/\(made.data["id"]?.string ?? "")"
          for change: JSONValue in [["url": .string(allURL)], ["is_active": true]] {
            #expect(try await api.send(.patch, path, hooks, change).code == "missing_scope", "not away from whom it is for")
          }
          #expect(try await api.send(.patch, path, hooks, ["is_active": false]).status == 200)
        }
      }
    }
  }

  @Test("A sign-in says when the credentials were changed since the one before, once", arguments: TestBackend.allCases)
  func signIn(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let person = try await api.makeUser([.viewer])
      let first = try await login(api, person)
      #expect(first.data["credentials_changed_at"] == .null)
      let path = "/users/\(person.id.uuidString)"
      let changed = try await api.send(.patch, path, try await api.token(), ["password": .string(Self.newPassword)])
      #expect(changed.status == 200)
      let second = try await login(api, person, Self.newPassword)
      #expect(second.data["credentials_changed_at"]?.string != nil, "somebody else has done it")
      let token = try #require(second.data["refresh_token"]?.string)
      #expect(try await api.post("/auth/refresh", nil, ["refresh_token": .string(token)]).data["credentials_changed_at"] == .null)
      #expect(try await login(api, person, Self.newPassword).data["credentials_changed_at"] == .null)
    }
  }
}

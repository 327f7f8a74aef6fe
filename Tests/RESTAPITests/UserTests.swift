import ControlProtocol
import DatabaseSupport
import Foundation
import Identity
import Testing

@testable import RESTAPI

@Suite("Accounts")
struct UserTests {
  @Test("An account is created, read, changed, listed and deleted", arguments: TestBackend.allCases)
  func life(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let admin = try await api.token()
      let made = try await api.post(
        "/users", admin,
        ["email": "Vera@Example.org", "name": "Vera", "password": "a fine password", "roles": ["Viewer"], "age": 4])
      #expect(made.status == 201)
      #expect(made.warnings == ["unknown field ignored: age"])
      #expect(made.data["email"] == "vera@example.org" && made.data["roles"] == ["Viewer"])
      #expect(!made.text.contains("argon2") && !made.text.contains("fine password"))
      let id = try #require(made.data["id"]?.string)
      #expect(made.headers[.location] == "/api/v1/users/\(id)")
      #expect(try await api.get("/users/\(id)", admin).data == made.data)
      for count in 1...2 {
        let wrong: JSONValue = ["email": "vera@example.org", "password": "a wrong password"]
        #expect(try await api.post("/auth/login", nil, wrong).status == 401)
        #expect(try await api.get("/users/\(id)", admin).data["failed_sign_ins"]?.integer == Int64(count))
      }
      let login = try await api.post(
        "/auth/login", nil, ["email": "vera@example.org", "password": "a fine password"])
      #expect(login.status == 200)
      #expect(try await api.get("/users/\(id)", admin).data["failed_sign_ins"] == 0)
      let changed = try await api.send(
        .patch, "/users/\(id)", admin, ["name": "Vera V.", "roles": ["Maintainer", "Viewer"]])
      #expect(changed.data["name"] == "Vera V." && changed.data["roles"] == ["Maintainer", "Viewer"])
      #expect(try await api.get("/users?search=vera", admin).meta["total"] == 1)
      #expect(try await api.get("/users?role=Maintainer", admin).items.map { $0["id"]?.string } == [id])
      #expect(try await api.send(.delete, "/users/\(id)", admin).status == 200)
      #expect(try await api.get("/users/\(id)", admin).code == "not_found")
      #expect(try await api.send(.delete, "/users/\(id)", admin).code == "not_found")
    }
  }

  @Test("Two accounts never have one address", arguments: TestBackend.allCases)
  func duplicates(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let admin = try await api.token()
      let body: JSONValue = ["email": "a@example.org", "password": "a fine password", "roles": ["Viewer"]]
      #expect(try await api.post("/users", admin, body).status == 201)
      let second = try await api.post("/users", admin, body)
      #expect(second.code == "conflict")
      #expect(second.problemPaths == ["email"])
    }
  }

  private static let wrong: [(String, [String])] = [
    (#"{}"#, ["email", "password", "roles"]),
    (#"{"email":"no address","password":"short","roles":["King"]}"#, ["email", "password", "roles[0]"]),
    (#"{"email":1,"password":[],"roles":"Admin"}"#, ["email", "password", "roles"]),
    (#"{"email":"a@b.c","password":"a fine password","roles":["Viewer"],"is_active":"yes"}"#, ["is_active"]),
    (#"{"email":"a@b.c","password":"a fine password","roles":["Viewer"],"name":"\u0000"}"#, ["name"]),
    (#"{"email":"a@b.c","password":"password123","roles":["Viewer"]}"#, ["password"]),
  ]

  @Test("Wrong fields are all named", arguments: wrong)
  func wrongFields(_ body: String, _ paths: [String]) async throws {
    try await TestAPI.with { api in
      let answer = try await api.post("/users", try await api.token(), try JSONValue(parsing: Array(body.utf8)))
      #expect(answer.code == "validation_failed")
      #expect(answer.problemPaths == paths)
    }
  }

  @Test("The last active Admin stays", arguments: TestBackend.allCases)
  func lastAdministrator(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let admins = try await api.store.users(.init(role: .admin), .init()).items
      #expect(admins.count == 1)
      let last = admins[0]
      _ = try await api.store.updateUser(id: last.id, .init(mustChangePassword: false))
      let token = try await api.token(of: last)
      let path = "/users/\(last.id.uuidString)"
      for body in [["roles": ["Viewer"]], ["is_active": false]] as [JSONValue] {
        let answer = try await api.send(.patch, path, token, body)
        #expect(answer.code == "conflict")
        #expect(answer.details["reason"] == "last_administrator")
      }
      #expect(try await api.send(.delete, path, token).code == "conflict")
      _ = try await api.makeUser([.admin])
      #expect(try await api.send(.delete, path, token).status == 200)
    }
  }

  @Test("Lists come in pages, and say how many there are", arguments: TestBackend.allCases)
  func paging(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let admin = try await api.token()
      for index in 0..<5 { _ = try await api.makeUser([.viewer], email: "page\(index)@example.org") }
      let page = try await api.get("/users?search=page&limit=2&offset=3", admin)
      #expect(page.items.map { $0["email"]?.string } == ["page3@example.org", "page4@example.org"])
      #expect(page.meta["total"] == 5 && page.meta["limit"] == 2 && page.meta["offset"] == 3)
      #expect(try await api.get("/users?search=page&offset=9", admin).items == [])
    }
  }

  @Test(
    "Query parameters are checked",
    arguments: [
      ("limit=0", ["limit"]), ("limit=1001", ["limit"]), ("limit=x", ["limit"]), ("offset=-1", ["offset"]),
      ("offset=99999999999999999999", ["offset"]), ("role=King", ["role"]), ("is_active=1", ["is_active"]),
      ("limit=1&limit=2", ["limit"]), ("limit=", ["limit"]),
    ])
  func badQuery(_ query: String, _ paths: [String]) async throws {
    try await TestAPI.with { api in
      let answer = try await api.get("/users?\(query)", try await api.token())
      #expect(answer.code == "validation_failed")
      #expect(answer.problemPaths == paths)
    }
  }

  @Test("An unknown query parameter is a warning, and text in it is only text")
  func queryText() async throws {
    try await TestAPI.with { api in
      let answer = try await api.get(
        "/users?colour=red&search=%27%3B%20DROP%20TABLE%20users%3B--", try await api.token())
      #expect(answer.status == 200)
      #expect(answer.warnings == ["unknown query parameter ignored: colour"])
      #expect(answer.meta["total"] == 0)
    }
  }

  @Test(
    "An id that is none names nothing", arguments: ["x", "1", "%00", "..%2f..", "00000000-0000-0000-0000-00000000000g"])
  func badIDs(_ id: String) async throws {
    try await TestAPI.with { api in
      let answer = try await api.get("/users/\(id)", try await api.token())
      #expect(answer.code == "not_found")
    }
  }
}

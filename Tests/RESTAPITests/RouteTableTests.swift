import ControlProtocol
import DatabaseSupport
import Foundation
import Hummingbird
import Identity
import Testing

@testable import RESTAPI

@Suite("Route table and OpenAPI document")
struct RouteTableTests {
  /// Whoever adds an open route adds it here as well, and thinks twice.
  private static let open: Set<String> = [
    "health", "readiness", "metrics", "openapi", "reference", "publicKeys", "login", "loginSecondFactor", "refresh",
    "resetPassword",
  ]
  /// Those that need no scope, only a sign-in.
  private static let signedIn: Set<String> = [
    "logout", "me", "changePassword", "listSessions", "revokeSession", "listSignIns", "getSecondFactor",
    "beginSecondFactor", "confirmSecondFactor", "replaceRecoveryCodes", "disableSecondFactor",
  ]

  @Test("No route is open by accident")
  func openRoutes() {
    let routes = RouteTable.v1.routes
    #expect(Set(routes.filter { $0.access == .open }.map(\.operation)) == Self.open)
    #expect(Set(routes.filter { $0.access == .signedIn }.map(\.operation)) == Self.signedIn)
  }

  @Test("A route that changes something needs a scope that is not for reading")
  func writingScopes() {
    for route in RouteTable.v1.routes where route.method != .get {
      if case .scope(let scope) = route.access { #expect(!scope.rawValue.hasSuffix(":read"), "\(route.operation)") }
    }
  }

  @Test("Every scope guards a route")
  func scopesAreUsed() {
    let used = RouteTable.v1.routes.compactMap { route in
      if case .scope(let scope) = route.access { scope } else { nil }
    }
    #expect(Set(used) == Set(Scope.allCases))
  }

  private func path(_ route: Route) -> String {
    let values = ["id": UUID().uuidString.lowercased(), "revision": "1"]
    let segments = route.segments.map { segment in
      segment.hasPrefix("{") ? values[String(segment.dropFirst().dropLast())] ?? "nothing" : String(segment)
    }
    let full = "/" + segments.joined(separator: "/")
    return full.hasPrefix(RouteTable.base) ? String(full.dropFirst(RouteTable.base.count)) : full
  }

  private func send(_ route: Route, _ api: TestAPI, _ token: String?) async throws -> Answer {
    try await api.send(route.method, path(route), token, route.body == nil ? nil : [:])
  }

  @Test("The document names every route with its scope, parameters and failures, and every reference leads somewhere")
  func document() async throws {
    try await TestAPI.with { api in
      let document = try await api.get("/openapi.json").json
      #expect(document["openapi"] == "3.1.0")
      let paths = try #require(document["paths"]?.object)
      let operations = paths.values.flatMap { ($0.object ?? [:]).values }
      #expect(operations.count == RouteTable.v1.routes.count)
      for route in RouteTable.v1.routes {
        let operation = try #require(paths[route.path]?[route.method.rawValue.lowercased()])
        #expect(operation["operationId"]?.string == route.operation)
        #expect((operation["security"] == []) == (route.access == .open))
        if case .scope(let scope) = route.access {
          #expect(operation["x-required-scope"]?.string == scope.rawValue)
        }
        let parameters = (operation["parameters"]?.array ?? []).compactMap { $0["name"]?.string }
        var headers = route.takesIdempotencyKey ? ["Idempotency-Key"] : []
        if route.alsoStreams { headers.append("Last-Event-ID") }
        if route.honoursIfMatch { headers.append("If-Match") }
        #expect(parameters == route.pathParameters + route.query.map(\.name) + headers)
        #expect((operation["requestBody"] != nil) == (route.body != nil))
        if let example = route.example {
          #expect(operation["requestBody"]?["content"]?["application/json"]?["example"] == example)
          let checked = try #require(route.body).check(example)
          #expect(checked.problems == [] && checked.warnings == [], "\(route.operation)")
        }
        let statuses = Set((operation["responses"]?.object ?? [:]).keys)
        #expect(statuses.isSuperset(of: route.allErrors.map { String($0.status.code) }))
      }
      let schemas = try #require(document["components"]?["schemas"]?.object)
      #expect(!schemas.values.contains(.null))
      for reference in Self.references(in: document) {
        #expect(schemas[String(reference.dropFirst("#/components/schemas/".count))] != nil, "\(reference)")
      }
    }
  }

  private static func references(in value: JSONValue) -> [String] {
    switch value {
    case .array(let elements): elements.flatMap(references)
    case .object(let members):
      members.flatMap { name, member in name == "$ref" ? [member.string ?? ""] : references(in: member) }
    default: []
    }
  }

  @Test("Every documented route answers, and without a token only the open ones do")
  func routesAnswer() async throws {
    try await TestAPI.with { api in
      for route in RouteTable.v1.routes {
        let stranger = try await send(route, api, nil)
        if route.access == .open {
          #expect(stranger.status != 404 && stranger.status != 405, "\(route.operation)")
        } else {
          #expect(stranger.code == "unauthenticated", "\(route.operation)")
          #expect(stranger.headers[.wwwAuthenticate] != nil)
        }
        let answer = try await send(route, api, try await api.token())
        #expect(answer.status != 405 && answer.status < 500, "\(route.operation): \(answer.text)")
        #expect(answer.status != 401 || route.access == .open, "\(route.operation): \(answer.text)")
      }
    }
  }

  @Test("A token that has expired, is forged, unsigned or mutilated opens nothing")
  func badTokens() async throws {
    try await TestAPI.with { api in
      let user = try await api.makeUser([.admin])
      let subject = AccessSubject(userID: user.id, email: user.email, roles: user.roles)
      let past = try await AccessTokens(key: api.signingKey, now: { Date(timeIntervalSinceNow: -7200) })
      let expired = try await past.issue(to: subject).text
      let forged = try await AccessTokens(key: .ephemeral()).issue(to: subject).text
      let good = try await api.token(of: user)
      let parts = good.split(separator: ".").map(String.init)
      let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0"  // {"alg":"none","typ":"JWT"}
      let bad = [
        forged, "\(none).\(parts[1]).", "\(none).\(parts[1]).\(parts[2])", "\(parts[0]).\(parts[1]).", good + "x", "x",
        "",
        String(repeating: "a", count: 9000),
      ]
      for route in RouteTable.v1.routes where route.access != .open {
        let old = try await send(route, api, expired)
        #expect(old.code == "token_expired", "\(route.operation)")
        for token in bad {
          let answer = try await send(route, api, token)
          #expect(answer.code == "unauthenticated", "\(route.operation) with \(token.prefix(40))")
        }
      }
    }
  }

  @Test("A role opens the routes of its scopes and no others", arguments: Role.allCases)
  func roles(_ role: Role) async throws {
    try await TestAPI.with { api in
      let token = try await api.token([role])
      for route in RouteTable.v1.routes {
        guard case .scope(let scope) = route.access else { continue }
        let answer = try await send(route, api, token)
        if Set([role]).scopes.grants(scope) {
          #expect(answer.status != 401 && answer.status != 403, "\(role) \(route.operation): \(answer.text)")
        } else {
          #expect(answer.code == "missing_scope", "\(role) \(route.operation)")
          #expect(answer.details["required"]?.string == scope.rawValue)
        }
      }
    }
  }

  @Test("While the password must be changed, nothing but me, change-password and logout works")
  func forcedChange() async throws {
    try await TestAPI.with { api in
      let user = try await api.makeUser([.admin], mustChangePassword: true)
      let token = try await api.token(of: user)
      for route in RouteTable.v1.routes where route.access != .open {
        let answer = try await send(route, api, token)
        if case .scope = route.access {
          #expect(answer.code == "password_change_required", "\(route.operation)")
        } else {
          #expect(answer.status != 401 && answer.status != 403, "\(route.operation)")
        }
      }
    }
  }

  @Test(
    "An unknown path is 404 and a known one with another method 405, both as JSON",
    arguments: [
      ("GET", "/nothing", 404), ("GET", "/users/x/y", 404), ("DELETE", "/users", 405), ("PUT", "/auth/login", 405),
      ("GET", "/auth/login", 405), ("PATCH", "/rule-sets/a/rules", 405), ("BREW", "/users", 405), ("BREW", "/pot", 404),
    ])
  func unmatched(_ method: String, _ path: String, _ status: Int) async throws {
    try await TestAPI.with { api in
      let answer = try await api.send(try #require(.init(rawValue: method)), path)
      #expect(answer.status == status)
      if status == 405 { #expect(answer.headers[.allow]?.isEmpty == false) }
    }
  }

  @Test("HEAD answers as GET does, without a body")
  func head() async throws {
    try await TestAPI.with { api in
      try await api.client.execute(uri: "/healthz", method: .head) { response in
        #expect(response.status == .ok)
        #expect(response.body.readableBytes == 0)
      }
    }
  }
}

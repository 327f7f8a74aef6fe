import ControlProtocol
import DatabaseSupport
import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Identity
import NIOCore
import Storage
import Telemetry
import Testing

@testable import RESTAPI

/// One answer, already checked against what the route table promises.
struct Answer {
  let status: Int
  let headers: HTTPFields
  let text: String
  let json: JSONValue

  var data: JSONValue { json["data"] ?? .null }
  var items: [JSONValue] { data.array ?? [] }
  var meta: JSONValue { json["meta"] ?? .null }
  var code: String? { json["error"]?["code"]?.string }
  var message: String { json["error"]?["message"]?.string ?? "" }
  var details: JSONValue { json["error"]?["details"] ?? .null }
  /// Paths of the wrong fields.
  var problemPaths: [String] { (details.array ?? []).compactMap { $0["path"]?.string } }
  var warnings: [String] { (meta["warnings"]?.array ?? []).compactMap(\.string) }
}

/// The API over a database of its own, with a daemon on a unix socket of its own.
struct TestAPI: Sendable {
  static let password = "correct horse 1"
  /// The account that is active and Admin whatever its record says, once a test makes it.
  static let breakGlassEmail = "break@glass.example"

  let client: any TestClientProtocol
  let services: Services
  let store: any Store
  let signingKey: SigningKey
  let daemon: FakeDaemon
  let logs: LogCapture
  let database: TestDatabase
  let socketPath: String

  /// Runs `body` with an API whose daemon answers.
  static func with(
    _ backend: TestBackend = .sqlite, _ setup: TestingSetup = .router, on made: TestDatabase? = nil,
    interface: InterfaceSettings = .init(), secondFactorRoles: Set<String> = [], webhooks: WebhookSender.Settings = .init(),
    sessions: SessionLimits = .init(), showsInternals: Bool = false,
    _ body: @escaping @Sendable (TestAPI) async throws -> Void
  ) async throws {
    let daemon = FakeDaemon()
    let directory = try TestDatabase.directory()
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let socketPath = "\(directory)/d.sock"
    try await daemon.serve(at: socketPath) {
      var settings = Services.Settings(version: "9.9.9", interface: interface, breakGlass: try Email(Self.breakGlassEmail))
      settings.secondFactorRoles = secondFactorRoles
      settings.webhooks = webhooks
      settings.sessions = sessions
      settings.showsInternals = showsInternals
      try await run(made ?? backend.make(), setup, settings, daemon, socketPath, body)
    }
  }

  private static func run(
    _ database: TestDatabase, _ setup: TestingSetup, _ serviceSettings: Services.Settings,
    _ daemon: FakeDaemon, _ socketPath: String,
    _ body: @escaping @Sendable (TestAPI) async throws -> Void
  ) async throws {
    defer { database.remove() }
    let logs = LogCapture()
    var settings = try DatabaseSettings(environment: database.environment)
    settings.poolTimeout = .milliseconds(500)
    let store = try await Stores.open(settings, logger: logs.logger())
    let hasher = try PasswordHasher(parameters: .weakest)
    try await store.seed(adminPasswordHash: hasher.hash(SeededAdmin.password))
    _ = try await store.updateNode(named: "local", NodeChange(address: "unix:\(socketPath)"))
    let key = SigningKey.ephemeral()
    let (passwords, analyses) = (CostlyWork.onPasswords(), CostlyWork.onAnalyses())
    let services = Services(
      store: store, tokens: try await AccessTokens(key: key), hasher: hasher, passwords: passwords, analyses: analyses,
      sealer: .ephemeral(), registry: PrometheusRegistry(), logger: logs.logger(),
      settings: serviceSettings)
    let app = try RESTApplication.make(
      services: services, address: .hostname("127.0.0.1", port: 0), logger: logs.logger())
    try await app.test(setup) { client in
      try await body(
        TestAPI(
          client: client, services: services, store: store, signingKey: key, daemon: daemon, logs: logs,
          database: database, socketPath: socketPath))
    }
    await services.nodes.close()
    try await passwords.shutdown()
    try await analyses.shutdown()
    await store.close()
  }

  // MARK: Accounts

  /// An account with ``password``.
  func makeUser(
    _ roles: Set<Role>, email: String? = nil, isActive: Bool = true, mustChangePassword: Bool = false
  ) async throws -> User {
    let address = email ?? "user-\(UUID().uuidString.lowercased())@example.org"
    return try await store.createUser(
      NewUser(
        email: Email(address), name: "Test", passwordHash: services.hasher.hash(Password(Self.password)), roles: roles,
        isActive: isActive, mustChangePassword: mustChangePassword))
  }

  /// An access token for an account, as sign-in gives it.
  func token(of user: User) async throws -> String {
    try await services.tokens.issue(
      to: AccessSubject(
        userID: user.id, email: user.email, roles: user.roles, mustChangePassword: user.mustChangePassword)
    ).text
  }

  /// The token of a new account.
  func token(_ roles: Set<Role> = [.admin]) async throws -> String { try await token(of: try await makeUser(roles)) }

  // MARK: Nodes

  /// eth0 of the node local and eth1 of the node other, both of the same daemon, with the rule set s.
  func attachOnTwoNodes(_ token: String) async throws {
    let node: JSONValue = ["name": "other", "address": .string("unix:\(socketPath)")]
    #expect(try await post("/nodes", token, node).status == 201)
    for (name, interface) in [("local", "eth0"), ("other", "eth1")] {
      let made = try await post(
        "/attachments", token, ["node": .string(name), "interface": .string(interface), "rule_set": "s"])
      #expect(made.status == 201, "\(made.text)")
    }
  }

  // MARK: Requests

  func get(_ path: String, _ token: String? = nil) async throws -> Answer { try await send(.get, path, token) }

  func post(_ path: String, _ token: String? = nil, _ body: JSONValue, ifMatch: String? = nil) async throws -> Answer {
    try await send(.post, path, token, body, ifMatch: ifMatch)
  }

  func send(
    _ method: HTTPRequest.Method, _ path: String, _ token: String? = nil, _ body: JSONValue? = nil,
    ifMatch: String? = nil
  ) async throws -> Answer {
    var headers: HTTPFields = [:]
    if let token { headers[.authorization] = "Bearer \(token)" }
    if body != nil { headers[.contentType] = "application/json" }
    if let ifMatch { headers[.ifMatch] = ifMatch }
    return try await send(method, path, headers: headers, bytes: body?.bytes())
  }

  /// - Parameter path: below /api/v1 unless it is a probe's.
  func send(
    _ method: HTTPRequest.Method, _ path: String, headers: HTTPFields, bytes: [UInt8]?
  ) async throws -> Answer {
    let probes = ["/healthz", "/readyz", "/metrics", "/.well-known/jwks.json"]
    let uri = probes.contains(path) ? path : RouteTable.base + path
    return try await client.execute(
      uri: uri, method: method, headers: headers, body: bytes.map { ByteBuffer(bytes: $0) }
    ) { response in
      let bytes = Array(response.body.readableBytesView)
      let answer = Answer(
        status: response.status.code, headers: response.headers, text: String(decoding: bytes, as: UTF8.self),
        json: (try? JSONValue(parsing: bytes)) ?? .null)
      Contract.check(answer, method, uri)
      return answer
    }
  }
}

/// What every answer must keep to: the envelope, the security headers, and the route table.
enum Contract {
  static func check(_ answer: Answer, _ method: HTTPRequest.Method, _ uri: String) {
    #expect(answer.headers[.requestID] != nil)
    #expect(answer.headers[.xContentTypeOptions] == "nosniff")
    let isCached = uri.hasPrefix("/.well-known/") && answer.status == 200
    #expect(answer.headers[.cacheControl] == (isCached ? "public, max-age=300" : "no-store"))
    #expect(answer.headers[.strictTransportSecurity] == nil, "there is no TLS here")
    if answer.status >= 400 {
      #expect(answer.json["status"] == "error", "\(answer.text)")
      let code = answer.code.flatMap(ErrorCode.init)
      #expect(code?.status.code == answer.status, "\(answer.text)")
      #expect(answer.meta["request_id"]?.string == answer.headers[.requestID])
      if let code, let route = route(method, uri) {
        #expect(route.allErrors.contains(code), "\(method) \(route.path) doesn't document \(code)")
      }
    } else if let route = route(method, uri) {
      check(answer, route, isAtCursor: uri.contains("cursor="))
    }
  }

  private static func check(_ answer: Answer, _ route: Route, isAtCursor: Bool) {
    let (schema, status): (Schema?, Int) =
      switch route.answer {
      case .data(let schema): (schema, 200)
      case .created(let schema): (schema, 201)
      case .page(let schema, _): (.array(schema, max: Int.max), 200)
      case .document, .text: (nil, 200)
      }
    #expect(answer.status == status, "\(route.operation)")
    if route.alsoGivesLines, answer.headers[.contentType] == LineBody.contentType { return }
    guard let schema else { return }
    #expect(answer.json["status"] == "success")
    let checked = schema.check(answer.data)
    #expect(checked.problems == [], "\(route.operation) answers what it doesn't document")
    #expect(checked.warnings == [], "\(route.operation) answers what it doesn't document")
    if case .page = route.answer {
      let members = ["total", "limit"] + (isAtCursor ? [] : ["offset"])
      for member in members { #expect(answer.meta[member]?.integer != nil) }
      #expect((answer.headers[.link] != nil) == (answer.meta["next_cursor"] != nil))
    }
  }

  static func route(_ method: HTTPRequest.Method, _ uri: String) -> Route? {
    let path = uri.prefix { $0 != "?" }
    let segments = path.dropFirst().split(separator: "/", omittingEmptySubsequences: false)
    return RouteTable.v1.routes.first { route in
      route.method == method && route.segments.count == segments.count
        && zip(route.segments, segments).allSatisfy { $0.hasPrefix("{") || $0 == $1 }
    }
  }
}

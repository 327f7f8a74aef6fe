import ControlProtocol
import Foundation
import Hummingbird
import Identity
import NIOCore
import Storage

/// Serves one route: who calls, may they, is the request well formed; only then the handler.
struct Endpoint: Sendable {
  let route: Route
  let services: Services

  func respond(to request: Request, context: APIContext) async throws -> Response {
    context.notes.note(route: route.path)
    try checkRate(context)
    let auditor = Auditor(route: route, services: services)
    return try await auditor.audited(context, userAgent: request.headers[.userAgent]) { call in
      let reply = try await serve(request, context, &call)
      return Envelope.response(reply, requestID: context.requestID)
    }
  }

  /// - Parameter call: set once the request is well formed.
  private func serve(_ request: Request, _ context: APIContext, _ call: inout Call?) async throws -> Reply {
    let principal = try await admit(request, context)
    var warnings: [String] = []
    let query = try checkedQuery(request, &warnings)
    let path = try pathParameters(context)
    if services.settings.interface.requiresIfMatch, route.mustHonourIfMatch, request.headers[.ifMatch] == nil {
      throw APIError(.preconditionRequired, "send If-Match with the ETag of what you read")
    }
    var checked = Call(
      principal: principal, remoteAddress: context.remoteAddress, requestID: context.requestID, body: .null, path: path,
      query: query, headers: request.headers, target: request.uri.string,
      connection: { context.connection })
    var cursor: Cursor?
    if case .page = route.answer {
      cursor = Cursor(route, path: path, query: query)
      checked.position = try cursor?.position(in: query)
    }
    call = checked
    // Before the body is read, where the path says what it is about.
    if !route.subject.isInBody { try await authorize(&checked) }
    if route.alsoTakesLines { checked.lines = try LineBody(request, bytesMax: services.settings.interface.importBytesMax) }
    if checked.lines == nil { checked.body = try await checkedBody(request, &warnings) }
    call = checked
    if route.subject.isInBody { try await authorize(&checked) }
    var reply = try await Idempotency(store: services.store).once(checked, route) { [checked] in
      try await route.handler(checked, services)
    }
    route.deprecation?.write(into: &reply.headers)
    reply.warnings = warnings + reply.warnings
    return cursor.map { reply.withNextPage(checked, $0) } ?? reply
  }

  private func authorize(_ call: inout Call) async throws {
    guard case .scope(let scope) = route.access else { return }
    call.things = try await services.authorizer.check(scope, route.subject, call)
  }

  /// Routes that cost much have a limit of their own, per address.
  private func checkRate(_ context: APIContext) throws {
    guard let rate = services.settings.interface.routeRates[route.operation] else { return }
    let address = RateLimiter.network(of: context.remoteAddress)
    guard let wait = services.limiter.wait(.route(route.operation, address: address), rate) else { return }
    services.metrics.rateLimited("route")
    throw APIError.tooFast("route", wait)
  }

  /// The caller, where the route wants one; throws where it may not call.
  private func admit(_ request: Request, _ context: APIContext) async throws -> Principal? {
    guard route.access != .open else { return nil }
    let principal = try await services.authenticator.principal(
      request.headers[.authorization], from: context.remoteAddress)
    AuditedRequest.current?.identify(as: principal.actor)
    context.notes.note(userID: principal.id)
    guard principal.mayCome(from: context.remoteAddress) else {
      throw APIError(.addressNotAllowed, "this API client may not call from \(context.remoteAddress)")
    }
    guard case .scope(let scope) = route.access else {
      guard principal.kind == .user else {
        throw APIError(.accountRequired, "this is for accounts: an API client has no password and no session")
      }
      return principal
    }
    if principal.mustChangePassword {
      throw APIError(
        .passwordChangeRequired, "change the password first: POST \(RouteTable.base)/auth/change-password")
    }
    if principal.mustSetUpSecondFactor {
      throw APIError(
        .secondFactorSetupRequired, "set up a second factor first: POST \(RouteTable.base)/auth/second-factor")
    }
    try Authorizer.checkScope(scope, route.subject, principal)
    return principal
  }

  private func pathParameters(_ context: APIContext) throws -> [String: String] {
    var parameters: [String: String] = [:]
    for name in route.pathParameters {
      let raw = try context.parameters.require(name)
      guard let value = raw.contains("%") ? raw.removingPercentEncoding : raw, !value.isEmpty, value.utf8.count <= 256,
        !value.utf8.contains(where: { $0 < 0x20 || $0 == 0x7f })
      else { throw APIError(.notFound, "there is no such path") }
      parameters[name] = value
    }
    return parameters
  }

  /// Query parameters, read by the type that the table gives them.
  private func checkedQuery(_ request: Request, _ warnings: inout [String]) throws -> JSONValue {
    guard request.uri.query != nil else { return route.query.isEmpty ? .object([:]) : Self.defaults(route.query) }
    var members: [String: JSONValue] = [:]
    for (name, value) in request.uri.queryParameters.prefix(64) {
      let name = String(name)
      guard members[name] == nil else { throw APIError.validation(name, "duplicate", "stands twice in the query") }
      let field = route.query.first { $0.name == name }
      members[name] = Self.typed(String(value), field?.schema)
    }
    let checked = Schema.object(route.query).check(.object(members))
    guard checked.problems.isEmpty else { throw APIError.validation(checked.problems) }
    warnings += checked.warnings.map { $0.replacing("unknown field", with: "unknown query parameter") }
    return checked.value
  }

  private static func defaults(_ fields: [Field]) -> JSONValue {
    .object(
      Dictionary(
        fields.compactMap { field in field.fallback.map { (field.name, $0) } }, uniquingKeysWith: { a, _ in a }))
  }

  private static func typed(_ text: String, _ schema: Schema?) -> JSONValue {
    switch schema {
    case .integer: Int64(text).map(JSONValue.integer) ?? .string(text)
    case .boolean: text == "true" ? .bool(true) : text == "false" ? .bool(false) : .string(text)
    default: .string(text)
    }
  }

  private func checkedBody(_ request: Request, _ warnings: inout [String]) async throws -> JSONValue {
    guard let schema = route.body else { return .null }
    let bytes = try await collect(request)
    if bytes.isEmpty, route.bodyIsOptional { return schema.check(.object([:])).value }
    guard let type = request.headers[.contentType].flatMap(MediaType.init(from:)), type.type == .application,
      type.subType == "json"
    else {
      throw APIError(.unsupportedMediaType, "send the body as Content-Type: application/json")
    }
    let value: JSONValue
    do throws(JSONSyntaxError) { value = try JSONValue(parsing: bytes) } catch {
      throw APIError(
        .invalidJSON, "the body is not JSON: \(error.reason) at byte \(error.offset)",
        details: ["offset": .count(error.offset)])
    }
    let checked = schema.check(value)
    guard checked.problems.isEmpty else { throw APIError.validation(checked.problems) }
    warnings += checked.warnings
    return checked.value
  }

  /// The whole body, within its limits of size and time.
  private func collect(_ request: Request) async throws -> [UInt8] {
    if let length = request.headers[.contentLength].flatMap({ Int($0) }), length > route.bodyBytesMax {
      throw APIError.bodyTooLarge(bytesMax: route.bodyBytesMax)
    }
    let body = request.body
    let limit = route.bodyBytesMax
    let buffer = try await withThrowingTaskGroup(of: ByteBuffer?.self) { group in
      group.addTask { try await body.collect(upTo: limit) }
      group.addTask {
        try await Task.sleep(for: .seconds(APILimits.bodySecondsMax))
        return nil
      }
      defer { group.cancelAll() }
      do {
        return try await group.next() ?? nil
      } catch is NIOTooManyBytesError {
        throw APIError.bodyTooLarge(bytesMax: limit)
      }
    }
    guard let buffer else {
      throw APIError(
        .requestTimeout, "the body did not arrive within \(APILimits.bodySecondsMax) s", headers: [.connection: "close"]
      )
    }
    return Array(buffer.readableBytesView)
  }
}

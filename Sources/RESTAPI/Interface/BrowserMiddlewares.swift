import HTTPTypes
import Hummingbird

/// Answers only who means this server: against pages that reach it by a name of their own (DNS rebinding).
struct TrustedHostsMiddleware: RouterMiddleware {
  let hosts: Set<String>

  func handle(
    _ request: Request, context: APIContext, next: (Request, APIContext) async throws -> Response
  ) async throws -> Response {
    if !hosts.isEmpty, !RouteTable.probes.contains(request.uri.path), !isTrusted(request.head.authority ?? "") {
      throw APIError(.untrustedHost, "the Host header names another server; api.trusted_hosts lists this one's names")
    }
    return try await next(request, context)
  }

  func isTrusted(_ authority: String) -> Bool {
    let host = Self.host(of: authority.lowercased())
    if hosts.contains(host) { return true }
    return host.indices.contains { host[$0] == "." && hosts.contains("*" + host[$0...]) }
  }

  /// Without the port; brackets of IPv6 stay.
  private static func host(of authority: String) -> String {
    if authority.hasPrefix("["), let end = authority.firstIndex(of: "]") { return String(authority[...end]) }
    return String(authority.prefix { $0 != ":" })
  }
}

/// Lets pages of the listed origins read answers (CORS). No origin: nothing is added, and no preflight is answered.
struct CORSMiddleware: RouterMiddleware {
  let origins: Set<String>

  private static let allowOrigin = HTTPField.Name("Access-Control-Allow-Origin")!
  private static let allowMethods = HTTPField.Name("Access-Control-Allow-Methods")!
  private static let allowHeaders = HTTPField.Name("Access-Control-Allow-Headers")!
  private static let exposeHeaders = HTTPField.Name("Access-Control-Expose-Headers")!
  private static let maxAge = HTTPField.Name("Access-Control-Max-Age")!
  private static let requestMethod = HTTPField.Name("Access-Control-Request-Method")!

  func handle(
    _ request: Request, context: APIContext, next: (Request, APIContext) async throws -> Response
  ) async throws -> Response {
    guard !origins.isEmpty else { return try await next(request, context) }
    guard let origin = request.headers[.origin], origins.contains(origin) else {
      var response = try await next(request, context)
      response.headers.addToVary("Origin")
      return response
    }
    let isPreflight = request.method == .options && request.headers[Self.requestMethod] != nil
    var response = isPreflight ? Self.preflight : try await next(request, context)
    response.headers[Self.allowOrigin] = origin
    response.headers[Self.exposeHeaders] =
      "ETag, Location, Retry-After, X-Request-Id, Deprecation, Sunset, Link, Idempotent-Replayed"
    response.headers.addToVary("Origin")
    return response
  }

  private static var preflight: Response {
    Response(
      status: .noContent,
      headers: [
        allowMethods: "GET, HEAD, POST, PUT, PATCH, DELETE",
        allowHeaders: "Authorization, Content-Type, If-Match, Idempotency-Key, X-Request-Id, traceparent, tracestate",
        maxAge: "600",
      ])
  }
}

extension HTTPFields {
  /// What the answer depends on, for caches.
  mutating func addToVary(_ name: String) {
    self[.vary] = self[.vary].map { "\($0), \(name)" } ?? name
  }
}

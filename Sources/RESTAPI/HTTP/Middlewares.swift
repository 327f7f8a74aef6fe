import ControlProtocol
import HTTPTypes
import Hummingbird
import Logging
import NIOCore

/// Gives every request an id, the caller's `X-Request-Id` where it is a plain one, else 128 random bits, and a place in
/// a trace, the caller's where `traceparent` names one. The answer carries both, and so does everything logged about the
/// request, here and in the daemons.
struct RequestIDMiddleware: RouterMiddleware {
  private static let traceParent = HTTPField.Name(RequestTrace.parentHeader)!
  private static let traceState = HTTPField.Name(RequestTrace.stateHeader)!
  private static let traceResponse = HTTPField.Name("traceresponse")!

  func handle(
    _ request: Request, context: APIContext, next: (Request, APIContext) async throws -> Response
  ) async throws -> Response {
    var context = context
    context.requestID = Self.accepted(request.headers[.requestID]) ?? Self.random()
    let trace = RequestTrace(
      requestID: context.requestID, parent: request.headers[Self.traceParent], state: request.headers[Self.traceState])
    context.traceID = trace.traceID
    var response = try await RequestTrace.$current.withValue(trace) { try await next(request, context) }
    response.headers[.requestID] = context.requestID
    response.headers[Self.traceResponse] = trace.parent
    return response
  }

  static func accepted(_ id: String?) -> String? {
    id.flatMap { RequestTrace.isPlain(requestID: $0) ? $0 : nil }
  }

  static func random() -> String {
    let high = String(UInt64.random(in: .min ... .max), radix: 16)
    let low = String(UInt64.random(in: .min ... .max), radix: 16)
    return String(repeating: "0", count: 16 - high.count) + high + String(repeating: "0", count: 16 - low.count) + low
  }
}

/// One log line and the metrics of every request. Never the query, the headers or the body: secrets live there.
struct ObservationMiddleware: RouterMiddleware {
  let logger: Logger
  let metrics: APIMetrics

  func handle(
    _ request: Request, context: APIContext, next: (Request, APIContext) async throws -> Response
  ) async throws -> Response {
    let start = ContinuousClock.now
    metrics.requestStarted()
    defer { metrics.requestEnded() }
    let response = try await next(request, context)
    let duration = ContinuousClock.now - start
    // Only templates of the route table become a label: no caller can make new ones.
    let route = context.notes.current.route ?? "unmatched"
    metrics.request(method: request.method, route: route, status: response.status, duration: duration)
    let isSlow = duration > .milliseconds(APILimits.slowRequestMilliseconds)
    if isSlow { metrics.slowRequest(route: route) }
    log(request, context, response.status, route, duration, isSlow: isSlow)
    return response
  }

  private func log(
    _ request: Request, _ context: APIContext, _ status: HTTPResponse.Status, _ route: String, _ duration: Duration,
    isSlow: Bool
  ) {
    let isProbe = RouteTable.probes.contains(route)
    let level: Logger.Level =
      status == .internalServerError ? .error : status.code >= 500 || isSlow ? .warning : isProbe ? .debug : .info
    guard level >= logger.logLevel else { return }
    let notes = context.notes.current
    var metadata: Logger.Metadata = [
      "request_id": "\(context.requestID)",
      "trace_id": "\(context.traceID)",
      "method": "\(request.method.rawValue.prefix(16))",
      "path": "\(request.uri.path.prefix(256))",
      "route": "\(route)",
      "status": "\(status.code)",
      "duration_ms": "\(Double(duration.microseconds) / 1000)",
      "remote": "\(context.remoteAddress)",
    ]
    if let user = notes.userID { metadata["user_id"] = "\(user)" }
    if let code = notes.errorCode { metadata["error"] = "\(code)" }
    logger.log(level: level, "request", metadata: metadata)
  }
}

extension Duration {
  /// Whole microseconds.
  var microseconds: Int64 { components.seconds * 1_000_000 + components.attoseconds / 1_000_000_000_000 }
}

/// Headers that keep answers out of caches and browsers from guessing.
struct SecurityHeadersMiddleware: RouterMiddleware {
  /// Strict-Transport-Security is only true where TLS is spoken.
  let isTLS: Bool

  func handle(
    _ request: Request, context: APIContext, next: (Request, APIContext) async throws -> Response
  ) async throws -> Response {
    var response = try await next(request, context)
    if response.headers[.cacheControl] == nil { response.headers[.cacheControl] = "no-store" }
    response.headers[.xContentTypeOptions] = "nosniff"
    // A page has a policy of its own.
    if response.headers[.contentSecurityPolicy] == nil {
      response.headers[.contentSecurityPolicy] = "default-src 'none'; frame-ancestors 'none'"
    }
    response.headers[Self.resourcePolicy] = "same-origin"
    response.headers[Self.referrerPolicy] = "no-referrer"
    if isTLS { response.headers[.strictTransportSecurity] = "max-age=31536000" }
    return response
  }

  private static let resourcePolicy = HTTPField.Name("Cross-Origin-Resource-Policy")!
  private static let referrerPolicy = HTTPField.Name("Referrer-Policy")!
}

/// Turns every error into the JSON error answer; the last one before the handlers.
struct ErrorMiddleware: RouterMiddleware {
  let table: RouteTable
  let logger: Logger
  let showsInternals: Bool

  func handle(
    _ request: Request, context: APIContext, next: (Request, APIContext) async throws -> Response
  ) async throws -> Response {
    do {
      guard request.uri.path.utf8.count <= APILimits.pathBytesMax else {
        throw APIError(.invalidRequest, "the path is longer than \(APILimits.pathBytesMax) bytes")
      }
      return try await next(request, context)
    } catch {
      let answer = apiError(error, request, context)
      context.notes.note(errorCode: answer.code.rawValue)
      return Envelope.response(answer, requestID: context.requestID)
    }
  }

  private func apiError(_ error: any Error, _ request: Request, _ context: APIContext) -> APIError {
    switch error {
    case let error as APIError: return error
    case let error as HTTPError where error.status == .notFound: return unmatched(request)
    default:
      if let mapped = ErrorMapping.apiError(for: error) {
        // What a daemon says goes to the caller; what the database says goes here only.
        if mapped.code == .databaseUnavailable {
          logger.warning(
            "database failed", metadata: ["request_id": "\(context.requestID)", "error": "\(error)"])
        }
        return mapped
      }
      logger.error("request failed", metadata: ["request_id": "\(context.requestID)", "error": "\(error)"])
      return APIError(
        .internalError,
        showsInternals ? "an internal error: \(error)" : "an internal error; the log has it under this request id")
    }
  }

  /// No route for the path, or none for the method on this path.
  private func unmatched(_ request: Request) -> APIError {
    let methods = table.methods(for: request.uri.path)
    guard !methods.isEmpty else { return APIError(.notFound, "there is no such path") }
    let allowed = methods.map(\.rawValue).sorted()
    return APIError(
      .methodNotAllowed, "this path answers to \(allowed.joined(separator: ", "))",
      details: ["allowed": .strings(allowed)], headers: [.allow: allowed.joined(separator: ", ")])
  }
}

extension APIError {
  static func bodyTooLarge(bytesMax: Int) -> APIError {
    APIError(
      .payloadTooLarge, "the body is larger than \(bytesMax) bytes", details: ["bytes_max": .count(bytesMax)])
  }
}

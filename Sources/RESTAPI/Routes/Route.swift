import ControlProtocol
import Foundation
import Hummingbird
import Identity
import Storage

/// Who may call a route.
public enum Access: Hashable, Sendable {
  /// Everybody.
  case open
  /// Whoever is signed in with an account; also while the password must be changed.
  case signedIn
  /// Whoever holds the scope and has changed the first password.
  case scope(Scope)
}

/// One route: what the router serves, what the OpenAPI document says and what the tests walk are all read from here.
public struct Route: Sendable {
  public typealias Handler = @Sendable (Call, Services) async throws -> Reply

  /// The `data` of a good answer.
  public enum Answer: Sendable {
    case data(Schema)
    case created(Schema)
    /// A list of such elements, a page at a time: adds the query parameters of the paging, and `sort` with the fields of
    /// the order.
    case page(Schema, by: ListOrder)
    /// JSON without the envelope.
    case document
    case text(contentType: String)
  }

  public var method: HTTPRequest.Method
  /// Template: `/api/v1/users/{id}`.
  public var path: String
  /// Unique; the `operationId`.
  public var operation: String
  public var tag: String
  public var summary: String
  public var access: Access
  /// Where a scope that is held for a part of what there is can be enough.
  public var subject: RouteSubject
  public var query: [Field]
  /// Nil: the route takes no body.
  public var body: Schema?
  public var bodyIsOptional: Bool
  /// A body as somebody would send it, for the OpenAPI document; nil: made from the shape by whoever reads it.
  public var example: JSONValue?
  /// Bytes of the body at most.
  public var bodyBytesMax: Int
  public var answer: Answer
  /// Whether `Accept: text/event-stream` gets what a page lists as server-sent events, from `Last-Event-ID` on.
  public var alsoStreams: Bool
  /// Whether a body of `text/plain` is given to the handler as ``Call/lines``, instead of one that the schema has checked.
  public var alsoTakesLines = false
  /// Whether `Accept: text/plain` gets a whole list, an element in a line.
  public var alsoGivesLines = false
  /// Failures of this route beyond those that its access, body and parameters bring.
  public var errors: [ErrorCode]
  /// Nil: here to stay.
  public var deprecation: Deprecation?
  public var handler: Handler

  public init(
    _ method: HTTPRequest.Method, _ path: String, _ operation: String, tag: String, _ summary: String, access: Access,
    on subject: RouteSubject = .everything, query: [Field] = [], body: Schema? = nil, bodyIsOptional: Bool = false,
    example: JSONValue? = nil, bodyBytesMax: Int = APILimits.bodyBytesMax, answer: Answer, alsoStreams: Bool = false,
    errors: [ErrorCode] = [], deprecation: Deprecation? = nil, handler: @escaping Handler
  ) {
    self.method = method
    self.path = path
    self.operation = operation
    self.tag = tag
    self.summary = summary
    self.access = access
    self.subject = subject
    self.query = if case .page(_, let order) = answer { query + Self.sorting(order) + Self.paging } else { query }
    self.body = body
    self.bodyIsOptional = bodyIsOptional
    self.example = example
    self.bodyBytesMax = bodyBytesMax
    self.answer = answer
    self.alsoStreams = alsoStreams
    self.errors = errors
    self.deprecation = deprecation
    self.handler = handler
  }

  static let paging: [Field] = [
    .optional("limit", .integer(1...Int64(APILimits.pageMax)), default: .count(APILimits.pageDefault)),
    .optional(
      "offset", .integer(0...Int64(Int32.max)), default: 0, "Elements left out; what comes and goes meanwhile moves them"),
    .optional(
      "cursor", .string(StringShape(bytes: 1...Cursor.characterCountMax, pattern: Cursor.pattern)),
      "meta.next_cursor of the page before, with the same filter and sort"),
  ]

  /// None where the list has one order only.
  private static func sorting(_ order: ListOrder) -> [Field] {
    let names = order.fields.map(\.name)
    guard let last = names.last else { return [] }
    let word = "-?(\(names.joined(separator: "|")))"
    let most = names.count
    let shape = StringShape(bytes: 1...256, pattern: "^\(word)(,\(word)){0,\(most - 1)}$") { text in
      let keys = text.split(separator: ",", omittingEmptySubsequences: false).map { SortKey($0) }
      let isKnown = keys.count <= most && keys.allSatisfy { names.contains($0.field) }
      return isKnown ? nil : "names fields, with commas, and - before one for the greatest first: \(names.joined(separator: ", "))"
    }
    var field = Field.optional(
      "sort", .string(shape), "Fields with commas, - before one for the greatest first; else "
        + order.standard.map { ($0.isDescending ? "-" : "") + $0.field }.joined(separator: ","))
    field.example = "-\(last)"
    return [field]
  }

  /// Whether a request may change something: then it leaves a record in the audit log, whatever comes of it.
  var changes: Bool {
    if case .scope(let scope) = access, scope.verb == "read" { return false }
    return method != .get
  }

  /// Segments of the template without the leading slash.
  var segments: [Substring] { path.dropFirst().split(separator: "/", omittingEmptySubsequences: false) }

  /// Names of the path's parameters, in order.
  var pathParameters: [String] {
    segments.filter { $0.hasPrefix("{") }.map { String($0.dropFirst().dropLast()) }
  }

  /// The template in Hummingbird's syntax; this is also the `route` label of the metrics.
  var routerPath: RouterPath { RouterPath(path) }

  /// Probes and metrics: always answered, whoever asks how often.
  var isProbe: Bool { RouteTable.probes.contains(path) }

  /// Whether sending it again with the same `Idempotency-Key` gives the first answer again.
  public var takesIdempotencyKey: Bool {
    // A key is shown once: its answer is not kept.
    guard method == .post, access != .open, tag != "auth", operation != "createClientKey",
      operation != "createPasswordReset", operation != "createWebhook", operation != "replaceWebhookSecret"
    else { return false }
    switch answer {
    case .data, .created: return true
    case .page, .document, .text: return false
    }
  }

  /// Whether `If-Match` decides.
  public var honoursIfMatch: Bool { errors.contains(.staleRevision) || errors.contains(.preconditionFailed) }

  /// Whether it may be made a duty.
  var mustHonourIfMatch: Bool { honoursIfMatch && [.put, .patch, .delete].contains(method) }

  /// Everything the route can answer with besides success, in the order of the codes' declaration.
  public var allErrors: [ErrorCode] {
    var codes = Set(errors)
    codes.insert(.internalError)
    if !isProbe { codes.formUnion([.tooManyRequests, .untrustedHost]) }
    if takesIdempotencyKey { codes.formUnion([.invalidRequest, .conflict, .idempotencyKeyReused]) }
    if honoursIfMatch || alsoStreams { codes.insert(.invalidRequest) }
    if mustHonourIfMatch { codes.insert(.preconditionRequired) }
    if body != nil {
      codes.formUnion([
        .invalidJSON, .unsupportedMediaType, .payloadTooLarge, .validationFailed, .requestTimeout,
      ])
    }
    if !query.isEmpty { codes.insert(.validationFailed) }
    if !pathParameters.isEmpty { codes.formUnion([.notFound, .invalidRequest]) }
    switch access {
    case .open: break
    case .signedIn:
      codes.formUnion([.unauthenticated, .tokenExpired, .accountRequired, .addressNotAllowed, .databaseUnavailable])
    case .scope:
      codes.formUnion([
        .unauthenticated, .tokenExpired, .missingScope, .passwordChangeRequired, .secondFactorSetupRequired,
        .addressNotAllowed, .databaseUnavailable,
      ])
      if access == .scope(.rulesWrite) { codes.insert(.outsideDelegation) }
    }
    return ErrorCode.allCases.filter(codes.contains)
  }
}

extension Route {
  /// The same, with such a body, too.
  func takingLines() -> Route {
    var route = self
    route.alsoTakesLines = true
    return route
  }

  /// The same, with such an answer, too.
  func givingLines() -> Route {
    var route = self
    route.alsoGivesLines = true
    return route
  }
}

/// One checked request on its way to a handler.
public struct Call: Sendable {
  /// Nil on open routes.
  public let principal: Principal?
  public let remoteAddress: String
  public let requestID: String
  /// Checked against the route's schema, or null where the route has none.
  public internal(set) var body: JSONValue
  let path: [String: String]
  let query: JSONValue
  let headers: HTTPFields
  /// Path and query as they were sent.
  let target: String
  /// Nil where no rules can hurt it.
  let connection: @Sendable () -> OwnConnection?
  /// Where the cursor says that the page begins.
  var position: [JSONValue]?
  /// Not read yet; nil: the body is a checked one.
  var lines: LineBody?
  /// What it is about, where the caller's roles are for parts of what there is; set before the handler runs.
  var things: [Permissions.Reach] = []

  /// A parameter of the path, decoded.
  func parameter(_ name: String) throws -> String {
    guard let value = path[name] else { throw Fault("no path parameter \(name)") }
    return value
  }

  /// A parameter of the path that is an id; what is none names nothing.
  func identifier(_ name: String, of kind: String) throws -> UUID {
    let text = try parameter(name)
    guard let id = UUID(uuidString: text) else { throw APIError.notFound(kind, text) }
    return id
  }

  /// Of a route that is for accounts.
  func account() throws -> Principal {
    let caller = try caller()
    guard caller.kind == .user else { throw Fault("a route for accounts is called by a client") }
    return caller
  }

  func caller() throws -> Principal {
    guard let principal else { throw Fault("an open route asks for its caller") }
    return principal
  }

  /// The part of a list that is asked for.
  var page: Page {
    Page(
      limit: Int(query["limit"]?.integer ?? Int64(APILimits.pageDefault)), offset: Int(query["offset"]?.integer ?? 0),
      sort: (query["sort"]?.string ?? "").split(separator: ",").map { SortKey($0) }, after: position)
  }

  /// That part of a list that is at hand as a whole, its elements objects with the fields of the order.
  func page(of all: [JSONValue], by order: ListOrder) throws -> Reply {
    let page = page
    return .page(try order.page(of: all, page) { $0[$1] ?? .null }, page) { $0 }
  }

  /// Who is written into the history.
  func author() throws -> Author {
    try caller().author
  }
}

/// The program contradicts itself: answered as `internal`, logged with this text.
struct Fault: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

extension JSONValue {
  /// A member that the schema promised.
  func text(_ name: String) throws -> String {
    guard let value = self[name]?.string else { throw Fault("no checked string \(name)") }
    return value
  }

  /// A member's strings; empty where it is absent.
  func texts(_ name: String) -> [String] { (self[name]?.array ?? []).compactMap(\.string) }

  /// A member that is there and not null.
  func present(_ name: String) -> JSONValue? {
    guard let value = self[name], value != .null else { return nil }
    return value
  }
}

import ControlProtocol
import Foundation
import HTTPTypes
import Hummingbird
import NIOCore
import Storage

/// What a handler answers.
public struct Reply: Sendable {
  public enum Content: Sendable {
    /// Goes into the envelope as `data`.
    case data(JSONValue)
    /// One page of a list.
    case page([JSONValue], PageInfo)
    /// As it is, without an envelope.
    case text(String, contentType: String)
    /// As they come, without an envelope.
    case bytes(contentType: String, @Sendable (inout any ResponseBodyWriter) async throws -> Void)
  }

  public var content: Content
  public var status: HTTPResponse.Status
  /// Added to `meta.warnings`.
  public var warnings: [String]
  public var headers: HTTPFields
  /// The rule set's revision that the answer shows or made: `ETag` and `meta.revision`.
  public var revision: UInt64?

  public init(
    _ content: Content, status: HTTPResponse.Status = .ok, warnings: [String] = [], headers: HTTPFields = [:]
  ) {
    self.content = content
    self.status = status
    self.warnings = warnings
    self.headers = headers
    revision = nil
  }

  /// With the revision as `ETag`, for a later `If-Match`.
  func at(revision: UInt64) -> Reply {
    var copy = self
    copy.revision = revision
    copy.headers[.eTag] = "\"\(revision)\""
    return copy
  }

  static func data(_ value: JSONValue, warnings: [String] = []) -> Reply {
    Reply(.data(value), warnings: warnings)
  }

  /// One page of a list that the store cut.
  static func page<Item>(
    _ paged: Paged<Item>, _ page: Page, warnings: [String] = [], _ element: (Item) throws -> JSONValue
  ) rethrows -> Reply {
    Reply(.page(try paged.items.map(element), PageInfo(page, paged)), warnings: warnings)
  }

  static func created(_ value: JSONValue, at location: String, warnings: [String] = []) -> Reply {
    Reply(.data(value), status: .created, warnings: warnings, headers: [.location: location])
  }
}

/// Which part of a list.
public struct PageInfo: Hashable, Sendable {
  public var limit: Int
  /// Nil where a cursor says where the page begins.
  public var offset: Int?
  /// Of the whole list, after filters.
  public var total: Int
  /// Where the next page begins; nil: this is the last one.
  var next: [JSONValue]?
  /// The same for callers, once it is made.
  var nextCursor: String?

  init<Item>(_ page: Page, _ paged: Paged<Item>) {
    limit = page.limit
    offset = page.after == nil ? page.offset : nil
    total = paged.total
    next = paged.next
  }
}

/// The frame around every JSON answer.
enum Envelope {
  static let version = "v1"
  static let jsonType = "application/json; charset=utf-8"

  static func timestamp(_ date: Date = Date()) -> String {
    // As the store rounds.
    RFC3339.text(unixMilliseconds: Int64((date.timeIntervalSince1970 * 1000).rounded()))
  }

  private static func meta(_ requestID: String) -> [String: JSONValue] {
    ["version": .string(version), "timestamp": .string(timestamp()), "request_id": .string(requestID)]
  }

  static func response(_ reply: Reply, requestID: String) -> Response {
    var meta = meta(requestID)
    if !reply.warnings.isEmpty { meta["warnings"] = .strings(reply.warnings) }
    if let revision = reply.revision { meta["revision"] = .count(revision) }
    let data: JSONValue
    switch reply.content {
    case .text(let text, let contentType):
      return Response(
        status: reply.status, headers: reply.headers.with(.contentType, contentType),
        body: .init(byteBuffer: ByteBuffer(string: text)))
    case .bytes(let contentType, let produce):
      return Response(
        status: reply.status, headers: reply.headers.with(.contentType, contentType),
        body: ResponseBody { writer in
          try await produce(&writer)
          try await writer.finish(nil)
        })
    case .data(let value): data = value
    case .page(let elements, let page):
      data = .array(elements)
      meta["total"] = .count(page.total)
      meta["limit"] = .count(page.limit)
      if let offset = page.offset { meta["offset"] = .count(offset) }
      if let cursor = page.nextCursor { meta["next_cursor"] = .string(cursor) }
    }
    return json(
      ["status": "success", "data": data, "meta": .object(meta)], status: reply.status, headers: reply.headers)
  }

  static func response(_ error: APIError, requestID: String) -> Response {
    var members: [String: JSONValue] = [
      "code": .string(error.code.rawValue), "message": .string(error.message),
    ]
    if let details = error.details { members["details"] = details }
    return json(
      ["status": "error", "error": .object(members), "meta": .object(meta(requestID))],
      status: error.code.status, headers: error.headers)
  }

  static func json(_ value: JSONValue, status: HTTPResponse.Status, headers: HTTPFields) -> Response {
    Response(
      status: status, headers: headers.with(.contentType, jsonType),
      body: .init(byteBuffer: ByteBuffer(bytes: value.bytes())))
  }
}

extension HTTPFields {
  func with(_ name: HTTPField.Name, _ value: String) -> HTTPFields {
    var copy = self
    copy[name] = value
    return copy
  }
}

extension HTTPField.Name {
  static let link = HTTPField.Name("Link")!
  static let requestID = HTTPField.Name("X-Request-Id")!
}

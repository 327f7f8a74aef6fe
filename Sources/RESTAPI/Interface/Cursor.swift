import ControlProtocol
import Crypto
import Foundation
import HTTPTypes
import Identity
import Storage

/// Where a page of a list begins, as callers carry it: opaque, and good for the list, filter and sort that it was given
/// for. It says nothing that its holder has not been told and decides nothing about what he may see.
///
/// Base64url of: the version; 8 bytes that stand for the list, its filter and sort; the position as a JSON array; 8 bytes
/// of the digest of all that, so that a damaged one is not taken for another place.
struct Cursor {
  static let characterCountMax = 4096
  static let pattern = "^[A-Za-z0-9_-]+$"
  private static let version: UInt8 = 1
  private static let sumByteCount = 8
  private static let valuesMax = 16

  /// What it is good for.
  private let list: [UInt8]

  /// - Parameter query: what was asked for, the parameters of the paging itself left out.
  init(_ route: Route, path: [String: String], query: JSONValue) {
    var query = query.object ?? [:]
    for field in Route.paging { query[field.name] = nil }
    let text: JSONValue = [
      "operation": .string(route.operation), "path": .object(path.mapValues(JSONValue.string)), "query": .object(query),
    ]
    list = Self.sum(text.bytes())
  }

  private static func sum(_ bytes: [UInt8]) -> [UInt8] { Array(SHA256.hash(data: bytes).prefix(sumByteCount)) }

  func text(_ position: [JSONValue]) -> String {
    let content = [Self.version] + list + JSONValue.array(position).bytes()
    return Base64URL.encode(content + Self.sum(content))
  }

  /// Where the page begins that a request asks for; nil: at the start. Throws what the caller is told.
  func position(in query: JSONValue) throws -> [JSONValue]? {
    guard let text = query["cursor"]?.string else { return nil }
    guard query["offset"]?.integer ?? 0 == 0 else {
      throw APIError.validation("offset", "invalid", "the cursor says where the page begins: send one of the two")
    }
    return try position(text)
  }

  /// What ``text(_:)`` was made of.
  func position(_ text: String) throws -> [JSONValue] {
    let damaged = APIError.validation("cursor", "invalid", "is none that this API gave: begin the list anew without it")
    guard text.utf8.count <= Self.characterCountMax, let bytes = Base64URL.decode(text),
      bytes.count > 1 + 2 * Self.sumByteCount
    else { throw damaged }
    let content = Array(bytes.dropLast(Self.sumByteCount))
    guard Self.sum(content) == Array(bytes.suffix(Self.sumByteCount)), content[0] == Self.version else { throw damaged }
    guard Array(content[1...Self.sumByteCount]) == list else {
      throw APIError.validation(
        "cursor", "invalid", "belongs to another list, filter or sort: send those it was given for, or begin without it")
    }
    guard let value = try? JSONValue(parsing: Array(content.dropFirst(1 + Self.sumByteCount))),
      let position = value.array, position.count <= Self.valuesMax
    else { throw damaged }
    return position
  }
}

extension Reply {
  /// With the cursor and the link to the next page, where there is one.
  func withNextPage(_ call: Call, _ cursor: Cursor) -> Reply {
    guard case .page(let elements, var info) = content, let next = info.next else { return self }
    var copy = self
    let text = cursor.text(next)
    info.nextCursor = text
    copy.content = .page(elements, info)
    let path = call.target.prefix { $0 != "?" }
    let query = call.target.dropFirst(path.count + 1).split(separator: "&").filter { part in
      !part.hasPrefix("cursor=") && !part.hasPrefix("offset=")
    }
    copy.headers.append(
      HTTPField(name: .link, value: "<\(path)?\((query + ["cursor=\(text)"]).joined(separator: "&"))>; rel=\"next\""))
    return copy
  }
}

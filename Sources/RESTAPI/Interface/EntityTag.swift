import ControlProtocol
import Crypto
import Foundation
import HTTPTypes
import Identity

/// `ETag` of what has no revision number: a digest of its content, so that equal content has equal tags.
enum EntityTag {
  static func of(_ content: JSONValue) -> String {
    "\"\(SHA256.hash(data: content.bytes()).prefix(16).hexadecimal)\""
  }
}

/// What `If-Match` says: a change is only made to one of these.
enum IfMatch: Hashable {
  /// No header, or `*`: whatever is there.
  case any
  /// Tags without quotation marks.
  case oneOf([String])

  static let tagsMax = 16
  /// Of one tag. No commas: no tag of ours has one, and they part tags here.
  static let pattern = "^\"[!#-+.-~-]{1,128}\"$"

  init(_ header: String?) throws(APIError) {
    guard let header, header != "*" else {
      self = .any
      return
    }
    var tags: [String] = []
    for part in header.split(separator: ",", omittingEmptySubsequences: false) {
      var text = part.drop { $0 == " " }
      while text.last == " " { text = text.dropLast() }
      if text.hasPrefix("W/") { text = text.dropFirst(2) }
      guard text.count >= 3, text.first == "\"", text.last == "\"", tags.count < Self.tagsMax,
        text.dropFirst().dropLast().utf8.allSatisfy({ $0 > 0x20 && $0 != 0x22 && $0 != 0x7f })
      else {
        throw APIError(.invalidRequest, "If-Match holds what ETag gave, with its quotation marks: If-Match: \"7\"")
      }
      tags.append(String(text.dropFirst().dropLast()))
    }
    self = .oneOf(tags)
  }

  func includes(_ tag: String) -> Bool {
    switch self {
    case .any: true
    case .oneOf(let tags): tags.contains(tag.filter { $0 != "\"" })
    }
  }
}

extension Call {
  /// Throws 412 where `If-Match` names another content than that of `content`; to be called inside the transaction
  /// that makes the change.
  func precondition<Item>(
    _ content: @escaping @Sendable (Item) -> JSONValue
  ) throws -> @Sendable (Item) throws -> Void {
    let wanted = try IfMatch(headers[.ifMatch])
    return { item in
      let current = EntityTag.of(content(item))
      guard wanted.includes(current) else {
        throw APIError(
          .preconditionFailed, "it was changed since you read it: read it again, and send its ETag as If-Match",
          details: ["current": .string(current)], headers: [.eTag: current])
      }
    }
  }
}

extension Reply {
  /// With the `ETag` of the content, for a later `If-Match`.
  func tagged(_ content: JSONValue) -> Reply {
    var copy = self
    copy.headers[.eTag] = EntityTag.of(content)
    return copy
  }
}

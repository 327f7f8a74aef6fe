/// An e-mail address in its one stored form: trimmed, lower-cased, at most 254 bytes of ASCII.
///
/// The check is deliberately simple (one `@`, a local part of RFC 5321's plain characters, a domain of labels): an
/// address is an account name here, no mail is sent to it.
public struct Email: Hashable, Sendable, CustomStringConvertible {
  /// RFC 5321, 4.5.3.1.3, less the angle brackets.
  public static let byteCountMax = 254
  static let localByteCountMax = 64
  static let labelByteCountMax = 63

  public let value: String

  public init(_ text: String) throws(EmailError) {
    let trimmed = text.trimmingPrefix { $0.isWhitespace }
    let kept = trimmed.lastIndex { !$0.isWhitespace }.map { trimmed[...$0] } ?? ""
    guard !kept.isEmpty else { throw .empty }
    guard kept.utf8.count <= Self.byteCountMax else { throw .tooLong }
    let parts = kept.utf8.split(separator: UInt8(ascii: "@"), omittingEmptySubsequences: false)
    guard parts.count == 2, Self.isLocalPart(Array(parts[0])), Self.isDomain(Array(parts[1])) else { throw .malformed }
    value = kept.lowercased()
  }

  public var description: String { value }

  private static func isLocalPart(_ bytes: [UInt8]) -> Bool {
    let plain = Set("!#$%&'*+-/=?^_`{|}~.".utf8)
    guard !bytes.isEmpty, bytes.count <= localByteCountMax, bytes.first != UInt8(ascii: "."),
      bytes.last != UInt8(ascii: ".")
    else { return false }
    let dot = UInt8(ascii: ".")
    return zip(bytes, bytes.dropFirst()).allSatisfy { $0 != dot || $1 != dot }
      && bytes.allSatisfy { isAlphanumeric($0) || plain.contains($0) }
  }

  private static func isDomain(_ bytes: [UInt8]) -> Bool {
    let hyphen = UInt8(ascii: "-")
    let labels = bytes.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    return labels.allSatisfy { label in
      !label.isEmpty && label.count <= labelByteCountMax && label.first != hyphen && label.last != hyphen
        && label.allSatisfy { isAlphanumeric($0) || $0 == hyphen }
    }
  }

  private static func isAlphanumeric(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"):
      true
    default: false
    }
  }
}

/// Why a text is no e-mail address.
public enum EmailError: Error, Hashable, Sendable, CustomStringConvertible {
  case empty, tooLong, malformed

  public var description: String {
    switch self {
    case .empty: "the e-mail address is empty"
    case .tooLong: "the e-mail address is longer than \(Email.byteCountMax) bytes"
    case .malformed: "not an e-mail address (expected name@domain)"
    }
  }
}

extension Email: Codable {
  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    let text = try container.decode(String.self)
    do throws(EmailError) { try self.init(text) } catch {
      throw DecodingError.dataCorruptedError(in: container, debugDescription: error.description)
    }
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(value)
  }
}

import Crypto
import Foundation
import JSONValues

/// How records hang together: the hash of each is SHA-256 over its canonical JSON, in which the hash of the one before
/// it stands as `previous_hash`.
///
/// Canonical: members sorted by name, no white space, integers and strings as ``JSONValue/bytes()`` writes them. What
/// is hashed is the record without its member `hash`.
public enum AuditChain {
  /// `previous_hash` of the first record.
  public static let start = String(repeating: "0", count: 64)

  /// SHA-256, lower-case hexadecimal.
  public static func digest(_ bytes: [UInt8]) -> String {
    SHA256.hash(data: bytes).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }

  /// A record in its place.
  public struct Sealed: Hashable, Sendable {
    /// Canonical JSON, without the hash.
    public let text: String
    public let hash: String
  }

  public static func seal(_ record: AuditRecord, sequence: UInt64, previousHash: String) -> Sealed {
    let bytes = record.json(sequence: sequence, previousHash: previousHash).bytes()
    return Sealed(text: String(decoding: bytes, as: UTF8.self), hash: digest(bytes))
  }

  /// The hash that an exported record should have, whatever members a newer version has added.
  public static func hash(of exported: JSONValue) -> String {
    var members = exported.object ?? [:]
    members["hash"] = nil
    return digest(JSONValue.object(members).bytes())
  }
}

/// A place in the chain and the hash that stands there: kept elsewhere, it shows when the whole chain was rewritten.
public struct AuditAnchor: Hashable, Sendable, CustomStringConvertible {
  public var sequence: UInt64
  public var hash: String

  public init(sequence: UInt64, hash: String) {
    self.sequence = sequence
    self.hash = hash
  }

  /// Of `SEQUENCE:HASH`, as ``description`` writes it; nil for anything else.
  public init?(_ text: String) {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count == 2, let sequence = UInt64(parts[0]), parts[1].utf8.count == 64,
      parts[1].utf8.allSatisfy({ ("0"..."9").contains(Character(Unicode.Scalar($0))) || (0x61...0x66).contains($0) })
    else { return nil }
    self.init(sequence: sequence, hash: String(parts[1]))
  }

  public var description: String { "\(sequence):\(hash)" }
}

/// What breaks a chain, at the first record where it shows.
public struct AuditFault: Error, Hashable, Sendable, CustomStringConvertible {
  public enum Reason: Hashable, Sendable {
    /// Not an object with a sequence, hashes and what else a record has.
    case malformed
    /// The record was changed: its hash is not that of its content.
    case changed
    /// Records between this and the one before it are missing, or it stands in another's place.
    case outOfSequence(expected: UInt64)
    /// The record before it is not the one that it was chained to.
    case unchained
    /// It is the first one there is, and no checkpoint says that those before it were removed.
    case startMissing
    /// The chain ends here, and should go on.
    case truncated(expected: UInt64)
    /// Another hash was seen here before: the chain was rewritten.
    case anchor
    /// The hash that was seen here before proves nothing: the record is in the log no more, which begins later.
    case anchorRemoved(first: UInt64)
  }

  /// Of the first broken record; 0 where it cannot be read.
  public let sequence: UInt64
  public let reason: Reason

  public init(sequence: UInt64, reason: Reason) {
    self.sequence = sequence
    self.reason = reason
  }

  public var description: String {
    let record = "record \(sequence)"
    return switch reason {
    case .malformed: "\(sequence == 0 ? "a record" : record) is not one of an audit log"
    case .changed: "\(record) was changed: its hash is not that of its content"
    case .outOfSequence(let expected): "\(record) stands where record \(expected) should be"
    case .unchained: "\(record) is not chained to the record before it: that one was replaced"
    case .startMissing: "\(record) is the first one, and no checkpoint covers those before it: they were removed"
    case .truncated(let expected): "the log ends with \(record), and should go on to record \(expected)"
    case .anchorRemoved(let first):
      "\(record), whose hash was given, is not in the log any more, which begins with record \(first): give a newer one"
    case .anchor: "\(record) has another hash than the one given: the log was rewritten"
    }
  }
}

import Crypto
import Foundation

/// A key that secrets in the database are encrypted with, and since when it is.
public struct SealingKey: Sendable, Hashable, Redacted {
  public static let byteCount = 32

  /// Tells keys apart and gives nothing away: 32 bits of a digest of 256 random bits.
  public let id: String
  public let activeFrom: Date
  let bytes: [UInt8]

  public init(bytes: [UInt8], activeFrom: Date) throws(SecretSealer.Failure) {
    guard bytes.count == Self.byteCount else { throw .keyByteCount(bytes.count) }
    self.bytes = bytes
    self.activeFrom = activeFrom
    id = SHA256.hash(data: Array("sluice sealing key".utf8) + bytes).prefix(4).hexadecimal
  }

  /// A new key.
  public static func random(activeFrom: Date) -> SealingKey {
    do { return try SealingKey(bytes: SecureRandom.bytes(count: byteCount), activeFrom: activeFrom) } catch {
      preconditionFailure("a key of the right length")
    }
  }
}

/// The keys of secrets: the newest one that is active encrypts, each decrypts what it has encrypted. As a text, one line
/// for each: id, key in base64, and since when in unix seconds. A key alone on its line is one from the beginning.
public struct SealingKeyRing: Sendable, Hashable, Redacted {
  public static let countMax = 8

  /// The oldest first; never empty.
  public let keys: [SealingKey]

  public enum Failure: Error, Hashable, Sendable, CustomStringConvertible {
    /// From 1.
    case line(Int)
    case count(Int)

    public var description: String {
      switch self {
      case .line(let number): "line \(number) is no key: bring back the right file from a backup"
      case .count(let count): "it has \(count) keys, not 1 to \(SealingKeyRing.countMax)"
      }
    }
  }

  public init(_ keys: [SealingKey]) throws(Failure) {
    guard (1...Self.countMax).contains(keys.count), Set(keys.map(\.id)).count == keys.count else {
      throw .count(keys.count)
    }
    self.keys = keys.sorted { ($0.activeFrom, $0.id) < ($1.activeFrom, $1.id) }
  }

  public init(parsing text: String) throws(Failure) {
    var keys: [SealingKey] = []
    for (index, line) in text.split(separator: "\n").enumerated() {
      let words = line.split(separator: " ").map(String.init)
      let isOld = words.count == 1
      guard isOld || words.count == 3, let bytes = Data(base64Encoded: isOld ? words[0] : words[1]),
        let seconds = isOld ? 0 : Int64(words[2]), (0...(1 << 40)).contains(seconds),
        let key = try? SealingKey(
          bytes: Array(bytes), activeFrom: Date(timeIntervalSince1970: TimeInterval(seconds))),
        isOld || key.id == words[0]
      else { throw .line(index + 1) }
      keys.append(key)
    }
    try self.init(keys)
  }

  /// For the key file, and nothing else.
  public func secretText() -> String {
    keys.map { key in
      "\(key.id) \(Data(key.bytes).base64EncodedString()) \(Int64(key.activeFrom.timeIntervalSince1970))\n"
    }.joined()
  }

  public var newest: SealingKey { keys[keys.count - 1] }

  /// What encrypts at this time.
  public func sealing(at now: Date) -> SealingKey { keys.last { $0.activeFrom <= now } ?? keys[0] }

  public func adding(_ key: SealingKey) throws(Failure) -> SealingKeyRing { try SealingKeyRing(keys + [key]) }

  /// The newest one alone.
  public func forgettingOld() -> SealingKeyRing {
    do { return try SealingKeyRing([newest]) } catch { preconditionFailure("one key is a ring") }
  }
}

import Foundation

/// A signing key with its name and its times, as it is kept.
public struct StoredKey: Sendable, Redacted {
  /// `kid`: 16 characters of lower-case hexadecimal for keys made here; at most ``KeyRing/idByteCountMax`` bytes.
  public let id: String
  public let key: SigningKey
  public let createdAt: Date
  /// When it begins to sign. Published and accepted before, so that every verifier knows it by then.
  public let activeFrom: Date
  /// When its tokens are accepted no more; nil: it has no successor.
  public var endsAt: Date?

  public init(id: String, key: SigningKey, createdAt: Date, activeFrom: Date, endsAt: Date? = nil) {
    self.id = id
    self.key = key
    self.createdAt = createdAt
    self.activeFrom = activeFrom
    self.endsAt = endsAt
  }

  /// A random key with a random id.
  public static func random(_ algorithm: SigningAlgorithm, createdAt: Date, activeFrom: Date) -> StoredKey {
    let id = SecureRandom.bytes(count: 8).hexadecimal
    return StoredKey(id: id, key: .random(algorithm), createdAt: createdAt, activeFrom: activeFrom)
  }

  /// What a key does at a time.
  public enum State: String, Sendable, Hashable {
    case coming, signing, verifying, ended
  }
}

/// The keys of access tokens: one signs, its predecessors are accepted until their last tokens have expired. A value;
/// the rules of rotation, without I/O.
public struct KeyRing: Sendable {
  public static let idByteCountMax = 64
  /// Keys at once; old ones end by themselves.
  public static let countMax = 64

  /// By the time from which they sign, the oldest first; of the same second, predecessors before their successor.
  public private(set) var keys: [StoredKey]

  /// - Throws: where there is no key, or two have one id.
  public init(_ keys: [StoredKey]) throws(SigningKeyError) {
    guard !keys.isEmpty else { throw .noKey }
    var seen: Set<String> = []
    for key in keys where !seen.insert(key.id).inserted { throw .duplicate(id: key.id) }
    self.keys = keys.sorted { a, b in
      if a.activeFrom != b.activeFrom { return a.activeFrom < b.activeFrom }
      if (a.endsAt == nil) != (b.endsAt == nil) { return a.endsAt != nil }
      return a.id < b.id
    }
  }

  /// The key that signs: the one that began last, of those that have begun; the first to begin where none has.
  public func signing(at now: Date) -> StoredKey {
    keys.last { $0.activeFrom <= now && !$0.hasEnded(at: now) } ?? keys[0]
  }

  /// The keys whose tokens are accepted.
  public func verifying(at now: Date) -> [StoredKey] {
    let signing = signing(at: now).id
    return keys.filter { $0.id == signing || !$0.hasEnded(at: now) }
  }

  public func state(of key: StoredKey, at now: Date) -> StoredKey.State {
    if key.id == signing(at: now).id { return .signing }
    if key.hasEnded(at: now) { return .ended }
    return key.activeFrom > now ? .coming : .verifying
  }

  /// With a successor. Every other key is accepted until a token that it signed at the last moment has expired; what
  /// has ended is left out.
  ///
  /// - Parameter lifetime: of an access token, with the leeway of its verification.
  public func rotated(to successor: StoredKey, lifetime: TimeInterval, at now: Date) throws(SigningKeyError) -> KeyRing {
    let end = successor.activeFrom.addingTimeInterval(lifetime)
    let others = verifying(at: now).map { key in
      var key = key
      key.endsAt = key.endsAt.map { min($0, end) } ?? end
      return key
    }
    return try KeyRing(others + [successor])
  }

  /// Without a key, whose tokens are accepted no more: for one that somebody else may know.
  ///
  /// - Throws: for the key that signs now.
  public func retired(_ id: String, at now: Date) throws(SigningKeyError) -> KeyRing {
    guard keys.contains(where: { $0.id == id }) else { throw .unknown(id: id) }
    guard signing(at: now).id != id else { throw .inUse(id: id) }
    return try KeyRing(keys.filter { $0.id != id })
  }
}

extension StoredKey {
  fileprivate func hasEnded(at now: Date) -> Bool { endsAt.map { $0 <= now } ?? false }
}

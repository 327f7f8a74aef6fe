import CSodium

/// Argon2id through libsodium, as PHC strings (`$argon2id$v=19$m=…,t=…,p=1$…`).
///
/// Every call blocks for milliseconds and takes `memoryByteCount` bytes: the caller keeps it off event loops and off
/// the cooperative pool, and bounds how many run at once. A value; safe from any thread.
public struct PasswordHasher: Sendable {
  /// The cost of one hash.
  public struct Parameters: Hashable, Sendable {
    public var memoryByteCount: Int
    /// Passes over the memory.
    public var passCount: UInt64

    public init(memoryByteCount: Int, passCount: UInt64) {
      self.memoryByteCount = memoryByteCount
      self.passCount = passCount
    }

    /// OWASP's first choice for argon2id: 19 MiB, two passes, one lane; 12 ms on the build machine.
    public static let standard = Parameters(memoryByteCount: 19 * 1024 * 1024, passCount: 2)
    /// libsodium's least, for tests that hash much.
    public static let weakest = Parameters(memoryByteCount: 8192, passCount: 1)
  }

  public let parameters: Parameters
  let dummyHash: String

  /// Hashes once, for ``verifyDummy(_:)``.
  public init(parameters: Parameters = .standard) throws(PasswordHashError) {
    self.parameters = parameters
    dummyHash = try Self.hash(SecureRandom.bytes(count: 16), parameters)
  }

  public func hash(_ password: Password) throws(PasswordHashError) -> String {
    try Self.hash(password.bytes, parameters)
  }

  /// Whether `hash` is a hash of the password; false for what is no hash at all.
  public func verify(_ password: Password, against hash: String) -> Bool {
    guard Sodium.isReady, !hash.utf8.contains(0) else { return false }
    return Self.withCharacters(password.bytes) { crypto_pwhash_str_verify(hash, $0, $1) == 0 }
  }

  /// Costs what ``verify(_:against:)`` costs and is always false: for accounts that do not exist, so that the time of
  /// an answer does not tell which do.
  @discardableResult
  public func verifyDummy(_ password: Password) -> Bool {
    _ = verify(password, against: dummyHash)
    return false
  }

  /// Whether the hash was made with other parameters (or is none), to be replaced at the next successful sign-in.
  public func needsRehash(_ hash: String) -> Bool {
    guard Sodium.isReady, !hash.utf8.contains(0) else { return true }
    return crypto_pwhash_str_needs_rehash(hash, parameters.passCount, parameters.memoryByteCount) != 0
  }

  private static func hash(_ password: [UInt8], _ parameters: Parameters) throws(PasswordHashError) -> String {
    guard Sodium.isReady else { throw .libraryUnavailable }
    var encoded = [CChar](repeating: 0, count: crypto_pwhash_strbytes())
    let status = withCharacters(password) {
      crypto_pwhash_str_alg(
        &encoded, $0, $1, parameters.passCount, parameters.memoryByteCount, crypto_pwhash_alg_argon2id13())
    }
    guard status == 0 else { throw .outOfMemory(byteCount: parameters.memoryByteCount) }
    return String(decoding: encoded.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
  }

  /// The bytes as libsodium wants them. The terminator is not counted; it keeps the pointer of an empty password from
  /// being null, which libsodium refuses.
  private static func withCharacters<R>(_ bytes: [UInt8], _ body: (UnsafePointer<CChar>, UInt64) -> R) -> R {
    (bytes + [0]).map(CChar.init(bitPattern:)).withUnsafeBufferPointer { body($0.baseAddress!, UInt64(bytes.count)) }
  }
}

/// Why a password could not be hashed.
public enum PasswordHashError: Error, Hashable, Sendable, CustomStringConvertible {
  case libraryUnavailable
  case outOfMemory(byteCount: Int)

  public var description: String {
    switch self {
    case .libraryUnavailable: "libsodium cannot initialise (no source of randomness)"
    case .outOfMemory(let byteCount): "cannot hash a password: no \(byteCount) bytes of memory free"
    }
  }
}

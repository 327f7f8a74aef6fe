import Crypto
import Foundation

/// One-time passwords that go with the time (RFC 6238), as authenticator apps make them: SHA-1, six digits, 30 seconds.
///
/// A value without a clock: the caller gives the time, and keeps which time steps were used.
public struct TOTP: Sendable, Redacted {
  /// Of the HMAC; apps expect SHA-1 whatever the URI says, the others are RFC 6238's.
  enum Algorithm: Sendable {
    case sha1, sha256, sha512
  }

  public static let secretByteCount = 20
  public static let digitCount = 6
  public static let periodSeconds: Int64 = 30
  /// Time steps before and after the present one whose codes count, for clocks that differ and people who type slowly.
  public static let window: Int64 = 1

  private let secret: [UInt8]
  private let digits: Int
  private let algorithm: Algorithm

  /// A random secret of 160 bits.
  public init() { self.init(secret: SecureRandom.bytes(count: Self.secretByteCount)) }

  public init(secret: [UInt8]) { self.init(secret: secret, digits: Self.digitCount, algorithm: .sha1) }

  init(secret: [UInt8], digits: Int, algorithm: Algorithm) {
    self.secret = secret
    self.digits = digits
    self.algorithm = algorithm
  }

  /// To be sealed and stored.
  public var secretBytes: [UInt8] { secret }

  /// What a person types into an app that cannot read the URI: base32 without padding.
  public var secretText: String { Base32.encode(secret) }

  /// `otpauth://totp/…`, for the app; a QR code of it is what people scan.
  public func uri(account: Email, issuer: String = "Sluice") -> String {
    // An address has characters that a URI's path must not have: '#', '?', '/', '%'.
    let plain = CharacterSet(
      charactersIn: "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~@")
    let label = account.value.addingPercentEncoding(withAllowedCharacters: plain) ?? ""
    return "otpauth://totp/\(issuer):\(label)?secret=\(secretText)&issuer=\(issuer)&algorithm=SHA1"
      + "&digits=\(digits)&period=\(Self.periodSeconds)"
  }

  /// The number of the time step that holds the time.
  public static func step(at now: Date) -> Int64 {
    Int64((now.timeIntervalSince1970 / Double(periodSeconds)).rounded(.down))
  }

  /// The code of a time step (RFC 4226, 5.3).
  public func code(step: Int64) -> String {
    let counter = bigEndian(step)
    let key = SymmetricKey(data: secret)
    let mac: [UInt8] =
      switch algorithm {
      case .sha1: Array(HMAC<Insecure.SHA1>.authenticationCode(for: counter, using: key))
      case .sha256: Array(HMAC<SHA256>.authenticationCode(for: counter, using: key))
      case .sha512: Array(HMAC<SHA512>.authenticationCode(for: counter, using: key))
      }
    let offset = Int(mac[mac.count - 1] & 0x0f)
    let number = mac[offset..<offset + 4].reduce(UInt32(0)) { $0 << 8 | UInt32($1) } & 0x7fff_ffff
    var modulus: UInt32 = 1
    for _ in 0..<digits { modulus *= 10 }
    let text = String(number % modulus)
    return String(repeating: "0", count: digits - text.count) + text
  }

  /// The time step whose code this is, of those that count now; nil if it is none of theirs. In a time that doesn't
  /// depend on the code: every step is compared.
  public func step(of code: String, at now: Date) -> Int64? {
    let typed = Array(code.utf8)
    let present = Self.step(at: now)
    var found: Int64?
    for step in (present - Self.window)...(present + Self.window)
    where constantTimeEquals(Array(self.code(step: step).utf8), typed) {
      found = step
    }
    return found
  }

  private func bigEndian(_ step: Int64) -> [UInt8] {
    let bits = UInt64(bitPattern: step)
    return (0..<8).map { UInt8(truncatingIfNeeded: bits >> UInt64(56 - 8 * $0)) }
  }
}

/// Base32 (RFC 4648, 6) without padding.
enum Base32 {
  private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".utf8)

  static func encode(_ bytes: [UInt8]) -> String {
    var text: [UInt8] = []
    var buffer = 0
    var bitCount = 0
    for byte in bytes {
      buffer = (buffer << 8 | Int(byte)) & 0xfff
      bitCount += 8
      while bitCount >= 5 {
        bitCount -= 5
        text.append(alphabet[buffer >> bitCount & 31])
      }
    }
    if bitCount > 0 { text.append(alphabet[buffer << (5 - bitCount) & 31]) }
    return String(decoding: text, as: UTF8.self)
  }
}

/// A code for the day on which the phone is gone: 120 random bits, six groups of four letters and digits, good for one
/// sign-in.
public struct RecoveryCode: Sendable, Hashable {
  /// Of an account at a time.
  public static let count = 10
  private static let byteCount = 15
  /// Of a new one, and of those that earlier versions made: 80 bits, good until they are used or replaced.
  private static let characterCounts = [24, 16]
  private let characters: String

  /// A new random code.
  public init() { characters = Base32.encode(SecureRandom.bytes(count: Self.byteCount)).lowercased() }

  /// A code as somebody types it, in any case, with or without hyphens and spaces; nil for what never was one.
  public init?(_ text: String) {
    guard text.utf8.count <= 64 else { return nil }
    let typed = text.lowercased().filter { $0 != "-" && $0 != " " }
    let isPlain = typed.utf8.allSatisfy { byte in
      (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || (UInt8(ascii: "2")...UInt8(ascii: "7")).contains(byte)
    }
    guard Self.characterCounts.contains(typed.utf8.count), isPlain else { return nil }
    characters = typed
  }

  /// For the one answer that shows it, and nothing else.
  public var text: String {
    stride(from: 0, to: characters.count, by: 4).map { characters.dropFirst($0).prefix(4) }.joined(separator: "-")
  }

  /// SHA-256, lower-case hexadecimal: what is stored. No salt: the code itself is random.
  public var digest: String { SHA256.hash(data: Array(characters.utf8)).hexadecimal }
}

extension RecoveryCode: Redacted {}

import Foundation
import Testing

@testable import Identity

@Suite struct TOTPTests {
  /// RFC 6238, appendix B.
  private static let table: [(seconds: Int64, sha1: String, sha256: String, sha512: String)] = [
    (59, "94287082", "46119246", "90693936"), (1_111_111_109, "07081804", "68084774", "25091201"),
    (1_111_111_111, "14050471", "67062674", "99943326"), (1_234_567_890, "89005924", "91819424", "93441116"),
    (2_000_000_000, "69279037", "90698825", "38618901"), (20_000_000_000, "65353130", "77737706", "47863826"),
  ]

  private func seed(_ byteCount: Int) -> [UInt8] {
    (0..<byteCount).map { UInt8(ascii: "0") + UInt8(($0 + 1) % 10) }
  }

  @Test("Codes are those of RFC 6238", arguments: table.indices)
  func vectors(_ index: Int) {
    let vector = Self.table[index]
    let step = TOTP.step(at: Date(timeIntervalSince1970: TimeInterval(vector.seconds)))
    #expect(TOTP(secret: seed(20), digits: 8, algorithm: .sha1).code(step: step) == vector.sha1)
    #expect(TOTP(secret: seed(32), digits: 8, algorithm: .sha256).code(step: step) == vector.sha256)
    #expect(TOTP(secret: seed(64), digits: 8, algorithm: .sha512).code(step: step) == vector.sha512)
    #expect(TOTP(secret: seed(20)).code(step: step) == vector.sha1.suffix(6))
  }

  @Test("A code counts in its time step and the ones beside it", arguments: [-2, -1, 0, 1, 2] as [Int64])
  func window(_ offset: Int64) {
    let totp = TOTP(secret: seed(20))
    let now = Date(timeIntervalSince1970: 1_800_000_015)
    let step = TOTP.step(at: now) + offset
    #expect(totp.step(of: totp.code(step: step), at: now) == (abs(offset) <= 1 ? step : nil))
  }

  @Test("What is no code is none", arguments: ["", "12345", "1234567", "abcdef", "      ", "000000\0", "１２３４５６"])
  func hostile(_ code: String) {
    #expect(TOTP(secret: seed(20)).step(of: code, at: Date(timeIntervalSince1970: 59)) == nil)
  }

  @Test("An app can read the URI, whatever stands in the address")
  func uri() throws {
    let totp = TOTP(secret: Array("12345678901234567890".utf8))
    #expect(totp.secretText == "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")
    let uri = totp.uri(account: try Email("a#b?c/%@x.org"))
    #expect(uri.hasPrefix("otpauth://totp/Sluice:a%23b%3Fc%2F%25@x.org?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&"))
    #expect(uri.hasSuffix("&issuer=Sluice&algorithm=SHA1&digits=6&period=30"))
    #expect("\(totp)" == "<redacted>" && TOTP().secretBytes != TOTP().secretBytes)
  }

  @Test(
    "Base32 is that of RFC 4648",
    arguments: [("", ""), ("f", "MY"), ("fo", "MZXQ"), ("foo", "MZXW6"), ("foob", "MZXW6YQ"), ("fooba", "MZXW6YTB"),
      ("foobar", "MZXW6YTBOI")])
  func base32(_ plain: String, _ encoded: String) { #expect(Base32.encode(Array(plain.utf8)) == encoded) }

  @Test("A recovery code has 120 random bits, is read however it is typed, and those of 80 bits go on working")
  func recoveryCodes() throws {
    let code = RecoveryCode()
    #expect(code.text.count == 29 && code.text.split(separator: "-").allSatisfy { $0.count == 4 })
    for typed in [code.text, code.text.uppercased(), code.text.replacing("-", with: ""), code.text.replacing("-", with: " ")] {
      #expect(RecoveryCode(typed)?.digest == code.digest)
    }
    #expect(Set((0..<100).map { _ in RecoveryCode().text }).count == 100)
    let old = try #require(RecoveryCode("abcd-efgh-2345-wxyz"))
    #expect(old.text == "abcd-efgh-2345-wxyz")
    #expect(old.digest == "bbd8be5d97d1f9b6957814a1b5c5b7f869bfb7189b1330e84aac8916aaf1f5f3")
    for wrong in ["", "123456", String(code.text.dropLast()), code.text + "a", "abcd-efgh-2345-wxy1",
      "1111-1111-1111-1111", "éééé-éééé-éééé-éééé"] {
      #expect(RecoveryCode(wrong) == nil, "\(wrong)")
    }
    #expect("\(code)" == "<redacted>")
  }
}

@Suite struct SealerTests {
  private let sealer = SecretSealer.ephemeral()

  @Test("What is sealed opens for its purpose, with its key, unchanged, and only then")
  func sealing() throws {
    let sealed = try sealer.seal([1, 2, 3], for: "totp a")
    #expect(try sealer.open(sealed, for: "totp a") == [1, 2, 3])
    #expect(try sealer.seal([1, 2, 3], for: "totp a") != sealed)
    #expect(throws: SecretSealer.Failure.damaged) { try sealer.open(sealed, for: "totp b") }
    let other = SecretSealer.ephemeral()
    #expect(throws: SecretSealer.Failure.self) { try other.open(sealed, for: "totp a") }
    let parts = sealed.split(separator: ".").map(String.init)
    let body = try #require(Base64URL.decode(parts[2]))
    for index in body.indices {
      var changed = body
      changed[index] ^= 1
      #expect(throws: SecretSealer.Failure.damaged) {
        try sealer.open("\(parts[0]).\(parts[1]).\(Base64URL.encode(changed))", for: "totp a")
      }
    }
    for text in ["", ".", "..", "v1..", "v2.\(parts[1]).\(parts[2])", "v1.\(parts[1]).AA", parts[2]] {
      #expect(throws: SecretSealer.Failure.self) { try sealer.open(text, for: "totp a") }
    }
    #expect(throws: SecretSealer.Failure.keyByteCount(31)) {
      try SealingKey(bytes: Array(repeating: 1, count: 31), activeFrom: .distantPast)
    }
  }

  @Test("A challenge ends, and with another password it is worth nothing")
  func challenge() throws {
    let now = Date(timeIntervalSince1970: 1_800_000_000)
    let id = UUID()
    let text = try SignInChallenge(userID: id, passwordHash: "hash", at: now).sealed(by: sealer)
    let read = try #require(SignInChallenge(text, by: sealer, at: now.addingTimeInterval(299)))
    #expect(read.userID == id && read.isAbout(passwordHash: "hash") && !read.isAbout(passwordHash: "other"))
    #expect(SignInChallenge(text, by: sealer, at: now.addingTimeInterval(300)) == nil)
    #expect(SignInChallenge(text, by: .ephemeral(), at: now) == nil)
    #expect(SignInChallenge("", by: sealer, at: now) == nil)
    #expect(SignInChallenge(try sealer.seal(Array("x".utf8), for: "totp a"), by: sealer, at: now) == nil)
  }

  @Test("A reset token comes back from its text and prints as nothing")
  func resetToken() {
    let token = ResetToken()
    #expect(token.text.hasPrefix("slr_") && ResetToken(token.text)?.digest == token.digest && "\(token)" == "<redacted>")
    for wrong in ["", "slr_", "slk_" + token.text.dropFirst(4), token.text + "A", String(repeating: "s", count: 500)] {
      #expect(ResetToken(wrong) == nil)
    }
  }

  @Test("The list of common passwords counts, in any case", arguments: ["Password1234", "12345678987654321", "AvrilLavigne"])
  func common(_ text: String) throws {
    #expect(CommonPasswords.count > 1500)
    let email = try Email("a@x.org")
    #expect(throws: PasswordPolicy.Violation.common) { try PasswordPolicy.check(Password(text), for: email) }
  }
}

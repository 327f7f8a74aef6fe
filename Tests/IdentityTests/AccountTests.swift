import Foundation
import Testing

@testable import Identity

@Suite struct EmailTests {
  @Test("An address is trimmed and lower-cased")
  func normalised() throws {
    #expect(try Email(" \tAnn.O'Hara+x@Example.ORG\n").value == "ann.o'hara+x@example.org")
    #expect(try Email("admin@localhost.local") == SeededAdmin.email)
    #expect(try Email("a@b").value == "a@b")
  }

  @Test(
    "What is no address is refused",
    arguments: [
      "", " ", "a", "@", "a@", "@b", "a@b@c", "a b@c", ".a@b", "a.@b", "a..b@c", "a@b.", "a@.b", "a@b..c", "a@-b",
      "a@b-", "a@b_c", "a\0@b", "ä@b.de", "a@bücher.de", "a@b c", "<a@b>", "a@b\r\nBcc: c@d", "\"a\"@b", "a@[::1]",
    ])
  func refused(_ text: String) {
    #expect(throws: EmailError.self) { try Email(text) }
  }

  @Test("Lengths are bounded: 64 before the @, 63 in a label, 254 in all")
  func lengths() throws {
    let label = String(repeating: "d", count: 63), local = String(repeating: "l", count: 64)
    let longest = "\(local)@\(label).\(label).\(String(repeating: "e", count: 61))"
    #expect(longest.utf8.count == 254)
    #expect(try Email(longest).value == longest)
    #expect(throws: EmailError.tooLong) { try Email(longest + "e") }
    #expect(throws: EmailError.malformed) { try Email("l\(local)@d") }
    #expect(throws: EmailError.malformed) { try Email("l@d\(label)") }
  }

  @Test("The JSON form is a string; a wrong one is a decoding error")
  func json() throws {
    let decoded = try JSONDecoder().decode([Email].self, from: Data("[\"A@b.c\"]".utf8))
    #expect(String(decoding: try JSONEncoder().encode(decoded), as: UTF8.self) == "[\"a@b.c\"]")
    #expect(throws: DecodingError.self) { try JSONDecoder().decode([Email].self, from: Data("[\"nobody\"]".utf8)) }
  }
}

@Suite struct RoleTests {
  @Test("Each role holds the next one's scopes and more")
  func nested() {
    #expect(Role.viewer.scopes.isStrictSubset(of: Role.maintainer.scopes))
    #expect(Role.maintainer.scopes.isStrictSubset(of: Role.admin.scopes))
    #expect(Role.admin.scopes == Set(Scope.allCases))
    #expect(Role.viewer.scopes.allSatisfy { $0.rawValue.hasSuffix(":read") })
  }

  @Test("A viewer and a maintainer see no users", arguments: [Role.viewer, .maintainer])
  func users(_ role: Role) {
    #expect(!role.scopes.grants(.usersRead) && !role.scopes.grants(.usersWrite))
  }

  @Test("Who may write may read, and nothing else follows", arguments: Scope.allCases)
  func hierarchy(_ scope: Scope) throws {
    let area = try #require(scope.rawValue.split(separator: ":").first)
    let held: Set<Scope> = [scope]
    for other in Scope.allCases {
      let isRead = other.rawValue == "\(area):read"
      #expect(held.grants(other) == (other == scope || isRead))
    }
    #expect(!Set<Scope>().grants(scope))
  }

  @Test("Roles together hold the union")
  func union() {
    #expect(Set<Role>().scopes.isEmpty)
    #expect(Set<Role>([.viewer, .maintainer]).scopes == Role.maintainer.scopes)
    #expect(Set(Role.allCases).scopes == Role.admin.scopes)
  }
}

@Suite struct PasswordTests {
  private let hasher = try! PasswordHasher(parameters: .weakest)

  @Test(
    "A password verifies against its hash, and no other does",
    arguments: ["", "p", "correct horse battery", "tab\tinside", "😀 e\u{301}", String(repeating: "x", count: 2000)])
  func verify(_ text: String) throws {
    let password = Password(text)
    let hash = try hasher.hash(password)
    #expect(hash.hasPrefix("$argon2id$v=19$m=8,t=1,p=1$"))
    #expect(try hasher.hash(password) != hash, "salted")
    #expect(hasher.verify(password, against: hash))
    for other in [text + "x", text + "\0", String(text.dropLast()) + "!", text.uppercased() + "?"] {
      #expect(!hasher.verify(Password(other), against: hash))
    }
    #expect(!hasher.verifyDummy(password))
  }

  @Test("What is no hash verifies nothing", arguments: ["", "x", "$argon2id$", "$2b$12$abcdefghijklmnopqrstuv", "a\0b"])
  func malformed(_ hash: String) {
    #expect(!hasher.verify(Password("x"), against: hash))
    #expect(hasher.needsRehash(hash))
  }

  @Test("A composed and a decomposed form are one password")
  func canonical() throws {
    let hash = try hasher.hash(Password("caf\u{E9}-caf\u{E9}"))
    #expect(hasher.verify(Password("cafe\u{301}-cafe\u{301}"), against: hash))
    #expect(Password("caf\u{E9}") == Password("cafe\u{301}"))
  }

  @Test("A hash of other parameters verifies still and wants to be replaced")
  func rehash() throws {
    let strong = try PasswordHasher(parameters: .init(memoryByteCount: 65536, passCount: 2))
    let hash = try hasher.hash(Password("x"))
    #expect(!hasher.needsRehash(hash))
    #expect(strong.needsRehash(hash) && strong.verify(Password("x"), against: hash))
  }

  @Test("The standard cost is 19 MiB and two passes, and an unknown user costs as much as a known one")
  func cost() throws {
    let standard = try PasswordHasher()
    for hash in [try standard.hash(Password("x")), standard.dummyHash] {
      #expect(hash.hasPrefix("$argon2id$v=19$m=19456,t=2,p=1$"))
    }
    #expect(!standard.verifyDummy(Password("x")))
  }

  @Test("More memory than there is is an error, not a crash")
  func memory() {
    #expect(throws: PasswordHashError.self) {
      try PasswordHasher(parameters: .init(memoryByteCount: 1 << 41, passCount: 1))
    }
  }

  @Test(
    "The policy names what is wrong",
    arguments: [
      ("", PasswordPolicy.Violation.tooShort), ("123456789", .tooShort), ("admin123", .tooShort),
      (String(repeating: "ab", count: 65), .tooLong), ("tab\tinside it", .controlCharacters),
      ("password1234", .common), ("Password123!", .common), ("123456789012", .common), ("qwertyuiopas", .common),
      ("aaaaaaaaaaaa", .common), ("abababababab", .common), ("administrator1", .common), ("adminadmin12", .common),
      ("ANN.longexample@x.org", .containsEmail), ("ann.longexample", .containsEmail),
      ("elevenbytes", .tooShort),
    ])
  func policy(_ text: String, _ violation: PasswordPolicy.Violation) throws {
    let email = try Email("ann.longexample@x.org")
    #expect(throws: violation) { try PasswordPolicy.check(Password(text), for: email) }
  }

  @Test(
    "The policy lets good passwords be",
    arguments: ["vNq3-lattice", "a long sentence, with words", "ünïcödé päss", String(repeating: "ab3", count: 9)])
  func accepted(_ text: String) throws {
    try PasswordPolicy.check(Password(text), for: Email("ann@x.org"))
  }

  @Test(
    "Length is counted in characters, however many bytes they have and however they were typed",
    arguments: ["aé", "e\u{301}ß", "𝄞x", "中文", "🔑y"])
  func lengths(_ pair: String) throws {
    let email = try Email("ann@x.org")
    // Varied, so that no other rule is in the way.
    let letters = "bcdfghjklmnpqrstvwxz".unicodeScalars.map(String.init)
    func text(_ count: Int) -> String { (0..<(count - 2)).map { letters[$0 * 7 % letters.count] }.joined() + pair }
    for count in [12, 64, 128] { try PasswordPolicy.check(Password(text(count)), for: email) }
    #expect(throws: PasswordPolicy.Violation.tooShort) { try PasswordPolicy.check(Password(text(11)), for: email) }
    #expect(throws: PasswordPolicy.Violation.tooLong) { try PasswordPolicy.check(Password(text(129)), for: email) }
    let long = String(repeating: pair, count: 64)
    let hasher = try PasswordHasher(parameters: .weakest)
    let hash = try hasher.hash(Password(long))
    #expect(hasher.verify(Password(long), against: hash) && hasher.verify(Password(long.decomposedStringWithCanonicalMapping), against: hash))
    #expect(!hasher.verify(Password(String(long.dropLast()) + "z"), against: hash), "the last character counts")
  }

  @Test("The seeded password is against the policy: nobody can choose it")
  func seeded() {
    #expect(throws: PasswordPolicy.Violation.self) {
      try PasswordPolicy.check(SeededAdmin.password, for: SeededAdmin.email)
    }
  }
}

@Suite struct SecretTests {
  @Test("No secret shows itself, however it is printed")
  func redacted() async throws {
    let refresh = RefreshToken()
    let keyBytes = Array("0123456789abcdef0123456789abcdef-key".utf8)
    let tokens = try await AccessTokens(key: .hs256(secret: keyBytes))
    let access = try await tokens.issue(to: AccessSubject(userID: UUID(), email: SeededAdmin.email, roles: []))
    let secrets: [(value: any Sendable, text: String)] = [
      (Password("hunter2"), "hunter2"), (refresh, refresh.text), (access, access.text),
      (SigningKey.hs256(secret: keyBytes), "48, 49, 50"), (SigningKey.edDSA(seed: keyBytes), "48, 49, 50"),
    ]
    for secret in secrets {
      var dumped = ""
      dump(secret.value, to: &dumped)
      let forms = [
        "\(secret.value)", String(describing: secret.value), String(reflecting: secret.value), dumped,
        "\([secret.value])", "\(Optional(secret.value) as Any)", "\(["k": secret.value])",
      ]
      for form in forms {
        #expect(!form.contains(secret.text) && !form.contains("104, 117, 110"))
      }
    }
  }

  @Test("Random bytes have the asked length and don't repeat", arguments: [0, 1, 32, 4096])
  func random(_ count: Int) {
    #expect(SecureRandom.bytes(count: count).count == count)
    if count >= 32 { #expect(SecureRandom.bytes(count: count) != SecureRandom.bytes(count: count)) }
  }

  @Test("Constant-time comparison agrees with ==")
  func constantTime() {
    let samples: [[UInt8]] = [[], [0], [1], [0, 0], [1, 2, 3], [1, 2, 4], [255], Array(repeating: 7, count: 1000)]
    for a in samples { for b in samples { #expect(constantTimeEquals(a, b) == (a == b)) } }
  }

  @Test("Base64url round-trips and refuses every other spelling")
  func base64() {
    for count in 0..<70 {
      let bytes = SecureRandom.bytes(count: count)
      let text = Base64URL.encode(bytes)
      #expect(Base64URL.decode(text) == bytes)
      #expect(text.utf8.allSatisfy { !"+/=".utf8.contains($0) })
    }
    for text in ["A", "AB", "A=", "AA==", "+_8", "A A", "AAA\n", "é", "AAAAA"] where text != "AA" {
      #expect(Base64URL.decode(text) == nil, "\(text)")
    }
  }
}

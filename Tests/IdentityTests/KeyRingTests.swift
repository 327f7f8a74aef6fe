import Crypto
import Foundation
import Testing

@testable import Identity

@Suite struct KeyRingTests {
  private let clock = TestClock()
  private let subject = AccessSubject(userID: UUID(), email: SeededAdmin.email, roles: [.viewer])
  private let lifetime = AccessTokens.Settings().lifetimeWithLeeway

  private func key(_ algorithm: SigningAlgorithm = .edDSA, in delay: TimeInterval = 0) -> StoredKey {
    .random(algorithm, createdAt: clock.now, activeFrom: clock.now.addingTimeInterval(delay))
  }

  private func tokens(_ ring: KeyRing) async throws -> AccessTokens {
    try await AccessTokens(keys: ring, now: { [clock] in clock.now })
  }

  private func header(_ token: AccessToken) throws -> [String: String] {
    let part = String(token.text.prefix { $0 != "." })
    return try JSONDecoder().decode([String: String].self, from: Data(try #require(Base64URL.decode(part))))
  }

  @Test("A token names its key and its algorithm", arguments: SigningAlgorithm.allCases)
  func header(_ algorithm: SigningAlgorithm) async throws {
    let key = key(algorithm)
    let tokens = try await tokens(KeyRing([key]))
    let token = try await tokens.issue(to: subject)
    #expect(try header(token) == ["alg": algorithm.rawValue, "kid": key.id, "typ": "JWT"])
    #expect(try await tokens.verify(token.text) == token.claims)
  }

  @Test("After a rotation both keys' tokens are good, until the last one of the old key has expired")
  func rotation() async throws {
    let old = key()
    let ring = try KeyRing([old])
    let tokens = try await tokens(ring)
    let new = key(.es256, in: 90)
    let rotated = try ring.rotated(to: new, lifetime: lifetime, at: clock.now)
    try await tokens.use(rotated)
    #expect(try header(try await tokens.issue(to: subject))["kid"] == old.id, "the new one is only announced")
    #expect(rotated.keys.map { rotated.state(of: $0, at: clock.now) } == [.signing, .coming])
    clock.advance(89)
    let last = try await tokens.issue(to: subject)
    clock.advance(1)
    let first = try await tokens.issue(to: subject)
    #expect(try header(last)["kid"] == old.id && header(first)["kid"] == new.id)
    try await tokens.use(rotated)
    _ = try await tokens.verify(last.text)
    _ = try await tokens.verify(first.text)
    clock.advance(lifetime - 2)
    _ = try await tokens.verify(last.text)
    clock.advance(2)
    #expect(rotated.keys.map { rotated.state(of: $0, at: clock.now) } == [.ended, .signing])
    try await tokens.use(rotated)
    await #expect(throws: AccessTokenError.invalid(.key)) { try await tokens.verify(last.text) }
    let again = try rotated.rotated(to: key(), lifetime: lifetime, at: clock.now)
    #expect(again.keys.count == 2, "what has ended is left out")
  }

  @Test("A retired key's tokens are worth nothing at once; the one that signs stays")
  func retirement() async throws {
    let old = key()
    let tokens = try await tokens(KeyRing([old]))
    let token = try await tokens.issue(to: subject)
    let rotated = try KeyRing([old]).rotated(to: key(), lifetime: lifetime, at: clock.now)
    let new = rotated.signing(at: clock.now)
    #expect(new.id != old.id)
    #expect(throws: SigningKeyError.inUse(id: new.id)) { try rotated.retired(new.id, at: clock.now) }
    #expect(throws: SigningKeyError.unknown(id: "nothing")) { try rotated.retired("nothing", at: clock.now) }
    try await tokens.use(try rotated.retired(old.id, at: clock.now))
    await #expect(throws: AccessTokenError.invalid(.key)) { try await tokens.verify(token.text) }
  }

  @Test("A public key is no shared secret: the algorithm belongs to the key, not to the token")
  func confusion() async throws {
    let key = key()
    let tokens = try await tokens(KeyRing([key]))
    guard case .edDSA(let seed) = key.key else { return }
    let publicKey = try Curve25519.Signing.PrivateKey(rawRepresentation: seed).publicKey.rawRepresentation
    let claims = try await tokens.issue(to: subject).text.split(separator: ".")[1]
    for algorithm in ["HS256", "none", "ES256"] {
      let header = Base64URL.encode(Array(#"{"alg":"\#(algorithm)","kid":"\#(key.id)","typ":"JWT"}"#.utf8))
      let text = "\(header).\(claims)"
      let code = HMAC<SHA256>.authenticationCode(for: Data(text.utf8), using: SymmetricKey(data: publicKey))
      await #expect(throws: AccessTokenError.self) {
        try await tokens.verify("\(text).\(Base64URL.encode(Array(code)))")
      }
    }
  }

  @Test("The published set has what verifies a token and nothing secret")
  func published() async throws {
    let keys = [key(.edDSA), key(.es256, in: 5), key(.hs256, in: 10)]
    let tokens = try await tokens(KeyRing(keys))
    let text = try tokens.publicKeysText()
    struct JWKS: Decodable { let keys: [[String: String]] }
    let set = try JSONDecoder().decode(JWKS.self, from: Data(text.utf8)).keys
    #expect(set.map { $0["kid"] } == [keys[1].id, keys[0].id])
    #expect(set.allSatisfy { $0["d"] == nil && $0["k"] == nil && $0["use"] == "sig" })
    let token = try await tokens.issue(to: subject).text.split(separator: ".").map(String.init)
    let x = try #require(set[1]["x"].flatMap(Base64URL.decode))
    #expect(set[1]["kty"] == "OKP" && set[1]["crv"] == "Ed25519" && set[1]["alg"] == "EdDSA")
    let signature = try #require(Base64URL.decode(token[2]))
    #expect(
      try Curve25519.Signing.PublicKey(rawRepresentation: x)
        .isValidSignature(Data(signature), for: Data("\(token[0]).\(token[1])".utf8)))
  }

  @Test("The key of RFC 8037, appendix A, has the public part that stands there")
  func vector() throws {
    let text = #"{"kty":"OKP","crv":"Ed25519","kid":"rfc","alg":"EdDSA","#
      + #""d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#
    let key = try StoredKey(secretText: text)
    #expect(try KeyRing([key]).publicSetText(at: clock.now).contains(#""x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#))
  }

  @Test("A key comes back from its text as it was", arguments: SigningAlgorithm.allCases)
  func text(_ algorithm: SigningAlgorithm) async throws {
    var key = key(algorithm, in: 7)
    key.endsAt = clock.now.addingTimeInterval(100)
    let back = try StoredKey(secretText: try key.secretText())
    #expect(back.id == key.id && back.createdAt == key.createdAt && back.activeFrom == key.activeFrom)
    #expect(back.endsAt == key.endsAt && back.key.algorithm == algorithm)
    let token = try await tokens(KeyRing([key])).issue(to: subject)
    _ = try await tokens(KeyRing([back])).verify(token.text)
    #expect("\(key) \(key.key)" == "<redacted> <redacted>")
  }

  @Test(
    "What is no key is refused",
    arguments: [
      "", "{}", "[]", "null", "x", #"{"kty":"OKP","kid":"a","alg":"EdDSA"}"#,
      #"{"kty":"OKP","kid":"a","alg":"EdDSA","d":"AA"}"#, #"{"kty":"oct","kid":"a","alg":"HS256","k":"AAAA"}"#,
      #"{"kty":"OKP","kid":"../a","alg":"EdDSA","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}"#,
      #"{"kty":"OKP","kid":"","alg":"EdDSA","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}"#,
      #"{"kty":"OKP","crv":"Ed25519","kid":"a","alg":"EdDSA","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"AA"}"#,
      #"{"kty":"EC","kid":"a","alg":"ES256","d":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#,
      #"{"kty":"RSA","kid":"a","alg":"RS256","d":"AA"}"#, String(repeating: " ", count: 5000),
    ])
  func hostile(_ text: String) {
    #expect(throws: SigningKeyError.self) { try StoredKey(secretText: text) }
  }

  @Test("No keys and two of one name are refused")
  func wrongRings() {
    #expect(throws: SigningKeyError.noKey) { try KeyRing([]) }
    let key = key()
    #expect(throws: SigningKeyError.duplicate(id: key.id)) { try KeyRing([key, key]) }
  }
}

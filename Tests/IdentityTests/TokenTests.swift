import Crypto
import Foundation
import Synchronization
import Testing

@testable import Identity

/// A clock that stands until it is moved.
final class TestClock: Sendable {
  private let seconds = Mutex<TimeInterval>(1_800_000_000)

  var now: Date { Date(timeIntervalSince1970: seconds.withLock { $0 }) }
  func advance(_ by: TimeInterval) { seconds.withLock { $0 += by } }
}

@Suite struct AccessTokenTests {
  private static let secret = Array("a secret of more than thirty-two bytes".utf8)
  private let clock = TestClock()
  private let subject = AccessSubject(
    userID: UUID(), email: SeededAdmin.email, roles: [.maintainer, .viewer], mustChangePassword: true)

  private func tokens(
    _ key: SigningKey = .hs256(secret: secret), _ settings: AccessTokens.Settings = .init()
  ) async throws -> AccessTokens {
    try await AccessTokens(key: key, settings: settings, now: { [clock] in clock.now })
  }

  private func error(_ tokens: AccessTokens, _ text: String) async -> AccessTokenError? {
    do throws(AccessTokenError) {
      _ = try await tokens.verify(text)
      return nil
    } catch { return error }
  }

  @Test(
    "What is issued verifies and says the same",
    arguments: [
      SigningKey.hs256(secret: secret), .edDSA(seed: Array(repeating: 7, count: 32)),
      .es256(scalar: Array(repeating: 7, count: 32)), .ephemeral(),
    ])
  func roundTrip(_ key: SigningKey) async throws {
    let tokens = try await tokens(key)
    let issued = try await tokens.issue(to: subject)
    #expect(try await tokens.verify(issued.text) == issued.claims)
    #expect(issued.claims.subject == subject)
    #expect(issued.claims.scopes == Role.maintainer.scopes)
    #expect(issued.claims.issuedAt == clock.now && issued.claims.expiresAt == clock.now.addingTimeInterval(900))
    #expect(try await tokens.issue(to: subject).claims.tokenID != issued.claims.tokenID)
    let nobody = AccessSubject(userID: UUID(), email: SeededAdmin.email, roles: [])
    #expect(try await tokens.verify(tokens.issue(to: nobody).text).scopes.isEmpty)
  }

  @Test("A token expires, after the leeway, and says expired rather than invalid")
  func expiry() async throws {
    let tokens = try await tokens(.hs256(secret: Self.secret), .init(lifetime: .seconds(60), leeway: .seconds(5)))
    let issued = try await tokens.issue(to: subject)
    clock.advance(64.999)
    #expect(await error(tokens, issued.text) == nil)
    clock.advance(0.001)
    #expect(await error(tokens, issued.text) == .expired)
    clock.advance(-66)
    #expect(await error(tokens, issued.text) == nil)
    clock.advance(-10)
    #expect(await error(tokens, issued.text) == .invalid(.issuedInFuture))
  }

  @Test("Another issuer, audience or key makes a token invalid, also when it is expired")
  func foreign() async throws {
    let mine = try await tokens()
    let text = try await mine.issue(to: subject).text
    let issuer = try await tokens(.hs256(secret: Self.secret), .init(issuer: "other"))
    let audience = try await tokens(.hs256(secret: Self.secret), .init(audience: "other"))
    let key = try await tokens(.hs256(secret: Self.secret.reversed()))
    let ed = try await tokens(.edDSA(seed: Array(repeating: 7, count: 32)))
    for _ in 0..<2 {
      #expect(await error(issuer, text) == .invalid(.issuer))
      #expect(await error(audience, text) == .invalid(.audience))
      #expect(await error(key, text) == .invalid(.signature))
      #expect(await error(ed, text) == .invalid(.signature))
      clock.advance(10_000)
    }
    #expect(await error(mine, text) == .expired)
  }

  @Test("A forged or damaged token is invalid")
  func forged() async throws {
    let tokens = try await tokens()
    let text = try await tokens.issue(to: subject).text
    let parts = text.split(separator: ".").map(String.init)
    let claims = try #require(Base64URL.decode(parts[1]))
    let none = Base64URL.encode(Array(#"{"alg":"none","typ":"JWT"}"#.utf8))
    let admin = Base64URL.encode(
      Array(String(decoding: claims, as: UTF8.self).replacing("Viewer", with: "Admin").utf8))
    let forgeries = [
      "", ".", "..", "...", "a.b.c", "x", text + "x", text + ".", String(text.dropLast()), "\(parts[0]).\(parts[1]).",
      "\(none).\(parts[1]).", "\(none).\(parts[1]).\(parts[2])", "\(parts[0]).\(admin).\(parts[2])",
      "\(parts[1]).\(parts[0]).\(parts[2])", "\(parts[0]).\(parts[1])", text.uppercased(),
      String(repeating: "A", count: 9000), "\0", "é.é.é",
    ]
    for forgery in forgeries {
      guard case .invalid = await error(tokens, forgery) else {
        Issue.record("accepted or misjudged: \(forgery)")
        continue
      }
    }
  }

  @Test("A genuine signature over wrong claims is invalid")
  func wrongClaims() async throws {
    let tokens = try await tokens()
    let good = try await tokens.issue(to: subject).text.split(separator: ".").map(String.init)
    let claims = String(decoding: try #require(Base64URL.decode(good[1])), as: UTF8.self)
    func signed(_ claims: String) -> String {
      let text = "\(good[0]).\(Base64URL.encode(Array(claims.utf8)))"
      let code = HMAC<SHA256>.authenticationCode(for: Data(text.utf8), using: SymmetricKey(data: Self.secret))
      return "\(text).\(Base64URL.encode(Array(code)))"
    }
    #expect(await error(tokens, signed(claims)) == nil, "the test signs as the code does")
    let id = subject.userID.uuidString.lowercased()
    for wrong in [
      "", "{}", "[]", "null", claims.replacing(id, with: "1"), claims.replacing("admin@localhost.local", with: "x"),
      claims.replacing("\"exp\":", with: "\"exq\":"), claims.replacing("\"exp\":", with: "\"exp\":\"x\",\"y\":"),
      claims.replacing("\"mcp\":true", with: "\"mcp\":1"),
    ] {
      guard case .invalid = await error(tokens, signed(wrong)) else {
        Issue.record("accepted: \(wrong)")
        continue
      }
    }
    let unknown = claims.replacing("\"rules:apply\"", with: "\"root:everything\"")
    #expect(try await tokens.verify(signed(unknown)).scopes == Role.maintainer.scopes.subtracting([.rulesApply]))
  }

  @Test("A short secret or a malformed seed is refused", arguments: [0, 1, 31])
  func shortKey(_ count: Int) async {
    let bytes = [UInt8](repeating: 1, count: count)
    await #expect(throws: SigningKeyError.secretTooShort(byteCount: count)) { try await tokens(.hs256(secret: bytes)) }
    await #expect(throws: SigningKeyError.malformedSeed) { try await tokens(.edDSA(seed: bytes)) }
  }
}

@Suite struct RefreshTokenTests {
  private let now = Date(timeIntervalSince1970: 1_800_000_000)

  @Test("A token is 43 characters, unique, and found again by its digest")
  func text() throws {
    let token = RefreshToken()
    #expect(token.text.count == 43 && token != RefreshToken())
    let parsed = try #require(RefreshToken(token.text))
    #expect(parsed == token && parsed.digest == token.digest)
    #expect(token.digest.count == 64 && !token.digest.contains(token.text))
    #expect(RefreshToken().digest != token.digest)
  }

  @Test(
    "What never was a token is none",
    arguments: ["", "x", String(repeating: "A", count: 42), String(repeating: "A", count: 44), "é", "A\0",
      String(repeating: "/", count: 43), String(repeating: "A", count: 42) + "B"])
  func malformed(_ text: String) {
    #expect(RefreshToken(text) == nil)
  }

  @Test("A token is worth something until it expires, once")
  func states() {
    let later = now.addingTimeInterval(1), before = now.addingTimeInterval(-1)
    let cases: [(RefreshTokenState, RefreshTokenState.Outcome)] = [
      (.init(expiresAt: later), .rotate),
      (.init(expiresAt: now), .expired),
      (.init(expiresAt: before), .expired),
      (.init(expiresAt: later, revokedAt: before), .revoked),
      (.init(expiresAt: before, revokedAt: before), .revoked),
      (.init(expiresAt: later, rotatedAt: before), .reused),
      (.init(expiresAt: before, rotatedAt: before), .reused),
      (.init(expiresAt: later, rotatedAt: before, revokedAt: before), .reused),
    ]
    for (state, outcome) in cases { #expect(state.present(at: now) == outcome) }
  }
}

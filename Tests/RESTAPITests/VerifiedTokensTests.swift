import Foundation
import Identity
import Synchronization
import Testing

@testable import RESTAPI

@Suite("Tokens that were found genuine")
struct VerifiedTokensTests {
  private final class Clock: Sendable {
    private let offset = Mutex<TimeInterval>(0)
    var now: Date { Date(timeIntervalSince1970: 1_800_000_000 + offset.withLock { $0 }) }
    func set(_ seconds: TimeInterval) { offset.withLock { $0 = seconds } }
  }

  @Test("A remembered token still ends with its time, and before its time it is none")
  func time() async throws {
    let clock = Clock()
    let tokens = try await AccessTokens(key: .ephemeral(), now: { clock.now })
    let verified = VerifiedTokens(tokens)
    let text = try await tokens.issue(to: .init(userID: UUID(), email: Email("a@x.org"), roles: [.viewer])).text
    let claims = try await verified.claims(of: text)
    #expect(try await verified.claims(of: text) == claims)
    clock.set(904)
    #expect(try await verified.claims(of: text) == claims, "within the leeway")
    clock.set(905)
    await #expect(throws: AccessTokenError.expired) { try await verified.claims(of: text) }
    clock.set(-6)
    await #expect(throws: AccessTokenError.invalid(.issuedInFuture)) { try await verified.claims(of: text) }
  }

  @Test("Only what was found genuine is remembered", arguments: ["", "x", "a.b.c", String(repeating: "é", count: 5000)])
  func forged(_ suffix: String) async throws {
    let tokens = try await AccessTokens(key: .ephemeral())
    let verified = VerifiedTokens(tokens)
    let text = try await tokens.issue(to: .init(userID: UUID(), email: Email("a@x.org"), roles: [.viewer])).text
    _ = try await verified.claims(of: text)
    for forged in [suffix, text.dropLast(2) + suffix, text + suffix + "."] {
      for _ in 0..<2 { await #expect(throws: AccessTokenError.self) { try await verified.claims(of: String(forged)) } }
    }
  }
}

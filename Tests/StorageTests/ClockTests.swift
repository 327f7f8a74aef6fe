import Audit
import DatabaseSupport
import Foundation
import Identity
import Rules
import Synchronization
import Testing

@testable import Storage

/// The wall clock says when something was; what came after what, the numbers say.
@Suite struct ClockTests {
  private final class Clock: Sendable {
    private let date = Mutex(Date(timeIntervalSince1970: 1_800_000_000))
    var now: Date { date.withLock { $0 } }
    func jump(_ seconds: TimeInterval) { date.withLock { $0 += seconds } }
  }

  @Test("A clock that jumps a day back and a year ahead orders nothing anew", arguments: TestBackend.allCases)
  func jumps(_ backend: TestBackend) async throws {
    try await withDatabase(backend) { database in
      try await Migrator(Schema.migrations).run(on: database)
      let clock = Clock()
      let store = SQLStore(database, now: { clock.now })
      _ = try await store.createRuleSet(.sample("edge"), description: "", editor)
      let jumps: [TimeInterval] = [-86_400, 1, 365 * 86_400, -2 * 365 * 86_400, 0.001, -0.001]
      for (n, jump) in jumps.enumerated() {
        clock.jump(jump)
        let made = try await store.updateRuleSet(named: "edge", editor) { draft in
          draft.content.rules.append(Rule(name: "r\(n)", action: .drop))
        }
        #expect(made.revision == UInt64(n) + 2)
        #expect(try await store.ruleSet(named: "edge").content.rules.count == n + 1, "the newest is that of the number")
      }
      let revisions = try await store.ruleSetRevisions(named: "edge", Page())
      #expect(revisions.items.map(\.number) == [7, 6, 5, 4, 3, 2, 1])
      // Retention goes by time, and takes only a whole stretch from the start.
      _ = try await store.removeAuditLog(before: clock.now.addingTimeInterval(-3600))
      var verifier = AuditVerifier()
      for record in try await store.auditLog(AuditFilter(isAscending: true), Page()).items { try verifier.check(record) }
      try verifier.finish(end: try await store.auditHead())
      #expect(verifier.count >= 7)
    }
  }

  @Test("A clock that was set back does not bring a spent token or an idempotency key back", arguments: TestBackend.allCases)
  func tokens(_ backend: TestBackend) async throws {
    try await withDatabase(backend) { database in
      try await Migrator(Schema.migrations).run(on: database)
      let clock = Clock()
      let store = SQLStore(database, now: { clock.now })
      let user = try await store.createUser(.sample("a@x.org"))
      _ = try await store.insertRefreshToken(digest: "one", userID: user.id, limits: .init())
      _ = try await store.rotateRefreshToken(digest: "one", successorDigest: "two", limits: .init())
      #expect(try await store.claimIdempotencyKey(owner: "o", digest: "d", request: "r") == .claimed)
      clock.jump(-86_400)
      let again = try await store.rotateRefreshToken(digest: "one", successorDigest: "three", limits: .init())
      if case .rotated = again { Issue.record("a spent token was taken again") }
      #expect(try await store.claimIdempotencyKey(owner: "o", digest: "d", request: "r") == .running)
    }
  }

  @Test(
    "A session ends 30 minutes after its last renewal, and 12 hours after the sign-in however often it is renewed",
    arguments: TestBackend.allCases)
  func sessions(_ backend: TestBackend) async throws {
    try await withDatabase(backend) { database in
      try await Migrator(Schema.migrations).run(on: database)
      let clock = Clock()
      let store = SQLStore(database, now: { clock.now })
      let user = try await store.createUser(.sample("a@x.org"))
      func renew(_ old: String, _ new: String, _ limits: SessionLimits = .init()) async throws -> RefreshTokenRotation {
        try await store.rotateRefreshToken(digest: old, successorDigest: new, limits: limits)
      }
      let start = clock.now
      _ = try await store.insertRefreshToken(digest: "0", userID: user.id, limits: .init())
      for n in 0..<24 {
        clock.jump(1799)
        #expect(try await renew("\(n)", "\(n + 1)") == .rotated(user), "\(n)")
      }
      // 24 s before the end of the 12 hours: that is the end of the last token, too.
      let end = start.addingTimeInterval(12 * 3600)
      #expect(try await store.refreshToken(digest: "24")?.state.expiresAt == end)
      #expect(try await store.sessions(userID: user.id).map(\.expiresAt) == [end])
      clock.jump(24)
      #expect(try await renew("24", "25") == .expired)
      #expect(try await store.sessions(userID: user.id).isEmpty)

      _ = try await store.insertRefreshToken(digest: "idle", userID: user.id, limits: .init())
      clock.jump(1800)
      #expect(try await renew("idle", "late") == .expired)
    }
  }

  @Test("Limits that become narrower hold for sessions that began before; wider ones don't bring back what ended",
    arguments: TestBackend.allCases)
  func limits(_ backend: TestBackend) async throws {
    try await withDatabase(backend) { database in
      try await Migrator(Schema.migrations).run(on: database)
      let clock = Clock()
      let store = SQLStore(database, now: { clock.now })
      let user = try await store.createUser(.sample("a@x.org"))
      let (wide, narrow) = (SessionLimits(lifetime: .seconds(14 * 86_400), idle: .seconds(14 * 86_400)), SessionLimits())
      func renew(_ old: String, _ new: String, _ limits: SessionLimits) async throws -> RefreshTokenRotation {
        try await store.rotateRefreshToken(digest: old, successorDigest: new, limits: limits)
      }
      for digest in ["unused", "used"] {
        _ = try await store.insertRefreshToken(digest: digest, userID: user.id, limits: wide)
      }
      _ = try await store.insertRefreshToken(digest: "narrow", userID: user.id, limits: narrow)
      clock.jump(1801)
      #expect(try await renew("unused", "1", narrow) == .expired)
      #expect(try await renew("narrow", "2", wide) == .expired)
      #expect(try await renew("used", "used 2", wide) == .rotated(user))
      clock.jump(12 * 3600 - 1801)
      #expect(try await renew("used 2", "3", SessionLimits(idle: .seconds(86_400))) == .expired, "12 hours in all")
    }
  }
}

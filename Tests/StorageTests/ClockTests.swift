import Audit
import DatabaseSupport
import Foundation
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
      let end = clock.now.addingTimeInterval(1000)
      _ = try await store.insertRefreshToken(digest: "one", userID: user.id, expiresAt: end)
      _ = try await store.rotateRefreshToken(digest: "one", successorDigest: "two", successorExpiresAt: end)
      #expect(try await store.claimIdempotencyKey(owner: "o", digest: "d", request: "r") == .claimed)
      clock.jump(-86_400)
      let again = try await store.rotateRefreshToken(digest: "one", successorDigest: "three", successorExpiresAt: end)
      if case .rotated = again { Issue.record("a spent token was taken again") }
      #expect(try await store.claimIdempotencyKey(owner: "o", digest: "d", request: "r") == .running)
    }
  }
}

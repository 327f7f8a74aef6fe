import DatabaseSupport
import Foundation
import Identity
import Storage
import Testing

@testable import RESTAPI

/// Two copies of the API on one database, each with what it keeps in memory.
@Suite struct ReplicaTests {
  /// Runs the body while the second copy watches.
  private func withWatch(
    _ api: TestAPI, period: Duration, _ body: @escaping @Sendable () async throws -> Void
  ) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await ReplicaWatch(api.services, period: period).run() }
      group.addTask { try await body() }
      // The body's end, or its error: the watch itself never ends.
      try await group.next()
      group.cancelAll()
    }
  }

  /// A session of a new account, and a token of the copy for it.
  private func session(_ api: TestAPI) async throws -> (user: User, id: UUID, token: String) {
    let user = try await api.makeUser([.viewer])
    let record = try await api.store.insertRefreshToken(
      digest: UUID().uuidString, userID: user.id, limits: .init())
    let subject = AccessSubject(
      userID: user.id, email: user.email, roles: user.roles, mustChangePassword: false, sessionID: record.familyID)
    return (user, record.familyID, try await api.services.tokens.issue(to: subject).text)
  }

  /// How long it takes until the copy refuses the token; nil: longer than the time.
  private func refusal(_ api: TestAPI, _ token: String, within time: Duration) async throws -> Duration? {
    let start = ContinuousClock.now
    while ContinuousClock.now - start < time {
      if try await api.get("/nodes", token).code == "unauthenticated" { return ContinuousClock.now - start }
      try await Task.sleep(for: .milliseconds(10))
    }
    return nil
  }

  @Test("PostgreSQL wakes the other copy: an ended session, a changed role; also after the connection was lost")
  func wakes() async throws {
    try await TestAPI.with(.postgres) { first in
      try await TestAPI.with(.postgres, on: first.database) { second in
        // Looking by itself would take far longer than the test.
        try await withWatch(second, period: .seconds(3600)) {
          for round in 0..<2 {
            let (user, id, token) = try await session(second)
            #expect(try await second.get("/nodes", token).status == 200)
            // The word may come before the listener is there: then it looks when it is.
            try await first.store.revokeSession(id: id, userID: user.id)
            #expect(try await refusal(second, token, within: .seconds(10)) != nil, "round \(round)")
            // Its listener waits, like any idle connection of this database; nobody else has LISTENed.
            let name = try #require(first.database.environment["DB_NAME"])
            try PostgresServer.shared().run(
              "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                + "WHERE datname = '\(name)' AND query LIKE 'LISTEN%'")
          }
        }
      }
    }
  }

  @Test("Where nobody can tell, it looks; and what was ended before the start is known", arguments: TestBackend.allCases)
  func looks(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let (user, id, token) = try await session(api)
      try await api.store.revokeSession(id: id, userID: user.id)
      #expect(try await api.get("/nodes", token).status == 200, "as after a restart")
      let (other, otherID, otherToken) = try await session(api)
      try await withWatch(api, period: .milliseconds(100)) {
        #expect(try await refusal(api, token, within: .seconds(10)) != nil)
        #expect(try await api.get("/nodes", otherToken).status == 200)
        try await api.store.revokeSession(id: otherID, userID: other.id)
        #expect(try await refusal(api, otherToken, within: .seconds(10)) != nil)
      }
    }
  }
}

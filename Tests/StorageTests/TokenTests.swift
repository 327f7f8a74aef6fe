import DatabaseSupport
import Foundation
import Identity
import Testing

@testable import Storage

@Suite(.serialized) struct TokenTests {
  private func rotate(
    _ store: SQLStore, _ old: RefreshToken, to new: RefreshToken
  ) async throws -> RefreshTokenRotation {
    try await store.rotateRefreshToken(digest: old.digest, successorDigest: new.digest, limits: .init())
  }

  @Test("Each rotation uses up a token and gives the next of the family", arguments: TestBackend.allCases)
  func rotation(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      let user = try await store.createUser(.sample("a@x.org"))
      var token = RefreshToken()
      let record = try await store.insertRefreshToken(digest: token.digest, userID: user.id, limits: .init())
      #expect(record.digest == token.digest && record.userID == user.id && record.state.rotatedAt == nil)
      for _ in 0..<5 {
        let next = RefreshToken()
        #expect(try await rotate(store, token, to: next) == .rotated(user))
        token = next
      }
      #expect(try await rotate(store, RefreshToken(), to: RefreshToken()) == .unknown)
      let stranger = UUID()
      #expect(
        await storageError { try await store.insertRefreshToken(digest: "d", userID: stranger, limits: .init()) }
          == .notFound(kind: "user", key: stranger.uuidString.lowercased()))
    }
  }

  @Test("A token used twice revokes its family, and no other", arguments: TestBackend.allCases)
  func reuse(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      let user = try await store.createUser(.sample("a@x.org"))
      let stolen = RefreshToken(), successor = RefreshToken(), other = RefreshToken()
      for token in [stolen, other] {
        _ = try await store.insertRefreshToken(digest: token.digest, userID: user.id, limits: .init())
      }
      #expect(try await rotate(store, stolen, to: successor) == .rotated(user))
      #expect(try await rotate(store, stolen, to: RefreshToken()) == .reused(userID: user.id))
      #expect(try await rotate(store, successor, to: RefreshToken()) == .revoked)
      #expect(try await rotate(store, stolen, to: RefreshToken()) == .reused(userID: user.id))
      #expect(try await rotate(store, other, to: RefreshToken()) == .rotated(user))
    }
  }

  @Test("Of many who present one token at once, one gets the successor", arguments: TestBackend.allCases)
  func race(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      let user = try await store.createUser(.sample("a@x.org"))
      let token = RefreshToken()
      _ = try await store.insertRefreshToken(digest: token.digest, userID: user.id, limits: .init())
      let outcomes = try await withThrowingTaskGroup(of: RefreshTokenRotation.self) { group in
        for _ in 0..<8 { group.addTask { try await self.rotate(store, token, to: RefreshToken()) } }
        return try await group.reduce(into: []) { $0.append($1) }
      }
      #expect(outcomes.filter { $0 == .rotated(user) }.count == 1)
      #expect(outcomes.filter { $0 == .reused(userID: user.id) }.count == 7)
    }
  }

  @Test("Expired, signed-out and deactivated tokens buy nothing", arguments: TestBackend.allCases)
  func refused(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      let user = try await store.createUser(.sample("a@x.org"))
      func sign(_ limits: SessionLimits = .init()) async throws -> RefreshToken {
        let token = RefreshToken()
        _ = try await store.insertRefreshToken(digest: token.digest, userID: user.id, limits: limits)
        return token
      }
      let expired = try await sign(SessionLimits(idle: .zero))
      #expect(try await rotate(store, expired, to: RefreshToken()) == .expired)
      let signedOut = try await sign()
      try await store.revokeRefreshTokenFamily(digest: signedOut.digest)
      try await store.revokeRefreshTokenFamily(digest: "unknown")
      #expect(try await rotate(store, signedOut, to: RefreshToken()) == .revoked)
      let everywhere = try await sign()
      try await store.revokeRefreshTokens(userID: user.id)
      #expect(try await rotate(store, everywhere, to: RefreshToken()) == .revoked)
      for change in [UserChange(passwordHash: "$new"), UserChange(roles: [.maintainer]), UserChange(isActive: false)] {
        let token = try await sign()
        _ = try await store.updateUser(id: user.id, UserChange(name: "\(UUID())"))
        _ = try await store.updateUser(id: user.id, change)
        #expect(try await rotate(store, token, to: RefreshToken()) == .revoked)
      }
      let asleep = try await sign()
      #expect(try await rotate(store, asleep, to: RefreshToken()) == .inactive)
    }
  }

  @Test("A password change leaves no token alive that a concurrent rotation made", arguments: TestBackend.allCases)
  func revocationRace(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      let user = try await store.createUser(.sample("a@x.org"))
      for _ in 0..<10 {
        let token = RefreshToken(), next = RefreshToken()
        _ = try await store.insertRefreshToken(digest: token.digest, userID: user.id, limits: .init())
        async let rotated = rotate(store, token, to: next)
        async let changed = store.updateUser(id: user.id, UserChange(passwordHash: "$\(UUID())"))
        _ = try await (rotated, changed)
        let alive = try await store.database.read {
          try $0.count("SELECT COUNT(*) FROM refresh_tokens WHERE revoked_at IS NULL AND rotated_at IS NULL", [])
        }
        if case .rotated(let seen) = try await rotated, try await changed.passwordHash == seen.passwordHash {
          #expect(alive == 1)  // it came after the change, with the new password's rights
          try await store.revokeRefreshTokens(userID: user.id)
        } else {
          #expect(alive == 0)
        }
      }
    }
  }

  @Test("A session begins only with the account that its secret was compared with", arguments: TestBackend.allCases)
  func beginRace(_ backend: TestBackend) async throws {
    struct Outdated: Error {}
    try await withStore(backend) { store in
      let id = try await store.createUser(.sample("a@x.org")).id
      for round in 0..<10 {
        let seen = try await store.user(id: id)
        async let changed = store.updateUser(id: id, UserChange(passwordHash: "$\(UUID())"))
        _ = try? await store.insertRefreshToken(digest: "d\(round)", userID: id, limits: .init()) { now in
          guard now.passwordHash == seen.passwordHash else { throw Outdated() }
        }
        _ = try await changed
        #expect(try await store.sessions(userID: id).isEmpty)
      }
    }
  }

  @Test("Of an account with many tokens each ended session is told, once", arguments: TestBackend.allCases)
  func endedSessions(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      let user = try await store.createUser(.sample("a@x.org"))
      let start = Date(timeIntervalSinceNow: -1)
      var families: Set<UUID> = []
      for number in 0..<3 {
        var token = RefreshToken()
        let record = try await store.insertRefreshToken(digest: token.digest, userID: user.id, limits: .init())
        families.insert(record.familyID)
        for _ in 0..<number {
          let next = RefreshToken()
          _ = try await rotate(store, token, to: next)
          token = next
        }
      }
      #expect(try await store.endedSessions(since: start).isEmpty)
      try await store.revokeRefreshTokens(userID: user.id)
      #expect(try await store.endedSessions(since: start) == families)
    }
  }

  @Test("Deleting a user deletes its tokens and keeps its sign-ins without it", arguments: TestBackend.allCases)
  func deletion(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      let user = try await store.createUser(.sample("a@x.org"))
      let token = RefreshToken()
      _ = try await store.insertRefreshToken(digest: token.digest, userID: user.id, limits: .init())
      try await store.recordSignIn(SignIn(email: "a@x.org", userID: user.id, succeeded: true, at: Date()))
      try await store.deleteUser(id: user.id)
      #expect(try await rotate(store, token, to: RefreshToken()) == .unknown)
      let history = try await store.signIns(userID: nil, .init())
      #expect(history.total == 1 && history.items[0].userID == nil && history.items[0].email == "a@x.org")
    }
  }

  @Test("Failed sign-ins are counted since the last success", arguments: TestBackend.allCases)
  func signIns(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      let user = try await store.createUser(.sample("a@x.org"))
      let start = Date(timeIntervalSinceNow: 3600).wholeMilliseconds
      func record(_ second: Int, _ succeeded: Bool, _ email: String = " A@x.org") async throws {
        try await store.recordSignIn(
          SignIn(
            email: email, userID: succeeded ? user.id : nil, succeeded: succeeded, address: "192.0.2.1",
            userAgent: "curl", at: start.addingTimeInterval(TimeInterval(second))))
      }
      for second in 0..<3 { try await record(second, false) }
      try await record(1, false, "other@x.org")
      #expect(try await store.failedSignInCount(email: "a@X.org", since: start) == 3)
      #expect(try await store.failedSignInCount(email: "a@x.org", since: start.addingTimeInterval(2)) == 1)
      try await record(3, true)
      #expect(try await store.failedSignInCount(email: "a@x.org", since: start) == 0)
      try await record(4, false)
      #expect(try await store.failedSignInCount(email: "a@x.org", since: start) == 1)
      #expect(try await store.user(id: user.id).lastSignInAt == start.addingTimeInterval(3))
      #expect(try await store.signIns(userID: user.id, .init()).total == 1)
      #expect(try await store.signIns(userID: nil, Page(limit: 1)).items.map(\.at) == [start.addingTimeInterval(4)])
      _ = try await store.insertRefreshToken(digest: "old", userID: user.id, limits: SessionLimits(lifetime: .zero))
      #expect(try await store.purgeHistory(before: start.addingTimeInterval(3)) == 5)
      #expect(try await store.signIns(userID: nil, .init()).total == 2)
    }
  }
}

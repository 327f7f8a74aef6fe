import DatabaseSupport
import Foundation
import Identity
import Testing

@testable import Storage

@Suite(.serialized) struct FactorTests {
  @Test("A factor is confirmed once, its time steps and codes are used once", arguments: TestBackend.allCases)
  func factors(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      let user = try await store.createUser(.sample("a@x.org", [.viewer]))
      #expect(try await store.secondFactor(userID: user.id) == nil && !user.hasSecondFactor)
      #expect(try await !store.confirmSecondFactor(userID: user.id, step: 1, recoveryDigests: [], keepingSession: nil))
      try await store.beginSecondFactor(userID: user.id, sealedSecret: "one")
      try await store.beginSecondFactor(userID: user.id, sealedSecret: "two")
      #expect(try await store.secondFactor(userID: user.id)?.sealedSecret == "two")
      #expect(try await !store.user(id: user.id).hasSecondFactor, "not before it is confirmed")
      #expect(try await !store.useSecondFactor(userID: user.id, step: 5))
      let kept = try await store.insertRefreshToken(digest: "d1", userID: user.id, limits: .init())
      _ = try await store.insertRefreshToken(digest: "d2", userID: user.id, limits: .init())
      #expect(
        try await store.confirmSecondFactor(
          userID: user.id, step: 7, recoveryDigests: ["r1", "r2"], keepingSession: kept.familyID))
      #expect(try await store.sessions(userID: user.id).map(\.id) == [kept.familyID])
      #expect(try await store.user(id: user.id).hasSecondFactor)
      #expect(try await store.users(.init(), Page()).items.first?.hasSecondFactor == true)
      #expect(
        await storageError { try await store.beginSecondFactor(userID: user.id, sealedSecret: "x") }
          == .conflict(field: "second_factor"))
      for (step, isGood) in [(7, false), (6, false), (8, true), (8, false)] as [(Int64, Bool)] {
        #expect(try await store.useSecondFactor(userID: user.id, step: step) == isGood, "\(step)")
      }
      let wins = try await withThrowingTaskGroup(of: Bool.self) { group in
        for _ in 0..<8 { group.addTask { try await store.useSecondFactor(userID: user.id, step: 9) } }
        return try await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
      }
      #expect(wins == 1, "of eight at once one gets it")
      #expect(try await store.useRecoveryCode(userID: user.id, digest: "r1"))
      #expect(try await !store.useRecoveryCode(userID: user.id, digest: "r1"))
      #expect(try await !store.useRecoveryCode(userID: UUID(), digest: "r2"))
      #expect(try await store.secondFactor(userID: user.id)?.recoveryCodesLeft == 1)
      try await store.replaceRecoveryCodes(userID: user.id, digests: ["r3"])
      #expect(try await !store.useRecoveryCode(userID: user.id, digest: "r2"))
      struct No: Error {}
      await #expect(throws: No.self) {
        try await store.removeSecondFactor(userID: user.id, keepingSession: nil) { _ in throw No() }
      }
      try await store.removeSecondFactor(userID: user.id, keepingSession: nil) { _ in }
      #expect(try await store.secondFactor(userID: user.id) == nil)
      #expect(try await store.sessions(userID: user.id).isEmpty)
      #expect(try await !store.useRecoveryCode(userID: user.id, digest: "r3"))
    }
  }

  @Test("A reset is good once, until it expires, and another password ends it", arguments: TestBackend.allCases)
  func resets(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      let user = try await store.createUser(.sample("a@x.org", [.viewer]))
      let later = Date(timeIntervalSinceNow: 60)
      try await store.createPasswordReset(userID: user.id, digest: "old", expiresAt: later) { _ in }
      try await store.createPasswordReset(userID: user.id, digest: "new", expiresAt: later) { _ in }
      #expect(try await store.userOfPasswordReset(digest: "old") == nil, "replaced")
      #expect(try await store.userOfPasswordReset(digest: "new")?.id == user.id)
      _ = try await store.insertRefreshToken(digest: "d1", userID: user.id, limits: .init())
      let winners = try await withThrowingTaskGroup(of: Bool.self) { group in
        for number in 0..<6 {
          group.addTask { try await store.resetPassword(digest: "new", passwordHash: "hash \(number)") != nil }
        }
        return try await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
      }
      #expect(winners == 1)
      #expect(try await store.sessions(userID: user.id).isEmpty)
      try await store.createPasswordReset(userID: user.id, digest: "third", expiresAt: later) { _ in }
      _ = try await store.updateUser(id: user.id, UserChange(passwordHash: "by the administrator"))
      #expect(try await store.userOfPasswordReset(digest: "third") == nil)
      try await store.createPasswordReset(userID: user.id, digest: "fourth", expiresAt: later) { _ in }
      _ = try await store.updateUser(id: user.id, UserChange(name: "Another name"))
      #expect(try await store.userOfPasswordReset(digest: "fourth") != nil)
      _ = try await store.createUser(.sample("b@x.org", [.admin]))
      _ = try await store.updateUser(id: user.id, UserChange(roles: [.admin]))
      #expect(try await store.userOfPasswordReset(digest: "fourth") == nil, "the account may more than when it was made")
      let role = NewCustomRole(name: "desk", scopes: [try ScopeExpression("users:read")])
      _ = try await store.createRole(role)
      _ = try await store.updateUser(id: user.id, UserChange(roles: [], customRoles: ["desk"]))
      try await store.createPasswordReset(userID: user.id, digest: "fifth", expiresAt: later) { _ in }
      _ = try await store.updateRole(named: "desk", CustomRoleChange(description: "said better")) { _ in }
      #expect(try await store.userOfPasswordReset(digest: "fifth") != nil)
      _ = try await store.updateRole(named: "desk", CustomRoleChange(scopes: [try ScopeExpression("users:admin")])) { _ in }
      #expect(try await store.userOfPasswordReset(digest: "fifth") == nil, "so may its role")
      let past = Date(timeIntervalSinceNow: -1)
      try await store.createPasswordReset(userID: user.id, digest: "late", expiresAt: past) { _ in }
      #expect(try await store.userOfPasswordReset(digest: "late") == nil)
      try await store.createPasswordReset(userID: user.id, digest: "held", expiresAt: later) { _ in }
      _ = try await store.updateUser(id: user.id, UserChange(isActive: false))
      #expect(try await store.resetPassword(digest: "held", passwordHash: "x") == nil, "on hold")
    }
  }
}

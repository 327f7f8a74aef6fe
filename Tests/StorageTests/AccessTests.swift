import DatabaseSupport
import Foundation
import Identity
import Packets
import Rules
import Testing

@testable import Storage

@Suite(.serialized) struct AccessTests {
  private let robot = NewAPIClient(name: "robot", scopes: [ScopeExpression(.rulesRead)], createdBy: .system)

  @Test("A role comes back as it was stored, is changed, listed and deleted", arguments: TestBackend.allCases)
  func roles(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      let limits = DelegationLimits(destinations: [try IPPrefix(parsing: "2001:db8::/32")], actions: ["drop"])
      let made = try await store.createRole(
        NewCustomRole(name: "net-a", description: "'; --", scopes: [ScopeExpression("*:read")], limits: limits))
      #expect(made.limits == limits && made.scopes.map(\.text) == ["*:read"])
      #expect(try await store.role(named: "net-a") == made)
      let again = NewCustomRole(name: "net-a", scopes: [])
      #expect(await storageError { try await store.createRole(again) } == .conflict(field: "name"))
      let changed = try await store.updateRole(named: "net-a", .init(name: "net-b", limits: .some(nil)), if: { _ in })
      #expect(changed.name == "net-b" && changed.limits == nil && changed.scopes == made.scopes)
      #expect(try await store.roles(Page()).items == [changed])
      struct No: Error {}
      await #expect(throws: No.self) { try await store.deleteRole(named: "net-b", if: { _ in throw No() }) }
      try await store.deleteRole(named: "net-b", if: { _ in })
      #expect(await storageError { try await store.role(named: "net-b") } == .notFound(kind: "role", key: "net-b"))
    }
  }

  @Test("An account has custom roles; a role that somebody has stays", arguments: TestBackend.allCases)
  func userRoles(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      for name in ["one", "two"] {
        _ = try await store.createRole(NewCustomRole(name: name, scopes: [ScopeExpression(.nodesRead)]))
      }
      var new = try NewUser.sample("a@x.org", [])
      new.customRoles = ["two", "one", "two"]
      let user = try await store.createUser(new)
      #expect(user.customRoles.map(\.name) == ["one", "two"])
      #expect(try await store.user(email: user.email) == user)
      #expect(try await store.users(.init(), Page()).items == [user])
      #expect(
        await storageError { try await store.deleteRole(named: "one", if: { _ in }) }
          == .inUse(kind: "role", by: "accounts, teams or resources"))
      _ = try await store.insertRefreshToken(digest: "d1", userID: user.id, limits: .init())
      let less = try await store.updateUser(id: user.id, UserChange(customRoles: ["two"]))
      #expect(less.customRoles.map(\.name) == ["two"])
      let rotation = try await store.rotateRefreshToken(digest: "d1", successorDigest: "d2", limits: .init())
      #expect(rotation == .revoked, "other roles end the sessions")
      let unknown = UserChange(customRoles: ["three"])
      #expect(
        await storageError { try await store.updateUser(id: user.id, unknown) }
          == .notFound(kind: "role", key: "three"))
      try await store.deleteRole(named: "one", if: { _ in })
      try await store.deleteUser(id: user.id)
      try await store.deleteRole(named: "two", if: { _ in })
    }
  }

  @Test("A client and its keys: found by the visible part, rotated, revoked, deleted", arguments: TestBackend.allCases)
  func clients(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      var new = robot
      new.sources = [try IPPrefix(parsing: "192.0.2.0/24"), try IPPrefix(parsing: "::1")]
      let made = try await store.createAPIClient(new)
      #expect(made.keys == [] && made.sources == new.sources && made.isActive)
      #expect(await storageError { try await store.createAPIClient(new) } == .conflict(field: "name"))
      let expiry = Date(timeIntervalSinceNow: 3600).wholeMilliseconds
      let first = try await store.addAPIKey(
        NewAPIKey(prefix: "slk_a", digest: "d1", expiresAt: expiry), toClient: made.id, if: { _ in })
      #expect(first.keys.map(\.expiresAt) == [expiry])
      let soon = Date(timeIntervalSinceNow: 60).wholeMilliseconds
      let second = try await store.addAPIKey(
        NewAPIKey(prefix: "slk_b", digest: "d2", othersEndAt: soon), toClient: made.id, if: { _ in })
      #expect(second.keys.map(\.expiresAt) == [soon, nil], "the other one ends sooner, this one never")
      #expect(try await store.apiClient(keyPrefix: "slk_b") == second)
      #expect(try await store.apiClient(keyPrefix: "slk_c") == nil)
      let id = second.keys[1].id
      try await store.noteAPIKeyUse(id: id, from: "192.0.2.9")
      let used = try await store.apiClient(id: made.id).keys[1]
      #expect(used.lastUsedFrom == "192.0.2.9" && abs(used.lastUsedAt?.timeIntervalSinceNow ?? -99) < 60)
      #expect(try await store.removeAPIKey(id: id, ofClient: made.id, if: { _ in }).keys.map(\.prefix) == ["slk_a"])
      #expect(try await store.apiClient(keyPrefix: "slk_b") == nil)
      let other = try await store.createAPIClient(
        NewAPIClient(name: "other", scopes: [ScopeExpression(.nodesRead)], createdBy: .system))
      let key = first.keys[0].id
      #expect(
        await storageError { try await store.removeAPIKey(id: key, ofClient: other.id, if: { _ in }) }
          == .notFound(kind: "key", key: key.uuidString.lowercased()), "another's key")
      #expect(try await store.apiClients(Page()).items.map(\.name) == ["other", "robot"])
      let off = try await store.updateAPIClient(id: made.id, .init(sources: [], isActive: false), if: { _ in })
      #expect(!off.isActive && off.sources == [] && off.keys.count == 1)
      try await store.deleteAPIClient(id: made.id, if: { _ in })
      #expect(try await store.apiClient(keyPrefix: "slk_a") == nil)
    }
  }

  @Test("A client has a few keys at most; what has ended makes room", arguments: TestBackend.allCases)
  func keyLimit(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      let id = try await store.createAPIClient(robot).id
      for index in 0..<NewAPIKey.countMax {
        let expiry = index == 0 ? Date(timeIntervalSinceNow: -1) : nil
        let key = NewAPIKey(prefix: "slk_\(index)", digest: "d\(index)", expiresAt: expiry)
        _ = try await store.addAPIKey(key, toClient: id, if: { _ in })
      }
      _ = try await store.addAPIKey(NewAPIKey(prefix: "slk_x", digest: "dx"), toClient: id, if: { _ in })
      let error = await storageError {
        try await store.addAPIKey(NewAPIKey(prefix: "slk_y", digest: "dy"), toClient: id, if: { _ in })
      }
      guard case .invalid(field: "keys", _) = error else {
        Issue.record("unexpected \(String(describing: error))")
        return
      }
    }
  }

  @Test("Limits hold where the change is made", arguments: TestBackend.allCases)
  func delegation(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      _ = try await store.createRuleSet(.sample("edge", rules: ["operator"]), description: "", editor)
      var limited = editor
      limited.limits = [DelegationLimits(destinations: [try IPPrefix(parsing: "198.51.100.0/24")])]
      let own = Rule(
        name: "own", match: Match(destinations: [try IPPrefix(parsing: "198.51.100.1")]), action: .drop)
      let stored = try await store.updateRuleSet(named: "edge", limited) { $0.content.rules.insert(own, at: 0) }
      #expect(stored.revision == 2)
      await #expect(throws: DelegationError.self) {
        try await store.updateRuleSet(named: "edge", limited) { $0.content.rules.removeAll() }
      }
      await #expect(throws: DelegationError.self) {
        try await store.updateRuleSet(named: "edge", limited) { $0.description = "mine" }
      }
      await #expect(throws: DelegationError.self) {
        try await store.createRuleSet(.sample("mine"), description: "", limited)
      }
      #expect(try await store.ruleSet(named: "edge").revision == 2)
    }
  }
}

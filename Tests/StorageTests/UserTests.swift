import DatabaseSupport
import Foundation
import Identity
import Testing

@testable import Storage

@Suite(.serialized) struct UserTests {
  @Test("A user comes back as it was stored", arguments: TestBackend.allCases)
  func roundTrip(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      let new = NewUser(
        email: try Email("Ann@Example.org"), name: "Ann", passwordHash: "$h", roles: [.maintainer, .viewer],
        isActive: true, mustChangePassword: true)
      let created = try await store.createUser(new)
      #expect(created.email.value == "ann@example.org")
      #expect(created.roles == [.maintainer, .viewer] && created.mustChangePassword && created.isActive)
      #expect(created.lastSignInAt == nil && created.createdAt == created.updatedAt)
      #expect(abs(created.createdAt.timeIntervalSinceNow) < 60)
      #expect(try await store.user(id: created.id) == created)
      #expect(try await store.user(email: created.email) == created)
      #expect(try await store.user(email: Email("bob@example.org")) == nil)
      let id = UUID(), key = id.uuidString.lowercased()
      #expect(await storageError { try await store.user(id: id) } == .notFound(kind: "user", key: key))
    }
  }

  @Test("An address belongs to one user, and the error names the field", arguments: TestBackend.allCases)
  func duplicateEmail(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      _ = try await store.createUser(.sample("a@x.org"))
      let b = try await store.createUser(.sample("b@x.org"))
      #expect(await storageError { try await store.createUser(.sample("A@x.org")) } == .conflict(field: "email"))
      let change = UserChange(email: try Email("a@x.org"))
      #expect(await storageError { try await store.updateUser(id: b.id, change) } == .conflict(field: "email"))
      #expect(try await store.users(.init(), .init()).total == 2)
    }
  }

  @Test("A list is ordered, filtered, paged, and counts what the filter meets", arguments: TestBackend.allCases)
  func list(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      for index in [3, 1, 4, 0, 2] {
        let roles: Set<Role> = index < 2 ? [.admin] : [.viewer]
        _ = try await store.createUser(.sample("u\(index)@x.org", roles, isActive: index != 4))
      }
      func emails(_ filter: UserFilter, _ page: Page = .init()) async throws -> ([String], Int) {
        let list = try await store.users(filter, page)
        return (list.items.map { String($0.email.value.prefix(2)) }, list.total)
      }
      #expect(try await emails(.init()) == (["u0", "u1", "u2", "u3", "u4"], 5))
      #expect(try await emails(.init(), Page(limit: 2, offset: 1)) == (["u1", "u2"], 5))
      #expect(try await emails(.init(), Page(limit: 2, offset: 9)) == ([], 5))
      #expect(try await emails(.init(role: .admin)) == (["u0", "u1"], 2))
      #expect(try await emails(.init(search: "U3@", isActive: true)) == (["u3"], 1))
      #expect(try await emails(.init(search: "SAMPLE", role: .viewer, isActive: false)) == (["u4"], 1))
      #expect(try await emails(.init(search: "%")) == ([], 0))
      #expect(try await emails(.init(search: "_1")) == ([], 0))
    }
  }

  @Test("A change touches what it names, and only that", arguments: TestBackend.allCases)
  func change(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      let user = try await store.createUser(.sample("a@x.org", [.viewer]))
      var expected = user
      for change in [
        UserChange(name: "New"), UserChange(email: try Email("c@x.org")), UserChange(roles: [.maintainer]),
        UserChange(isActive: false), UserChange(mustChangePassword: true), UserChange(passwordHash: "$other"),
      ] {
        let updated = try await store.updateUser(id: user.id, change)
        if let name = change.name { expected.name = name }
        if let email = change.email { expected.email = email }
        if let roles = change.roles { expected.roles = roles }
        if let isActive = change.isActive { expected.isActive = isActive }
        if let must = change.mustChangePassword { expected.mustChangePassword = must }
        expected.updatedAt = updated.updatedAt
        if let hash = change.passwordHash {
          expected.passwordHash = hash
          expected.credentialsChangedAt = updated.updatedAt
        }
        #expect(updated == expected)
        #expect(try await store.user(id: user.id) == expected)
      }
      let missing = UUID()
      await #expect(throws: StorageError.self) { try await store.updateUser(id: missing, UserChange(name: "x")) }
    }
  }

  @Test("The last active Admin cannot be deleted, demoted or deactivated", arguments: TestBackend.allCases)
  func lastAdmin(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      let admin = try await store.createUser(.sample("a@x.org", [.admin, .viewer]))
      _ = try await store.createUser(.sample("sleeping@x.org", [.admin], isActive: false))
      let viewer = try await store.createUser(.sample("v@x.org", [.viewer]))
      for change in [UserChange(roles: [.viewer]), UserChange(isActive: false), UserChange(roles: [])] {
        #expect(await storageError { try await store.updateUser(id: admin.id, change) } == .lastAdministrator)
      }
      #expect(await storageError { try await store.deleteUser(id: admin.id) } == .lastAdministrator)
      #expect(try await store.user(id: admin.id) == admin)
      try await store.deleteUser(id: viewer.id)
      let second = try await store.createUser(.sample("b@x.org", [.admin]))
      try await store.deleteUser(id: admin.id)
      #expect(await storageError { try await store.deleteUser(id: second.id) } == .lastAdministrator)
    }
  }

  @Test("Of Admins who remove each other at the same time, one stays", arguments: TestBackend.allCases)
  func mutualRemoval(_ backend: TestBackend) async throws {
    for _ in 0..<5 {
      try await withStore(backend) { store in
        var admins: [User] = []
        for index in 0..<3 { admins.append(try await store.createUser(.sample("a\(index)@x.org", [.admin]))) }
        let refusals = await withTaskGroup(of: StorageError?.self) { group in
          for (index, admin) in admins.enumerated() {
            group.addTask {
              do {
                switch index {
                case 0: _ = try await store.updateUser(id: admin.id, UserChange(roles: [.viewer]))
                case 1: _ = try await store.updateUser(id: admin.id, UserChange(isActive: false))
                default: try await store.deleteUser(id: admin.id)
                }
                return nil
              } catch { return error as? StorageError }
            }
          }
          return await group.reduce(into: [StorageError]()) { if let error = $1 { $0.append(error) } }
        }
        #expect(refusals == [.lastAdministrator])
        #expect(try await store.users(.init(role: .admin, isActive: true), .init()).total == 1)
      }
    }
  }
}

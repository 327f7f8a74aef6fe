import DatabaseSupport
import Foundation
import Identity
import Testing

@testable import Storage

@Suite(.serialized) struct StartTests {
  @Test("The first start seeds the admin and the local node, once", arguments: TestBackend.allCases)
  func seed(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      #expect(try await !store.isSeeded())
      let outcomes = try await withThrowingTaskGroup(of: Bool.self) { group in
        for _ in 0..<4 { group.addTask { try await store.seed(adminPasswordHash: "$seeded") } }
        return try await group.reduce(into: []) { $0.append($1) }
      }
      #expect(outcomes.filter { $0 }.count == 1)
      #expect(try await store.isSeeded())
      let admin = try #require(try await store.user(email: SeededAdmin.email))
      #expect(admin.mustChangePassword && admin.roles == [.admin] && admin.passwordHash == "$seeded")
      #expect(try await store.nodes(.init()).items.map(\.address) == ["unix:/run/sluice/sluiced.sock"])
      #expect(try await store.seededPasswordStands())
      let renamed = UserChange(email: try Email("boss@x.org"), mustChangePassword: false)
      _ = try await store.updateUser(id: admin.id, renamed)
      #expect(try await store.seededPasswordStands(), "another address doesn't make the password another")
      _ = try await store.updateUser(id: admin.id, UserChange(passwordHash: "$own"))
      #expect(try await !store.seededPasswordStands())
      try await store.deleteNode(named: "local")
      #expect(try await !store.seed(adminPasswordHash: "$seeded"))
      #expect(try await store.nodes(.init()).total == 0, "what was deleted doesn't come back")
      #expect(try await store.user(email: SeededAdmin.email) == nil)
    }
  }

  @Test("Settings are written, replaced, listed and removed", arguments: TestBackend.allCases)
  func settings(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      #expect(try await store.setting("a") == nil)
      for value in ["1", "2", ""] {
        try await store.setSetting("a", to: value)
        #expect(try await store.setting("a") == value)
      }
      try await store.setSetting("b", to: "x")
      #expect(try await store.settings() == ["a": "", "b": "x"])
      try await store.setSetting("a", to: nil)
      try await store.setSetting("a", to: nil)
      #expect(try await store.settings() == ["b": "x"])
    }
  }

  @Test("Hostile texts are data, not SQL", arguments: TestBackend.allCases, hostileTexts)
  func hostile(_ backend: TestBackend, _ text: String) async throws {
    try await withStore(backend) { store in
      try await store.setSetting("k", to: text)
      #expect(try await store.setting("k") == text)
      // MariaDB's keys have a length.
      if backend == .mysql, text.count > MySQLDefinition.keyLengthMax {
        let error = await storageError { try await store.setSetting(text, to: "v") }
        #expect(error?.description.contains("255 characters") == true)
        return
      }
      try await store.setSetting(text, to: "v")
      #expect(try await store.settings()[text] == (text == "k" ? text : "v"))
      let node = try await store.createNode(NewNode(name: text, address: text, description: text))
      #expect(try await store.node(named: text) == node && node.name == text)
      let set = try await store.createRuleSet(
        .sample(text), description: text, RuleSetEdit(author: Author(userID: nil, email: text), reason: text))
      #expect(try await store.ruleSet(named: text) == set && set.content.name == text)
      #expect(try await store.ruleSets(search: text, .init()).items.map(\.name) == [text])
    }
  }

  @Test("A NUL character is refused wherever it stands, and nothing is written", arguments: TestBackend.allCases)
  func nul(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      for text in ["\0", "a\0", "\0b", "a\0b"] {
        let expected = StorageError.invalid(field: "text", reason: "has a NUL character")
        #expect(await storageError { try await store.setSetting("k", to: text) } == expected)
        #expect(await storageError { try await store.setSetting(text, to: "v") } == expected)
        #expect(await storageError { try await store.node(named: text) } == expected)
        #expect(
          await storageError { try await store.createNode(NewNode(name: "n", address: "a", description: text)) }
            == expected)
      }
      let settings = try await store.settings()
      #expect(settings.isEmpty)
      #expect(try await store.nodes(.init()).total == 0)
    }
  }

  @Test("What is stored and no longer understood is an error, not a crash", arguments: TestBackend.allCases)
  func corrupt(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      _ = try await store.createRuleSet(.sample("edge"), description: "", editor)
      let user = try await store.createUser(.sample("a@x.org"))
      try await store.database.write { session in
        try session.execute("UPDATE rule_set_revisions SET content = $1", [.text("{\"name\":")])
        try session.execute("UPDATE users SET email = $1", [.text("no address")])
      }
      func isCorrupt(_ error: StorageError?) -> Bool { if case .corrupt = error { true } else { false } }
      let another = SQLStore(store.database)  // which has made nothing itself
      #expect(isCorrupt(await storageError { try await another.ruleSet(named: "edge") }))
      #expect(isCorrupt(await storageError { try await store.user(id: user.id) }))
    }
  }
}

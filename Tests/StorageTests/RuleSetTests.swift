import DatabaseSupport
import Foundation
import Packets
import Rules
import Testing

@testable import Storage

@Suite(.serialized) struct RuleSetTests {
  @Test("A rule set is its newest revision; every change makes one more", arguments: TestBackend.allCases)
  func revisions(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      let user = UUID()
      let created = try await store.createRuleSet(
        .sample("edge", rules: ["a"]), description: "first",
        RuleSetEdit(author: Author(userID: user, email: "a@x.org")))
      #expect(created.name == "edge" && created.revision == 1 && created.content.revision == 1)
      #expect(created.current.info.author == Author(userID: user, email: "a@x.org"))
      #expect(created.current.info.reason == nil && created.current.info.ruleCount == 1)
      for number in 2...12 {
        let updated = try await store.updateRuleSet(named: "edge", editor) {
          $0.content.rules.append(Rule(name: "r\(number)", action: .count))
        }
        #expect(updated.revision == UInt64(number) && updated.content.rules.count == number)
        #expect(updated.id == created.id && updated.description == "first")
      }
      #expect(try await store.ruleSet(named: "edge").revision == 12)
      let first = try await store.ruleSetRevision(named: "edge", number: 1)
      #expect(first == created.current)
      let list = try await store.ruleSetRevisions(named: "edge", Page(limit: 2))
      #expect(list.total == 12 && list.items.map(\.number) == [12, 11])
      #expect(list.items[0].author.email == "editor@example.org" && list.items[0].reason == "because")
      for number: UInt64 in [0, 13, .max] {
        #expect(
          await storageError { try await store.ruleSetRevision(named: "edge", number: number) }
            == .notFound(kind: "revision", key: "\(number)"))
      }
    }
  }

  @Test("A rule's every field survives", arguments: TestBackend.allCases)
  func content(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      let json = """
        {"name":"edge","revision":0,"default_action":"drop","malformed":"pass","malformed_exceptions":{},"rules":[
        {"name":"telnet","match":{"sources":["10.0.0.0/8","2001:db8::/32"],"destinations":[],"protocols":["tcp"],
        "source_ports":[],"destination_ports":["23","8000-8080"]},"action":"redirect","redirect_to":"eth1",
        "comment":"it's \\"quoted\\" \\\\ 😀","enabled":false}]}
        """
      let ruleSet = try JSONDecoder().decode(RuleSet.self, from: Data(json.utf8))
      let stored = try await store.createRuleSet(ruleSet, description: "", editor)
      var expected = ruleSet
      expected.revision = 1
      #expect(stored.content == expected)
      #expect(try await store.ruleSet(named: "edge").content == expected)
    }
  }

  @Test("A change that changes nothing makes no revision, a refused one nothing", arguments: TestBackend.allCases)
  func noChange(_ backend: TestBackend) async throws {
    struct Refused: Error {}
    try await withStore(backend) { store in
      let created = try await store.createRuleSet(.sample("edge"), description: "d", editor)
      let same = try await store.updateRuleSet(named: "edge", editor) { $0.content.revision = 99 }
      #expect(same == created)
      await #expect(throws: Refused.self) {
        try await store.updateRuleSet(named: "edge", editor) {
          $0.description = "gone"
          throw Refused()
        }
      }
      #expect(try await store.ruleSet(named: "edge") == created)
      let described = try await store.updateRuleSet(named: "edge", editor) { $0.description = "new" }
      #expect(described.revision == 2 && described.description == "new")
      #expect(
        await storageError { try await store.updateRuleSet(named: "no", editor) { _ in } }
          == .notFound(kind: "rule set", key: "no"))
    }
  }

  @Test("Names are unique, also after a rename, and a deleted name is free again", arguments: TestBackend.allCases)
  func names(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      for name in ["a", "b"] { _ = try await store.createRuleSet(.sample(name), description: "about \(name)", editor) }
      #expect(
        await storageError { try await store.createRuleSet(.sample("a"), description: "", editor) }
          == .conflict(field: "name"))
      #expect(
        await storageError { try await store.updateRuleSet(named: "b", editor) { $0.content.name = "a" } }
          == .conflict(field: "name"))
      let renamed = try await store.updateRuleSet(named: "b", editor) { $0.content.name = "c" }
      #expect(renamed.name == "c" && renamed.revision == 2)
      #expect(try await store.ruleSetRevision(named: "c", number: 1).content.name == "b")
      await #expect(throws: StorageError.self) { try await store.ruleSet(named: "b") }
      let list = try await store.ruleSets(search: nil, .init())
      #expect(list.items.map(\.name) == ["a", "c"] && list.items.map(\.revision) == [1, 2])
      #expect(list.items[0].defaultAction == .drop && list.items[0].ruleCount == 0)
      #expect(try await store.ruleSets(search: "BOUT B", .init()).items.map(\.name) == ["c"])
      try await store.deleteRuleSet(named: "a")
      #expect(try await store.createRuleSet(.sample("a"), description: "", editor).revision == 1)
    }
  }

  @Test("Of two editors who saw the same revision, the second is told so", arguments: TestBackend.allCases)
  func staleRevision(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      _ = try await store.createRuleSet(.sample("edge"), description: "", editor)
      for round in 1...10 {
        let seen = UInt64(round)
        let outcomes = await withTaskGroup(of: StorageError?.self) { group in
          for name in ["x", "y"] {
            group.addTask {
              do {
                _ = try await store.updateRuleSet(
                  named: "edge", RuleSetEdit(author: .system, expectedRevision: seen)
                ) { $0.content.rules.append(Rule(name: "\(name)\(round)", action: .drop)) }
                return nil
              } catch { return error as? StorageError ?? .corrupt("\(error)") }
            }
          }
          return await group.reduce(into: [StorageError?]()) { $0.append($1) }
        }
        #expect(outcomes.filter { $0 == nil }.count == 1)
        #expect(outcomes.contains(.staleRevision(expected: seen, current: seen + 1)))
      }
      #expect(try await store.ruleSet(named: "edge").content.rules.count == 10)
    }
  }

  @Test("Editors without an expectation never lose each other's work", arguments: TestBackend.allCases)
  func concurrentEdits(_ backend: TestBackend) async throws {
    try await withStore(backend, { $0.poolTimeout = .seconds(30) }) { store in
      _ = try await store.createRuleSet(.sample("edge"), description: "", editor)
      try await withThrowingTaskGroup(of: Void.self) { group in
        for index in 0..<16 {
          group.addTask {
            _ = try await store.updateRuleSet(named: "edge", editor) {
              $0.content.rules.append(Rule(name: "r\(index)", action: .drop))
            }
          }
        }
        try await group.waitForAll()
      }
      let result = try await store.ruleSet(named: "edge")
      #expect(result.revision == 17 && Set(result.content.rules.map(\.name)).count == 16)
      #expect(try await store.ruleSetRevisions(named: "edge", .init()).items.map(\.number) == (1...17).reversed())
    }
  }
}

import DatabaseSupport
import Foundation
import Packets
import Rules
import TestSupport
import Testing

@testable import Storage

@Suite(.serialized) struct StoredContentTests {
  /// Of rules and a set, more than is always whole.
  private var large: RuleSet {
    var ruleSet = RuleSet.sample("edge", rules: ["a", "b"])
    ruleSet.sets = [NamedSet(name: "s", family: .ipv4, prefixes: (0..<3000).map { host($0 * 7) })]
    return ruleSet
  }

  private func rows(_ store: SQLStore) async throws -> [String] {
    try await store.database.read { session in
      try session.all("SELECT content FROM rule_set_revisions ORDER BY number", []) { row throws(StorageError) in
        try row.text()
      }
    }
  }

  @Test("Hundreds of edits by two programs: each revision is what it was, and few are written whole", arguments: TestBackend.allCases)
  func edits(_ backend: TestBackend) async throws {
    let database = try backend.make()
    defer { database.remove() }
    let settings = try DatabaseSettings(environment: database.environment)
    var stores: [SQLStore] = []
    for _ in 0..<3 { stores.append(try await openStore(settings)) }
    var expected = [try await stores[0].createRuleSet(large, description: "", editor).content]
    for turn in 1...300 {
      // Mostly the one of them; each finds revisions that it hasn't made.
      let made = try await stores[turn % 17 == 0 ? 1 : 0].updateRuleSet(named: "edge", editor) { edit(&$0.content, turn) }
      expected.append(made.content)
      #expect(made.revision == UInt64(turn + 1))
    }
    let rows = try await rows(stores[0])
    let whole = rows.indices.filter { rows[$0].first == "{" }
    #expect(rows.count == 301 && whole == [0, 129, 258], "\(whole)")
    #expect(rows.indices.allSatisfy { whole.contains($0) || rows[$0].utf8.count < 6000 })
    for number in [1, 2, 3, 17, 18, 100, 128, 129, 130, 131, 257, 258, 259, 260, 300, 301] {
      let revision = try await stores[2].ruleSetRevision(named: "edge", number: UInt64(number))
      #expect(revision.content == expected[number - 1], "revision \(number)")
    }
    for store in stores { await store.close() }
  }

  @Test("However much differs each time, no revision is made from more than its text once more", arguments: TestBackend.allCases)
  func bounded(_ backend: TestBackend) async throws {
    let database = try backend.make()
    defer { database.remove() }
    let settings = try DatabaseSettings(environment: database.environment)
    var stores: [SQLStore] = []
    for _ in 0..<2 { stores.append(try await openStore(settings)) }
    var expected = [try await stores[0].createRuleSet(large, description: "", editor).content]
    for turn in 1...40 {
      // The one that finds revisions that it hasn't made learns of their rows what they come to.
      let made = try await stores[turn % 5 == 0 ? 1 : 0].updateRuleSet(named: "edge", editor) { old in
        // Two hundred side by side, others each time.
        let gone = old.content.sets[0].prefixes[1000..<1200].map(SetElement.prefix)
        old.content.sets[0].remove(gone)
        old.content.sets[0].insert((1000..<1200).map { .prefix(host($0 * 7 + turn % 7)) })
      }
      expected.append(made.content)
    }
    var (length, sum, wholeCount) = (0, 0, 0)
    for row in try await rows(stores[0]) {
      if row.first == "{" { (length, sum, wholeCount) = (row.utf8.count, 0, wholeCount + 1) } else { sum += row.utf8.count }
      #expect(sum <= length * 9 / 8, "\(sum) bytes of differences behind \(length)")
    }
    #expect((3...8).contains(wholeCount), "\(wholeCount) are whole")
    for store in stores { await store.close() }
    let reader = try await openStore(settings)
    for number in [1, 2, 12, 13, 14, 30, 41] {
      #expect(try await reader.ruleSetRevision(named: "edge", number: UInt64(number)).content == expected[number - 1])
    }
    await reader.close()
  }

  @Test("A revision that differs much, is small, or follows what another version wrote is whole", arguments: TestBackend.allCases)
  func whole(_ backend: TestBackend) async throws {
    let database = try backend.make()
    defer { database.remove() }
    let settings = try DatabaseSettings(environment: database.environment)
    let store = try await openStore(settings)
    let sets = large.sets
    _ = try await store.createRuleSet(.sample("edge", rules: ["a"]), description: "", editor)
    _ = try await store.updateRuleSet(named: "edge", editor) { $0.content.rules[0].comment = "small" }
    _ = try await store.updateRuleSet(named: "edge", editor) { $0.content.sets = sets }
    _ = try await store.updateRuleSet(named: "edge", editor) {
      $0.content.sets = [NamedSet(name: "s", family: .ipv4, prefixes: (0..<3000).map { host(100_000 + $0 * 3) })]
    }
    let written = try await rows(store)
    #expect(written.count == 4 && written.allSatisfy { $0.first == "{" })
    // The same, with a blank that this version doesn't write.
    let others = SQLValue.text(written[3].replacing(#""rules":["#, with: #""rules": ["#))
    _ = try await store.database.write { session in
      try session.execute("UPDATE rule_set_revisions SET content = $1 WHERE number = 4", [others])
    }
    await store.close()
    let next = try await openStore(settings)
    for turn in 5...6 { _ = try await next.updateRuleSet(named: "edge", editor) { edit(&$0.content, turn) } }
    #expect(try await rows(next).map { $0.first } == ["{", "{", "{", "{", "{", "@"])
    let last = try await next.ruleSet(named: "edge").content
    await next.close()
    let reader = try await openStore(settings)
    #expect(try await reader.ruleSet(named: "edge").content == last)
    await reader.close()
  }

  @Test("A difference makes the one text of the other, whatever they are, and its own text is one of whole characters")
  func differences() throws {
    var random = SeededGenerator(announcing: "StoredContentTests.differences")
    let words = ["10.0.0.1", "ü", "東京", "🙂", "é", ",", "aaaa", "0", String(repeating: "long ", count: 30)]
    var found = 0
    for _ in 0..<400 {
      var parts = (0..<Int.random(in: 0...300, using: &random)).map { _ in random.pick(words) + "\(Int.random(in: 0...99, using: &random))" }
      let old = Array(parts.joined().utf8)
      for _ in 0..<Int.random(in: 0...6, using: &random) {
        let place = Int.random(in: 0...parts.count, using: &random)
        if random.chance(50) || place == parts.count { parts.insert(random.pick(words), at: place) } else { parts.remove(at: place) }
      }
      let new = Array(parts.joined().utf8)
      let limit = random.pick([0, 10, 100, 10_000])
      guard let difference = TextDifference(from: old, to: new, literalMax: limit) else {
        #expect(limit < 10_000, "nothing is too much there")
        continue
      }
      found += 1
      let text = difference.text
      #expect(!text.unicodeScalars.contains("\u{fffd}"))
      var pieces = TextPieces(old)
      let isOne = pieces.apply(try #require(TextDifference(Array(text.utf8)[...])))
      #expect(isOne && pieces.bytes == new)
      var others = TextPieces(old + [0x20])
      let fits = others.apply(difference)
      #expect(!fits, "the other text is not that long")
    }
    #expect(found > 200)
  }

  @Test("A row that is damaged is an error that names the revision, and those that don't need it are read", arguments: TestBackend.allCases)
  func damaged(_ backend: TestBackend) async throws {
    for damage in ["@1 99999999 1 0 1\n", "@2 0\n", "@9 0\n", "@1 -1 0 0 1\n", "@", "@1 0\n{}", "@1 1 1 5 0\nab", "{}"] {
      let database = try backend.make()
      defer { database.remove() }
      let settings = try DatabaseSettings(environment: database.environment)
      let store = try await openStore(settings)
      _ = try await store.createRuleSet(large, description: "", editor)
      for turn in 1...4 { _ = try await store.updateRuleSet(named: "edge", editor) { edit(&$0.content, turn) } }
      _ = try await store.database.write { session in
        try session.execute("UPDATE rule_set_revisions SET content = $1 WHERE number = 3", [.text(damage)])
      }
      await store.close()
      let reader = try await openStore(settings)
      #expect(try await reader.ruleSetRevision(named: "edge", number: 2).content.rules.count > 0)
      for number: UInt64 in [3, 4, 5] where damage != "{}" || number > 3 {
        let error = await storageError { try await reader.ruleSetRevision(named: "edge", number: number) }
        guard case .corrupt(let message) = error else {
          Issue.record("\(damage): \(String(describing: error))")
          continue
        }
        #expect(message.contains("revision \(number)"), "\(message)")
      }
      #expect(try await reader.ruleSetRevisions(named: "edge", .init()).total == 5)
      await reader.close()
    }
  }
}

private func host(_ number: Int) -> IPPrefix { IPPrefix(host: .v4(IPv4Address(value: 0x0a00_0000 + UInt32(number)))) }

/// One of several kinds, each time another.
private func edit(_ content: inout RuleSet, _ turn: Int) {
  switch turn % 5 {
  case 0: content.sets[0].insert([.prefix(host(turn * 53)), .prefix(host(30_000 + turn))])
  case 1: content.sets[0].remove([.prefix(content.sets[0].prefixes[turn * 7 % 2500])])
  case 2: content.rules.insert(Rule(name: "r\(turn)", action: .count), at: turn % 2)
  case 3: content.rules[0].comment = ["für “\(turn)”", "\(turn) 東京", "🙂🙃\(turn)🙂"][turn % 3]
  default: content.sets[0].comment = ["ä\(turn)", "ö\(turn)é", "\(turn)ü"][turn % 3]
  }
}

import Audit
import DatabaseSupport
import Foundation
import JSONValues
import Rules
import Synchronization
import Testing

@testable import Storage

@Suite(.serialized) struct CombinerTests {
  /// Runs the body with a store whose transactions are counted, on a migrated database.
  private func withCounted(
    _ backend: TestBackend, _ body: (SQLStore, CountingDatabase) async throws -> Void
  ) async throws {
    let test = try backend.make()
    defer { test.remove() }
    let database = CountingDatabase(try open(test))
    try await Migrator(Schema.migrations).run(on: database)
    do { try await body(SQLStore(database, timeout: .seconds(60)), database) } catch {
      await database.close()
      throw error
    }
    await database.close()
  }

  private func chainIsWhole(_ store: SQLStore) async throws -> UInt64 {
    var verifier = AuditVerifier()
    for record in try await store.auditLog(AuditFilter(isAscending: true), Page(limit: Page.limitMax)).items {
      try verifier.check(record)
    }
    try verifier.finish(end: try await store.auditHead())
    return verifier.count
  }

  @Test("Writes that wait together are one transaction, and each has its record", arguments: TestBackend.allCases)
  func together(_ backend: TestBackend) async throws {
    try await withCounted(backend) { store, database in
      let before = database.writes
      try await withThrowingTaskGroup(of: Void.self) { group in
        for n in 0..<300 {
          group.addTask {
            let node = try await store.createNode(NewNode(name: "n\(n)", address: "unix:/run/\(n).sock"))
            #expect(try await store.node(named: node.name) == node, "what was answered is committed")
          }
        }
        try await group.waitForAll()
      }
      #expect(database.writes - before < 150, "\(database.writes - before) transactions for 300 writes")
      #expect(try await store.nodes(Page(limit: 1)).total == 300)
      #expect(try await chainIsWhole(store) == 300)
    }
  }

  @Test("Of a group, what fails is undone alone, whatever it had done before", arguments: TestBackend.allCases)
  func apart(_ backend: TestBackend) async throws {
    try await withCounted(backend) { store, _ in
      _ = try await store.createRuleSet(.sample("edge", rules: ["one"]), description: "", editor)
      struct Refused: Error {}
      let outcomes = await withTaskGroup(of: Bool.self) { group in
        for n in 0..<200 {
          group.addTask {
            do {
              switch n % 4 {
              case 0: _ = try await store.createNode(NewNode(name: "same", address: "unix:/run/\(n)"))
              case 1:
                _ = try await store.updateRuleSet(named: "edge", editor) { draft in
                  draft.content.rules.append(Rule(name: "r\(n)", action: .drop))
                }
              case 2:
                let _: Void = try await store.change { session, trail in
                  try session.execute("UPDATE rule_sets SET revision = revision + 100", [])
                  trail.add(AuditEvent(subject: AuditSubject(kind: "none", id: "\(n)")))
                  throw Refused()
                }
              default: _ = try await store.setSetting("s\(n)", to: "nul\0")
              }
              return true
            } catch { return false }
          }
        }
        return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
      }
      #expect(outcomes == 51, "one node and every edit")
      let edge = try await store.ruleSet(named: "edge")
      #expect(edge.revision == 51 && edge.content.rules.count == 51)
      #expect(try await store.ruleSetRevision(named: "edge", number: 51).content == edge.content)
      #expect(try await store.settings().isEmpty)
      #expect(try await chainIsWhole(store) == 52)
    }
  }

  @Test("Statements that go together have their own answers, also where one fails", arguments: TestBackend.allCases)
  func queries(_ backend: TestBackend) async throws {
    try await withCounted(backend) { store, database in
      for n in 0..<20 { try await store.setSetting("k\(n)", to: "v\(n)") }
      let value = "SELECT value FROM settings WHERE \"key\" = $1"
      let divide = backend == .postgres ? "SELECT 1 / CAST($1 AS BIGINT)" : "SELECT nowhere($1)"
      let queries = (0..<20).map { n in
        switch n {
        case 7: SQLQuery(sql: divide, arguments: [.integer(0)])
        case 9: SQLQuery(sql: value, arguments: [.text("nul\0")])
        case 11: SQLQuery(sql: value, arguments: [.text("nowhere")])
        default: SQLQuery(sql: value, arguments: [.text("k\(n)")])
        }
      }
      for _ in 0..<3 {
        let answers = try await database.query(queries)
        for (n, answer) in answers.enumerated() {
          switch n {
          case 7, 9: #expect(throws: StorageError.self) { try answer.get() }
          case 11: #expect(try answer.get() == [])
          default: #expect(try answer.get() == [[.text("v\(n)")]])
          }
        }
      }
      #expect(try await database.query([]).isEmpty)
    }
  }

  @Test("A batch is bounded, and so is who waits for it; a cancelled one never runs")
  func bounds() async throws {
    let free = Gate()
    let sizes = Sizes()
    let batcher = Batcher<Int>(batchMax: 8, lanesMax: 1, timeout: .seconds(60)) { batch in
      await free.pass()
      sizes.add(batch.count)
      return batch.map { _ in .success(()) }
    }
    let first = Task { try await batcher.run(0) }
    try await eventually("nobody is inside") { free.waiting == 1 }
    let others = (0..<Batcher<Int>.waitingMax).map { n in Task { try await batcher.run(n) } }
    try await eventually("they do not wait") { batcher.counts.waiting == Batcher<Int>.waitingMax }
    #expect(await storageError { try await batcher.run(1) }.map(isUnavailable) == true)
    for other in others.dropFirst(20) { other.cancel() }
    try await eventually("the cancelled ones still wait") { batcher.counts.waiting == 20 }
    await #expect(throws: CancellationError.self) { try await others[20].value }
    free.open()
    try await first.value
    for other in others.prefix(20) { try await other.value }
    #expect(batcher.counts == (0, 1))
    #expect(sizes.all == [1, 8, 8, 4])
  }

  @Test("Who waited too long is turned away, also while a batch hangs")
  func late() async throws {
    let free = Gate()
    let batcher = Batcher<Int>(batchMax: 8, lanesMax: 1, timeout: .milliseconds(50)) { batch in
      await free.pass()
      return batch.map { _ in .success(()) }
    }
    let first = Task { try await batcher.run(0) }
    try await eventually("nobody is inside") { free.waiting == 1 }
    for n in 1...2 { #expect(await storageError { try await batcher.run(n) }.map(isUnavailable) == true) }
    #expect(free.waiting == 1 && batcher.counts == (0, 2))
    free.open()
    try await first.value
    try await batcher.run(3)
  }

  @Test("Contents of revisions are kept within a bound, and only committed ones")
  func cache() async throws {
    let cache = RevisionCache()
    let rules = RuleSet.sample("edge", rules: ["a"])
    for n in 0..<100 {
      cache.keep(
        .init(content: rules), textLength: RevisionCache.textLengthMax,
        for: .init(ruleSetID: UUID(), number: UInt64(n), createdAt: Date()))
      #expect(cache.length <= RevisionCache.lengthMax)
    }
    let large = RevisionCache.Key(ruleSetID: UUID(), number: 1, createdAt: Date())
    cache.keep(.init(content: rules), textLength: RevisionCache.textLengthMax + 1, for: large)
    #expect(cache[large] == nil)
    let used = RevisionCache.Key(ruleSetID: UUID(), number: 1, createdAt: Date())
    cache.keep(.init(content: rules), textLength: RevisionCache.textLengthMax / 4, for: used)
    for n in 0..<100 {
      let other = RevisionCache.Key(ruleSetID: UUID(), number: UInt64(n), createdAt: Date())
      cache.keep(.init(content: rules), textLength: RevisionCache.textLengthMax / 4, for: other)
      #expect(cache[used] != nil && cache[other] != nil, "what is asked for stays")
      #expect(cache.length <= RevisionCache.lengthMax)
    }
    try await withCounted(.sqlite) { store, _ in
      struct Refused: Error {}
      let made = try await store.createRuleSet(rules, description: "", editor)
      await #expect(throws: Refused.self) {
        try await store.updateRuleSet(named: "edge", editor) { draft in
          draft.content.rules = []
          throw Refused()
        }
      }
      #expect(try await store.ruleSet(named: "edge") == made)
      let next = try await store.updateRuleSet(named: "edge", editor) { $0.content.rules[0].comment = "b" }
      #expect(try await store.ruleSet(named: "edge") == next)
      #expect(try await SQLStore(store.database).ruleSet(named: "edge") == next, "as it is stored")
    }
  }
}

/// A real database whose transactions are counted.
private final class CountingDatabase: Storage.Database {
  private let inner: any Storage.Database
  private let count = Mutex(0)

  init(_ inner: any Storage.Database) { self.inner = inner }

  var writes: Int { count.withLock { $0 } }
  var dialect: SQLDialect { inner.dialect }
  var poolState: PoolState { inner.poolState }

  func query(_ queries: [SQLQuery]) async throws -> [Result<[[SQLValue]], StorageError>] {
    try await inner.query(queries)
  }
  func read<T: Sendable>(_ body: @escaping @Sendable (any SQLSession) throws -> T) async throws -> T {
    try await inner.read(body)
  }
  func write<T: Sendable>(_ body: @escaping @Sendable (any SQLSession) throws -> T) async throws -> T {
    count.withLock { $0 += 1 }
    return try await inner.write(body)
  }
  func holding<T: Sendable>(_ lock: String, _ body: () async throws -> T) async throws -> T {
    try await inner.holding(lock, body)
  }
  func close() async { await inner.close() }
}

private final class Sizes: Sendable {
  private let sizes = Mutex<[Int]>([])
  var all: [Int] { sizes.withLock { $0 } }
  func add(_ size: Int) { sizes.withLock { $0.append(size) } }
}

/// Closed until it is opened, once.
private final class Gate: Sendable {
  private struct State {
    var isOpen = false
    var waiters: [CheckedContinuation<Void, Never>] = []
  }
  private let state = Mutex(State())

  var waiting: Int { state.withLock { $0.waiters.count } }

  func pass() async {
    await withCheckedContinuation { continuation in
      let isOpen = state.withLock { state in
        if !state.isOpen { state.waiters.append(continuation) }
        return state.isOpen
      }
      if isOpen { continuation.resume() }
    }
  }

  func open() {
    let waiters = state.withLock { state in
      state.isOpen = true
      defer { state.waiters = [] }
      return state.waiters
    }
    for waiter in waiters { waiter.resume() }
  }
}

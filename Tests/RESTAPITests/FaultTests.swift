import Audit
import ControlProtocol
import DatabaseSupport
import Foundation
import HTTPTypes
import Identity
import Rules
import Storage
import Synchronization
import Testing

@testable import RESTAPI

/// What breaks under load: nothing that was answered is lost, nothing is done twice, each caller saw an error that says
/// what to do, and the audit log holds together afterwards.
@Suite("Faults under load", .serialized)
struct FaultTests {
  /// One rule that somebody wants in the rule set `edge`, until he is told that it is there.
  private struct Wish: Sendable {
    let name: String
    /// The same each time that it is asked for.
    let key = UUID().uuidString
    var body: JSONValue { ["name": .string(name), "action": "drop"] }
  }

  /// What callers saw.
  private final class Seen: Sendable {
    private let codes = Mutex<[String: Int]>([:])
    private let longest = Mutex(Duration.zero)
    var all: [String: Int] { codes.withLock { $0 } }
    var failures: Int { all.reduce(0) { $0 + ($1.key == "ok" ? 0 : $1.value) } }
    var longestWait: Duration { longest.withLock { $0 } }
    func note(_ answer: Answer, after time: Duration) {
      codes.withLock { $0[answer.code ?? "ok", default: 0] += 1 }
      longest.withLock { $0 = max($0, time) }
    }
  }

  private final class Flag: Sendable {
    private let value = Mutex(false)
    var isRaised: Bool { value.withLock { $0 } }
    func raise() { value.withLock { $0 = true } }
  }

  private func ask(_ api: TestAPI, _ wish: Wish, _ token: String, _ seen: Seen) async throws -> Answer {
    let start = ContinuousClock.now
    let answer = try await api.send(
      .post, "/rule-sets/edge/rules",
      headers: [
        .authorization: "Bearer \(token)", .contentType: "application/json", Idempotency.header: wish.key,
      ], bytes: wish.body.bytes())
    seen.note(answer, after: .now - start)
    return answer
  }

  /// Asks until it is told that the rule is there.
  private func insist(_ api: TestAPI, _ wish: Wish, _ token: String, _ seen: Seen) async throws {
    let deadline = ContinuousClock.now + .seconds(60)
    while ContinuousClock.now < deadline {
      let answer = try await ask(api, wish, token, seen)
      if answer.status == 201 { return }
      // Whether it was done is not known where the connection broke at its end: then the rule itself tells.
      if answer.code == "conflict", try await api.get("/rule-sets/edge/rules/\(wish.name)", token).status == 200 { return }
      #expect(["database_unavailable", "conflict"].contains(answer.code), "\(answer.text)")
      if answer.code == "database_unavailable" { #expect(answer.headers[.retryAfter] != nil) }
      if answer.code == "conflict", answer.details["reason"] == "idempotency_key_in_use" {
        // The key was claimed and nothing came of it: another key, as the answer says.
        return try await insist(api, Wish(name: wish.name), token, seen)
      }
      try await Task.sleep(for: .milliseconds(20))
    }
    Issue.record("\(wish.name) is not there after a minute")
  }

  /// Every rule is there once, each came by a revision of its own, and the log says the same.
  private func check(_ api: TestAPI, _ names: [String]) async throws {
    let edge = try await api.store.ruleSet(named: "edge")
    #expect(edge.content.rules.map(\.name).sorted() == names.sorted())
    #expect(edge.revision == UInt64(names.count) + 1)
    var verifier = AuditVerifier()
    var offset = 0
    var made = 0
    while true {
      let page = try await api.store.auditLog(AuditFilter(isAscending: true), Page(limit: 1000, offset: offset))
      for record in page.items {
        try verifier.check(record)
        if record["operation"] == "addRule", record["outcome"] == "succeeded" { made += 1 }
      }
      offset += page.items.count
      if page.items.isEmpty { break }
    }
    try verifier.finish(end: try await api.store.auditHead())
    #expect(made == names.count, "one record for each")
  }

  /// Runs the load until the body, which breaks things meanwhile, is done and every wish is fulfilled.
  private func load(
    _ api: TestAPI, wishes: Int, callers: Int, _ body: @Sendable () async throws -> Void
  ) async throws -> Seen {
    let token = try await api.token()
    #expect(try await api.post("/rule-sets", token, ["name": "edge"]).status == 201)
    let seen = Seen()
    let names = (0..<wishes).map { "rule-\($0)" }
    try await withThrowingTaskGroup(of: Void.self) { group in
      for caller in 0..<callers {
        group.addTask {
          for index in stride(from: caller, to: wishes, by: callers) {
            try await insist(api, Wish(name: names[index]), token, seen)
          }
        }
      }
      try await body()
      try await group.waitForAll()
    }
    try await check(api, names)
    return seen
  }

  @Test("The database is killed and started again, twice, while many write")
  func killed() async throws {
    let server = try PostgresServer()
    defer { server.remove() }
    try await TestAPI.with(.postgres, on: TestDatabase(on: server)) { api in
      let seen = try await load(api, wishes: 300, callers: 8) {
        for _ in 0..<2 {
          try await Task.sleep(for: .milliseconds(300))
          try server.kill()
          try await Task.sleep(for: .milliseconds(200))
          try server.start()
        }
      }
      #expect(seen.all["ok"] != nil && seen.longestWait < .seconds(15))
      #expect(seen.all["database_unavailable"] != nil, "nobody noticed: \(seen.all)")
    }
  }

  @Test("The disk is full while many write, and then it is not", .enabled(if: geteuid() == 0))
  func fullDisk() async throws {
    let directory = try TestDatabase.directory()
    try await SmallDisk.with(kibibytes: 4096, in: directory) { disk in
      try await TestAPI.with(.sqlite, on: TestDatabase(sqliteIn: disk.path)) { api in
        let full = Flag()
        let seen = try await load(api, wishes: 300, callers: 4) {
          let deadline = ContinuousClock.now + .seconds(30)
          while ContinuousClock.now < deadline {
            // Its own words are in the log, not in answers.
            if api.logs.lines.contains(where: { $0.contains("free disk space") }) {
              full.raise()
              break
            }
            try await Task.sleep(for: .milliseconds(10))
          }
          try disk.grow(toKibibytes: 65_536)
        }
        #expect(full.isRaised, "the disk was never full")
        #expect(seen.all["database_unavailable"] != nil)
      }
    }
    try? FileManager.default.removeItem(atPath: directory)
  }

  @Test(
    "The disk of PostgreSQL is full while many write, and then it is not: it stops, is started, and nothing is lost",
    .enabled(if: geteuid() == 0))
  func fullDiskOfPostgres() async throws {
    let directory = try TestDatabase.directory()
    try await SmallDisk.with(kibibytes: 98_304, in: directory) { disk in
      let server = try PostgresServer(on: disk.path)
      defer { server.remove() }
      try await TestAPI.with(.postgres, on: TestDatabase(on: server)) { api in
        let full = Flag()
        let seen = try await load(api, wishes: 300, callers: 4) {
          try disk.fill(leavingKibibytes: 512)
          let deadline = ContinuousClock.now + .seconds(30)
          while ContinuousClock.now < deadline {
            if server.log.contains("No space left on device") {
              full.raise()
              break
            }
            try await Task.sleep(for: .milliseconds(10))
          }
          // Some are turned away before there is room.
          try await Task.sleep(for: .milliseconds(200))
          try disk.grow(toKibibytes: 262_144)
          // Without room for its log it ends, sooner or later; where it runs already, a start only says so.
          for _ in 0..<40 where (try? server.run("SELECT 1")) == nil {
            try? server.start()
            try await Task.sleep(for: .milliseconds(250))
          }
        }
        #expect(full.isRaised, "the disk was never full")
        #expect(seen.all["database_unavailable"] != nil, "nobody noticed: \(seen.all)")
      }
    }
    try? FileManager.default.removeItem(atPath: directory)
  }

  @Test("The database holds everybody up for longer than anybody should wait")
  func slow() async throws {
    let server = try PostgresServer()
    defer { server.remove() }
    let database = try TestDatabase(on: server)
    let name = try #require(database.environment["DB_NAME"])
    try await TestAPI.with(.postgres, on: database) { api in
      let seen = try await load(api, wishes: 60, callers: 4) {
        let holder = Task.detached {
          _ = try server.run(
            "BEGIN; LOCK TABLE rule_sets IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(7); COMMIT", in: name)
        }
        try await holder.value
      }
      #expect(seen.all["database_unavailable"] != nil, "nobody was turned away: \(seen.all)")
      #expect(seen.longestWait < .seconds(15))
    }
  }

  @Test("Two copies of the API apply one after the other: what runs, what is recorded and what is newest are one revision")
  func exactlyOnce() async throws {
    try await TestAPI.with(.postgres) { first in
      try await TestAPI.with(.postgres, on: first.database) { second in
        let token = try await second.token()
        #expect(try await second.post("/rule-sets", token, ["name": "edge"]).status == 201)
        let made = try await second.post("/attachments", token, ["interface": "eth0", "rule_set": "edge"])
        let id = try #require(made.data["id"]?.string)
        try await withThrowingTaskGroup(of: Void.self) { group in
          for (n, api) in [first, second, first, second].enumerated() {
            // Its own token: the copies sign with different keys here.
            let own = try await api.token()
            group.addTask {
              for round in 0..<4 {
                let rule: JSONValue = ["name": .string("r-\(n)-\(round)"), "action": "drop"]
                #expect(try await api.post("/rule-sets/edge/rules", own, rule).status == 201)
                let applied = try await api.post("/rule-sets/edge/apply", own, [:])
                #expect(applied.status == 200, "\(applied.text)")
              }
            }
          }
          try await group.waitForAll()
        }
        let newest = try await second.store.ruleSet(named: "edge").revision
        #expect(newest == 17)
        #expect(try await second.get("/attachments/\(id)", token).data["applied_revision"]?.integer == Int64(newest))
        #expect(second.daemon.state.attachments["eth0"]?.revision == newest)
      }
    }
  }

  @Test("An apply does not reach the daemon while another copy of the API is at the same node")
  func waits() async throws {
    try await TestAPI.with(.postgres) { api in
      let other = try await Stores.open(
        DatabaseSettings(environment: api.database.environment), logger: api.logs.logger())
      let token = try await api.token()
      _ = try await api.post("/rule-sets", token, ["name": "edge"])
      #expect(try await api.post("/attachments", token, ["interface": "eth0", "rule_set": "edge"]).status == 201)
      _ = try await api.post("/rule-sets/edge/rules", token, ["name": "one", "action": "drop"])
      let isHeld = Flag(), mayGo = Flag()
      func until(_ flag: Flag) async throws { while !flag.isRaised { try await Task.sleep(for: .milliseconds(5)) } }
      async let holder: Void = other.exclusively(on: "local") {
        isHeld.raise()
        try await until(mayGo)
      }
      try await until(isHeld)
      async let applied = api.post("/rule-sets/edge/apply", token, [:])
      try await Task.sleep(for: .milliseconds(300))
      #expect(!api.daemon.state.calls.contains("apply edge@2"))
      mayGo.raise()
      try await holder
      #expect(try await applied.status == 200)
      #expect(api.daemon.state.calls.contains("apply edge@2"))
      await other.close()
    }
  }

  @Test("Two copies of the API on one database, and many editors at both", arguments: TestBackend.allCases)
  func copies(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let settings = try DatabaseSettings(environment: api.database.environment)
      let other = try await Stores.open(settings, logger: api.logs.logger())
      let token = try await api.token()
      #expect(try await api.post("/rule-sets", token, ["name": "edge"]).status == 201)
      let edit = RuleSetEdit(author: Author(userID: nil, email: "copy@example.org"))
      try await withThrowingTaskGroup(of: Void.self) { group in
        for n in 0..<40 {
          group.addTask {
            let answer = try await api.post(
              "/rule-sets/edge/rules", token, ["name": .string("here-\(n)"), "action": "drop"])
            #expect(answer.status == 201)
          }
          group.addTask {
            let request = AuditedRequest(address: "", requestID: "r\(n)", operation: "addRule")
            try await AuditedRequest.$current.withValue(request) {
              _ = try await other.updateRuleSet(named: "edge", edit) { draft in
                draft.content.rules.append(Rule(name: "there-\(n)", action: .drop))
              }
            }
          }
        }
        try await group.waitForAll()
      }
      try await check(api, (0..<40).flatMap { ["here-\($0)", "there-\($0)"] })
      await other.close()
    }
  }
}

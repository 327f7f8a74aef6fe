import ControlProtocol
import DatabaseSupport
import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Identity
import NIOCore
import Storage
import Testing

@testable import RESTAPI

@Suite("Events in the API")
struct EventTests {
  private func event(
    _ sequence: UInt64, _ kind: String = "applied", interface: String = "eth0", ruleSet: String = "edge"
  ) -> Sluice_Control_V1_Event {
    .with {
      ($0.epoch, $0.sequence, $0.kind, $0.interface, $0.message) = (7, sequence, kind, interface, "generation \(sequence)")
      $0.fields = ["rule_set": ruleSet]
      $0.timeUnixNanos = 1_795_275_527_961_000_000
    }
  }

  private func store(_ events: [Sluice_Control_V1_Event], _ api: TestAPI, node: String = "local") async throws {
    let id = try await api.store.node(named: node).id
    try await api.store.recordEvents(events.map { NewNodeEvent($0) }, ofNode: id)
  }

  /// Runs the feed while `body` does.
  private func feeding(_ api: TestAPI, _ body: () async throws -> Void) async throws {
    let running = Task { try await api.services.events.run() }
    do { try await body() } catch {
      running.cancel()
      throw error
    }
    running.cancel()
    _ = try? await running.value
  }

  private func eventually(_ what: String, _ condition: () async throws -> Bool) async throws {
    let deadline = ContinuousClock.now + .seconds(30)
    while ContinuousClock.now < deadline {
      if try await condition() { return }
      try await Task.sleep(for: .milliseconds(20))
    }
    Issue.record("in vain: \(what)")
  }

  @Test("What a daemon tells is stored once, from where it was left, over its restart; what was lost is named", arguments: TestBackend.allCases)
  func feed(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let token = try await api.token()
      func types() async throws -> [String] {
        try await api.get("/events?after=0", token).items.compactMap { $0["type"]?.string }
      }
      api.daemon.change { $0.events = [self.event(1, "attached"), self.event(2)] }
      try await feeding(api) {
        try await eventually("two events") { try await types() == ["attached", "applied"] }
        api.daemon.change { $0.events.append(self.event(3, "refused")) }
        try await eventually("the third") { try await types().count == 3 }
      }
      // While nobody reads, the daemon forgets some.
      api.daemon.change { $0.events = [self.event(3, "refused"), self.event(6, "rule_expired")] }
      try await feeding(api) {
        try await eventually("what was lost, and the last one") {
          try await types() == ["attached", "applied", "refused", "events_lost", "rule_expired"]
        }
      }
      let lost = try await api.get("/events?type=events_lost", token).items[0]
      #expect(lost["message"]?.string?.contains("2 events were lost") == true)
      let listed = try await api.get("/events?type=refused,nothing&node=local&interface=eth0&rule_set=edge", token)
      #expect(listed.meta["total"] == 1 && listed.items[0]["sequence"] == 3 && listed.items[0]["at"] == "2026-11-21T15:38:47.961Z")
      #expect(listed.headers[.vary] == "Accept")
    }
  }

  @Test("Who may read of a part sees the events of that part")
  func scoped() async throws {
    try await TestAPI.with { api in
      _ = try await api.store.createNode(NewNode(name: "other", address: "unix:/none"))
      _ = try await api.store.createRuleSet(.init(name: "edge"), description: "", RuleSetEdit(author: .system))
      try await store([event(1), event(2, interface: "eth1", ruleSet: "x"), event(3, "shutdown", interface: "", ruleSet: "")], api)
      try await store([event(1, ruleSet: "x"), event(2)], api, node: "other")
      let nobody = try await api.makeUser([])
      #expect(try await api.get("/events", try await api.token(of: nobody)).code == "missing_scope")
      func seen(_ kind: ResourceKind, _ name: String) async throws -> Int64? {
        let user = try await api.makeUser([])
        let thing = try await api.store.resource(kind, name).ref
        _ = try await api.store.setGrant(of: thing, to: .user(user.email), role: "Viewer", if: { _ in })
        let token = try await api.token(of: try await api.store.user(id: user.id))
        return try await api.get("/events", token).meta["total"]?.integer
      }
      #expect(try await seen(.node, "local") == 3)
      #expect(try await seen(.node, "other") == 2)
      #expect(try await seen(.ruleSet, "edge") == 2, "wherever it is applied")
      let attachment = try await api.store.createAttachment(
        NewAttachment(node: "local", interface: "eth1", ruleSet: nil, options: .init()))
      #expect(try await seen(.attachment, attachment.id.uuidString.lowercased()) == 1)
      #expect(try await api.get("/events", try await api.token([.viewer])).meta["total"] == 5)
    }
  }

  @Test("Hostile filters are refused with their place")
  func hostile() async throws {
    try await TestAPI.with { api in
      let token = try await api.token([.viewer])
      for query in ["type=", "type=,", "type=A", "type=a,,b", "type=" + String(repeating: "a,", count: 40) + "a",
        "type=" + String(repeating: "a", count: 65), "node=-", "interface=" + String(repeating: "x", count: 16), "after=-1",
        "after=x", "after=9223372036854775808", "rule_set=%00"]
      {
        let answer = try await api.get("/events?\(query)", token)
        #expect(answer.code == "validation_failed" && answer.problemPaths == [String(query.prefix { $0 != "=" })], "\(query)")
      }
      for id in ["x", "-1", "+1", "9223372036854775808", " ", "1e3", "{}"] {
        for type in ["text/event-stream", "application/json"] {
          let answer = try await api.send(
            .get, "/events",
            headers: [.authorization: "Bearer \(token)", .accept: type, HTTPField.Name("Last-Event-ID")!: id], bytes: nil)
          #expect(answer.code == "invalid_request", "\(id), \(type)")
        }
      }
    }
  }

  // MARK: Streams, by curl

  /// Writes what comes into a file, until the answer ends.
  private func curl(into file: String, _ arguments: [String]) throws -> Process {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/curl")
    process.arguments = ["-s", "-N", "-m", "60", "-o", file, "-H", "Accept: text/event-stream"] + arguments
    try process.run()
    return process
  }

  @Test("A stream tells what happens, from Last-Event-ID on, only of what was asked for, and ends with the API", arguments: TestBackend.allCases)
  func stream(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend, .live) { api in
      let token = try await api.token([.viewer])
      let url = "http://127.0.0.1:\(try #require(api.client.port))/api/v1/events"
      try await store([event(1), event(2, "refused"), event(3)], api)
      let first = try #require(try await api.get("/events?after=0", token).items[0]["id"]?.integer)
      let authorization = ["-H", "Authorization: Bearer \(token)"]
      let folder = try TestDatabase.directory()
      defer { try? FileManager.default.removeItem(atPath: folder) }
      func read(_ name: String) -> String { (try? String(contentsOfFile: "\(folder)/\(name)", encoding: .utf8)) ?? "" }
      let streams = [
        try curl(into: "\(folder)/all", authorization + ["-H", "Last-Event-ID: \(first)", url]),
        try curl(into: "\(folder)/some", authorization + [url + "?type=rule_expired"]),
      ]
      defer { for stream in streams where stream.isRunning { stream.terminate() } }
      try await eventually("both streams are open") { api.services.events.streamCount == 2 }
      try await store([event(4, "rule_expired"), event(5)], api)
      try await eventually("both have it") { read("all").contains("generation 5") && read("some").contains("rule_expired") }
      api.services.events.close()
      try await eventually("both have ended") { streams.allSatisfy { !$0.isRunning } }
      let (all, some) = (read("all"), read("some"))
      let types = { (text: String) in
        text.split(separator: "\n").filter { $0.hasPrefix("event: ") }.map { String($0.dropFirst(7)) }
      }
      #expect(types(all) == ["refused", "applied", "rule_expired", "applied"], "\(all)")
      #expect(types(some) == ["rule_expired"], "\(some)")
      #expect(all.hasPrefix("retry: 2000\n\n") && all.contains("id: \(first + 1)\nevent: refused\ndata: {\"at\":\"2026-11-21"))
      #expect(api.services.events.streamCount == 0)
      let late = try await api.send(
        .get, "/events", headers: [.authorization: "Bearer \(token)", .accept: "text/event-stream"], bytes: nil)
      #expect(late.code == "too_many_requests", "after the end there is no new one")
    }
  }

  @Test("What another copy of the API stores wakes the streams of this one: by a word, or where there is none by a look", arguments: [TestBackend.postgres, .mysql])
  func otherCopy(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend, .live) { api in
      let other = try await Stores.open(
        DatabaseSettings(environment: api.database.environment), logger: api.logs.logger())
      let token = try await api.token([.viewer])
      let folder = try TestDatabase.directory()
      defer { try? FileManager.default.removeItem(atPath: folder) }
      func read() -> String { (try? String(contentsOfFile: "\(folder)/all", encoding: .utf8)) ?? "" }
      let stream = try curl(
        into: "\(folder)/all",
        ["-H", "Authorization: Bearer \(token)", "http://127.0.0.1:\(try #require(api.client.port))/api/v1/events"])
      defer { if stream.isRunning { stream.terminate() } }
      try await eventually("the stream is open") { read().contains("retry") }
      if backend == .postgres {
        let name = try #require(api.database.environment["DB_NAME"])
        let listening = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = '\(name)' AND query LIKE 'LISTEN%events%'"
        try await eventually("it listens") { try PostgresServer.shared().run(listening).contains("1") }
      }
      let id = try await other.node(named: "local").id
      let start = ContinuousClock.now
      try await other.recordEvents([NewNodeEvent(event(1, "refused"))], ofNode: id)
      try await eventually("it came") { read().contains("event: refused") }
      // Where there is a word, the look comes every five seconds only.
      #expect(ContinuousClock.now - start < .seconds(3))
      await other.close()
    }
  }

  @Test("No more streams than the limit; a place is free when one leaves")
  func limit() async throws {
    try await TestAPI.with { api in
      var streams = (0..<EventFeed.streamsMax).map { _ in api.services.events.subscribe() }
      #expect(streams.allSatisfy { $0 != nil })
      let token = try await api.token([.viewer])
      let refused = try await api.send(
        .get, "/events", headers: [.authorization: "Bearer \(token)", .accept: "text/event-stream"], bytes: nil)
      #expect(refused.code == "too_many_requests" && refused.headers[.retryAfter] == "30")
      #expect(try await api.get("/events", token).status == 200)
      streams.removeLast()
      #expect(api.services.events.subscribe() != nil)
    }
  }

  @Test("What a daemon tells is cut to what is stored")
  func cut() {
    var told = event(1)
    told.message = String(repeating: "é\0", count: 5000)
    told.kind = String(repeating: "k", count: 500)
    told.fields = Dictionary(uniqueKeysWithValues: (0..<100).map { ("\($0)", String(repeating: "v", count: 5000)) })
    let kept = NewNodeEvent(told)
    #expect(kept.message == String(repeating: "é", count: 1024) && kept.kind.count == 64)
    #expect(kept.fields.count == 32 && kept.fields.values.allSatisfy { $0.count == 1024 })
  }
}

import DatabaseSupport
import Foundation
import Testing

@testable import Storage

@Suite("Events in the store") struct EventTests {
  private func event(
    _ sequence: UInt64, epoch: UInt64 = 7, kind: String = "applied", interface: String = "eth0", ruleSet: String = "edge"
  ) -> NewNodeEvent {
    NewNodeEvent(
      position: EventPosition(epoch: epoch, sequence: sequence), kind: kind, interface: interface,
      message: "'; DROP TABLE events; -- \(sequence)", fields: ["rule_set": ruleSet, "ö": "\"\\"],
      happenedAt: Date(unixMilliseconds: 1_795_275_527_961))
  }

  @Test("What two copies of the API bring is stored once, in order, and comes back as it was", arguments: TestBackend.allCases)
  func once(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      let node = try await store.createNode(NewNode(name: "n", address: "unix:/n"))
      #expect(try await store.eventRange() == nil)
      #expect(try await store.eventPosition(ofNode: node.id) == nil)
      let storedCount = try await withThrowingTaskGroup(of: Int.self) { group in
        for _ in 0..<4 {
          group.addTask {
            var count = 0
            for sequence in UInt64(1)...20 {
              count += try await store.recordEvents([self.event(sequence)], ofNode: node.id)
            }
            return count
          }
        }
        return try await group.reduce(0, +)
      }
      #expect(storedCount == 20)
      var filter = EventFilter()
      filter.isAscending = true
      let stored = try await store.events(filter, Page())
      #expect(stored.items.map(\.event) == (UInt64(1)...20).map { event($0) })
      #expect(stored.items.map(\.id) == stored.items.map(\.id).sorted() && stored.items.allSatisfy { $0.node == "n" })
      #expect(try await store.eventPosition(ofNode: node.id) == EventPosition(epoch: 7, sequence: 20))
      #expect(try await store.recordEvents([event(3)], ofNode: node.id) == 0)
      #expect(try await store.eventPosition(ofNode: node.id)?.sequence == 20, "a copy that lags sets nothing back")
      // The daemon's next start counts anew, also where its clock was set back.
      #expect(try await store.recordEvents([event(1, epoch: 6), event(2, epoch: 6)], ofNode: node.id) == 2)
      #expect(try await store.eventPosition(ofNode: node.id) == EventPosition(epoch: 6, sequence: 2))
      #expect(try await store.recordEvents([event(21)], ofNode: node.id) == 1)
      try await store.deleteNode(named: "n")
      #expect(try await store.events(EventFilter(), Page()).total == 0)
      let error = await storageError { try await store.recordEvents([event(9)], ofNode: node.id) }
      guard case .notFound = error else {
        Issue.record("\(String(describing: error))")
        return
      }
    }
  }

  @Test("Filters: behind an event, by kind, node, interface and rule set, and of what somebody may see", arguments: TestBackend.allCases)
  func filters(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      for name in ["a", "b"] {
        let node = try await store.createNode(NewNode(name: name, address: "unix:/\(name)"))
        try await store.recordEvents(
          [
            event(1), event(2, kind: "refused", interface: "eth1", ruleSet: "other"),
            event(3, kind: "attached", interface: "eth2", ruleSet: ""),
          ], ofNode: node.id)
      }
      func ids(_ change: (inout EventFilter) -> Void) async throws -> [UInt64] {
        var filter = EventFilter()
        filter.isAscending = true
        change(&filter)
        return try await store.events(filter, Page()).items.map(\.id)
      }
      let all = try await ids { _ in }
      #expect(all.count == 6)
      #expect(try await ids { $0.after = all[3] } == Array(all[4...]))
      #expect(try await ids { $0.after = .max }.isEmpty)
      #expect(try await ids { $0.kinds = ["refused", "attached", "'; --"] } == [all[1], all[2], all[4], all[5]])
      #expect(try await ids { $0.node = "b" } == Array(all[3...]))
      #expect(try await ids { $0.interface = "eth1" } == [all[1], all[4]])
      #expect(try await ids { $0.ruleSet = "edge" } == [all[0], all[3]])
      #expect(try await ids { $0.among = .init(nodes: [], interfaces: [], ruleSets: []) }.isEmpty)
      #expect(try await ids { $0.among = .init(nodes: ["a"], interfaces: ["b/eth1"], ruleSets: []) } == Array(all[...2]) + [all[4]])
      #expect(try await ids { $0.among = .init(nodes: [], interfaces: [], ruleSets: ["other"]) } == [all[1], all[4]])
      #expect(try await store.events(EventFilter(), Page()).items.first?.id == all[5], "newest first")
      #expect(try await store.eventRange() == all[0]...all[5])
    }
  }

  @Test("More than are kept: the oldest go, and don't come back", arguments: TestBackend.allCases)
  func bounded(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      let node = try await store.createNode(NewNode(name: "n", address: "unix:/n"))
      let count = UInt64(EventTable.eventsMax + 500)
      for start in stride(from: UInt64(1), through: count, by: 500) {
        try await store.recordEvents((start..<start + 500).map { event($0) }, ofNode: node.id)
      }
      #expect(try await store.events(EventFilter(), Page(limit: 1)).total == EventTable.eventsMax)
      #expect(try await store.recordEvents([event(1), event(2)], ofNode: node.id) == 0)
    }
  }
}

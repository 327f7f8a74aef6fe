import DatabaseSupport
import Foundation
import Rules
import Testing

@testable import Storage

@Suite(.serialized) struct DesiredStateTests {
  @Test("Nodes are created, listed, changed and deleted by name", arguments: TestBackend.allCases)
  func nodes(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      let edge = try await store.createNode(NewNode(name: "edge", address: "unix:/a", description: "d"))
      _ = try await store.createNode(.local)
      #expect(try await store.node(named: "edge") == edge)
      #expect(await storageError { try await store.createNode(.local) } == .conflict(field: "name"))
      #expect(try await store.nodes(.init()).items.map(\.name) == ["edge", "local"])
      let renamed = try await store.updateNode(named: "edge", NodeChange(name: "core"))
      #expect(renamed.id == edge.id && renamed.name == "core" && renamed.address == "unix:/a")
      #expect(
        await storageError { try await store.updateNode(named: "core", NodeChange(name: "local")) }
          == .conflict(field: "name"))
      try await store.deleteNode(named: "core")
      #expect(await storageError { try await store.node(named: "core") } == .notFound(kind: "node", key: "core"))
      #expect(await storageError { try await store.deleteNode(named: "core") } == .notFound(kind: "node", key: "core"))
    }
  }

  @Test("An attachment keeps its options and knows node and rule set by name", arguments: TestBackend.allCases)
  func attachments(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      _ = try await store.createNode(.local)
      _ = try await store.createRuleSet(.sample("edge"), description: "", editor)
      let options = AttachmentOptions(
        mode: .native, zeroCopy: .required, coexistence: .dispatcher, captureFallback: .drop, keepOnExit: true)
      let created = try await store.createAttachment(
        NewAttachment(interface: "eth1", ruleSet: "edge", options: options))
      #expect(created.node == "local" && created.ruleSet == "edge" && created.options == options)
      #expect(created.appliedRevision == nil && created.appliedAt == nil)
      #expect(try await store.attachment(id: created.id) == created)
      let plain = try await store.createAttachment(NewAttachment(interface: "eth0"))
      #expect(plain.ruleSet == nil && plain.options == AttachmentOptions())
      #expect(
        await storageError { try await store.createAttachment(NewAttachment(interface: "eth0")) }
          == .conflict(field: "interface"))
      #expect(
        await storageError { try await store.createAttachment(NewAttachment(node: "mars", interface: "eth9")) }
          == .notFound(kind: "node", key: "mars"))
      #expect(
        await storageError { try await store.createAttachment(NewAttachment(interface: "eth9", ruleSet: "no")) }
          == .notFound(kind: "rule set", key: "no"))
      #expect(try await store.attachments(.init(), .init()).items.map(\.interface) == ["eth0", "eth1"])
      #expect(try await store.attachments(.init(node: "local", interface: "eth1"), .init()).items == [created])
      #expect(try await store.attachments(.init(ruleSet: "edge"), .init()).total == 1)
      #expect(try await store.attachments(.init(node: "mars"), .init()).total == 0)
    }
  }

  @Test("The applied revision is noted, and forgotten with the rule set", arguments: TestBackend.allCases)
  func applied(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      _ = try await store.createNode(.local)
      for name in ["a", "b"] { _ = try await store.createRuleSet(.sample(name), description: "", editor) }
      let id = try await store.createAttachment(NewAttachment(interface: "eth0")).id
      let applied = try await store.recordApplied(attachmentID: id, ruleSet: "a", revision: 1)
      #expect(applied.ruleSet == "a" && applied.appliedRevision == 1 && applied.appliedAt != nil)
      for revision: UInt64 in [0, 2, .max] {
        #expect(
          await storageError { try await store.recordApplied(attachmentID: id, ruleSet: "a", revision: revision) }
            == .notFound(kind: "revision", key: "\(revision)"))
      }
      let tuned = try await store.updateAttachment(
        id: id, AttachmentChange(ruleSet: "a", options: AttachmentOptions(keepOnExit: true)))
      #expect(tuned.options.keepOnExit && tuned.appliedRevision == 1)
      let moved = try await store.updateAttachment(id: id, AttachmentChange(ruleSet: "b"))
      #expect(moved.ruleSet == "b" && moved.appliedRevision == nil && moved.appliedAt == nil)
      let bare = try await store.updateAttachment(id: id, AttachmentChange(ruleSet: .some(nil)))
      #expect(bare.ruleSet == nil && bare.options.keepOnExit)
      try await store.deleteAttachment(id: id)
      let gone = StorageError.notFound(kind: "attachment", key: id.uuidString.lowercased())
      #expect(await storageError { try await store.deleteAttachment(id: id) } == gone)
      #expect(await storageError { try await store.updateAttachment(id: id, .init()) } == gone)
    }
  }

  @Test("What an attachment refers to cannot be deleted", arguments: TestBackend.allCases)
  func inUse(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      _ = try await store.createNode(.local)
      _ = try await store.createRuleSet(.sample("edge"), description: "", editor)
      let id = try await store.createAttachment(NewAttachment(interface: "eth0", ruleSet: "edge")).id
      #expect(
        await storageError { try await store.deleteNode(named: "local") } == .inUse(kind: "node", by: "attachments"))
      #expect(
        await storageError { try await store.deleteRuleSet(named: "edge") }
          == .inUse(kind: "rule set", by: "attachments"))
      #expect(try await store.attachment(id: id).ruleSet == "edge")
      try await store.deleteAttachment(id: id)
      try await store.deleteRuleSet(named: "edge")
      try await store.deleteNode(named: "local")
    }
  }

  @Test("A capture's history is kept and searched", arguments: TestBackend.allCases)
  func captures(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      let epoch = Date(timeIntervalSince1970: 1_800_000_000.123)
      let request = CaptureRequest(
        path: "x.pcapng", snapLength: 96, sampleEvery: 10, packetLimit: .max, byteLimit: 1, durationMilliseconds: 2,
        fileByteLimit: 3, fileCount: 4, rules: ["a", "b"])
      func start(_ interface: String, after seconds: TimeInterval) async throws -> CaptureRecord {
        try await store.createCapture(
          NewCapture(
            node: "local", interface: interface, daemonID: "c1", request: request, startedBy: .system,
            startedAt: epoch.addingTimeInterval(seconds)))
      }
      let first = try await start("eth0", after: 0)
      let second = try await start("eth1", after: 1)
      #expect(try await store.capture(id: first.id) == first)
      #expect(first.request.packetLimit == .max && first.finishedAt == nil && first.progress.state == .running)
      let progress = CaptureProgress(state: .finished, packetsReceived: .max, packetsWritten: 3, files: ["/x"])
      let end = epoch.addingTimeInterval(60)
      let finished = try await store.updateCapture(id: first.id, progress, finishedAt: end)
      #expect(finished.progress == progress)
      #expect(finished.finishedAt?.unixMilliseconds == end.unixMilliseconds)
      let again = try await store.updateCapture(id: first.id, progress, finishedAt: end.addingTimeInterval(9))
      #expect(again == finished)
      let stale = try await store.updateCapture(id: first.id, CaptureProgress(packetsReceived: 1), finishedAt: nil)
      #expect(stale == finished, "who looked before it ended writes after")
      #expect(try await store.captures(.init(), .init()).items.map(\.id) == [second.id, first.id])
      #expect(try await store.captures(.init(state: .running), .init()).items.map(\.id) == [second.id])
      #expect(try await store.captures(.init(node: "local", interface: "eth0"), .init()).total == 1)
      let missing = UUID()
      await #expect(throws: StorageError.self) { try await store.capture(id: missing) }
      await #expect(throws: StorageError.self) { try await store.updateCapture(id: missing, progress, finishedAt: nil) }
      let written = """
        {"state":"finished","error":"","packetsReceived":7,"packetsWritten":3,"packetsSampledOut":0,"packetsFilteredOut":0,
         "packetsDropped":4,"bytesWritten":9,"files":["/x"]}
        """
      let earlier = try JSONDecoder().decode(CaptureProgress.self, from: Data(written.utf8))
      #expect(earlier.packetsDropped == 4 && earlier.packetsLostByKernel == 0, "of a version without it")
      _ = try await store.createNode(.local)
      _ = try await store.updateNode(named: "local", NodeChange(name: "edge9"))
      #expect(try await store.captures(.init(node: "edge9"), .init()).total == 2, "they are still its own")
    }
  }
}

import Audit
import DatabaseSupport
import Foundation
import Identity
import JSONValues
import Rules
import Testing

@testable import Storage

@Suite(.serialized) struct AuditTests {
  private func all(_ store: SQLStore) async throws -> [JSONValue] {
    try await store.auditLog(AuditFilter(isAscending: true), Page(limit: Page.limitMax)).items
  }

  /// Nil: the chain holds from the first record to the head.
  private func fault(_ store: SQLStore) async throws -> AuditFault? {
    var verifier = AuditVerifier()
    let records = try await all(store)
    let head = try await store.auditHead()
    do throws(AuditFault) {
      for record in records { try verifier.check(record) }
      try verifier.finish(end: head)
      return nil
    } catch { return error }
  }

  @Test("A change and its record are one: who, what, from where, before and after", arguments: TestBackend.allCases)
  func content(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      let request = AuditedRequest(address: "192.0.2.7", requestID: "r-1", operation: "updateUser")
      request.identify(as: AuditActor(kind: .user, id: "42", name: "root@x.org"))
      let user = try await store.createUser(.sample("a@x.org"))
      try await AuditedRequest.$current.withValue(request) {
        _ = try await store.updateUser(id: user.id, UserChange(name: "Ann", passwordHash: "$argon2id$secret"))
      }
      #expect(request.recordCount == 1)
      let records = try await all(store)
      #expect(records.map { $0["operation"]?.string } == ["createUser", "updateUser"])
      #expect(records[0]["actor"] == ["kind": "system", "id": .null, "name": "system"])
      #expect(records[0]["before"] == .null && records[0]["after"]?["email"] == "a@x.org")
      let change = records[1]
      #expect(change["actor"] == ["kind": "user", "id": "42", "name": "root@x.org"])
      #expect(change["address"] == "192.0.2.7" && change["request_id"] == "r-1" && change["outcome"] == "succeeded")
      #expect(change["subject"] == ["kind": "user", "id": .string(user.id.uuidString.lowercased())])
      #expect(change["before"]?["name"] == "Sample" && change["after"]?["name"] == "Ann")
      #expect(change["after"]?["password_changed"] == true)
      #expect(!records.contains { $0.text.contains("argon2id") })
      #expect(try await fault(store) == nil)
    }
  }

  @Test("A change that fails leaves no record, and one that changes nothing neither", arguments: TestBackend.allCases)
  func rolledBack(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      _ = try await store.createUser(.sample("a@x.org"))
      let before = try await store.auditHead()
      _ = await storageError { try await store.createUser(.sample("a@x.org")) }
      _ = await storageError { try await store.deleteNode(named: "nowhere") }
      _ = try await store.createRuleSet(.sample("edge"), description: "", editor)
      _ = try await store.updateRuleSet(named: "edge", editor) { _ in }
      #expect(try await store.auditHead().sequence == before.sequence + 1)
      #expect(try await fault(store) == nil)
    }
  }

  @Test("Everything that the store changes leaves a record", arguments: TestBackend.allCases)
  func everything(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      _ = try await store.seed(adminPasswordHash: "$h")
      let user = try await store.createUser(.sample("a@x.org", [.admin]))
      try await store.recordSignIn(SignIn(email: "a@x.org", userID: user.id, succeeded: true, at: Date()))
      try await store.recordSignIn(SignIn(email: "hunter2 oops", userID: nil, succeeded: false, at: Date()))
      _ = try await store.insertRefreshToken(digest: "d1", userID: user.id, limits: .init())
      _ = try await store.rotateRefreshToken(digest: "d1", successorDigest: "d2", limits: .init())
      _ = try await store.rotateRefreshToken(digest: "d1", successorDigest: "d3", limits: .init())
      try await store.revokeRefreshTokenFamily(digest: "d2")
      try await store.revokeRefreshTokens(userID: user.id)
      _ = try await store.createNode(NewNode(name: "n", address: "unix:/a"))
      _ = try await store.updateNode(named: "n", NodeChange(description: "far"))
      _ = try await store.createRuleSet(.sample("s", rules: ["one"]), description: "", editor)
      _ = try await store.updateRuleSet(named: "s", editor) { $0.content.rules.append(Rule(name: "two", action: .drop)) }
      let attachment = try await store.createAttachment(NewAttachment(node: "n", interface: "eth0"))
      _ = try await store.recordApplied(attachmentID: attachment.id, ruleSet: "s", revision: 2)
      _ = try await store.updateAttachment(id: attachment.id, AttachmentChange(ruleSet: .some(nil)))
      try await store.deleteAttachment(id: attachment.id)
      try await store.deleteRuleSet(named: "s")
      try await store.deleteNode(named: "n")
      try await store.setSetting("k", to: "a secret")
      try await store.deleteUser(id: user.id)
      let records = try await all(store)
      #expect(
        records.compactMap { $0["operation"]?.string } == [
          "seed", "seed", "createUser", "login", "login", "rotateRefreshToken", "revokeRefreshTokenFamily",
          "revokeRefreshTokens", "createNode", "updateNode", "createRuleSet", "updateRuleSet", "createAttachment",
          "recordApplied", "updateAttachment", "deleteAttachment", "deleteRuleSet", "deleteNode", "setSetting",
          "deleteUser",
        ])
      #expect(records[4]["outcome"] == "refused" && records[4]["actor"]?["kind"] == "anonymous")
      #expect(records[5]["code"] == "refresh_token_reused")
      let edit = records[11]
      #expect(edit["before"]?["rules"] == [] && edit["after"]?["rules"]?.array?.count == 1, "only what differs")
      #expect(edit["after"]?["revision"] == 2 && edit["after"]?["reason"] == "because")
      let text = JSONValue.array(records).text
      for secret in ["hunter2", "a secret", "$h", "argon2id", "d1\""] { #expect(!text.contains("\"\(secret)"), "\(secret)") }
      #expect(try await fault(store) == nil)
    }
  }

  @Test("Changes that run at once make one chain", arguments: TestBackend.allCases)
  func concurrent(_ backend: TestBackend) async throws {
    try await withStore(backend, { $0.poolSize = 8 }) { store in
      try await withThrowingTaskGroup(of: Void.self) { group in
        for task in 0..<16 {
          group.addTask {
            for index in 0..<8 { _ = try await store.createUser(.sample("u\(task)-\(index)@x.org")) }
          }
        }
        try await group.waitForAll()
      }
      #expect(try await store.auditHead().sequence == 128)
      #expect(try await fault(store) == nil)
    }
  }

  @Test(
    "The database itself refuses to change or remove a record",
    arguments: TestBackend.allCases,
    [
      "UPDATE audit_log SET actor_name = 'nobody' WHERE sequence = 2", "DELETE FROM audit_log WHERE sequence = 2",
      "DELETE FROM audit_log", "UPDATE audit_log SET record = '{}'",
      "INSERT INTO audit_checkpoints (through_sequence, hash, removed_at) VALUES (2, 'x', 0)",
      "INSERT INTO audit_checkpoints (through_sequence, hash, removed_at) VALUES (99, 'x', 0)",
    ])
  func appendOnly(_ backend: TestBackend, _ sql: String) async throws {
    try await withStore(backend) { store in
      for index in 0..<3 { _ = try await store.createUser(.sample("u\(index)@x.org")) }
      let before = try await all(store)
      let error = await storageError { try await store.database.write { try $0.define(sql) } }
      #expect("\(String(describing: error))".contains(sql.contains("checkpoints") ? "checkpoint" : "append-only"))
      #expect(try await all(store) == before)
    }
  }

  @Test("Ways around the triggers are closed", arguments: TestBackend.allCases)
  func aroundTheTriggers(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      for index in 0..<3 { _ = try await store.createUser(.sample("u\(index)@x.org")) }
      let statements =
        switch backend {
        case .sqlite:
          [
            "INSERT OR REPLACE INTO audit_log SELECT 2, 0, '', '', '', '', '', '', '', '', '{}', ''",
            "REPLACE INTO audit_log SELECT 2, 0, '', '', '', '', '', '', '', '', '{}', ''",
            "UPDATE OR REPLACE audit_log SET sequence = 1 WHERE sequence = 2",
          ]
        case .postgres:
          [
            "TRUNCATE audit_log", "TRUNCATE audit_checkpoints",
            "INSERT INTO audit_log SELECT * FROM audit_log WHERE sequence = 2 ON CONFLICT (sequence) DO UPDATE SET hash = ''",
          ]
        case .mysql:
          [
            "TRUNCATE audit_log", "TRUNCATE audit_checkpoints",
            "REPLACE INTO audit_log SELECT 2, 0, '', '', '', '', '', '', '', '', '{}', ''",
            "INSERT INTO audit_log SELECT * FROM audit_log AS a WHERE sequence = 2 ON DUPLICATE KEY UPDATE hash = ''",
            "UPDATE IGNORE audit_log SET sequence = 1 WHERE sequence = 2",
          ]
        }
      for sql in statements {
        let error = await storageError { try await store.database.write { try $0.define(sql) } }
        let text = String(describing: error)
        #expect(text.contains("append-only") || text.contains("Cannot truncate"), "\(sql): \(text)")
      }
      #expect(try await fault(store) == nil)
    }
  }

  @Test("What is changed behind the triggers is found, by its number", arguments: TestBackend.allCases)
  func tampered(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      for index in 0..<4 { _ = try await store.createUser(.sample("u\(index)@x.org")) }
      try await store.database.write { session in
        try session.define(
          backend == .postgres ? "ALTER TABLE audit_log DISABLE TRIGGER ALL" : "DROP TRIGGER audit_log_keeps")
        try session.execute(
          "UPDATE audit_log SET record = replace(record, 'u2@x.org', 'u9@x.org') WHERE sequence = 3", [])
      }
      #expect(try await fault(store) == AuditFault(sequence: 3, reason: .changed))
    }
  }

  @Test("Retention removes from the start, leaves the last record and a checkpoint", arguments: TestBackend.allCases)
  func retention(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      #expect(try await store.removeAuditLog(before: .distantFuture) == nil, "there is nothing")
      for index in 0..<4 { _ = try await store.createUser(.sample("u\(index)@x.org")) }
      #expect(try await store.removeAuditLog(before: Date(timeIntervalSinceNow: -60)) == nil, "nothing is old")
      let third = try await all(store)[2]
      let removed = try await store.removeAuditLog(before: Date(timeIntervalSinceNow: 60))
      #expect(removed == AuditAnchor(sequence: 3, hash: try #require(third["hash"]?.string)))
      #expect(try await all(store).compactMap { $0["sequence"]?.integer } == [4, 5])
      #expect(try await all(store)[1]["operation"]?.string == AuditVerifier.checkpointOperation)
      #expect(try await fault(store) == nil)
      let error = await storageError { try await store.database.write { try $0.define("DELETE FROM audit_log") } }
      #expect("\(String(describing: error))".contains("append-only"), "the checkpoint covers what it covers")
      #expect(try await store.removeAuditLog(before: Date(timeIntervalSinceNow: 60))?.sequence == 4)
      #expect(try await fault(store) == nil)
    }
  }

  @Test("A filter finds by every member, and counts", arguments: TestBackend.allCases)
  func filters(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      for index in 0..<3 { _ = try await store.createUser(.sample("u\(index)@x.org")) }
      let request = AuditedRequest(
        actor: AuditActor(kind: .client, id: "c1", name: "robot"), address: "::1", requestID: "r9", operation: "apply")
      try await AuditedRequest.$current.withValue(request) {
        try await store.recordAudit(
          AuditEvent(outcome: .refused, code: "missing_scope", subject: AuditSubject(kind: "rule_set", id: "x")))
      }
      let filters: [AuditFilter] = [
        .init(actor: "robot"), .init(actor: "c1"), .init(operation: "apply"), .init(outcome: .refused),
        .init(subjectKind: "rule_set"), .init(subjectID: "x"), .init(requestID: "r9"), .init(address: "::1"),
        .init(after: 3),
      ]
      for filter in filters {
        let page = try await store.auditLog(filter, Page())
        #expect(page.total == 1 && page.items.map { $0["sequence"] } == [4], "\(filter)")
      }
      #expect(try await store.auditLog(.init(until: Date(timeIntervalSinceNow: -60)), Page()).total == 0)
      #expect(try await store.auditLog(.init(since: Date(timeIntervalSinceNow: -60)), Page()).total == 4)
      #expect(try await store.auditLog(.init(actor: "' OR 1=1 --"), Page()).total == 0)
      let page = try await store.auditLog(.init(), Page(limit: 2))
      #expect(page.items.compactMap { $0["sequence"]?.integer } == [4, 3] && page.total == 4)
    }
  }

  @Test("A subject longer than an index takes is recorded, and found", arguments: TestBackend.allCases)
  func longSubject(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      let id = String(repeating: "ä", count: 256)
      try await store.recordAudit(
        AuditEvent(operation: "getRuleSet", outcome: .refused, subject: AuditSubject(kind: "rule_set", id: id)))
      let found = try await store.auditLog(.init(subjectID: id), Page())
      #expect(found.items.compactMap { $0["subject"]?["id"]?.string } == [id])
      #expect(try await fault(store) == nil)
    }
  }

  @Test("A database of the version before gets its log, and goes on", arguments: TestBackend.allCases)
  func upgrade(_ backend: TestBackend) async throws {
    let test = try backend.make()
    defer { test.remove() }
    let old = try open(test)
    try await Migrator(Array(Schema.migrations.prefix(3))).run(on: old)
    _ = try await old.write { session in
      try session.execute(
        "INSERT INTO nodes (id, name, address, description, created_at, updated_at) VALUES ($1, 'n', 'unix:/a', '', 0, 0)",
        [SQLValue(UUID())])
    }
    await old.close()
    let opened = try await Stores.open(DatabaseSettings(environment: test.environment), logger: quiet)
    let store = try #require(opened as? SQLStore)
    #expect(try await store.auditHead() == AuditAnchor(sequence: 0, hash: AuditChain.start))
    _ = try await store.updateNode(named: "n", NodeChange(description: "known"))
    #expect(try await fault(store) == nil)
    #expect(try await all(store).count == 1)
    await store.close()
  }

  /// The one place is only one as long as nobody goes past it.
  @Test("No table is written past the audit log")
  func onePlace() throws {
    let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appending(path: "Sources/Storage/Store")
    for name in try FileManager.default.contentsOfDirectory(atPath: folder.path) where name != "AuditTrail.swift" {
      let text = try String(contentsOf: folder.appending(path: name), encoding: .utf8)
      #expect(!text.contains("database.write"), "\(name): write through change(_:_:) or bookkeep(_:_:)")
    }
  }
}

import JSONValues
import Testing

@testable import Audit

@Suite("The chain of the audit log")
struct ChainTests {
  private static func record(_ operation: String, after: JSONValue = .null) -> AuditRecord {
    AuditRecord(
      at: "2026-01-31T12:00:00.000Z", actor: AuditActor(kind: .user, id: "7", name: "ops@example.org"),
      address: "192.0.2.1", requestID: "r-1", operation: operation, subject: AuditSubject(kind: "user", id: "9"),
      before: ["name": "Ann \"A\" \\ ä\n"], after: after)
  }

  /// Exported records, as the API gives them.
  private static func chain(_ records: [AuditRecord], after start: AuditAnchor? = nil) -> [JSONValue] {
    var (sequence, previous) = (start?.sequence ?? 0, start?.hash ?? AuditChain.start)
    return records.map { record in
      sequence += 1
      let sealed = AuditChain.seal(record, sequence: sequence, previousHash: previous)
      previous = sealed.hash
      return exported(sealed)
    }
  }

  private static func exported(_ sealed: AuditChain.Sealed) -> JSONValue {
    var members = (try? JSONValue(parsing: Array(sealed.text.utf8)))?.object ?? [:]
    members["hash"] = .string(sealed.hash)
    return .object(members)
  }

  private static let five = chain((1...5).map { record("step\($0)") })

  private func fault(
    _ records: [JSONValue], anchors: [AuditAnchor] = [], end: AuditAnchor? = nil
  ) -> AuditFault? {
    var verifier = AuditVerifier(anchors: anchors)
    do throws(AuditFault) {
      for record in records { try verifier.check(record) }
      try verifier.finish(end: end)
      return nil
    } catch { return error }
  }

  private static func anchor(_ record: JSONValue) -> AuditAnchor {
    AuditAnchor(sequence: UInt64(record["sequence"]?.integer ?? 0), hash: record["hash"]?.string ?? "")
  }

  @Test("The form that is hashed never changes: logs of older versions stay provable")
  func golden() {
    let sealed = AuditChain.seal(Self.record("updateUser"), sequence: 1, previousHash: AuditChain.start)
    #expect(
      sealed.text
        == #"{"actor":{"id":"7","kind":"user","name":"ops@example.org"},"address":"192.0.2.1","after":null,"#
        + #""at":"2026-01-31T12:00:00.000Z","before":{"name":"Ann \"A\" \\ ä\n"},"code":null,"#
        + #""operation":"updateUser","outcome":"succeeded","#
        + "\"previous_hash\":\"\(AuditChain.start)\"," + #""request_id":"r-1","sequence":1,"#
        + #""subject":{"id":"9","kind":"user"}}"#)
    #expect(sealed.hash == AuditChain.digest(Array(sealed.text.utf8)))
    #expect(AuditChain.digest([]) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    #expect(AuditChain.hash(of: Self.exported(sealed)) == sealed.hash)
  }

  @Test("A whole log is whole, in one piece and to its end")
  func whole() {
    #expect(fault(Self.five) == nil)
    #expect(fault([]) == nil)
    #expect(fault(Self.five, anchors: [Self.anchor(Self.five[2])], end: Self.anchor(Self.five[4])) == nil)
  }

  @Test("Any changed member of any record is found, by the record's number", arguments: 0..<5)
  func changed(_ index: Int) throws {
    for name in try #require(Self.five[index].object).keys where name != "hash" && name != "sequence" {
      var records = Self.five
      var members = try #require(records[index].object)
      members[name] = "x"
      records[index] = .object(members)
      #expect(fault(records) == AuditFault(sequence: UInt64(index + 1), reason: .changed), "\(name)")
    }
  }

  @Test("A record that was changed and hashed anew breaks the chain at the next one")
  func rehashed() throws {
    var records = Self.five
    var members = try #require(records[1].object)
    members["outcome"] = "failed"
    members["hash"] = .string(AuditChain.hash(of: .object(members)))
    records[1] = .object(members)
    #expect(fault(records) == AuditFault(sequence: 3, reason: .unchained))
  }

  @Test("A missing, a repeated, a moved record is found")
  func order() {
    var records = Self.five
    records.remove(at: 2)
    #expect(fault(records) == AuditFault(sequence: 4, reason: .outOfSequence(expected: 3)))
    records = Self.five
    records.insert(records[2], at: 3)
    #expect(fault(records) == AuditFault(sequence: 3, reason: .outOfSequence(expected: 4)))
    records = Self.five
    records.swapAt(1, 2)
    #expect(fault(records) == AuditFault(sequence: 3, reason: .outOfSequence(expected: 2)))
  }

  @Test("A log whose end is cut off is found where the head is known")
  func truncated() {
    let cut = Array(Self.five.prefix(3))
    #expect(fault(cut) == nil, "nothing in it tells")
    let end = Self.anchor(Self.five[4])
    #expect(fault(cut, end: end) == AuditFault(sequence: 3, reason: .truncated(expected: 5)))
    #expect(fault(cut, anchors: [end]) == AuditFault(sequence: 3, reason: .truncated(expected: 5)))
    #expect(fault([], end: end) == AuditFault(sequence: 0, reason: .truncated(expected: 5)))
  }

  @Test("A log written wholly anew is found by an anchor")
  func rewritten() {
    let other = Self.chain((1...5).map { Self.record("other\($0)") })
    #expect(fault(other) == nil)
    let anchor = Self.anchor(Self.five[3])
    #expect(fault(other, anchors: [anchor]) == AuditFault(sequence: 4, reason: .anchor))
    #expect(fault(other, end: Self.anchor(Self.five[4])) == AuditFault(sequence: 5, reason: .anchor))
  }

  @Test("Records that retention removed are covered by its checkpoint, others are not")
  func retention() {
    let removed = Self.anchor(Self.five[1])
    let checkpoint = Self.record(
      AuditVerifier.checkpointOperation,
      after: ["through_sequence": .count(removed.sequence), "hash": .string(removed.hash)])
    let rest = Self.chain([Self.record("a"), Self.record("b"), checkpoint], after: removed)
    #expect(fault(rest) == nil)
    #expect(fault(Array(rest.dropFirst())) == AuditFault(sequence: 4, reason: .startMissing))
    #expect(fault(Array(rest.prefix(2))) == AuditFault(sequence: 3, reason: .startMissing))
    #expect(fault(Array(rest.prefix(2)), anchors: [removed]) == nil, "an anchor covers it as well")
    #expect(fault(rest, anchors: [removed]) == nil)
    #expect(fault(rest, anchors: [AuditAnchor(sequence: 2, hash: "0")]) == AuditFault(sequence: 2, reason: .anchor))
    let older = Self.anchor(Self.five[0])
    #expect(fault(rest, anchors: [older]) == AuditFault(sequence: 1, reason: .anchorRemoved(first: 3)), "it proves nothing")
    #expect(fault(rest, anchors: [older, Self.anchor(rest[0])]) == nil, "a newer one does")
    let lie = Self.record(
      AuditVerifier.checkpointOperation,
      after: ["through_sequence": .count(removed.sequence), "hash": .string(AuditChain.start)])
    #expect(fault(Self.chain([lie], after: removed)) == AuditFault(sequence: 3, reason: .startMissing))
  }

  @Test(
    "What is no record is refused",
    arguments: [
      "null", "[]", "{}", #"{"sequence":0,"hash":"","previous_hash":""}"#, #"{"sequence":-1,"hash":"","previous_hash":""}"#,
      #"{"sequence":"1","hash":"","previous_hash":""}"#, #"{"sequence":1,"hash":1,"previous_hash":""}"#,
      #"{"sequence":1,"hash":""}"#,
    ])
  func malformed(_ text: String) throws {
    #expect(fault([try JSONValue(parsing: Array(text.utf8))]) == AuditFault(sequence: 0, reason: .malformed))
  }

  @Test("Long and hostile texts are bounded, large states become their digest")
  func bounds() throws {
    var record = Self.record("x")
    record.actor.name = "a\u{0}b\u{1b}[31m" + String(repeating: "ä", count: 1000)
    record.before = .string(String(repeating: "x", count: AuditRecord.stateByteCountMax))
    let sealed = AuditChain.seal(record, sequence: 1, previousHash: AuditChain.start)
    #expect(sealed.text.utf8.count < 4096)
    let value = try JSONValue(parsing: Array(sealed.text.utf8))
    let name = try #require(value["actor"]?["name"]?.string)
    #expect(name.hasPrefix("a?b?[31mä") && name.utf8.count <= 512)
    #expect(value["before"]?["omitted_bytes"] == .count(AuditRecord.stateByteCountMax + 2))
  }

  @Test(
    "An anchor is SEQUENCE:HASH and nothing else",
    arguments: ["", "1", "1:", ":\(AuditChain.start)", "-1:\(AuditChain.start)", "1:\(AuditChain.start)0",
      "1:" + String(repeating: "G", count: 64), "1:" + String(repeating: "A", count: 64), "1:2:3",
      "99999999999999999999:\(AuditChain.start)"])
  func anchors(_ text: String) {
    #expect(AuditAnchor(text) == nil)
    let good = AuditAnchor(sequence: 12, hash: AuditChain.start)
    #expect(AuditAnchor(good.description) == good)
  }
}

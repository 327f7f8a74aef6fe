import Foundation
import Rules
import Testing

@testable import Control

@Suite("The state file")
struct StateStoreTests {
  private let folder: TemporaryFolder
  private let store: StateStore

  init() throws {
    folder = try TemporaryFolder()
    store = StateStore(directory: folder.path)
  }

  private var sample: DaemonState {
    let rules = [Rule(name: "drop-nine", match: Match(destinations: [], protocols: [.udp]), action: .drop, comment: "ö \"x\"", expiry: .at(unixMilliseconds: 1_795_275_527_961))]
    return DaemonState(number: 7, attachments: [
      .init(
        interface: "eth0.100", options: AttachmentOptions(mode: .generic, captureFallback: .drop, keepOnExit: true),
        ruleSet: RuleSet(name: "edge", revision: 7, defaultAction: .drop, rules: rules),
        slots: SlotTable().assigning(["drop-nine"]).table, generation: 12, attachedAtNanoseconds: 1_795_000_000_000_000_001),
      .init(
        interface: "eth1", options: AttachmentOptions(worker: WorkerOptions(wait: .spin)), ruleSet: nil, slots: SlotTable(),
        generation: 1, attachedAtNanoseconds: 2),
    ], wires: [
      .init(
        options: WireOptions(
          name: "bump", a: "eth0.100", b: "eth1", path: .user, worker: WorkerOptions(batch: 64), live: .off,
          flows: FlowOptions(collector: "192.0.2.7:4739", flowsMax: 4096), mirror: "eth2", mirrorSampleEvery: 10),
        createdAtNanoseconds: 3)
    ])
  }

  @Test("What was saved is what is loaded, and only its owner may read it")
  func roundTrip() throws {
    #expect(try store.load() == DaemonState())
    try store.save(sample)
    #expect(try store.load() == sample)
    let attributes = try FileManager.default.attributesOfItem(atPath: store.path)
    #expect((attributes[.posixPermissions] as? NSNumber)?.intValue == 0o600)
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == [StateStore.fileName])
  }

  @Test(
    "A file that can't be understood is an error that names it: nobody's filters vanish",
    arguments: ["", "{", "null", #"{"version":1}"#, #"{"version":4,"attachments":[],"wires":[]}"#, #"{"version":2,"attachments":[]}"#, #"{"version":1,"attachments":[{}]}"#,
      #"{"version":3,"attachments":[{"attachedAtNanoseconds":2,"generation":1,"interface":"a","options":{},"ruleSet":"rule","#
        + #""slots":{"cursor":0,"slots":{}}}],"wires":[]}"#,
    ])
  func refusesDamage(_ text: String) throws {
    try text.write(toFile: store.path, atomically: true, encoding: .utf8)
    let error = try #require(throws: ControlError.self) { try store.load() }
    #expect(error.kind == .failedPrecondition && error.message.contains(store.path), "\(error)")
  }

  @Test("A file of format 1, which had no wires and no worker options, is read")
  func readsFormerFormat() throws {
    let former = """
      {"attachments":[{"attachedAtNanoseconds":2,"generation":1,"interface":"eth1","options":{"captureFallback":"pass",\
      "coexistence":"auto","keepOnExit":true,"mode":"native","zeroCopy":"off"},"slots":{"cursor":0,"slots":{}}}],"version":1}
      """
    try former.write(toFile: store.path, atomically: true, encoding: .utf8)
    let state = try store.load()
    #expect(state.wires == [])
    #expect(state.attachments.map(\.options) == [AttachmentOptions(mode: .native, zeroCopy: .off, keepOnExit: true)])
    try store.save(DaemonState(attachments: state.attachments))
    #expect(try store.load() == DaemonState(attachments: state.attachments))
  }

  @Test("A file of format 2, whose rule sets were JSON, is read")
  func readsRuleSetsInJSON() throws {
    let former = """
      {"attachments":[{"attachedAtNanoseconds":2,"generation":4,"interface":"eth1","options":{"captureFallback":"pass",\
      "coexistence":"auto","keepOnExit":true,"mode":"native","zeroCopy":"off"},"ruleSet":{"name":"edge","revision":7,\
      "rules":[{"name":"a","action":"drop","match":{"protocols":["udp"]}}]},"slots":{"cursor":1,"slots":{"a":1}},\
      "trial":{"previous":{"name":"edge","rules":[]},"windowSeconds":60,"deadlineNanoseconds":5}}],"version":2,"wires":[]}
      """
    try former.write(toFile: store.path, atomically: true, encoding: .utf8)
    let attachment = try #require(try store.load().attachments.first)
    let rule = Rule(name: "a", match: Match(protocols: [.udp]), action: .drop)
    #expect(attachment.ruleSet == RuleSet(name: "edge", revision: 7, malformed: .init(fate: .drop), rules: [rule]))
    #expect(attachment.trial?.previous?.name == "edge" && attachment.trial?.windowSeconds == 60)
  }

  @Test("The greatest rule set comes back")
  func greatest() throws {
    let comment = String(repeating: "x", count: Limits.commentByteCountMax)
    var state = sample
    state.attachments[0].ruleSet?.rules = RuleList(
      (0..<Limits.rulesMax).map { Rule(name: "r\($0)", match: Match(protocols: [.udp]), action: .drop, comment: comment) })
    try store.save(state)
    #expect(try FileManager.default.attributesOfItem(atPath: store.path)[.size] as? Int ?? 0 > 16 << 20)
    #expect(try store.load() == state)
  }

  @Test("A state cut at any byte is refused whole")
  func refusesTruncation() throws {
    try store.save(sample)
    let bytes = try Data(contentsOf: URL(fileURLWithPath: store.path))
    for count in stride(from: 0, to: bytes.count, by: 7) {
      try bytes.prefix(count).write(to: URL(fileURLWithPath: store.path))
      #expect(throws: ControlError.self) { try store.load() }
    }
  }

  @Test("A folder that is gone: the error says that nothing was changed")
  func refusesMissingFolder() throws {
    try FileManager.default.removeItem(atPath: folder.path)
    let error = try #require(throws: ControlError.self) { try store.save(sample) }
    #expect(error.message.contains("nothing was changed"))
  }
}

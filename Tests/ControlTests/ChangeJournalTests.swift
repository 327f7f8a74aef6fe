import Foundation
import LinuxSystem
import Rules
import TestSupport
import Testing

@testable import Control

@Suite("The journal of sets")
struct ChangeJournalTests {
  private let folder: TemporaryFolder
  private let journal: ChangeJournal

  init() throws {
    folder = try TemporaryFolder()
    journal = ChangeJournal(directory: folder.path)
  }

  private func entry(_ revision: UInt64, _ inserted: [String], _ removed: [String] = [], endedAt: Int64? = nil) -> ChangeJournal.Entry {
    .init(
      interface: "eth0", generation: 7, ruleSet: "edge", revision: revision, set: "bad", inserted: inserted, removed: removed,
      endedAt: endedAt)
  }

  private var sample: [ChangeJournal.Entry] {
    [
      entry(2, ["192.0.2.1", "192.0.2.2 expires 2999-01-01T00:00:00.000Z"]), entry(3, [], ["192.0.2.1"]),
      entry(4, ["198.51.100.0/24"], ["192.0.2.2"]),
    ]
  }

  @Test("A journal that is longer than one may get is read all the same")
  func longer() throws {
    let line = [UInt8](repeating: 0x78, count: 1 << 20) + [0x0a]
    try SmallFile.replace(journal.path, with: Array((0...ChangeJournal.byteCountMax >> 20).map { _ in line }.joined()))
    #expect(throws: ControlError.self) { try journal.append([entry(2, ["192.0.2.1"])]) }
    let content = try journal.load()
    #expect(content.entries.isEmpty && content.damage?.contains("33 of 33 lines are damaged") == true)
  }

  @Test("Rules that came, went and moved are as they were, with their counter slots")
  func rules() throws {
    var state = state
    let port = Rule(name: "port", match: Match(protocols: [.tcp]), action: .drop)
    func entry(_ revision: UInt64, _ change: RuleChange, slot: UInt32? = nil) -> ChangeJournal.Entry {
      .init(interface: "eth0", generation: 7, ruleSet: "edge", revision: revision, rule: change, slot: slot)
    }
    var second = port
    second.name = "second"
    try journal.append([
      entry(2, RuleChange(inserted: port), slot: 5), entry(3, RuleChange(inserted: second), slot: 6),
      entry(4, RuleChange(removed: "second", inserted: second, before: "port"), slot: 6),
      entry(5, RuleChange(removed: "port")),
      entry(6, RuleChange(removed: "nothing")), entry(7, RuleChange(inserted: second), slot: 9),
    ])
    state.apply(try journal.load())
    let attachment = state.attachments[0]
    #expect(attachment.ruleSet?.rules == [second] && attachment.ruleSet?.revision == 7)
    #expect(attachment.slots.slots == ["second": 6], "what could not be made was left out whole")
  }

  private var state: DaemonState {
    DaemonState(attachments: [
      .init(
        interface: "eth0", options: AttachmentOptions(),
        ruleSet: RuleSet(name: "edge", revision: 1, sets: [NamedSet(name: "bad", family: .ipv4)]), slots: SlotTable(),
        generation: 7, attachedAtNanoseconds: 1)
    ])
  }

  private func applied(_ content: ChangeJournal.Content) -> RuleSet? {
    var state = state
    state.apply(content)
    return state.attachments[0].ruleSet
  }

  @Test("What the state file has is not made again, and what was made behind it, or behind one that could not be written, is")
  func numbers() throws {
    func move(_ revision: UInt64, _ change: RuleChange, behind number: UInt64?) -> ChangeJournal.Entry {
      .init(
        state: number, interface: "eth0", generation: 7, ruleSet: "edge", revision: revision, rule: change,
        slot: change.inserted == nil ? nil : 5)
    }
    let rules = ["x", "y"].map { Rule(name: $0, match: Match(protocols: [.tcp]), action: .drop) }
    for former: UInt64? in [nil, 3] {
      let entries = [
        move(2, RuleChange(removed: "x"), behind: former), move(3, RuleChange(inserted: rules[0], before: "y"), behind: former),
        move(4, RuleChange(removed: "y"), behind: former),
      ]
      var before = state
      before.number = former ?? 0
      before.attachments[0].ruleSet?.rules = RuleList(rules)
      before.apply(.init(entries: entries))
      #expect(before.attachments[0].ruleSet?.rules == [rules[0]] && before.attachments[0].ruleSet?.revision == 4)
      var after = before
      after.number = 4
      after.apply(.init(entries: entries))
      #expect(after == DaemonState(number: 4, attachments: before.attachments), "written before the journal was emptied")
      after.apply(.init(entries: entries + [move(5, RuleChange(removed: "x"), behind: 4)]))
      #expect(after.attachments[0].ruleSet?.rules == [] && after.attachments[0].ruleSet?.revision == 5)
      var failed = before
      failed.apply(.init(entries: [move(5, RuleChange(removed: "x"), behind: 4)]))
      #expect(failed.attachments[0].ruleSet?.rules == [])
    }
  }

  @Test("What was appended is what is loaded; other generations, interfaces and rule sets are let alone")
  func roundTrip() throws {
    #expect(try journal.load() == ChangeJournal.Content())
    try journal.append([sample[0]])
    try journal.append(Array(sample[1...]))
    let content = try journal.load()
    #expect(content == ChangeJournal.Content(entries: sample))
    let ruleSet = try #require(applied(content))
    #expect(ruleSet.revision == 4 && ruleSet.sets[0].texts == ["198.51.100.0/24"])
    for change: (inout ChangeJournal.Entry) -> Void in [
      { $0.generation = 6 }, { $0.interface = "eth1" }, { $0.ruleSet = "core" },
    ] {
      let others = sample.map { entry in
        var entry = entry
        change(&entry)
        return entry
      }
      #expect(applied(.init(entries: others)) == state.attachments[0].ruleSet)
    }
    try journal.empty()
    #expect(try journal.load() == ChangeJournal.Content())
  }

  @Test("Elements that came behind an end stay, also where the clock had been set back, and go with an end behind them")
  func clockSetBack() throws {
    func moment(_ text: String) throws -> Int64 {
      guard case .at(let moment) = try Expiry(parsing: text) else { return 0 }
      return moment
    }
    let early = "2026-11-21T13:07:00.000Z"
    let ended = try moment("2026-11-21T14:05:00.000Z")
    let stays = applied(.init(entries: [entry(2, [], endedAt: ended), entry(3, ["192.0.2.1 expires \(early)"])]))
    #expect(stays?.sets[0].texts == ["192.0.2.1 expires \(early)"], "\(stays?.sets[0].texts as Any)")
    let goes = applied(
      .init(entries: [
        entry(2, ["192.0.2.1 expires \(early)", "192.0.2.2"]), entry(3, [], endedAt: ended), entry(4, ["192.0.2.3"]),
      ]))
    #expect(goes?.sets[0].texts == ["192.0.2.2", "192.0.2.3"])
  }

  @Test("Cut at any byte, everything before the line that is torn counts, and the next entry isn't lost behind it")
  func torn() throws {
    try journal.append(sample)
    let bytes = try Data(contentsOf: URL(fileURLWithPath: journal.path))
    for count in 0..<bytes.count {
      try bytes.prefix(count).write(to: URL(fileURLWithPath: journal.path))
      let content = try journal.load()
      let whole = bytes.prefix(count).count { $0 == 0x0a }
      #expect(content.entries == Array(sample.prefix(whole)), "\(count) bytes")
      #expect(content.damage == nil && content.firstLost == nil)
      #expect(content.isTorn == (count > 0 && bytes[count - 1] != 0x0a), "\(count) bytes")
    }
  }

  @Test("Any byte flipped: that line is left out and said, all others count, and the revision stays before it")
  func flipped() throws {
    try journal.append(sample)
    let bytes = try Data(contentsOf: URL(fileURLWithPath: journal.path))
    let ends: [Int] = bytes.indices.filter { bytes[$0] == 0x0a }
    for index in bytes.indices {
      for mask: UInt8 in [0x01, 0x80, 0xff] {
        var damaged = bytes
        damaged[index] ^= mask
        try damaged.write(to: URL(fileURLWithPath: journal.path))
        let content = try journal.load()
        let line = ends.firstIndex { $0 >= index } ?? 0
        var left = sample
        left.remove(at: line)
        // Without its end a line is one with the next, or the torn last one; a new end makes two of one.
        if ends.contains(index), line + 1 < sample.count { left.remove(at: line) }
        #expect(content.entries == left, "byte \(index)")
        #expect(content.isTorn, "byte \(index)")
        let isLastEnd = index == bytes.count - 1
        #expect((content.damage == nil) == isLastEnd, "byte \(index): \(content.damage ?? "")")
        guard !isLastEnd else { continue }
        #expect(content.damage?.contains("line \(line + 1)") == true, "byte \(index): \(content.damage ?? "")")
        #expect(applied(content)?.revision == UInt64(line + 1), "byte \(index): \(content)")
      }
    }
  }

  @Test(
    "Whatever is in the file, the daemon starts",
    arguments: ["\n", "\n\n\n", "{}\n", "null\n", "x", "0123456789abcdef {}\n", String(repeating: "[", count: 100_000) + "\n"])
  func hostile(_ text: String) throws {
    try text.write(toFile: journal.path, atomically: true, encoding: .utf8)
    let content = try journal.load()
    #expect(content.entries.isEmpty && content.isTorn)
  }

  @Test("It never gets longer than what is read: the change is refused, and those before it stay")
  func limit() throws {
    #expect(try !journal.isFull)
    let long = entry(2, [String(repeating: "x", count: ChangeJournal.byteCountFull - 1000)])
    try journal.append([long])
    #expect(try !journal.isFull)
    try journal.append([sample[0], long])
    #expect(try journal.isFull)
    let error = try #require(throws: ControlError.self) { try journal.append([long]) }
    #expect(error.message.contains("nothing was changed") && error.message.contains(journal.path), "\(error)")
    try journal.append([sample[1]])
    #expect(try journal.load() == ChangeJournal.Content(entries: [long, sample[0], long, sample[1]]))
  }

  @Test("Lines of the daemons before, without a checksum, are read")
  func former() throws {
    let line = #"{"generation":7,"inserted":["192.0.2.1"],"interface":"eth0","removed":[],"revision":2,"ruleSet":"edge","set":"bad"}"#
    try (line + "\n").write(toFile: journal.path, atomically: true, encoding: .utf8)
    #expect(try journal.load() == ChangeJournal.Content(entries: [entry(2, ["192.0.2.1"])]))
  }

  @Test("All changes at once come to what they come to one after the other")
  func together() throws {
    var random = SeededGenerator(announcing: "ChangeJournalTests.together")
    func text() -> String { "10.0.0.\(Int.random(in: 0..<40, using: &random))" }
    for _ in 0..<50 {
      var now: Int64 = 0
      var entries: [ChangeJournal.Entry] = []
      var expected = NamedSet(name: "bad", family: .ipv4)
      for revision in 2..<UInt64(40) {
        now += Int64.random(in: 1...100, using: &random)
        if random.chance(20) {
          entries.append(entry(revision, [], endedAt: now))
          expected.removeEnded(atUnixMilliseconds: now)
          continue
        }
        let removed = try (0..<Int.random(in: 0..<4, using: &random)).map { _ in try SetElement(parsing: text()) }
        let inserted = try (0..<Int.random(in: 0..<6, using: &random)).map { _ in
          SetMember(
            try SetElement(parsing: text()),
            random.chance(50) ? nil : .at(unixMilliseconds: now + Int64.random(in: 1...500, using: &random)))
        }
        entries.append(entry(revision, inserted.map(\.text), removed.map(\.text)))
        expected.remove(removed)
        expected.insert(inserted)
      }
      #expect(applied(.init(entries: entries))?.sets == [expected])
    }
  }
}

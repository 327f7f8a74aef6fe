import Crypto
import FoundationEssentials
import LinuxSystem
import Rules

/// Changes of elements and rules since the state file was written, a line each. So a change of one of them needn't write a
/// million.
///
/// A line is 16 hexadecimal digits, a blank and an entry as JSON, whose SHA-256 begins with them. Lines of JSON alone, of
/// daemons before, are read, too.
struct ChangeJournal: Sendable {
  /// Named by what it held at first.
  static let fileName = "sets.journal"
  /// Beyond it the state file is to be written anew.
  static let byteCountFull = 16 << 20
  /// The longest that is written.
  static let byteCountMax = 32 << 20
  /// The longest that is read: daemons before this limit wrote longer ones.
  static let readByteCountMax = 512 << 20

  /// One change of one set, or of one rule, on one interface.
  struct Entry: Hashable, Sendable, Codable {
    /// ``DaemonState/number`` of the file that it was made behind; nil: by a daemon before there were numbers.
    var state: UInt64?
    var interface: String
    /// Which it was made to: of another one it says nothing.
    var generation: UInt64
    var ruleSet: String
    /// What the rule set is from then on.
    var revision: UInt64
    /// Nil: it is a rule that changed.
    var set: String?
    /// Elements, with their ends.
    var inserted: [String] = []
    var removed: [String] = []
    /// Elements that had ended by this moment went, in milliseconds since 1970.
    var endedAt: Int64?
    var rule: RuleChange?
    /// Of the rule that came.
    var slot: UInt32?
  }

  /// What was read.
  struct Content: Hashable, Sendable {
    /// In their order; whatever of it was whole.
    var entries: [Entry] = []
    /// How many entries stand before the first that could not be read; nil: all could.
    var firstLost: Int?
    /// What could not be read, for people; nil: nothing. What comes behind the last line feed was never said to be kept.
    var damage: String?
    /// Whether the next entry would stand behind something that is none.
    var isTorn = false
  }

  let path: String

  init(directory: String) { path = "\(directory)/\(ChangeJournal.fileName)" }

  /// Whether the state file is to be written before anything else is added.
  var isFull: Bool {
    get throws(ControlError) {
      do throws(SystemError) { return try AppendedFile.byteCount(path) > Self.byteCountFull } catch { throw ControlError(error) }
    }
  }

  /// Returns once the entries are on the disk.
  func append(_ entries: [Entry]) throws(ControlError) {
    var bytes: [UInt8] = []
    do {
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.sortedKeys]
      for entry in entries {
        let text = Array(try encoder.encode(entry))
        bytes += Array(Self.checksum(text[...]).utf8) + [0x20] + text + [0x0a]
      }
    } catch {
      throw ControlError(.internal, "encode a change: \(error)")
    }
    do throws(SystemError) {
      try AppendedFile.append(path, bytes, byteCountMax: Self.byteCountMax)
    } catch {
      throw ControlError(.failedPrecondition, "the change could not be kept, so nothing was changed: \(error)")
    }
  }

  /// What it says is in the state file now.
  func empty() throws(ControlError) {
    do throws(SystemError) {
      try AppendedFile.empty(path)
    } catch {
      throw ControlError(error)
    }
  }

  /// Whatever is in the file: a damaged line is left out, and those around it count.
  func load() throws(ControlError) -> Content {
    let bytes: [UInt8]
    do throws(SystemError) {
      bytes = try SmallFile.read(path, byteCountMax: Self.readByteCountMax)
    } catch {
      if error.codeName == "ENOENT" { return Content() }
      throw ControlError(error)
    }
    var content = Content()
    var damaged: [Int] = []
    let lines = bytes.split(separator: 0x0a, omittingEmptySubsequences: false)
    for (index, line) in lines.dropLast().enumerated() {
      if let entry = Self.entry(line) {
        content.entries.append(entry)
      } else {
        content.firstLost = content.firstLost ?? content.entries.count
        damaged.append(index + 1)
      }
    }
    content.isTorn = !damaged.isEmpty || lines.last?.isEmpty == false
    if let first = damaged.first {
      content.damage = "\(path): \(damaged.count) of \(lines.count - 1) lines are damaged, the first is line \(first)"
    }
    return content
  }

  private static let checksumByteCount = 8

  private static func checksum(_ text: ArraySlice<UInt8>) -> String {
    SHA256.hash(data: text).prefix(checksumByteCount).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }

  /// Nil: it isn't what was written.
  private static func entry(_ line: ArraySlice<UInt8>) -> Entry? {
    var text = line
    if line.first != 0x7b {
      let digits = line.prefix(2 * checksumByteCount)
      text = line.dropFirst(digits.count + 1)
      guard line.dropFirst(digits.count).first == 0x20, digits.elementsEqual(checksum(text).utf8) else { return nil }
    }
    return try? JSONDecoder().decode(Entry.self, from: Data(text))
  }
}

extension DaemonState {
  /// Makes the changes that were made since it was written: others are in it. Behind one that was lost the revision stays as it was, so that
  /// whoever compares it sees that something is missing.
  mutating func apply(_ content: ChangeJournal.Content) {
    var changes: [Place: ElementChanges] = [:]
    for (index, entry) in content.entries.enumerated() where entry.state ?? 0 >= number {
      let attachment = attachments.firstIndex {
        $0.interface == entry.interface && $0.generation == entry.generation && $0.ruleSet?.name == entry.ruleSet
      }
      guard let attachment else { continue }
      if let set = entry.set {
        changes[Place(attachment: attachment, set: set), default: ElementChanges()].add(entry)
      } else if let rule = entry.rule {
        attachments[attachment].make(rule, slot: entry.slot)
      }
      if index < content.firstLost ?? .max { attachments[attachment].ruleSet?.revision = entry.revision }
    }
    // All changes of a set together: one by one each takes as long as the set is.
    for (place, change) in changes { change.make(in: place.set, of: &attachments[place.attachment].ruleSet) }
  }

  private struct Place: Hashable {
    var attachment: Int
    var set: String
  }
}

extension DaemonState.Attachment {
  /// Where a change before it was lost, what can't be made is left out, too.
  fileprivate mutating func make(_ change: RuleChange, slot: UInt32?) {
    guard (try? ruleSet?.make(change)) != nil else { return }
    if let removed = change.removed { slots.remove(removed) }
    if let name = change.inserted?.name, let slot { slots.set(slot, of: name) }
  }
}

/// What became of the elements of a set in the end.
private struct ElementChanges {
  /// What was said last of each, and in which entry. Nil: it went.
  private var members: [SetElement: (member: SetMember?, entry: Int)] = [:]
  /// By entry: the elements that had ended by then went.
  private var ends: [Int64] = []

  mutating func add(_ entry: ChangeJournal.Entry) {
    for text in entry.removed {
      if let element = try? SetElement(parsing: text) { members[element] = (nil, ends.count) }
    }
    for text in entry.inserted {
      if let member = try? SetMember(parsing: text) { members[member.element] = (member, ends.count) }
    }
    ends.append(entry.endedAt ?? .min)
  }

  /// Whoever came behind an end that is later than his own stays: the clock had been set back.
  func make(in set: String, of ruleSet: inout RuleSet?) {
    guard let revision = ruleSet?.revision else { return }
    var latest = ends  // of this entry and those behind it
    for index in latest.indices.dropLast().reversed() { latest[index] = max(latest[index], latest[index + 1]) }
    ruleSet?.removeEnded(of: set, atUnixMilliseconds: latest.first ?? .min)
    var inserted: [SetMember] = []
    var removed: [SetElement] = []
    for (element, (member, entry)) in members {
      if let member, !member.hasEnded(atUnixMilliseconds: latest[entry]) {
        inserted.append(member)
      } else {
        removed.append(element)
      }
    }
    ruleSet?.change(set, inserted: inserted, removed: removed, revision: revision)
  }
}

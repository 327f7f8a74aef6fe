import FoundationEssentials
import LinuxSystem
import Rules

/// Changes of sets since the state file was written: a line of JSON each. So a change of one element needn't write a
/// million.
struct SetJournal: Sendable {
  static let fileName = "sets.journal"
  /// Beyond it the state file is written anew.
  static let byteCountMax = 16 << 20

  /// One change of one set on one interface.
  struct Entry: Hashable, Sendable, Codable {
    var interface: String
    /// Which it was made to: of another one it says nothing.
    var generation: UInt64
    var ruleSet: String
    /// What the rule set is from then on.
    var revision: UInt64
    var set: String
    var inserted: [String]
    var removed: [String]
  }

  let path: String

  init(directory: String) { path = "\(directory)/\(SetJournal.fileName)" }

  /// Returns how long the journal is, once the entries are on the disk.
  func append(_ entries: [Entry]) throws(ControlError) -> Int {
    var bytes: [UInt8] = []
    do {
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.sortedKeys]
      for entry in entries { bytes += Array(try encoder.encode(entry)) + [0x0a] }
    } catch {
      throw ControlError(.internal, "encode a change of sets: \(error)")
    }
    do throws(SystemError) {
      return try AppendedFile.append(path, bytes)
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

  /// In their order. A last line that has no end was never said to be kept.
  func load() throws(ControlError) -> [Entry] {
    let bytes: [UInt8]
    do throws(SystemError) {
      bytes = try SmallFile.read(path, byteCountMax: 2 * SetJournal.byteCountMax)
    } catch {
      if error.codeName == "ENOENT" { return [] }
      throw ControlError(error)
    }
    let end = bytes.lastIndex(of: 0x0a) ?? bytes.startIndex
    do {
      return try bytes[..<end].split(separator: 0x0a).map { try JSONDecoder().decode(Entry.self, from: Data($0)) }
    } catch {
      throw ControlError(
        .failedPrecondition,
        "\(path) cannot be read as changes of sets (\(error)); move it away to start with the sets as they were applied")
    }
  }
}

extension DaemonState {
  /// Makes the changes that were made since it was written.
  mutating func apply(_ entries: [SetJournal.Entry]) {
    for entry in entries {
      let index = attachments.firstIndex {
        $0.interface == entry.interface && $0.generation == entry.generation && $0.ruleSet?.name == entry.ruleSet
      }
      guard let index else { continue }
      func elements(_ texts: [String]) -> [SetElement] { texts.compactMap { try? SetElement(parsing: $0) } }
      attachments[index].ruleSet?.change(
        entry.set, inserted: elements(entry.inserted), removed: elements(entry.removed), revision: entry.revision)
    }
  }
}

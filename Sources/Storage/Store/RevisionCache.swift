import Foundation
import Rules
import Synchronization

/// Contents of revisions that were read or made lately. A revision never changes: what the database is asked for each time is
/// which one is the newest.
final class RevisionCache: Sendable {
  /// Characters in the text of one content; a larger one is read each time.
  static let textLengthMax = 24 << 20
  /// In all texts together; in memory a content takes about five times as much, and its text once more.
  static let lengthMax = 48 << 20

  /// The time tells revisions apart that two lives of a database made.
  struct Key: Hashable, Sendable {
    let ruleSetID: UUID
    let number: UInt64
    let createdAt: Date
  }
  struct Value: Sendable {
    let content: RuleSet
    /// Nil where nobody asked for it yet.
    var text: RevisionText?
    var stored: Stored?
  }
  /// What others may be made from.
  struct Stored: Sendable {
    /// Of the text as it is in the database.
    let digest: String
    let base: StoredContent.Base
  }
  private struct Entry {
    let value: Value
    let length: Int
  }
  /// What was asked for since the last turn, and what was before: a turn drops the older half, so that what is in use stays.
  private struct State {
    var recent: [Key: Entry] = [:]
    var older: [Key: Entry] = [:]
    var recentLength = 0

    mutating func keep(_ entry: Entry, for key: Key) {
      if let known = recent[key] {
        recentLength -= known.length
      } else if recentLength + entry.length > RevisionCache.lengthMax / 2 {
        (older, recent, recentLength) = (recent, [:], 0)
      }
      older[key] = nil
      recent[key] = entry
      recentLength += entry.length
    }
  }
  private let state = Mutex(State())

  subscript(key: Key) -> Value? {
    state.withLock { state in
      if let entry = state.recent[key] { return entry.value }
      guard let entry = state.older[key] else { return nil }
      state.keep(entry, for: key)
      return entry.value
    }
  }

  /// Only for what is committed.
  func keep(_ value: Value, textLength: Int, for key: Key) {
    guard (1...Self.textLengthMax).contains(textLength) else { return }
    state.withLock { $0.keep(Entry(value: value, length: textLength), for: key) }
  }

  /// Characters in the texts that are kept.
  var length: Int { state.withLock { $0.recentLength + $0.older.values.reduce(0) { $0 + $1.length } } }
}

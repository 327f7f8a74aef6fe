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
  }
  private struct State {
    var values: [Key: Value] = [:]
    var length = 0
  }
  private let state = Mutex(State())

  subscript(key: Key) -> Value? { state.withLock { $0.values[key] } }

  /// Only for what is committed. Nothing where no text was made: then it is here already.
  func keep(_ value: Value, textLength: Int, for key: Key) {
    guard (1...Self.textLengthMax).contains(textLength) else { return }
    state.withLock { state in
      if state.values[key] == nil {
        if state.length + textLength > Self.lengthMax { state = State() }
        state.length += textLength
      }
      state.values[key] = value
    }
  }

  /// Characters in the texts that are kept.
  var length: Int { state.withLock { $0.length } }
}

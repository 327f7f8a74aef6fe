import Packets
import RuleCompiler
import Rules
import XDPPrograms

/// The live tables for ``SetEditor``.
struct LiveTables: TableMemory {
  let half: LiveHalf
  var wordCount: Int { half.wordCount }
  func word(_ index: Int) -> UInt64 { half.word(index) }
  func store(_ word: UInt64, at index: Int) { half.store(word, at: index) }
}

extension Attachment {
  /// Whether the set is one that packets are looked up in.
  func canChange(_ set: String) -> Bool {
    if setEditor == nil { setEditor = live.makeSetEditor() }
    return setEditor?.names.contains(set) ?? false
  }

  /// Changes elements of such a set in the live tables. They are not there yet, or they are.
  ///
  /// - Returns: False where there is no room: the rule set must be compiled anew, and nothing has changed.
  func changeTables(_ set: String, inserted: [SetElement], removed: [SetElement]) -> Bool {
    if inserted.isEmpty && removed.isEmpty { return true }
    guard var editor = setEditor else { return false }
    setEditor = nil  // so that what follows changes it where it is
    defer { setEditor = editor }
    let tables = LiveTables(half: program.liveHalf)
    let counted = live.countedSet(named: set)
    let newKeys = counted?.counterKeys(of: inserted.prefixes.filter { !(counted?.contains(.prefix($0)) ?? false) }) ?? []
    do throws(ProgramError) {
      try program.makeElementCounters(newKeys)
    } catch {
      return false
    }
    var done: [(prefix: IPPrefix, isIn: Bool)] = []
    func change(_ prefix: IPPrefix, isIn: Bool) throws(SetEditor.Refusal) {
      if try editor.change(prefix, isIn: isIn, set, tables, program.waitForPackets) { done.append((prefix, isIn)) }
    }
    do throws(SetEditor.Refusal) {
      for case .prefix(let prefix) in inserted { try change(prefix, isIn: true) }
      let staying = Set(inserted)
      for case .prefix(let prefix) in removed where !staying.contains(.prefix(prefix)) { try change(prefix, isIn: false) }
      if let counted {
        program.removeElementCounters(counted.counterKeys(of: removed.filter { !staying.contains($0) }.prefixes))
      }
      return true
    } catch {
      // Backwards: each finds the room that it gave up.
      for step in done.reversed() { _ = try? editor.change(step.prefix, isIn: !step.isIn, set, tables, program.waitForPackets) }
      program.removeElementCounters(newKeys)
      return false
    }
  }

  /// Of elements that went from a set that is in no tables, because no rule names it.
  func forgetCounters(of set: String, _ elements: [SetElement]) {
    guard let counted = live.countedSet(named: set) else { return }
    program.removeElementCounters(counted.counterKeys(of: elements.prefixes))
  }
}

extension SetEditor {
  /// Puts an element in or takes it out; once more after a grace period, if that would help.
  ///
  /// - Returns: Whether that changes the set.
  fileprivate mutating func change(
    _ prefix: IPPrefix, isIn: Bool, _ set: String, _ tables: LiveTables, _ wait: () -> Void
  ) throws(SetEditor.Refusal) -> Bool {
    do throws(SetEditor.Refusal) {
      return try isIn ? insert(prefix, into: set, of: tables) : remove(prefix, from: set, of: tables)
    } catch {
      guard error == .needsGracePeriod else { throw error }
      beginGracePeriod()
      wait()
      endGracePeriod()
      return try isIn ? insert(prefix, into: set, of: tables) : remove(prefix, from: set, of: tables)
    }
  }
}

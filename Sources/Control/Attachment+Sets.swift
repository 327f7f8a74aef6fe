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
    let staying = Set(inserted)
    let gone = removed.filter { !staying.contains($0) }.prefixes
    do throws(SetEditor.Refusal) {
      try editor.change(set, inserted: inserted.prefixes, removed: gone, in: tables, waiting: program.waitForPackets)
    } catch {
      program.removeElementCounters(newKeys)
      return false
    }
    if let counted { program.removeElementCounters(counted.counterKeys(of: gone)) }
    return true
  }

  /// Of elements that went from a set that is in no tables, because no rule names it.
  func forgetCounters(of set: String, _ elements: [SetElement]) {
    guard let counted = live.countedSet(named: set) else { return }
    program.removeElementCounters(counted.counterKeys(of: elements.prefixes))
  }
}

import LinuxSystem
import RuleCompiler
import Synchronization
import XDPPrograms

/// What reuses places of live tables that packets under way may still read.
protocol TableEditor {
  mutating func beginGracePeriod()
  mutating func endGracePeriod()
}

extension GenerationEditor: TableEditor {}
extension SetEditor: TableEditor {}

/// Waits on a thread of its own until packets that read what was replaced are gone.
final class GracePeriod {
  private var thread: PinnedThread?
  private let barrier: ProgramBarrier
  private let ending = Ending()

  private final class Ending: Sendable {
    let hasCome = Atomic(false)
  }

  init() throws(ProgramError) { barrier = try ProgramBarrier() }

  /// Takes notice of one that has ended, and begins the next.
  func turn(_ editor: inout some TableEditor) {
    if thread != nil, !ending.hasCome.load(ordering: .acquiring) { return }
    finish(&editor)
    editor.beginGracePeriod()
    ending.hasCome.store(false, ordering: .relaxed)
    thread = try? PinnedThread.spawn(name: "grace-period") { [barrier, ending] in
      barrier.wait()
      ending.hasCome.store(true, ordering: .releasing)
    }
    if thread == nil {
      barrier.wait()
      editor.endGracePeriod()
    }
  }

  /// Until everything that was replaced up to now can be used again.
  func wait(_ editor: inout some TableEditor) {
    finish(&editor)
    editor.beginGracePeriod()
    barrier.wait()
    editor.endGracePeriod()
  }

  private func finish(_ editor: inout some TableEditor) {
    guard let running = thread.take() else { return }
    running.join()
    editor.endGracePeriod()
  }
}

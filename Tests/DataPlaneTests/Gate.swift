import Glibc
import Synchronization

/// Holds a thread until it is opened; open for good then.
final class Gate: Sendable {
  private let isOpen = Atomic<Bool>(false)

  var isOpened: Bool { isOpen.load(ordering: .acquiring) }
  func open() { isOpen.store(true, ordering: .releasing) }
  func wait() { while !isOpen.load(ordering: .acquiring) { usleep(500) } }
}

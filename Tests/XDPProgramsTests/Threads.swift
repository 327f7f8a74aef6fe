import LinuxSystem
import Synchronization

/// Lets a value cross to the one thread that uses it meanwhile.
struct UncheckedBox<Value>: @unchecked Sendable {
  let value: Value

  init(_ value: Value) { self.value = value }
}

/// Repeats `step` on a thread of its own, in the caller's namespace, until `body` is over; waits for both.
func repeating(
  name: String, cpu: Int? = nil, _ step: @escaping @Sendable () -> Void, during body: () throws -> Void
) throws {
  let isOver = SharedFlag()
  let thread = try PinnedThread.spawn(name: name, cpu: cpu) {
    while !isOver.value.load(ordering: .acquiring) { step() }
  }
  defer { isOver.value.store(true, ordering: .releasing) }
  try body()
  isOver.value.store(true, ordering: .releasing)
  thread.join()
}

private final class SharedFlag: Sendable {
  let value = Atomic(false)
}

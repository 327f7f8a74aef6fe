import Glibc
import Synchronization

/// One value passed from one thread to another, once.
public final class Handoff<Value: Sendable>: @unchecked Sendable {
  // Sendable: the value is behind a mutex, and a semaphore is made for threads.
  private let value = Mutex<Value?>(nil)
  private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)

  public init() { sem_init(semaphore, 0, 0) }

  deinit {
    sem_destroy(semaphore)
    semaphore.deallocate()
  }

  /// Called once.
  public func put(_ newValue: Value) {
    value.withLock { $0 = newValue }
    sem_post(semaphore)
  }

  /// Blocks until the value is there. Called once.
  public func take() -> Value {
    while sem_wait(semaphore) != 0 {}  // EINTR
    guard let taken = value.withLock({ $0 }) else { preconditionFailure("the semaphore follows the value") }
    return taken
  }
}

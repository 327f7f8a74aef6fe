import LinuxSystem
import Synchronization

/// Wakes one sleeping thread, at the price of one load where it is awake.
public final class WakeSignal: Sendable {
  fileprivate let event: EventDescriptor
  private let isAsleep = Atomic<Bool>(false)

  public init() throws(SystemError) { event = try EventDescriptor() }

  /// Wakes the sleeper, asleep or about to be. Any thread.
  public func signal() { event.signal() }

  /// Wakes the sleeper if it sleeps. To be called after the news was published.
  public func signalIfAsleep() {
    atomicMemoryFence(ordering: .sequentiallyConsistent)  // pairs with sleep: one of the two sees the other
    if isAsleep.load(ordering: .relaxed), isAsleep.exchange(false, ordering: .relaxed) { event.signal() }
  }

  /// Sleeps until a signal or the time is over, unless `hasNews` says otherwise after the intention to sleep is known.
  public func sleep(timeoutMilliseconds: CInt, unless hasNews: () -> Bool) throws(SystemError) {
    isAsleep.store(true, ordering: .relaxed)
    atomicMemoryFence(ordering: .sequentiallyConsistent)
    if !hasNews() { try event.wait(timeoutMilliseconds: timeoutMilliseconds) }
    isAsleep.store(false, ordering: .relaxed)
    event.clear()
  }
}

extension WakeSignal {
  /// Lets news gather for a while; only ``signal()`` ends it early.
  public func nap(milliseconds: CInt) throws(SystemError) {
    try event.wait(timeoutMilliseconds: milliseconds)
    event.clear()
  }
}

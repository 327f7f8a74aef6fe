import CLinuxShims
import Glibc

/// An eventfd(2): wakes a thread that polls it. Any thread may signal.
public struct EventDescriptor: ~Copyable, Sendable {
  public let descriptor: OwnedDescriptor

  public init() throws(SystemError) {
    descriptor = OwnedDescriptor(
      owning: try check("eventfd") { eventfd(0, CInt(EFD_CLOEXEC | EFD_NONBLOCK)) })
  }

  /// Makes the descriptor readable until ``clear()``.
  public borrowing func signal() {
    var one: UInt64 = 1
    // Fails only with EAGAIN, when the count stands at its maximum: readable all the same.
    _ = write(descriptor.rawValue, &one, 8)
  }

  /// Takes the signals so far. True if there was one.
  @discardableResult
  public borrowing func clear() -> Bool {
    var count: UInt64 = 0
    return read(descriptor.rawValue, &count, 8) == 8
  }
}

extension EventDescriptor {
  /// Blocks until there is a signal or the time is over; -1: no limit.
  public borrowing func wait(timeoutMilliseconds: CInt) throws(SystemError) {
    var descriptor = pollfd(fd: descriptor.rawValue, events: Int16(POLLIN), revents: 0)
    try check("poll", "event") { poll(&descriptor, 1, timeoutMilliseconds) }
  }
}

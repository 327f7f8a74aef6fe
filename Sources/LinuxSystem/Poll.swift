import Glibc

/// poll(2) for input on two descriptors.
package enum Poll {
  package struct Readiness {
    let events: Int32

    package var hasEvent: Bool { events != 0 }
    /// POLLERR, POLLHUP or POLLNVAL: the socket has an error to tell.
    package var isBroken: Bool { events & (POLLERR | POLLHUP | POLLNVAL) != 0 }
  }

  /// Blocks until one has something, or the time is over; -1: no limit.
  package static func wait(
    _ first: CInt, _ second: CInt, timeoutMilliseconds: CInt
  ) throws(SystemError) -> (first: Readiness, second: Readiness) {
    var pair = InlineArray<2, pollfd>(repeating: pollfd(fd: first, events: Int16(POLLIN), revents: 0))
    pair[1].fd = second
    var span = pair.mutableSpan
    try check("poll") { span.withUnsafeMutableBufferPointer { poll($0.baseAddress, 2, timeoutMilliseconds) } }
    return (Readiness(events: Int32(pair[0].revents)), Readiness(events: Int32(pair[1].revents)))
  }

  /// The pending error of a socket (SO_ERROR), 0 if there is none; reading clears it.
  package static func socketError(_ descriptor: CInt) -> CInt {
    var code: CInt = 0
    var length = socklen_t(MemoryLayout<CInt>.size)
    return getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &code, &length) == 0 ? code : errno
  }
}

import Glibc

/// Up to six descriptors to wait on for input, by poll(2). One thread.
package struct PollSet: ~Copyable {
  private var descriptors = InlineArray<6, pollfd>(repeating: pollfd(fd: -1, events: 0, revents: 0))
  private var sockets = InlineArray<6, Bool>(repeating: false)
  package private(set) var count = 0

  package init() {}

  /// The descriptor must outlive the set's use.
  package mutating func add(_ descriptor: CInt, isSocket: Bool = true) {
    precondition(count < 6, "a poll set has six places")
    descriptors[count] = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    sockets[count] = isSocket
    count += 1
  }

  /// Blocks until one has something, or the time is over; 0: only looks; -1: no limit.
  package mutating func wait(timeoutMilliseconds: CInt) throws(SystemError) {
    let count = nfds_t(count)
    var span = descriptors.mutableSpan
    try check("poll") { span.withUnsafeMutableBufferPointer { poll($0.baseAddress, count, timeoutMilliseconds) } }
  }

  /// What the last wait found on descriptor `index`.
  package mutating func readiness(_ index: Int) -> Poll.Readiness {
    Poll.Readiness(events: Int32(descriptors[index].revents))
  }

  /// The last wait found something on one of them.
  package var hasEvent: Bool { (0..<count).contains { descriptors[$0].revents != 0 } }

  package func isSocket(_ index: Int) -> Bool { sockets[index] }

  package mutating func descriptor(_ index: Int) -> CInt { descriptors[index].fd }
}

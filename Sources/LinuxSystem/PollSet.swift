import Glibc

/// Up to four descriptors to wait on for input, by poll(2). One thread.
package struct PollSet: ~Copyable {
  private var descriptors = InlineArray<4, pollfd>(repeating: pollfd(fd: -1, events: 0, revents: 0))
  package private(set) var count = 0

  package init() {}

  /// The descriptor must outlive the set's use.
  package mutating func add(_ descriptor: CInt) {
    precondition(count < 4, "a poll set has four places")
    descriptors[count] = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
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

  package mutating func descriptor(_ index: Int) -> CInt { descriptors[index].fd }
}

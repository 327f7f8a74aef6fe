import Glibc
import Synchronization

/// SIGINT or SIGTERM: a subject ends its work and tells what it counted; a second one ends the process as ever.
enum StopFlag {
  private static let received = Atomic(false)

  static var isSet: Bool { received.load(ordering: .relaxed) }

  static func install() {
    received.store(false, ordering: .relaxed)  // also initialises it: a handler must not
    for number in [SIGINT, SIGTERM] {
      var action = sigaction()
      action.__sigaction_handler.sa_handler = { _ in StopFlag.received.store(true, ordering: .relaxed) }
      action.sa_flags = CInt(bitPattern: UInt32(SA_RESETHAND))
      sigaction(number, &action, nil)
    }
  }

  /// Sleeps until it is set; a signal cuts a sleep short.
  static func wait() {
    while !isSet { usleep(50_000) }
  }
}

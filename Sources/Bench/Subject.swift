import Foundation

/// Our own side of a measurement: a process that does one work until it is told to stop, then tells its counters.
public enum Subject {
  /// Printed on a line of its own once it works.
  static let readyText = "sluice-bench-ready"

  /// What a subject counted, as its last line of output.
  struct Account: Codable, Hashable {
    /// Packets it was given, or made.
    var packets: UInt64
    /// Packets that it, or the kernel on its behalf, dropped and counted, beyond what the devices count.
    var dropped: UInt64
    /// How long it worked.
    var nanoseconds: UInt64

    init(packets: UInt64, dropped: UInt64 = 0, nanoseconds: UInt64 = 0) {
      self.packets = packets
      self.dropped = dropped
      self.nanoseconds = nanoseconds
    }

    /// From the last line of a subject's output.
    init?(output: String) {
      guard let line = output.split(separator: "\n").last,
        let account = try? JSONDecoder().decode(Account.self, from: Data(line.utf8))
      else { return nil }
      self = account
    }

    var line: String { String(decoding: (try? JSONEncoder().encode(self)) ?? Data(), as: UTF8.self) }
  }
}

import Glibc
import LinuxSystem
import Traffic
import XDPPrograms

/// What a load sends.
public enum LoadFrames: Sendable {
  /// - Parameter hasStamps: Each tells when it left; a ``XDPPrograms/TrafficSink`` measures how long it took.
  case alike(byteCount: Int, hasStamps: Bool)
  /// What so many rules of a filter's contest match.
  case matching(ruleCount: Int)

  fileprivate func made() throws -> (frames: [[UInt8]], stampOffset: Int?) {
    switch self {
    case .alike(let byteCount, let hasStamps):
      let plan = try Subject.plan(byteCount: byteCount, hasStamps: hasStamps)
      return (plan.flows.flatMap(\.frames), plan.stampOffset)
    case .matching(let ruleCount):
      return (Array(FilterLoad(ruleCount: ruleCount).frames.prefix(TrafficGenerator.frameCountMax)), nil)
    }
  }
}

extension Subject {
  /// Sends frames by live frames until stopped, or for a time.
  ///
  /// - Parameters:
  ///   - packetsPerSecond: Nil: as fast as it goes.
  ///   - batch: Most frames a call; fewer when fewer are due.
  public static func load(
    _ interface: String, _ frames: LoadFrames, packetsPerSecond: Double?, seconds: Double?, batch: UInt32
  ) throws {
    StopFlag.install()
    let (frames, stampOffset) = try frames.made()
    let generator = try TrafficGenerator(
      interfaceIndex: try NetworkInterface.named(interface).index, frames: frames, stampOffset: stampOffset)
    tell(readyText)
    let start = SystemClock.monotonicNanoseconds()
    let end = seconds.map { start + UInt64($0 * 1e9) } ?? .max
    var sent: UInt64 = 0
    while !StopFlag.isSet {
      let now = SystemClock.monotonicNanoseconds()
      if now >= end { break }
      var count = batch
      if let packetsPerSecond {
        let due = UInt64(Double(now - start) * packetsPerSecond / 1e9) + 1
        count = UInt32(min(UInt64(batch), due > sent ? due - sent : 0))
        if count == 0 { continue }  // it has the CPU for itself: a sleep would be late
      }
      try generator.send(count)
      sent += UInt64(count)
    }
    let duration = SystemClock.monotonicNanoseconds() - start
    let state = try generator.readState()
    tell(Account(packets: state.redirected + state.failed, nanoseconds: duration).line)
  }

  /// UDP to port 9 in 16 flows, by source port.
  static func plan(byteCount: Int, hasStamps: Bool = false) throws -> TrafficPlan {
    var options = TrafficPlan.Options()
    options.sourcePortCount = 16
    if hasStamps { options.stampByteCount = TrafficGenerator.stampByteCount }
    return try TrafficPlan([try FlowSpecification(parsing: "protocol=udp,size=\(byteCount)")], options: options)
  }

  static func frames(byteCount: Int) throws -> [[UInt8]] { try plan(byteCount: byteCount).flows.flatMap(\.frames) }

  /// A line at once, also into a file.
  static func tell(_ line: String) {
    print(line)
    fflush(nil)
  }
}

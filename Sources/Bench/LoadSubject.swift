import Glibc
import LinuxSystem
import Traffic
import XDPPrograms

extension Subject {
  /// Sends frames by live frames until stopped, or for a time.
  ///
  /// - Parameters:
  ///   - packetsPerSecond: Nil: as fast as it goes.
  ///   - batch: Most frames a call; fewer when fewer are due.
  ///   - hasStamps: Each tells when it left; a ``TrafficSink`` measures how long it took.
  public static func load(
    _ interface: String, frameByteCount: Int, packetsPerSecond: Double?, seconds: Double?, batch: UInt32,
    hasStamps: Bool
  ) throws {
    StopFlag.install()
    let plan = try plan(byteCount: frameByteCount, hasStamps: hasStamps)
    let generator = try TrafficGenerator(
      interfaceIndex: try NetworkInterface.named(interface).index, frames: plan.flows.flatMap(\.frames),
      stampOffset: plan.stampOffset)
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

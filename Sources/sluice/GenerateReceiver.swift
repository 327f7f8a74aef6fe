import Glibc
import LinuxSystem
import Traffic
import XDPPrograms

/// The other end of a run on the same machine: counts what arrives, in the driver, while the value lives.
struct GenerateReceiver {
  /// What arrived of a run.
  struct Received {
    var interface: String
    var packets: UInt64
    var bytes: UInt64
    /// Not of the run; nil where nothing was stamped, and they are among the others.
    var foreign: UInt64?
    /// Attempted and not here, by whatever cause.
    var lost: UInt64
    /// Sequence numbers that were skipped; nil where nothing was stamped, or streams were too many to tell apart.
    var missing: UInt64?
    /// Behind a packet that was sent later; nil as above.
    var late: UInt64?
    /// nil where nothing was stamped.
    var latency: LatencyHistogram?
  }

  private let name: String
  private let sink: TrafficSink
  private let isStamped: Bool

  /// Looks while packets may still be on their way, each a millisecond.
  private static let settleLooksMax = 500
  /// So many of them without news, and nothing is on its way.
  private static let silentLooksMax = 50

  init(_ name: String, job: GenerateJob, sender: NetworkInterface) throws {
    let interface = try GenerateChecks.find(name)
    guard interface.index != sender.index else {
      throw CommandError.usage("--receive \(name) is where the frames leave: name the other end")
    }
    guard interface.isUp else {
      throw CommandError(.failure, "interface_down", "\(name) is down: ip link set dev \(name) up")
    }
    if interface.xdp != nil {
      throw CommandError(
        .failure, "receiver_busy",
        "\(name) runs an XDP program already, which would be in the way: take it off (sluice detach \(name))")
    }
    self.name = name
    isStamped = job.plan.stampOffset != nil
    do throws(ProgramError) {
      sink = try TrafficSink(interfaceIndex: interface.index, stampOffset: job.plan.stampOffset)
    } catch {
      throw CommandError(.failure, "receive_failed", error.description)
    }
  }

  /// Packets so far.
  func count() throws(CommandError) -> UInt64 { try told { () throws(ProgramError) in try sink.counts().packets } }

  /// Packets once all `attempted` ones are here, or nothing comes any more.
  func settledCount(of attempted: UInt64) throws(CommandError) -> UInt64 {
    var (last, silent) = (try count(), 0)
    for _ in 0..<Self.settleLooksMax where last < attempted && silent < Self.silentLooksMax {
      usleep(1000)
      let now = try count()
      silent = now == last ? silent + 1 : 0
      last = now
    }
    return last
  }

  /// After ``settledCount(of:)``.
  ///
  /// - Parameter isSequenceWhole: Each table's stamps had a stream of their own.
  func result(of attempted: UInt64, isSequenceWhole: Bool) throws(CommandError) -> Received {
    let counts = try told { () throws(ProgramError) in try sink.counts() }
    var received = Received(
      interface: name, packets: counts.packets, bytes: counts.bytes, lost: attempted - min(counts.packets, attempted))
    guard isStamped else { return received }
    received.foreign = counts.foreign
    let latency = try told { () throws(ProgramError) in try sink.latency() }
    received.latency = LatencyHistogram(
      buckets: latency.buckets, least: latency.least, greatest: latency.greatest, sum: latency.sum)
    if isSequenceWhole { (received.missing, received.late) = (counts.missing, counts.late) }
    return received
  }

  private func told<Value>(_ body: () throws(ProgramError) -> Value) throws(CommandError) -> Value {
    do throws(ProgramError) {
      return try body()
    } catch {
      throw CommandError(.failure, "receive_failed", error.description)
    }
  }
}

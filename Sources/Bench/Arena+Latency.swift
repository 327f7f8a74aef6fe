import Foundation
import LinuxSystem
import Traffic
import XDPPrograms

extension Arena {
  /// How long packets take through a program, from when the sender's program built them to when the receiver's saw them.
  ///
  /// - Parameter packetsPerSecond: Offered, each as soon as it is due.
  func latency(_ name: String, packetsPerSecond: Double) throws -> Sample {
    let cables = [try Cable(0), try Cable(1)]
    defer { withExtendedLifetime(cables) {} }
    guard let offset = try Subject.plan(byteCount: work.frameByteCount, hasStamps: true).stampOffset else {
      throw BenchError("frames of \(work.frameByteCount) bytes have no room for a stamp")
    }
    let sink = try TrafficSink(
      interfaceIndex: try NetworkInterface.named(cables[1].far).index, stampOffset: offset)
    let child = try start(try contestant(name))
    let load = try startLoad(cables[0].far, ["--rate", "\(packetsPerSecond)", "--stamps", "--batch", "64"])
    try child.wait(for: "packets arrived") { (try? sink.counts().stamped) ?? 0 > 0 }
    usleep(Arena.warmUpMicroseconds)
    let start = try sink.latency().buckets
    usleep(UInt32(seconds * 1e6))
    let end = try sink.latency().buckets
    guard child.isRunning else { throw BenchError("\(child.name) ended:\n\(child.lastWords)") }
    load.stop()
    child.stop()
    let histogram = LatencyHistogram(buckets: zip(end, start).map { $0 &- $1 })
    let expected = packetsPerSecond * seconds
    guard let middle = histogram.quantile(0.5), let high = histogram.quantile(0.99),
      Double(histogram.count) > 0.9 * expected
    else { throw BenchError("\(name) carried \(histogram.count) of \(Int(expected)) packets") }
    return Sample(["p50": Double(middle), "p99": Double(high)])
  }
}

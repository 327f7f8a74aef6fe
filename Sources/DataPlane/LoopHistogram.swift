import LinuxSystem

/// What a packet thread's loop did with its time.
public struct LoopHistogram: Hashable, Sendable {
  /// Element i: batches of 2^i up to 2^(i+1)−1 packets; the last one: also larger ones.
  public var batches = [UInt64](repeating: 0, count: LoopHistogram.bucketCount)
  /// In all batches together.
  public var packets: UInt64 = 0
  public var busyNanoseconds: UInt64 = 0
  /// Awake, without packets.
  public var idleNanoseconds: UInt64 = 0
  public var asleepNanoseconds: UInt64 = 0
  /// How often it went to sleep.
  public var sleeps: UInt64 = 0

  public static var bucketCount: Int { 11 }

  public init() {}

  /// The bucket of a batch of `count` packets, at least 1.
  static func bucket(_ count: UInt32) -> Int {
    min(31 - max(count, 1).leadingZeroBitCount, bucketCount - 1)
  }

  public static func + (left: LoopHistogram, right: LoopHistogram) -> LoopHistogram {
    var sum = left
    for index in sum.batches.indices { sum.batches[index] += right.batches[index] }
    sum.packets += right.packets
    sum.busyNanoseconds += right.busyNanoseconds
    sum.idleNanoseconds += right.idleNanoseconds
    sum.asleepNanoseconds += right.asleepNanoseconds
    sum.sleeps += right.sleeps
    return sum
  }
}

/// Keeps a ``LoopHistogram`` up to date. The packet thread writes, any thread reads.
///
/// A turn of the loop reads the clock at most once: when a batch begins, at the first turn without packets after one,
/// and around a sleep.
final class LoopMeter: Sendable {
  enum Phase: Int { case busy, idle, asleep }

  private let cells = CounterBlock(count: LoopMeter.packetsCell + 1)
  private static var phaseCell: Int { LoopHistogram.bucketCount }
  private static var sleepsCell: Int { phaseCell + 3 }
  private static var packetsCell: Int { sleepsCell + 1 }

  init() {}

  /// The packet thread's end of it.
  struct Writer: ~Copyable {
    private let meter: LoopMeter
    private(set) var phase = Phase.idle
    private var since: UInt64

    init(_ meter: LoopMeter, now: UInt64) {
      self.meter = meter
      since = now
    }

    /// The time since the last call was spent in the phase it named.
    mutating func enter(_ next: Phase, now: UInt64) {
      meter.cells.add(now &- since, at: LoopMeter.phaseCell + phase.rawValue)
      if next == .asleep { meter.cells.add(1, at: LoopMeter.sleepsCell) }
      since = now
      phase = next
    }

    mutating func count(_ packets: UInt32) {
      meter.cells.add(1, at: LoopHistogram.bucket(packets))
      meter.cells.add(UInt64(packets), at: LoopMeter.packetsCell)
    }
  }

  func histogram() -> LoopHistogram {
    var histogram = LoopHistogram()
    for index in 0..<LoopHistogram.bucketCount { histogram.batches[index] = cells.load(index) }
    histogram.busyNanoseconds = cells.load(LoopMeter.phaseCell + Phase.busy.rawValue)
    histogram.idleNanoseconds = cells.load(LoopMeter.phaseCell + Phase.idle.rawValue)
    histogram.asleepNanoseconds = cells.load(LoopMeter.phaseCell + Phase.asleep.rawValue)
    histogram.sleeps = cells.load(LoopMeter.sleepsCell)
    histogram.packets = cells.load(LoopMeter.packetsCell)
    return histogram
  }
}

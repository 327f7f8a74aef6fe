/// When records are closed. All in nanoseconds.
public struct FlowTimeouts: Hashable, Sendable {
  /// A flow that goes on is reported so often.
  public var active: UInt64
  /// A flow without packets for so long is over.
  public var idle: UInt64
  /// After TCP's FIN or RST a flow without packets for so long is over: its last acknowledgements still belong to it.
  public var linger: UInt64

  /// The duration of a record has 44 bits.
  public static var activeMax: UInt64 { 4 * 3600 * 1_000_000_000 }

  public init(
    active: UInt64 = 60_000_000_000, idle: UInt64 = 15_000_000_000, linger: UInt64 = 1_000_000_000
  ) {
    self.active = active
    self.idle = idle
    self.linger = linger
  }
}

/// What a table did.
@frozen public struct FlowTableCounters: BitwiseCopyable, Hashable, Sendable {
  public var packets: UInt64 = 0
  /// Layer 3.
  public var bytes: UInt64 = 0
  /// Records begun.
  public var created: UInt64 = 0
  /// Records closed and given to the sink; ``created`` minus ``exported`` are in the table.
  public var exported: UInt64 = 0
  /// Records closed because their place was needed; some of ``exported``.
  public var evicted: UInt64 = 0

  public init() {}
}

/// The flows of one packet thread. Memory is fixed at init; nothing is allocated in use.
///
/// Open addressing: a flow stands in one of the ``window`` slots from where its hash points. Where all are taken
/// the one longest without a packet is closed and makes room: so a lookup is bounded, and a flood of new flows costs
/// early records, never counts. One slot is one cache line, and a known flow mostly costs one.
///
/// One thread owns this value. Times are any clock's nanoseconds, wrapping; a packet older than its flow's last one
/// counts at the time of the last.
public struct FlowTable: ~Copyable {
  // Not a var: the optimiser of 6.3.1 crashes on the setter of a value whose deinit is not inlinable.
  @usableFromInline let memory: FlowMemory
  @usableFromInline let seeds: FlowSeeds
  @usableFromInline let active: UInt64
  @usableFromInline let idle: UInt64
  @usableFromInline let linger: UInt64
  @usableFromInline var counts = FlowTableCounters()
  // Of advance: how long a look at the whole table takes, the step that is next, when steps were last done.
  @usableFromInline let sweepPeriod: UInt64
  @usableFromInline var cursor = 0
  @usableFromInline var advanced: UInt64 = 0

  /// Slots that are looked at for one flow.
  @inlinable public static var window: Int { 16 }
  /// 1 GiB.
  public static var slotCountMax: Int { 1 << 24 }

  @inlinable public var counters: FlowTableCounters { counts }
  /// Flows in the table now.
  @inlinable public var activeCount: Int { Int(truncatingIfNeeded: counts.created &- counts.exported) }
  public var slotCount: Int { memory.slotCount }

  /// - Parameters:
  ///   - flowCount: So many flows find room, all but few of them at once; the memory is 64 bytes for each of the next
  ///     power of two above 4/3 of it. Clamped to what ``slotCountMax`` allows.
  ///   - seed: Gives the hash, for tests; nil: a secret one, so that nobody outside can choose flows that collide.
  public init(flowCount: Int, timeouts: FlowTimeouts = FlowTimeouts(), seed: UInt64? = nil) {
    memory = FlowMemory(slotCount: FlowTable.slotCount(flowCount: flowCount))
    seeds = FlowSeeds(seed)
    active = min(max(timeouts.active, 1), FlowTimeouts.activeMax)
    idle = max(timeouts.idle, 1)
    linger = max(timeouts.linger, 1)
    sweepPeriod = min(max(min(active, idle, linger) / 4, 50_000_000), 2_000_000_000)
  }

  /// Bytes that the slots of a table for so many flows take.
  public static func byteCount(flowCount: Int) -> Int { slotCount(flowCount: flowCount) * MemoryLayout<FlowEntry>.size }

  private static func slotCount(flowCount: Int) -> Int {
    let wanted = max(64, (max(0, min(flowCount, slotCountMax)) * 4 + 2) / 3)
    return min(1 << (Int.bitWidth - (wanted - 1).leadingZeroBitCount), slotCountMax)
  }

  /// Counts a packet to its flow; closes what it finds over on the way.
  ///
  /// - Parameter byteCount: Layer 3.
  @inlinable
  public mutating func account<Sink: FlowSink & ~Copyable>(
    _ key: FlowKey, byteCount: UInt32, tcpFlags: UInt8, now: UInt64, into sink: inout Sink
  ) {
    counts.packets &+= 1
    counts.bytes &+= UInt64(byteCount)
    let home = seeds.hash(key)
    var offset = 0
    while offset < FlowTable.window {
      let index = home &+ offset
      if memory[index].key == key {
        let age = FlowTable.age(of: memory[index].firstNanoseconds, now: now)
        let duration = memory[index].duration
        let quiet = age > duration ? age &- duration : 0
        if age < active, quiet < idle, !memory[index].isEnding, !memory[index].isNearlyFull {
          memory[index].add(byteCount: byteCount, tcpFlags: tcpFlags, duration: max(age, duration))
        } else {
          renew(index, age: age, quiet: quiet, byteCount: byteCount, tcpFlags: tcpFlags, now: now, into: &sink)
        }
        return
      }
      offset &+= 1
    }
    insert(FlowEntry(key: key, byteCount: byteCount, tcpFlags: tcpFlags, now: now), home: home, into: &sink)
  }

  /// Nanoseconds from `time` to `now`; 0 where `now` is before it.
  @inlinable @inline(__always)
  static func age(of time: UInt64, now: UInt64) -> UInt64 {
    let difference = Int64(bitPattern: now &- time)
    return difference < 0 ? 0 : UInt64(bitPattern: difference)
  }

  /// A packet of a flow whose record may be over: adds to it, or closes it and begins the next.
  @inlinable @inline(never)
  mutating func renew<Sink: FlowSink & ~Copyable>(
    _ index: Int, age: UInt64, quiet: UInt64, byteCount: UInt32, tcpFlags: UInt8, now: UInt64, into sink: inout Sink
  ) {
    let entry = memory[index]
    var reason = FlowTable.expiry(entry, age: age, quiet: quiet, active: active, idle: idle, linger: linger)
    if entry.isNearlyFull { reason = .lackOfResources }
    // A SYN after the end is the next connection of the same ports.
    if entry.isEnding, tcpFlags & 0x02 != 0 { reason = .endDetected }
    if reason == .running {
      memory[index].add(byteCount: byteCount, tcpFlags: tcpFlags, duration: max(age, entry.duration))
      return
    }
    counts.exported &+= 1
    counts.created &+= 1
    sink.accept(entry.record(reason))
    memory[index] = FlowEntry(key: entry.key, byteCount: byteCount, tcpFlags: tcpFlags, now: now)
  }

  /// Why the record is over at a moment; ``FlowEndReason/running`` if it is not.
  @inlinable @inline(__always)
  static func expiry(
    _ entry: FlowEntry, age: UInt64, quiet: UInt64, active: UInt64, idle: UInt64, linger: UInt64
  ) -> FlowEndReason {
    if entry.isEnding, quiet >= linger { return .endDetected }
    if quiet >= idle { return .idleTimeout }
    return age >= active ? .activeTimeout : .running
  }

  @inlinable @inline(never)
  mutating func insert<Sink: FlowSink & ~Copyable>(_ entry: FlowEntry, home: Int, into sink: inout Sink) {
    var offset = 0
    var oldest = home
    var greatest: UInt64 = 0
    while offset < FlowTable.window {
      let index = home &+ offset
      if !memory.isTaken(index) {
        memory.take(index)
        memory[index] = entry
        counts.created &+= 1
        return
      }
      let quiet = FlowTable.age(of: memory[index].lastNanoseconds, now: entry.firstNanoseconds)
      if quiet > greatest {
        greatest = quiet
        oldest = index
      }
      offset &+= 1
    }
    counts.created &+= 1
    counts.exported &+= 1
    counts.evicted &+= 1
    sink.accept(memory[oldest].record(.lackOfResources))
    memory[oldest] = entry
  }
}

import Flows
import LinuxSystem
import Synchronization
import XSK

/// Accounts packets to flows. On the packet thread, which also owns the table.
///
/// The thread calls ``advance(now:isIdle:)`` once a batch and now and then without one, ``finish()`` at its end.
public struct FlowStage: PacketStage, ~Copyable {
  private var table: FlowTable
  private var output: FlowOutput
  private var notIP: UInt64 = 0
  private var malformed: UInt64 = 0
  private let account: FlowAccount
  /// The snapshot that is being copied, and how far it is.
  private var copying: UInt32 = 0
  private var position = 0

  /// Idle threads should call ``advance(now:isIdle:)`` so often: records are closed then, too.
  public static var idleMilliseconds: CInt { 100 }

  /// Steps of 64 slots in one call: some microseconds with packets waiting, some hundred without.
  private static func stepLimit(isIdle: Bool) -> Int { isIdle ? 1024 : 8 }

  /// Allocates the table; call it on the thread that will use it, so that it lies near.
  public init(_ account: FlowAccount) {
    self.account = account
    table = FlowTable(flowCount: account.configuration.flowCount, timeouts: account.configuration.timeouts)
    table.withMemory { _ = PageAdvice.preferHugePages($0) }
    output = FlowOutput(producer: account.records?.producer)
  }

  @_noAllocation @_noLocks
  public mutating func process(_ packet: inout MutableRawSpan, _ context: inout PacketContext) -> Verdict {
    guard context.isSampled else { return .proceed }
    let reading = FlowReader.read(
      packet, packetByteCount: Int(truncatingIfNeeded: context.byteCount), ingressPort: UInt16(context.side))
    switch reading {
    case .flow(let flow):
      table.account(
        flow.key, byteCount: flow.byteCount, tcpFlags: flow.tcpFlags, now: context.timestampNanoseconds, into: &output)
    case .other: notIP &+= 1
    case .malformed: malformed &+= 1
    }
    return .proceed
  }

  /// Closes records that are over, copies a slice of a snapshot, publishes the counters. Bounded work.
  ///
  /// - Parameters:
  ///   - now: CLOCK_MONOTONIC, as the packets' timestamps.
  ///   - isIdle: No packet is waiting: more work is done at once.
  /// - Returns: Whether more is to be done at once; a thread should not sleep then. The reader of a snapshot that waits
  ///   for room wakes it.
  public mutating func advance(now: UInt64, isIdle: Bool) -> Bool {
    let limit = FlowStage.stepLimit(isIdle: isIdle)
    expire(now: now, limit: limit)
    let wanted = account.wanted.load(ordering: .acquiring)
    let isCopying = wanted != 0 && wanted != account.served.load(ordering: .relaxed)
    var hasMore = false
    if isCopying { hasMore = copySlice(of: wanted, limit: limit) }
    if output.isHalfFull { account.exporterWake?.signalIfAsleep() }
    publish()
    return hasMore
  }

  @_noAllocation @_noLocks
  private mutating func expire(now: UInt64, limit: Int) { table.advance(now: now, limit: limit, into: &output) }

  /// False: the snapshot is complete, or its reader must make room first.
  private mutating func copySlice(of wanted: UInt32, limit: Int) -> Bool {
    if wanted != copying {
      copying = wanted
      position = 0
    }
    var copies = CopyOutput(producer: account.copies.producer, number: wanted)
    let isComplete = table.copy(from: &position, limit: limit, into: &copies)
    if isComplete { account.served.store(wanted, ordering: .releasing) }  // the copies come before
    account.copied.signalIfAsleep()
    return !isComplete && copies.room >= 64  // what a step of the copy needs
  }

  private func publish() {
    let cells = account.cells
    let counters = table.counters
    func store(_ value: UInt64, _ cell: FlowAccount.Cell) { cells.store(value, at: cell.rawValue) }
    store(counters.packets, .packets)
    store(notIP, .notIP)
    store(malformed, .malformed)
    store(counters.bytes, .bytes)
    store(counters.created &- counters.exported, .active)
    store(counters.created, .created)
    store(counters.exported, .closed)
    store(counters.evicted, .evicted)
    store(output.lost, .lost)
    store(output.lostPackets, .lostPackets)
  }

  /// Closes all records. Waits for the exporter, two seconds at most; what it hasn't taken then is lost and counted.
  public mutating func finish() {
    let deadline = SystemClock.monotonicNanoseconds() &+ 2_000_000_000
    while !table.flush(into: &output), SystemClock.monotonicNanoseconds() < deadline {
      account.exporterWake?.signal()
      // Its failure would only make the wait a busy one.
      try? account.copied.nap(milliseconds: 1)
    }
    output.isPatient = false
    _ = table.flush(into: &output)
    publish()
    account.isOver.store(true, ordering: .releasing)  // the last records and counters come before
    account.exporterWake?.signal()
    account.copied.signal()
  }
}

/// The way to the exporter.
private struct FlowOutput: FlowSink {
  let producer: ValueProducer<FlowRecord>?
  var lost: UInt64 = 0
  var lostPackets: UInt64 = 0
  /// Expiry waits for room.
  var isPatient = true

  init(producer: ValueProducer<FlowRecord>?) { self.producer = producer }

  var room: Int {
    guard let producer, isPatient else { return .max }
    return producer.room
  }

  mutating func accept(_ record: FlowRecord) {
    guard let producer, !producer.append(record) else { return }
    lost &+= 1
    lostPackets &+= record.packets
  }

  /// The exporter looks by itself some times a second: it is woken only where the ring could fill before.
  var isHalfFull: Bool {
    guard let producer else { return false }
    return producer.room < producer.capacity / 2
  }
}

/// The way to whoever takes a snapshot.
private struct CopyOutput: FlowSink {
  let producer: ValueProducer<FlowCopy>
  let number: UInt32

  var room: Int { producer.room }

  mutating func accept(_ record: FlowRecord) { _ = producer.append(FlowCopy(record: record, number: number)) }
}

import Flows
import LinuxSystem
import Packets
import Synchronization
import XSK

/// What one packet thread's flow accounting shares with the others: counters, the ways of its records to the exporter
/// and of snapshots to whoever asks. Any thread; the packet thread's end is ``FlowStage``.
public final class FlowAccount: Sendable {
  public let configuration: FlowAccountingConfiguration
  /// Closed records on their way to the exporter; nil: there is none.
  let records: ValueRing<FlowRecord>?
  /// Wakes the exporter.
  let exporterWake: WakeSignal?
  let copies = ValueRing<FlowCopy>(capacity: FlowAccount.copyCapacity)
  let copied: WakeSignal
  let cells = CounterBlock(count: Cell.count.rawValue)
  /// Number of the snapshot that is wanted, 0 while none is, and of the last one that is complete.
  let wanted = Atomic<UInt32>(0)
  let served = Atomic<UInt32>(0)
  /// The packet thread is done and puts nothing into the rings any more.
  let isOver = Atomic<Bool>(false)
  /// The number of the last snapshot that was asked for: none comes twice, also where one was given up.
  private let asking = Mutex<UInt32>(0)
  private let wakePacketThread: @Sendable () -> Void

  enum Cell: Int {
    case packets, notIP, malformed, bytes, active, created, closed, evicted, lost, lostPackets, count
  }

  /// 5 MiB: what the table closes in a second at a million new flows in 15.
  private static var recordCapacity: Int { 65_536 }
  private static var copyCapacity: Int { 4096 }

  /// - Parameters:
  ///   - exporter: Takes the closed records; nil: they are only counted.
  ///   - wake: Wakes the packet thread where it sleeps; called on the thread that asks for a snapshot.
  public init(
    _ configuration: FlowAccountingConfiguration, exporter: FlowExporter?, wake: @escaping @Sendable () -> Void = {}
  ) throws(SystemError) {
    self.configuration = configuration
    records = exporter == nil ? nil : ValueRing(capacity: FlowAccount.recordCapacity)
    exporterWake = exporter?.shared.wake
    copied = try WakeSignal()
    wakePacketThread = wake
    exporter?.shared.add(self)
  }

  /// As of the packet thread's last batch.
  public func counters() -> FlowCounters {
    var counters = FlowCounters()
    func load(_ cell: Cell) -> UInt64 { cells.load(cell.rawValue) }
    counters.packets = load(.packets)
    counters.notIP = load(.notIP)
    counters.malformed = load(.malformed)
    counters.bytes = load(.bytes)
    counters.active = load(.active)
    counters.created = load(.created)
    counters.closed = load(.closed)
    counters.evicted = load(.evicted)
    counters.lost = load(.lost)
    counters.lostPackets = load(.lostPackets)
    return counters
  }

  /// Shows every flow to `body` as it is now; blocks while the packet thread copies them, slice by slice. One asks at a
  /// time, others wait.
  ///
  /// - Returns: False if the packet thread didn't get through within the time.
  func visit(timeoutNanoseconds: UInt64, _ body: (FlowRecord) -> Void) throws(SystemError) -> Bool {
    try asking.withLock { last throws(SystemError) in
      last = max(last &+ 1, 1)
      let number = last
      let deadline = SystemClock.monotonicNanoseconds() &+ timeoutNanoseconds
      wanted.store(number, ordering: .releasing)
      // Also where it is given up: the packet thread would copy on for nobody.
      defer { wanted.store(0, ordering: .relaxed) }
      wakePacketThread()
      while true {
        // Looked at before the ring: what was copied before is in it.
        let isComplete = served.load(ordering: .acquiring) == number || isOver.load(ordering: .acquiring)
        let count = copies.drain(limit: .max) { if $0.number == number { body($0.record) } }
        if count > 0 {
          wakePacketThread()  // it may sleep for want of room
          continue
        }
        if isComplete { return true }
        if SystemClock.monotonicNanoseconds() >= deadline { return false }
        try copied.sleep(timeoutMilliseconds: 100) {
          !copies.isEmpty || served.load(ordering: .acquiring) == number || isOver.load(ordering: .acquiring)
        }
      }
    }
  }
}

/// A flow of a snapshot, with the snapshot's number: what is left of one that was given up is told apart.
struct FlowCopy: BitwiseCopyable, Sendable {
  let record: FlowRecord
  let number: UInt32
}

/// The greatest flows of some packet threads at one moment.
public struct FlowSnapshot: Hashable, Sendable {
  /// Greatest first. Their times are CLOCK_MONOTONIC.
  public var entries: [TopFlows.Entry]
  /// All flows, picked or not.
  public var flowCount: Int
  /// CLOCK_MONOTONIC.
  public var takenNanoseconds: UInt64
  /// A packet thread didn't answer in time: its flows are missing or incomplete.
  public var isComplete: Bool

  /// Copies and picks. Blocks for milliseconds, at most two seconds an account; packets don't wait.
  ///
  /// - Parameter limit: Clamped to 1…``Flows/TopFlows/limitMax``.
  public static func take(
    of accounts: [FlowAccount], limit: Int, by order: TopFlows.Order
  ) throws(SystemError) -> FlowSnapshot {
    var top = TopFlows(limit: limit, order: order)
    var isComplete = true
    for account in accounts {
      let isDone = try account.visit(timeoutNanoseconds: 2_000_000_000) { top.add($0) }
      isComplete = isComplete && isDone
    }
    let now = SystemClock.monotonicNanoseconds()
    let sampleEvery = accounts.first?.configuration.sampleEvery ?? 1
    return FlowSnapshot(
      entries: top.sorted(now: now, sampleEvery: sampleEvery), flowCount: top.flowCount, takenNanoseconds: now,
      isComplete: isComplete)
  }
}

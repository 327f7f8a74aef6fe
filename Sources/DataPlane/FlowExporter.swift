import Flows
import LinuxSystem
import Synchronization
import XSK

/// Sends the closed records of packet threads to a collector, as IPFIX over UDP, from a thread of its own.
///
/// Nothing that the network does stops it or the packet threads: what can't be sent is counted and gone, as UDP is. Any
/// thread may use it.
public final class FlowExporter: Sendable {
  public let collector: FlowCollector
  let shared: FlowExporterShared
  private let thread: Mutex<PinnedThread?>

  /// Starts the thread, which opens the socket in the network namespace of the thread that calls this. A collector that
  /// can't be reached is no error: it is tried again.
  public static func start(
    _ collector: FlowCollector, _ options: IPFIXEncoder.Options = .init()
  ) throws(SystemError) -> FlowExporter {
    let shared = try FlowExporterShared()
    let thread = try PinnedThread.spawn(name: "flow-export") {
      var loop = FlowExportLoop(collector, options, shared)
      loop.run()
    }
    return FlowExporter(collector, shared, thread)
  }

  private init(_ collector: FlowCollector, _ shared: FlowExporterShared, _ thread: consuming PinnedThread) {
    self.collector = collector
    self.shared = shared
    self.thread = Mutex(thread)
  }

  public func counters() -> FlowExportCounters { shared.counters() }

  /// Sends what the packet threads have handed over until now, and ends the thread. Stop them first. Any number of
  /// times.
  public func stop() {
    shared.isStopping.store(true, ordering: .releasing)
    shared.wake.signal()
    thread.withLock { if let running = $0.take() { running.join() } }
  }

  deinit { stop() }
}

/// What the exporter's thread and the others share.
final class FlowExporterShared: Sendable {
  enum Cell: Int {
    case records, unsentRecords, messages, bytes, refused, unreachable, noBuffer, tooLong, otherErrors, count
  }

  let wake: WakeSignal
  let isStopping = Atomic<Bool>(false)
  let cells = CounterBlock(count: Cell.count.rawValue)
  private let accounts = Mutex<[FlowAccount]>([])

  init() throws(SystemError) { wake = try WakeSignal() }

  /// Records of the account are taken from now on.
  func add(_ account: FlowAccount) { accounts.withLock { $0.append(account) } }

  /// Those who have something, or may come to have.
  var sources: [FlowAccount] { accounts.withLock { $0 } }

  /// Forgets accounts that are over and empty.
  func removeExhausted() {
    accounts.withLock {
      $0.removeAll { $0.isOver.load(ordering: .acquiring) && $0.records?.isEmpty ?? true }
    }
  }

  func counters() -> FlowExportCounters {
    var counters = FlowExportCounters()
    func load(_ cell: Cell) -> UInt64 { cells.load(cell.rawValue) }
    counters.records = load(.records)
    counters.unsentRecords = load(.unsentRecords)
    counters.messages = load(.messages)
    counters.bytes = load(.bytes)
    counters.refused = load(.refused)
    counters.unreachable = load(.unreachable)
    counters.noBuffer = load(.noBuffer)
    counters.tooLong = load(.tooLong)
    counters.otherErrors = load(.otherErrors)
    return counters
  }
}

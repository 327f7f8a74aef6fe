import LinuxSystem
import Synchronization
import XDPPrograms
import XSK

/// Carries the packets of one queue between two interfaces, both ways, or back out of one, on a thread of its own.
///
/// Any thread may use it. After ``start(_:)`` put each side's ``socketDescriptor(side:)`` into the XSKMAP of its
/// interface, at key ``WireConfiguration/queue``, and take it out before ``stop()``.
public final class WireWorker: Sendable {
  public let configuration: WireConfiguration
  public let report: WireReport
  private let descriptors: [CInt]
  private let receivers: [ReceiverProgram]
  private let shared: WireShared
  private let thread: Mutex<PinnedThread?>

  /// Starts the thread, which builds frames and sockets on its own CPU; returns once they are bound.
  ///
  /// Throws what ``XDPSocket`` and ``UMEM`` throw, with the remedy; where live frames are required, also why they cannot
  /// be had. Call it on a thread in the interfaces' network namespace. No device takes live frames until
  /// ``setLiveAble(_:side:)`` says so.
  ///
  /// - Parameter exporter: Takes the flow records, where ``WireConfiguration/flows`` are accounted.
  public static func start(
    _ configuration: WireConfiguration, exporter: FlowExporter? = nil
  ) throws(SystemError) -> WireWorker {
    try configuration.validate()
    let shared = try WireShared(configuration, exporter: exporter)
    let started = Handoff<Result<WireStart, SystemError>>()
    let name = "wire-\(configuration.queue)-\(configuration.sides[0].name)"
    let thread = try PinnedThread.spawn(name: name, cpu: configuration.cpu) {
      WireThread.run(configuration, shared, started)
    }
    switch started.take() {
    case .success(let outcome):
      return WireWorker(configuration: configuration, outcome: outcome, shared: shared, thread: thread)
    case .failure(let error):
      thread.join()
      throw error
    }
  }

  private init(
    configuration: WireConfiguration, outcome: WireStart, shared: WireShared, thread: consuming PinnedThread
  ) {
    self.configuration = configuration
    report = outcome.report
    descriptors = outcome.descriptors
    receivers = outcome.receivers
    self.shared = shared
    self.thread = Mutex(thread)
  }

  deinit { stop() }

  /// The socket of a side, for its interface's XSKMAP. Valid until ``stop()``; the worker closes it.
  public func socketDescriptor(side: Int) -> CInt { descriptors[side] }

  /// What receives for a side's socket, and must receive the packets that its interface's program leads there; nil: the kernel
  /// does.
  public func receiver(side: Int) -> ReceiverProgram? { receivers.isEmpty ? nil : receivers[side] }

  /// Says whether the side's interface takes live frames (NDO_XMIT of its XDP features), at the start and whenever that
  /// changes. From the next batch on; no frame is lost by it. An interface that is said to and doesn't swallows them.
  public func setLiveAble(_ isAble: Bool, side: Int) {
    precondition(configuration.sides.indices.contains(side), "no such side")
    shared.setLiveAble(isAble, port: side)
  }

  /// The same of the mirror's interface.
  public func setMirrorLiveAble(_ isAble: Bool) { shared.setLiveAble(isAble, port: configuration.sides.count) }

  /// Says whether the side's interface sends: it is up and has a carrier. Until this says that it doesn't, it is thought to.
  /// What goes that way meanwhile is dropped and counted (``WireSideCounters/outputDown``).
  public func setUp(_ isUp: Bool, side: Int) {
    precondition(configuration.sides.indices.contains(side), "no such side")
    shared.setDown(!isUp, port: side)
  }

  /// The same of the mirror's interface.
  public func setMirrorUp(_ isUp: Bool) { shared.setDown(!isUp, port: configuration.sides.count) }

  /// What captures of a side's interface take their packets from.
  public func captureSource(side: Int) -> any CaptureSource {
    WireCaptureSource(side: side, shared: shared, queue: configuration.queue)
  }

  /// The flows that the wire accounts; nil: none.
  public var flows: FlowAccount? { shared.flows }

  /// Carries what is in the receive rings already, closes the sockets and joins the thread. Blocks some milliseconds; any
  /// number of times.
  public func stop() {
    shared.control.stop()
    thread.withLock { if let running = $0.take() { running.join() } }
  }

  /// Waits until everything that is in the receive rings at the call has been carried. At once when the thread has ended.
  public func settle() { shared.control.settle() }

  /// The counters now; frames as of the last sleep, the kernel's statistics read at once.
  public func counters() -> WireCounters { shared.counters() }
}

/// A side of a wire, for captures.
final class WireCaptureSource: CaptureSource {
  private let side: Int
  private let shared: WireShared
  let captureQueue: UInt32
  /// A wire's frames go on to its other side.
  var frameLender: FrameLender? { nil }

  init(side: Int, shared: WireShared, queue: UInt32) {
    self.side = side
    self.shared = shared
    captureQueue = queue
  }

  /// As a ``QueueWorker``'s.
  var lossCount: UInt64 { shared.counters().sides[side].statistics.lost }

  func attach(_ ring: RecordRing) -> TapBoard.Attachment { shared.boards[side].attach(ring) }

  func detach(_ ring: RecordRing) {
    shared.boards[side].detach(ring)
    shared.control.wake.signal()
  }

  func settle() { shared.control.settle() }
}

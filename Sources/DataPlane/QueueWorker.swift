import LinuxSystem
import Synchronization
import XDPPrograms
import XSK

/// How a queue is received.
public struct QueueConfiguration: Hashable, Sendable {
  public var interface: NetworkInterface
  public var queue: UInt32
  /// The CPU to pin the thread to; nil: it roams.
  public var cpu: Int?
  /// Node of the frame pool; negative: no preference.
  public var numaNode: Int
  public var geometry: UMEM.Geometry
  public var zeroCopy: XDPSocket.ZeroCopyMode
  /// The XDP program is attached in native mode; under a generic one packets are copied.
  public var isProgramNative: Bool
  /// The program calls receivers (``QueueWorker/receiver``), and is given the worker's: it copies packets into the frames
  /// itself, where the driver has no zero-copy.
  public var hasReceivers = false
  public var wantsHugePages: Bool
  /// Packets longer than a frame are received, too, where the kernel can (Linux 6.6): jumbo frames, and what a veth
  /// pair's stack didn't cut into segments.
  public var usesFragments: Bool
  public var wait: WaitMode
  /// Packets taken at a time, at most.
  public var batchLimit: UInt32

  /// Frames sized for the interface's MTU, on the interface's node. As many as come within 8 ms at 4 million
  /// packets a second, while another thread has the CPU: 64 or 128 MiB.
  public init(
    interface: NetworkInterface, queue: UInt32, cpu: Int? = nil, frameCount: UInt32 = 32_768,
    zeroCopy: XDPSocket.ZeroCopyMode = .auto, isProgramNative: Bool = true, wantsHugePages: Bool = true,
    usesFragments: Bool = true, wait: WaitMode = .adaptive, batchLimit: UInt32 = 256
  ) {
    self.interface = interface
    self.queue = queue
    self.cpu = cpu
    self.numaNode = interface.numaNode()
    geometry = UMEM.Geometry(
      frameCount: frameCount, frameByteCount: UMEM.Geometry.frameByteCount(forMTU: interface.mtu))
    self.zeroCopy = zeroCopy
    self.isProgramNative = isProgramNative
    self.wantsHugePages = wantsHugePages
    self.usesFragments = usesFragments
    self.wait = wait
    self.batchLimit = batchLimit
  }
}

/// What a queue became. Every fallback has its reason.
public struct QueueReport: Hashable, Sendable {
  public var interface: String
  public var queue: UInt32
  public var isZeroCopy: Bool
  /// Why packets are copied; nil with zero-copy.
  public var copyReason: String?
  /// -1: not pinned.
  public var cpu: Int
  public var placement: NUMAPlacement
  /// Where the frames lie, confirmed by the kernel; -1: one node, or not confirmed (see ``placement``).
  public var numaNode: Int { placement.node }
  public var hasHugePages: Bool
  /// Why there are no huge pages; nil if there are, or none were wanted.
  public var hugePageReason: String?
  public var frameCount: UInt32
  public var frameByteCount: UInt32
  public var usesFragments: Bool
  /// Why packets longer than a frame get lost although they were wanted; nil: they don't, or were not.
  public var fragmentReason: String?
  /// How often the queue was busy before the bind succeeded.
  public var bindRetries: Int
}

/// A queue's counters at one moment.
public struct QueueCounters: Hashable, Sendable {
  public var receivedPackets: UInt64 = 0
  public var receivedBytes: UInt64 = 0
  public var framesTotal: UInt32 = 0
  /// Free, ours. With the next three: framesTotal.
  public var framesPool: UInt32 = 0
  public var framesFill: UInt32 = 0
  /// With the kernel or in the receive ring.
  public var framesInFlight: UInt32 = 0
  /// With a capture's writer, packets in them.
  public var framesLent: UInt32 = 0
  public var statistics = XDPStatistics()
  public var loop = LoopHistogram()
  /// Why the thread ended by itself (the interface is gone); nil while it runs.
  public var failure: SystemError?

  public init() {}
}

/// Receives one queue of one interface on a thread of its own, and offers the packets to captures.
///
/// Any thread may use it. Put ``socketDescriptor`` into the XSKMAP at key ``QueueReport/queue`` after ``start(_:)``,
/// and take it out before ``stop()``; where there is a ``receiver``, it must receive the same packets meanwhile.
public final class QueueWorker: Sendable {
  public let report: QueueReport
  /// The socket, for an XSKMAP. Valid until ``stop()``; the worker closes it.
  public let socketDescriptor: CInt
  /// Receives for the socket; nil: the kernel does.
  public let receiver: ReceiverProgram?
  let taps: TapBoard
  let shared: QueueShared
  /// Of the queue's frames, to one capture at a time.
  public let frameLender: FrameLender?
  private let thread: Mutex<PinnedThread?>

  /// Starts the thread, which builds pool and socket on its own CPU; returns once the socket is bound.
  ///
  /// Throws what ``XDPSocket`` and ``UMEM`` throw, with the remedy. Call it on a thread in the interface's network
  /// namespace.
  public static func start(_ configuration: QueueConfiguration) throws(SystemError) -> QueueWorker {
    let shared = try QueueShared(frameCount: configuration.geometry.frameCount)
    let started = Handoff<Result<QueueStart, SystemError>>()
    let name = "xsk-\(configuration.queue)-\(configuration.interface.name)"
    let thread = try PinnedThread.spawn(name: name, cpu: configuration.cpu) {
      QueueLoop.run(configuration, shared, started)
    }
    switch started.take() {
    case .success(let outcome):
      return QueueWorker(outcome, shared: shared, thread: thread)
    case .failure(let error):
      thread.join()
      throw error
    }
  }

  private init(_ start: QueueStart, shared: QueueShared, thread: consuming PinnedThread) {
    report = start.report
    socketDescriptor = start.descriptor
    receiver = start.receiver
    frameLender = start.lender
    self.shared = shared
    taps = shared.taps
    self.thread = Mutex(thread)
  }

  deinit { stop() }

  /// Receives what is in the ring already, closes the socket and joins the thread. Blocks some milliseconds; any number
  /// of times.
  public func stop() {
    shared.control.stop()
    thread.withLock { if let running = $0.take() { running.join() } }
  }

  /// Waits until everything that is in the receive ring at the call has gone through the pipeline. At once when the
  /// thread has ended.
  public func settle() { shared.control.settle() }

  /// The counters now; packets and frames as of the last batch, the kernel's statistics read at once.
  public func counters() -> QueueCounters { shared.counters() }
}

/// What a packet thread tells when its socket is open.
struct QueueStart: Sendable {
  var report: QueueReport
  var descriptor: CInt
  var receiver: ReceiverProgram?
  var lender: FrameLender?
}

/// A packet thread's socket, for the readers of its statistics.
struct OpenSocket {
  let descriptor: CInt
  let rings: ProgramRings?

  func read(into statistics: inout XDPStatistics) {
    if let now = try? XDPStatistics.read(descriptor: descriptor, with: rings) { statistics = now }
  }
}

/// What the packet thread and the others share.
final class QueueShared: Sendable {
  enum Cell: Int { case packets, bytes, frames, count }

  let control: LoopControl
  let taps = TapBoard()
  private let frameCount: UInt32
  private let cells = CounterBlock(count: Cell.count.rawValue)
  private let socket = Mutex<(open: OpenSocket?, last: XDPStatistics, failure: SystemError?)>(
    (nil, XDPStatistics(), nil))

  init(frameCount: UInt32) throws(SystemError) {
    control = try LoopControl()
    self.frameCount = frameCount
  }

  /// The packet thread, once per batch.
  func publish(_ queue: borrowing QueueState) {
    cells.store(queue.entry.pipeline.first.packets, at: Cell.packets.rawValue)
    cells.store(queue.entry.pipeline.first.bytes, at: Cell.bytes.rawValue)
    let frames = queue.socket.frames(pool: queue.pool)
    // Three numbers of 21 bits in one word, so that a reader never sees half of an update. UMEM.Geometry.frameCountMax
    // fits.
    let inFlight = frames.inFlight &+ frames.receive
    cells.store(
      UInt64(frames.pool) | UInt64(frames.fill) << 21 | UInt64(inFlight) << 42, at: Cell.frames.rawValue)
  }

  /// The packet thread, when the socket is open.
  func open(_ descriptor: CInt, _ rings: ProgramRings?) {
    socket.withLock { $0.open = OpenSocket(descriptor: descriptor, rings: rings) }
  }

  /// The packet thread, before the socket closes.
  func close(failure: SystemError?) {
    socket.withLock {
      $0.open?.read(into: &$0.last)
      $0.open = nil
      $0.failure = failure
    }
  }

  func counters() -> QueueCounters {
    var counters = QueueCounters()
    counters.receivedPackets = cells.load(Cell.packets.rawValue)
    counters.receivedBytes = cells.load(Cell.bytes.rawValue)
    counters.loop = control.meter.histogram()
    let frames = cells.load(Cell.frames.rawValue)
    counters.framesTotal = frameCount
    counters.framesPool = UInt32(frames & 0x1f_ffff)
    counters.framesFill = UInt32(frames >> 21 & 0x1f_ffff)
    counters.framesInFlight = UInt32(frames >> 42 & 0x1f_ffff)
    // Every frame is in exactly one place; before the first batch nothing is told of any.
    let told = counters.framesPool + counters.framesFill + counters.framesInFlight
    counters.framesLent = frames == 0 || told > frameCount ? 0 : frameCount - told
    socket.withLock {
      // The lock keeps the descriptor open meanwhile.
      $0.open?.read(into: &$0.last)
      counters.statistics = $0.last
      counters.failure = $0.failure
    }
    return counters
  }
}

import LinuxSystem
import Synchronization
import XSK

/// The writing side of a capture session.
///
/// `run()` and everything it calls belong to the session's one thread. Before that thread starts, the creator's
/// thread calls `attach()`, and `abandon()` if it never starts.
final class CaptureWriter: @unchecked Sendable {
  // Sendable: the variables belong to the writer thread (see above); everything else is immutable or synchronised.
  private struct Lane {
    let ring: RecordRing
    let source: any CaptureSource
    /// Lost by the kernel before the capture.
    var lossesBefore: UInt64 = 0
  }

  private let request: CaptureRequest
  private let rings: [RecordRing]
  private var lanes: [Lane]
  private let wake: WakeSignal
  private let isStopRequested = Atomic<Bool>(false)
  private let published: Mutex<CaptureSummary>
  private let deadline: UInt64?

  private let sink: any CaptureSink
  private var end: CaptureSummary.State?
  /// What becomes of packets that come now.
  private var fate = Fate.write
  private var afterLimit: UInt64 = 0
  private var droppedWriteError: UInt64 = 0
  private var droppedUnread: UInt64 = 0
  private var isWaitingForReader = false
  private var refreshedAt = SystemClock.monotonicNanoseconds()

  private enum Fate { case write, dropAfterLimit, dropWriteError, dropUnread }

  /// Bytes written at a time: a fraction of any ring that is worth its name, so that room comes back early.
  private static var pieceByteCount: UInt64 { 1 << 20 }
  private static var refreshIntervalNanoseconds: UInt64 { 1_000_000_000 }
  private static var clockMilliseconds: CInt { CInt(refreshIntervalNanoseconds / 1_000_000) + 1 }
  /// So long a capture that is over waits for a reader that takes nothing.
  private static var patienceNanoseconds: UInt64 { 250_000_000 }

  init(
    request: CaptureRequest, interface: String, workers: [any CaptureSource], names: SlotNames, openSink: OpenCaptureSink
  ) throws(CaptureError) {
    let startedAt = SystemClock.realtimeNanoseconds()
    let wake: WakeSignal
    var lanes: [Lane] = []
    var sink: (any CaptureSink)?
    do throws(SystemError) {
      wake = try WakeSignal()
      let options = try names.makeOptions(hasQueues: workers.count > 1)
      for worker in workers {
        let ring = try RecordRing(
          byteCount: request.ringByteCount,
          admission: RecordAdmission(
            slots: request.slots, sampleEvery: request.sampleEvery, snapByteCount: request.effectiveSnapByteCount),
          options: options, queue: workers.count > 1 ? worker.captureQueue : nil,
          timeOffset: SystemClock.realtimeOffsetNanoseconds(), lender: worker.frameLender, wake: wake)
        lanes.append(Lane(ring: ring, source: worker))
      }
      // Last of what can fail: no file is left behind.
      sink = try openSink(request, interface, startedAt, { wake.signal() })
    } catch { throw .system(error) }
    guard let sink else { throw .invalid(field: "stream", reason: "another capture has it") }
    var summary = CaptureSummary()
    summary.startedAt = startedAt
    summary.files = sink.paths
    summary.bytesWritten = sink.byteCount
    published = Mutex(summary)
    // Longer than some 292 years is for ever.
    let nanoseconds = request.durationMilliseconds.multipliedReportingOverflow(by: 1_000_000)
    let isLimited = request.durationMilliseconds > 0 && !nanoseconds.overflow && nanoseconds.partialValue >> 63 == 0
    deadline = isLimited ? SystemClock.monotonicNanoseconds() + nanoseconds.partialValue : nil
    self.sink = sink
    self.request = request
    self.lanes = lanes
    rings = lanes.map(\.ring)
    self.wake = wake
  }

  /// Hangs the rings into the packet threads. On return no thread is in a batch that it began without its ring: every
  /// packet that arrives from now on is seen.
  func attach() throws(CaptureError) {
    for lane in lanes {
      switch lane.source.attach(lane.ring) {
      case .attached: continue
      case .full: throw .tooMany(limit: TapBoard.slotCount)
      case .closed: throw .queueStopped
      }
    }
    for index in lanes.indices {
      lanes[index].lossesBefore = lanes[index].source.lossCount
      lanes[index].source.settle()
    }
  }

  /// Undoes init and `attach()`.
  func abandon() {
    for lane in lanes { lane.source.detach(lane.ring) }
    sink.abandon()
  }

  /// Any thread.
  func admit(_ slots: Set<UInt32>) {
    for ring in rings { ring.admit(slots) }
  }

  func requestStop() {
    isStopRequested.store(true, ordering: .releasing)
    wake.signal()
  }

  /// Any thread.
  func progress() -> CaptureSummary {
    var summary = published.withLock { $0 }
    if summary.state == .running { addCounters(to: &summary) }
    return summary
  }

  private func addCounters(to summary: inout CaptureSummary) {
    for lane in lanes {
      let counters = lane.ring.counters
      summary.received += counters.received
      summary.filteredOut += counters.filteredOut
      summary.sampledOut += counters.sampledOut
      summary.droppedRingFull += counters.dropped
      summary.lostByKernel += lane.source.lossCount &- lane.lossesBefore
    }
    summary.received -= summary.afterLimit
  }

  /// The life of the session. Returns when the files are complete.
  func run() -> CaptureSummary {
    while end == nil {
      let count = drain()
      decide()
      if end == nil { rest(after: count) }
    }
    for lane in lanes { lane.source.detach(lane.ring) }
    while !lanes.allSatisfy({ $0.ring.isRetired }) {
      drain()
      try? wake.nap(milliseconds: 100)  // retiring signals; poll can fail only for lack of kernel memory, which passes
    }
    drainRest()
    return complete()
  }

  private func decide() {
    if end != nil { return }
    if isStopRequested.load(ordering: .acquiring) {
      end = .finished(.stopped)
    } else if let deadline, SystemClock.monotonicNanoseconds() >= deadline {
      end = .finished(.duration)
    } else if sink.isAbandoned {
      fate = .dropUnread
      end = .finished(.readerGone)
    } else if lanes.allSatisfy({ $0.ring.isRetired }) {
      end = .finished(.queuesStopped)
    }
  }

  /// Gathers a millisecond's packets under load, so that packet threads need no system call to wake us; sleeps without
  /// load.
  private func rest(after count: UInt64) {
    do throws(SystemError) {
      try sink.idle(statistics)
      if isWaitingForReader { return try wake.nap(milliseconds: 10) }  // the reader signals
      if count > 0 { return try wake.nap(milliseconds: 1) }
      publish()
      // A clock that was set meanwhile is known before the next packet comes.
      var timeout = CaptureWriter.clockMilliseconds
      if sink.idleTimeoutMilliseconds >= 0 { timeout = min(timeout, sink.idleTimeoutMilliseconds) }
      if let deadline {
        let now = SystemClock.monotonicNanoseconds()
        timeout = min(timeout, deadline > now ? CInt(clamping: (deadline - now) / 1_000_000 + 1) : 0)
      }
      try wake.sleep(timeoutMilliseconds: timeout) {
        isStopRequested.load(ordering: .acquiring) || lanes.contains { !$0.ring.isEmpty }
      }
    } catch { fail(error) }
  }

  /// Takes what the rings hold, in turns. Returns the number of packets.
  @discardableResult
  private func drain() -> UInt64 {
    refresh()
    isWaitingForReader = false
    var total: UInt64 = 0
    for lane in lanes {
      // What comes meanwhile is for the next turn.
      var left = lane.ring.byteCountToRead
      while left > 0 {
        let before = lane.ring.byteCountToRead
        let count = take(from: lane.ring)
        if count == 0 { break }
        total += count
        left -= min(left, max(before &- lane.ring.byteCountToRead, 1))
      }
    }
    if total > 0 { publish() }
    return total
  }

  /// The rings are retired: empties them, but waits for a reader only while it reads.
  private func drainRest() {
    var movedAt = SystemClock.monotonicNanoseconds()
    while true {
      if drain() > 0 {
        movedAt = SystemClock.monotonicNanoseconds()
      } else if !isWaitingForReader {
        return
      } else if SystemClock.monotonicNanoseconds() &- movedAt > CaptureWriter.patienceNanoseconds {
        fate = .dropUnread
      } else {
        try? wake.nap(milliseconds: 10)
      }
    }
  }

  /// Wall time drifts against the monotonic clock.
  private func refresh() {
    let now = SystemClock.monotonicNanoseconds()
    guard now &- refreshedAt > CaptureWriter.refreshIntervalNanoseconds else { return }
    refreshedAt = now
    let offset = SystemClock.realtimeOffsetNanoseconds()
    for lane in lanes { lane.ring.setTimeOffset(offset) }
  }

  /// One piece of what the ring holds. Returns the number of packets, written or not; 0: nothing to do there now.
  private func take(from ring: RecordRing) -> UInt64 {
    if fate != .write { return ring.read(packetLimit: .max, byteLimit: .max) { _, packets in drop(packets) } }
    let packets = request.packetLimit == 0 ? UInt64.max : request.packetLimit - sink.written
    let count = ring.read(packetLimit: packets, byteLimit: min(sink.room, CaptureWriter.pieceByteCount)) {
      blocks, packets in write(blocks, packets)
    }
    if request.packetLimit > 0, sink.written >= request.packetLimit { reach(.packetLimit) }
    if count > 0 { return count }
    guard let size = ring.firstBlockByteCount else { return 0 }
    do throws(SystemError) {
      switch try sink.makeRoom(for: size, statistics) {
      case .isThere: break
      case .later:
        isWaitingForReader = true
        return 0
      case .limit(let reason): reach(reason)
      }
    } catch { fail(error) }
    return take(from: ring)
  }

  private func write(_ blocks: borrowing GatherList, _ packets: UInt64) {
    let before = sink.written
    do throws(SystemError) {
      try sink.write(blocks, packets: packets)
    } catch {
      fail(error)
      drop(packets - (sink.written - before))
    }
  }

  private func drop(_ packets: UInt64) {
    switch fate {
    case .write: assertionFailure("packets that could be written")
    case .dropAfterLimit: afterLimit += packets
    case .dropWriteError: droppedWriteError += packets
    case .dropUnread: droppedUnread += packets
    }
  }

  /// A change of files and the end need them; never the single packet.
  private func statistics() -> CaptureStatistics {
    var summary = CaptureSummary()
    summary.afterLimit = afterLimit
    addCounters(to: &summary)
    return CaptureStatistics(
      received: summary.received + summary.lostByKernel, accepted: summary.received - summary.filteredOut,
      dropped: summary.droppedRingFull + droppedWriteError + droppedUnread + summary.lostByKernel,
      droppedByKernel: summary.lostByKernel)
  }

  private func reach(_ reason: CaptureSummary.Reason) {
    fate = reason == .readerGone ? .dropUnread : .dropAfterLimit
    if end == nil { end = .finished(reason) }
  }

  private func fail(_ error: SystemError) {
    fate = .dropWriteError
    if case .failed = end { return }
    end = .failed(error)
  }

  private func publish() {
    published.withLock {
      $0.written = sink.written
      $0.bytesWritten = sink.byteCount
      $0.files = sink.paths
      $0.afterLimit = afterLimit
      $0.droppedWriteError = droppedWriteError
      $0.droppedUnread = droppedUnread
    }
  }

  /// All rings are retired and empty: their counters are final.
  private func complete() -> CaptureSummary {
    do throws(SystemError) { try sink.finish(statistics()) } catch { fail(error) }
    publish()
    return published.withLock {
      addCounters(to: &$0)
      $0.state = end ?? .finished(.stopped)
      $0.finishedAt = SystemClock.realtimeNanoseconds()
      assert($0.received == $0.written + $0.sampledOut + $0.filteredOut + $0.dropped, "a packet is not accounted for")
      return $0
    }
  }
}

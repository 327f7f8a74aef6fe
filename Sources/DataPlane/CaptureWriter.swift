import Glibc
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
    let worker: any CaptureSource
  }

  private let request: CaptureRequest
  private let slotName: @Sendable (UInt32) -> String?
  private let lanes: [Lane]
  private let wake: WakeSignal
  private let isStopRequested = Atomic<Bool>(false)
  private let published: Mutex<CaptureSummary>
  private let deadline: UInt64?

  private var files: CaptureFiles
  private var end: CaptureSummary.State?
  private var acceptsPackets = true
  private var droppedAfterLimit: UInt64 = 0
  private var droppedWriteError: UInt64 = 0
  private var realtimeOffset = SystemClock.realtimeOffsetNanoseconds()
  private var realtimeOffsetReadAt = SystemClock.monotonicNanoseconds()
  /// Options of packets by slot and queue, for one pass: a rule's name can change while the capture runs.
  private var options: [UInt64: [UInt8]] = [:]

  init(
    request: CaptureRequest, interface: String, workers: [any CaptureSource],
    slotName: @escaping @Sendable (UInt32) -> String?
  ) throws(SystemError) {
    let startedAt = SystemClock.realtimeNanoseconds()
    let admission = RecordAdmission(
      slots: request.slots, sampleEvery: request.sampleEvery, snapByteCount: request.effectiveSnapByteCount)
    let wake = try WakeSignal()
    var lanes: [Lane] = []
    for worker in workers {
      let ring = try RecordRing(byteCount: request.ringByteCount, admission: admission, wake: wake)
      lanes.append(Lane(ring: ring, worker: worker))
    }
    // Last of what can fail: no file is left behind.
    let files = try CaptureFiles(request: request, interface: interface, startedAt: startedAt)
    var summary = CaptureSummary()
    summary.startedAt = startedAt
    summary.files = files.paths
    summary.bytesWritten = files.byteCount
    published = Mutex(summary)
    // Longer than some 292 years is for ever.
    let nanoseconds = request.durationMilliseconds.multipliedReportingOverflow(by: 1_000_000)
    let isLimited = request.durationMilliseconds > 0 && !nanoseconds.overflow && nanoseconds.partialValue >> 63 == 0
    deadline = isLimited ? SystemClock.monotonicNanoseconds() + nanoseconds.partialValue : nil
    self.files = files
    self.request = request
    self.slotName = slotName
    self.lanes = lanes
    self.wake = wake
  }

  /// Hangs the rings into the packet threads. On return no thread is in a batch that it began without its ring: every
  /// packet that arrives from now on is seen.
  func attach() throws(CaptureError) {
    for lane in lanes {
      switch lane.worker.attach(lane.ring) {
      case .attached: continue
      case .full: throw .tooMany(limit: TapBoard.slotCount)
      case .closed: throw .queueStopped
      }
    }
    for lane in lanes { lane.worker.settle() }
  }

  /// Undoes init and `attach()`.
  func abandon() {
    for lane in lanes { lane.worker.detach(lane.ring) }
    for path in files.paths { unlink(path) }
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
    }
  }

  /// The life of the session. Returns when the files are complete.
  func run() -> CaptureSummary {
    while end == nil {
      let count = drain()
      decide()
      if end == nil { rest(after: count) }
    }
    for lane in lanes { lane.worker.detach(lane.ring) }
    while !lanes.allSatisfy({ $0.ring.isRetired }) {
      drain()
      try? wake.nap(milliseconds: 100)  // retiring signals; poll can fail only for lack of kernel memory, which passes
    }
    while drain() > 0 {}
    return complete()
  }

  private func decide() {
    if end != nil { return }
    if isStopRequested.load(ordering: .acquiring) {
      end = .finished(.stopped)
    } else if let deadline, SystemClock.monotonicNanoseconds() >= deadline {
      end = .finished(.duration)
    } else if lanes.allSatisfy({ $0.ring.isRetired }) {
      end = .finished(.queuesStopped)
    }
  }

  /// Gathers a millisecond's packets under load, so that packet threads need no system call to wake us; sleeps without
  /// load.
  private func rest(after count: Int) {
    do throws(SystemError) {
      if count > 0 { return try wake.nap(milliseconds: 1) }
      try files.flush()
      publish()
      var timeout: CInt = -1
      if let deadline {
        let now = SystemClock.monotonicNanoseconds()
        timeout = deadline > now ? CInt(clamping: (deadline - now) / 1_000_000 + 1) : 0
      }
      try wake.sleep(timeoutMilliseconds: timeout) {
        isStopRequested.load(ordering: .acquiring) || lanes.contains { !$0.ring.isEmpty }
      }
    } catch { fail(error) }
  }

  /// Takes what the rings hold, in turns. Returns the number of records.
  @discardableResult
  private func drain() -> Int {
    refreshClock()
    options.removeAll(keepingCapacity: true)
    var total = 0
    for lane in lanes {
      let queue = lane.worker.captureQueue
      total += lane.ring.drain(limit: 4096) { header, bytes in take(header, bytes, queue: queue) }
    }
    if total > 0 { publish() }
    return total
  }

  private func refreshClock() {
    let now = SystemClock.monotonicNanoseconds()
    guard now &- realtimeOffsetReadAt > 1_000_000_000 else { return }
    realtimeOffset = SystemClock.realtimeOffsetNanoseconds()
    realtimeOffsetReadAt = now
  }

  private func take(_ header: RecordHeader, _ bytes: RawSpan, queue: UInt32) {
    guard acceptsPackets else {
      if case .failed = end { droppedWriteError += 1 } else { droppedAfterLimit += 1 }
      return
    }
    do throws(SystemError) {
      let outcome = try files.append(
        bytes, originalByteCount: header.originalByteCount,
        timestampNanoseconds: header.timestampNanoseconds &+ UInt64(bitPattern: realtimeOffset),
        options: packetOptions(slot: header.slot, queue: queue), progress: progressForStatistics())
      if case .limit(let reason) = outcome {
        droppedAfterLimit += 1
        reach(reason)
      } else if files.isAtPacketLimit {
        reach(.packetLimit)
      }
    } catch {
      droppedWriteError += 1
      return fail(error)
    }
    guard files.isBufferFull else { return }
    do throws(SystemError) { try files.flush() } catch { fail(error) }
  }

  private func packetOptions(slot: UInt32, queue: UInt32) -> [UInt8] {
    let key = UInt64(slot) | UInt64(queue) << 32
    if let known = options[key] { return known }
    let made = Pcapng.packetOptions(
      queue: queue, rule: slot == PacketContext.unknownSlot ? nil : slotName(slot))
    options[key] = made
    return made
  }

  private func progressForStatistics() -> (received: UInt64, dropped: UInt64) {
    var summary = CaptureSummary()
    if request.fileCount > 0 { addCounters(to: &summary) }  // only a change of files needs them
    return (summary.received, summary.droppedRingFull)
  }

  private func reach(_ reason: CaptureSummary.Reason) {
    acceptsPackets = false
    if end == nil { end = .finished(reason) }
  }

  private func fail(_ error: SystemError) {
    droppedWriteError += files.discard()
    acceptsPackets = false
    if case .failed = end { return }
    end = .failed(error)
  }

  private func publish() {
    published.withLock {
      $0.written = files.written
      $0.bytesWritten = files.byteCount
      $0.files = files.paths
      $0.droppedAfterLimit = droppedAfterLimit
      $0.droppedWriteError = droppedWriteError
    }
  }

  /// All rings are retired and empty: their counters are final.
  private func complete() -> CaptureSummary {
    var totals = CaptureSummary()
    addCounters(to: &totals)
    do throws(SystemError) {
      try files.finish(
        received: totals.received, dropped: totals.droppedRingFull + droppedAfterLimit + droppedWriteError)
    } catch { fail(error) }
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

import LinuxSystem
import XSK

/// Hands a capture's blocks to a ``CaptureStream``, with the statistics once a second. One thread.
final class CaptureStreamSink: CaptureSink {
  private let stream: CaptureStream
  private let byteLimit: UInt64
  private let startedAt: UInt64
  private var statisticsAt: UInt64
  private(set) var written: UInt64 = 0
  private(set) var byteCount: UInt64 = 0

  private static var statisticsIntervalNanoseconds: UInt64 { 1_000_000_000 }

  /// Begins with the headers. Nil: the stream was used before.
  init?(
    _ stream: CaptureStream, request: CaptureRequest, interface: String, startedAt: UInt64,
    wake: @escaping @Sendable () -> Void
  ) {
    guard stream.begin(wake: wake) else { return nil }
    self.stream = stream
    self.startedAt = startedAt
    byteLimit = request.byteLimit
    statisticsAt = SystemClock.monotonicNanoseconds()
    put(Pcapng.headers(request, interface))
  }

  var paths: [String] { [] }

  var room: UInt64 { min(UInt64(stream.room), limitRoom) }

  private var limitRoom: UInt64 {
    if byteLimit == 0 { return .max }
    let reserved = byteCount + Pcapng.statisticsByteCount
    return byteLimit > reserved ? byteLimit - reserved : 0
  }

  func makeRoom(for size: Int, _ statistics: () -> CaptureStatistics) -> CaptureRoom {
    if limitRoom < UInt64(size) { return .limit(.byteLimit) }
    if stream.isCancelled { return .limit(.readerGone) }
    return stream.room < size ? .later : .isThere
  }

  func write(_ blocks: borrowing GatherList, packets: UInt64) {
    put(blocks.bytes)
    written += packets
  }

  var idleTimeoutMilliseconds: CInt { CInt(CaptureStreamSink.statisticsIntervalNanoseconds / 1_000_000) }
  var isAbandoned: Bool { stream.isCancelled }

  func idle(_ statistics: () -> CaptureStatistics) {
    let now = SystemClock.monotonicNanoseconds()
    guard now &- statisticsAt >= CaptureStreamSink.statisticsIntervalNanoseconds else { return }
    statisticsAt = now
    guard room > 2 * Pcapng.statisticsByteCount else { return }
    putStatistics(statistics())
  }

  func finish(_ statistics: CaptureStatistics) {
    putStatistics(statistics)
    stream.end()
  }

  func abandon() { stream.end() }

  private func putStatistics(_ statistics: CaptureStatistics) {
    var bytes: [UInt8] = []
    Pcapng.appendStatistics(statistics, startedAt: startedAt, delivered: written, to: &bytes)
    put(bytes)
  }

  private func put(_ bytes: [UInt8]) {
    stream.put(bytes)
    byteCount += UInt64(bytes.count)
  }
}

import LinuxSystem

/// Where a capture's blocks go. One thread.
protocol CaptureSink: AnyObject {
  /// Packets that were handed on whole.
  var written: UInt64 { get }
  /// Bytes of everything handed on.
  var byteCount: UInt64 { get }
  /// The files that are there, oldest first.
  var paths: [String] { get }
  /// How many bytes of blocks it takes now. 0 is no reason to give up: see ``makeRoom(for:_:)``.
  var room: UInt64 { get }

  /// Prepares for a block that is larger than ``room``.
  func makeRoom(for byteCount: Int, _ statistics: () -> CaptureStatistics) throws(SystemError) -> CaptureRoom
  /// Takes whole blocks, at most ``room`` bytes. After an error ``written`` says how many packets were kept.
  func write(_ blocks: borrowing GatherList, packets: UInt64) throws(SystemError)
  /// There is nothing to do: now is the time for what is not packets.
  func idle(_ statistics: () -> CaptureStatistics) throws(SystemError)
  /// Between two calls of ``idle(_:)``, at most; negative: any time.
  var idleTimeoutMilliseconds: CInt { get }
  /// Nobody wants what comes.
  var isAbandoned: Bool { get }
  /// Ends with the statistics.
  func finish(_ statistics: CaptureStatistics) throws(SystemError)
  /// Undoes the beginning.
  func abandon()
}

/// Opens what a request asks for; nil: another capture has it.
///
/// - Parameter wake: The reader has made room, or is gone.
typealias OpenCaptureSink = (
  _ request: CaptureRequest, _ interface: String, _ startedAt: UInt64, _ wake: @escaping @Sendable () -> Void
) throws(SystemError) -> (any CaptureSink)?

func openCaptureSink(
  _ request: CaptureRequest, _ interface: String, _ startedAt: UInt64, _ wake: @escaping @Sendable () -> Void
) throws(SystemError) -> (any CaptureSink)? {
  switch request.destination {
  case .file(let path):
    return try CaptureFiles(path: path, request: request, interface: interface, startedAt: startedAt)
  case .stream(let stream):
    return CaptureStreamSink(stream, request: request, interface: interface, startedAt: startedAt, wake: wake)
  }
}

enum CaptureRoom: Equatable {
  case isThere
  /// The reader is slow: there may be some later.
  case later
  /// There will be none.
  case limit(CaptureSummary.Reason)
}

/// The numbers of an interface statistics block.
struct CaptureStatistics {
  /// By the packet threads, and lost by the kernel before.
  var received: UInt64
  /// Passed the filter.
  var accepted: UInt64
  /// By everybody, the kernel too.
  var dropped: UInt64
  var droppedByKernel: UInt64
}

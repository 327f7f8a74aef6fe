import Glibc
import LinuxSystem
import Synchronization
import XSK

/// One running capture: packets of an interface's queues to pcapng files, or to the reader of a stream.
///
/// Packet threads lay blocks into rings and never wait; one writer thread of the session writes them out. Any
/// thread may use the session.
public final class CaptureSession: Sendable {
  public let request: CaptureRequest
  public let interface: String
  private let writer: CaptureWriter
  private let thread: Mutex<PinnedThread?>

  /// Creates the first file (so that a path that cannot be written fails here), unless there is one already, and starts capturing.
  ///
  /// - Parameters:
  ///   - file: Made for this request before; the session's from now on. After an error the caller abandons it.
  ///   - workers: All queues of the interface.
  ///   - names: The rules of the slots, for the packets' comments.
  ///   - onFinish: Called once, on the writer thread, with the final summary, when the session ends by a limit, by
  ///     ``stop()``, with the workers, or by a write error. Must not call ``stop()`` itself.
  public static func start(
    _ request: CaptureRequest, file: CaptureFile? = nil, interface: String, workers: [any CaptureSource],
    names: SlotNames, onFinish: @escaping @Sendable (CaptureSummary) -> Void
  ) throws(CaptureError) -> CaptureSession {
    let open: OpenCaptureSink
    if let file { open = { _, _, _, _ in file.files } } else { open = openCaptureSink }
    return try start(request, interface: interface, workers: workers, names: names, openSink: open, onFinish: onFinish)
  }

  static func start(
    _ request: CaptureRequest, interface: String, workers: [any CaptureSource], names: SlotNames, openSink: OpenCaptureSink,
    onFinish: @escaping @Sendable (CaptureSummary) -> Void
  ) throws(CaptureError) -> CaptureSession {
    try request.validate()
    let writer = try CaptureWriter(
      request: request, interface: interface, workers: workers, names: names, openSink: openSink)
    do throws(CaptureError) {
      try writer.attach()
      do throws(SystemError) {
        let thread = try PinnedThread.spawn(name: "capture") {
          // It has the whole ring's time; a packet thread on the same CPU has its socket's ring alone.
          PinnedThread.giveWay()
          onFinish(writer.run())
        }
        return CaptureSession(request: request, interface: interface, writer: writer, thread: thread)
      } catch { throw .system(error) }
    } catch {
      writer.abandon()
      throw error
    }
  }

  private init(request: CaptureRequest, interface: String, writer: CaptureWriter, thread: consuming PinnedThread) {
    self.request = request
    self.interface = interface
    self.writer = writer
    self.thread = Mutex(thread)
  }

  /// How it stands now; exact once it is not running any more.
  public var summary: CaptureSummary { writer.progress() }

  /// Asks the session to end; what the rings hold is still written. Returns at once.
  public func requestStop() { writer.requestStop() }

  /// From now on packets of these rules alone; only where the request named rules. See ``XSK/RecordRing/admit(_:)``.
  public func admit(_ slots: Set<UInt32>) { writer.admit(slots) }

  /// Ends the session and waits until the files are complete. Blocks for as long as disk and reader take what the rings hold;
  /// any number of times.
  @discardableResult
  public func stop() -> CaptureSummary {
    writer.requestStop()
    return waitUntilFinished()
  }

  /// Waits for the session to end by itself; `onFinish` has returned then.
  @discardableResult
  public func waitUntilFinished() -> CaptureSummary {
    thread.withLock { if let running = $0.take() { running.join() } }
    return writer.progress()
  }

  /// Waits for the end, but not longer; whether it has come. Looks again and again: nobody is in a hurry who gives a disk time.
  public func waitUntilFinished(until deadline: ContinuousClock.Instant) -> Bool {
    while writer.progress().state == .running {
      guard ContinuousClock.now < deadline else { return false }
      usleep(1000)
    }
    return true
  }

  deinit { stop() }
}

/// The first file of a capture with its headers, made apart from everything else that a start takes: on a thread that may wait for
/// a disk.
public final class CaptureFile: @unchecked Sendable {
  // Sendable: from the thread that makes it to the session's, or to the one that abandons it.
  let files: CaptureFiles

  /// - Parameter request: One to a file; what it says about rings and rules doesn't matter here.
  public init(for request: CaptureRequest, interface: String) throws(CaptureError) {
    try request.validate()
    guard case .file(let path) = request.destination else { throw .invalid(field: "stream", reason: "has no file") }
    do throws(SystemError) {
      files = try CaptureFiles(
        path: path, request: request, interface: interface, startedAt: SystemClock.realtimeNanoseconds())
    } catch { throw .system(error) }
  }

  /// Removes it, where no session came of it.
  public func abandon() { files.abandon() }
}

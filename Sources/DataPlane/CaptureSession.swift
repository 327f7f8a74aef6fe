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

  /// Creates the first file (so that a path that cannot be written fails here) and starts capturing.
  ///
  /// - Parameters:
  ///   - workers: All queues of the interface.
  ///   - names: The rules of the slots, for the packets' comments.
  ///   - onFinish: Called once, on the writer thread, with the final summary, when the session ends by a limit, by
  ///     ``stop()``, with the workers, or by a write error. Must not call ``stop()`` itself.
  public static func start(
    _ request: CaptureRequest, interface: String, workers: [any CaptureSource],
    names: SlotNames, onFinish: @escaping @Sendable (CaptureSummary) -> Void
  ) throws(CaptureError) -> CaptureSession {
    try start(request, interface: interface, workers: workers, names: names, openSink: openCaptureSink, onFinish: onFinish)
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

  /// Ends the session and waits until the files are complete. Blocks some milliseconds; any number of times.
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

  deinit { stop() }
}

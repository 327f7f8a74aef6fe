import Control
import LinuxSystem
import Logging
import ServiceLifecycle

/// Tells the controller when network interfaces change.
public struct LinkWatcher: Service {
  /// Longest time between two looks: a bpf_link that somebody detaches makes no rtnetlink news.
  private static let lookMilliseconds: CInt = 5000

  private let controller: Controller
  private let monitor: LinkMonitor
  private let logger: Logger

  public init(controller: Controller, logger: Logger) throws(SystemError) {
    self.controller = controller
    self.logger = logger
    monitor = try LinkMonitor()
  }

  public func run() async throws {
    // One news at a time and none queued: the controller looks at everything whenever it looks.
    let (changes, continuation) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
    let thread = try PinnedThread.spawn(name: "link-watcher") { [monitor, logger] in
      defer { continuation.finish() }
      do throws(SystemError) {
        while try monitor.wait(timeoutMilliseconds: LinkWatcher.lookMilliseconds) != nil { continuation.yield() }
      } catch {
        logger.error("interfaces are no longer watched", metadata: ["error": "\(error)"])
      }
    }
    await withGracefulShutdownHandler {
      for await _ in changes { await controller.interfacesChanged() }
    } onGracefulShutdown: {
      monitor.stop()
    }
    thread.join()
  }
}

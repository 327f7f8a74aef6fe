import Control
import LinuxSystem
import Logging
import ServiceLifecycle

/// Tells the controller when network interfaces change.
public struct LinkWatcher: Service {
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
        while try monitor.wait() != nil { continuation.yield() }
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

import Control
import LinuxSystem
import Logging
import ServiceLifecycle

/// Tells the controller when network interfaces change: they come and go, or can do other things with XDP than before.
public struct LinkWatcher: Service {
  /// Longest time between two looks: a bpf_link that somebody detaches makes no rtnetlink news.
  private static let lookMilliseconds: CInt = 5000

  private let controller: Controller
  private let monitor: LinkMonitor
  /// Nil where the kernel has no such news (before 6.3): then the looks find out.
  private let features: XDPFeatureMonitor?
  private let logger: Logger

  public init(controller: Controller, logger: Logger) throws(SystemError) {
    self.controller = controller
    self.logger = logger
    monitor = try LinkMonitor()
    do throws(SystemError) {
      features = try XDPFeatureMonitor()
    } catch {
      features = nil
      logger.info("changes of XDP features are noticed late", metadata: ["reason": "\(error)"])
    }
  }

  public func run() async throws {
    // One news at a time and none queued: the controller looks at everything whenever it looks.
    let (changes, continuation) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
    let links = try PinnedThread.spawn(name: "link-watcher") { [monitor, logger] in
      defer { continuation.finish() }
      do throws(SystemError) {
        while try monitor.wait(timeoutMilliseconds: LinkWatcher.lookMilliseconds) != nil { continuation.yield() }
      } catch {
        logger.error("interfaces are no longer watched", metadata: ["error": "\(error)"])
      }
    }
    let abilities = try PinnedThread.spawn(name: "xdp-watcher") { [features, logger] in
      do throws(SystemError) {
        while let news = try features?.wait() { if !news.isEmpty { continuation.yield() } }
      } catch {
        logger.error("XDP features are no longer watched", metadata: ["error": "\(error)"])
      }
    }
    await withGracefulShutdownHandler {
      for await _ in changes { await controller.interfacesChanged() }
    } onGracefulShutdown: {
      monitor.stop()
      features?.stop()
    }
    // Also where an error ended the changes, or the task was cancelled because another service failed.
    monitor.stop()
    features?.stop()
    links.join()
    abilities.join()
  }
}

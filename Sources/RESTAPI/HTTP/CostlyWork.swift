import NIOPosix
import Synchronization

/// Runs password hashing, which burns a core for tens of milliseconds, on threads of its own: never on an event loop
/// and never on the cooperative pool. The queue is bounded; beyond it callers are sent away.
public final class PasswordWorker: Sendable {
  /// The queue is full: come back in a second.
  public struct QueueFull: Error {}

  private let threads: NIOThreadPool
  private let waiting = Mutex(0)
  private let queueMax: Int

  /// - Parameters:
  ///   - threads: hashes that run at once.
  ///   - queueMax: hashes that run or wait; one more throws ``QueueFull``.
  public init(threads: Int = 2, queueMax: Int = APILimits.passwordQueueMax) {
    self.threads = NIOThreadPool(numberOfThreads: threads)
    self.queueMax = queueMax
    self.threads.start()
  }

  public func run<Result: Sendable>(_ work: @escaping @Sendable () throws -> Result) async throws -> Result {
    try waiting.withLock { waiting in
      guard waiting < queueMax else { throw QueueFull() }
      waiting += 1
    }
    defer { waiting.withLock { $0 -= 1 } }
    return try await threads.runIfActive(work)
  }

  /// Hashes that run or wait.
  var waitingCount: Int { waiting.withLock { $0 } }

  /// Ends the threads after what is queued.
  public func shutdown() async throws { try await threads.shutdownGracefully() }
}

import NIOPosix
import Synchronization

/// Runs what burns a core for long on threads of its own: never on an event loop and never on the cooperative pool, where a
/// few of its kind would keep all requests waiting. The queue is bounded; beyond it callers are sent away.
public final class CostlyWork: Sendable {
  /// The queue is full: come back in a second.
  public struct QueueFull: Error {
    /// What there is too much of, as in a sentence.
    let work: String
  }

  private let name: String
  private let threads: NIOThreadPool
  private let waiting = Mutex(0)
  private let queueMax: Int

  /// - Parameters:
  ///   - name: for ``QueueFull``.
  ///   - threads: so much runs at once.
  ///   - queueMax: runs or waits; one more throws ``QueueFull``.
  init(_ name: String, threads: Int, queueMax: Int) {
    self.name = name
    self.threads = NIOThreadPool(numberOfThreads: threads)
    self.queueMax = queueMax
    self.threads.start()
  }

  /// Hashes: tens of milliseconds each.
  public static func onPasswords() -> CostlyWork {
    CostlyWork("passwords are being checked", threads: 2, queueMax: APILimits.passwordQueueMax)
  }

  /// About a second each at most, and up to some hundred megabytes while it runs: one after the other.
  public static func onAnalyses() -> CostlyWork {
    CostlyWork("rule sets are being analysed", threads: 1, queueMax: APILimits.analysisQueueMax)
  }

  public func run<Result: Sendable>(_ work: @escaping @Sendable () throws -> Result) async throws -> Result {
    try waiting.withLock { waiting in
      guard waiting < queueMax else { throw QueueFull(work: name) }
      waiting += 1
    }
    defer { waiting.withLock { $0 -= 1 } }
    return try await threads.runIfActive(work)
  }

  /// What runs or waits.
  var waitingCount: Int { waiting.withLock { $0 } }

  /// Ends the threads after what is queued.
  public func shutdown() async throws { try await threads.shutdownGracefully() }
}

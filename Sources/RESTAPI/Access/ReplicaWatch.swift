import Logging
import ServiceLifecycle

/// Keeps what this copy of the API has in memory about accounts and sessions in step with what other copies do to them.
///
/// PostgreSQL wakes it within the other's commit. Where nothing can tell, or the word is lost with a connection, it looks
/// every ``period``: later than that no copy takes the access token of an ended session.
public struct ReplicaWatch: Service {
  public static let standardPeriod = Duration.seconds(5)

  private let services: Services
  private let period: Duration

  public init(_ services: Services, period: Duration = standardPeriod) {
    self.services = services
    self.period = period
  }

  /// Until the service group shuts down.
  public func run() async throws {
    // Cancelled at the end: nothing of it is a failure.
    try? await cancelWhenGracefulShutdown {
      // Of the time before this process.
      await look()
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask {
          for await _ in services.store.wakes(.access) {
            services.authenticator.forgetAll()
            await look()
          }
        }
        group.addTask {
          while true {
            try await Task.sleep(for: period)
            await look()
          }
        }
        try await group.waitForAll()
      }
    }
  }

  private func look() async {
    do { try await services.authenticator.takeEndedSessions() } catch {
      // The requests that need the database say so more loudly.
      services.logger.debug("ended sessions not read", metadata: ["error": "\(error)"])
    }
  }
}

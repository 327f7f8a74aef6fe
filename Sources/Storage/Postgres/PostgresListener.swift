import CPostgres
import Foundation
import Synchronization

/// Waits for what other copies of the API tell through PostgreSQL, on a connection and a thread of its own.
final class PostgresListener: Sendable {
  /// The channel of `LISTEN` and `NOTIFY`.
  static func channel(_ topic: WakeTopic) -> String { "sluice_\(topic.rawValue)" }
  /// How long after the end of the stream the thread goes on at most.
  private static let stopCheckMilliseconds: Int32 = 1000

  private let settings: DatabaseServer
  private let topic: WakeTopic
  private let isStopped = Atomic(false)

  private init(_ settings: DatabaseServer, _ topic: WakeTopic) {
    self.settings = settings
    self.topic = topic
  }

  /// An element for each wake, and one for each time that a connection was made: what was told before, nobody heard.
  /// Several that nobody took yet are one. A lost connection is made again, with growing waits; the thread ends with the
  /// stream.
  static func wakes(_ settings: DatabaseServer, _ topic: WakeTopic) -> AsyncStream<Void> {
    AsyncStream(bufferingPolicy: .bufferingNewest(1)) { continuation in
      let listener = PostgresListener(settings, topic)
      continuation.onTermination = { _ in listener.isStopped.store(true, ordering: .relaxed) }
      Thread.detachNewThread { listener.run { continuation.yield() } }
    }
  }

  private func run(_ wake: () -> Void) {
    let backoff = Backoff(base: .milliseconds(100), cap: .seconds(5), retriesMax: .max)
    var generator = SystemRandomNumberGenerator()
    var retry = 0
    while !isStopped.load(ordering: .relaxed) {
      do throws(StorageError) {
        let connection = try PostgresConnection(settings)
        try connection.define("LISTEN \(Self.channel(topic))")
        retry = 0
        wake()
        listen(connection, wake)
      } catch {
        // The store's own calls say what is wrong; here it is waited for.
        let delay = backoff.delay(retry: retry, using: &generator) ?? backoff.cap
        usleep(UInt32(delay / .microseconds(1)))
        retry += 1
      }
    }
  }

  /// Returns when the connection is lost, or nobody listens any more.
  private func listen(_ session: PostgresConnection, _ wake: () -> Void) {
    while !isStopped.load(ordering: .relaxed), session.isHealthy {
      var socket = pollfd(fd: PQsocket(session.connection), events: Int16(POLLIN), revents: 0)
      guard poll(&socket, 1, Self.stopCheckMilliseconds) > 0 else { continue }
      guard PQconsumeInput(session.connection) == 1 else { return }
      var isWoken = false
      while let notice = PQnotifies(session.connection) {
        PQfreemem(notice)
        isWoken = true
      }
      if isWoken { wake() }
    }
  }
}

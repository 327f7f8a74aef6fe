import ControlProtocol
import Foundation
import HTTPTypes
import Hummingbird
import Identity
import NIOCore
import Storage

/// Events as they happen, as browsers and everybody else read them (server-sent events).
enum EventStream {
  /// Between two signs of life; the caller's right is looked at again as often.
  static let heartbeat = Duration.seconds(15)
  private static let batch = 100

  private static let lastEventID = HTTPField.Name("Last-Event-ID")!

  /// The event that a stream goes on behind; nil: the header is not there.
  static func lastEventID(_ call: Call) throws -> UInt64? {
    guard let text = call.headers[lastEventID] else { return nil }
    guard text.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let id = UInt64(text), id <= UInt64(Int64.max) else {
      throw APIError(.invalidRequest, "Last-Event-ID is the id of an event, a number")
    }
    return id
  }

  /// - Parameter behind: What ``lastEventID(_:)`` gave.
  static func start(
    _ filter: EventFilter, behind: UInt64?, _ call: Call, _ services: Services
  ) async throws -> Reply {
    var filter = filter
    filter.isAscending = true
    filter.after = behind ?? filter.after
    try await EventRoutes.restrict(&filter, to: call.caller(), services)
    let range = try await services.store.eventRange()
    // Asked for before the first answer: what happens meanwhile is sent.
    guard let news = services.events.subscribe() else {
      throw APIError(
        .tooManyRequests, "\(EventFeed.streamsMax) event streams are open, or the API is ending: read the list instead",
        headers: [.retryAfter: "30"])
    }
    let isCut = filter.after.map { after in (range?.lowerBound ?? 0) > after + 1 } ?? false
    filter.after = filter.after ?? range?.upperBound ?? 0
    return Reply(
      .bytes(contentType: EventRoutes.streamType) { [filter] writer in
        try await write(filter, isCut: isCut, news, call, services, &writer)
      }, headers: [.vary: "Accept"])
  }

  private enum Wake: Sendable { case tick, end }

  private static func write(
    _ filter: EventFilter, isCut: Bool, _ news: AsyncStream<Void>, _ call: Call, _ services: Services,
    _ writer: inout any ResponseBodyWriter
  ) async throws {
    var filter = filter
    // Reconnect after so many milliseconds.
    try await send("retry: 2000\n\n", &writer)
    if isCut { try await send("event: events_lost\ndata: {\"reason\":\"older events are not kept\"}\n\n", &writer) }
    var iterator = Ticks(news)
    var lookedAt = ContinuousClock.now
    while true {
      // By the clock and not by what woke it: while events come one after the other, the right is looked at too.
      let now = ContinuousClock.now
      if now - lookedAt >= heartbeat - .seconds(1) {
        let caller: Principal
        do { caller = try await stillMay(call, services) } catch is APIError { return } catch {
          if case .end = await iterator.next() { return }
          continue
        }
        try await send(": \(Envelope.timestamp())\n\n", &writer)
        guard (try? await EventRoutes.restrict(&filter, to: caller, services)) != nil else {
          if case .end = await iterator.next() { return }
          continue
        }
        lookedAt = now
      }
      // A database that is away for a moment ends no stream.
      if let found = try? await services.store.events(filter, Page(limit: batch)).items, let last = found.last {
        try await send(found.map(text).joined(), &writer)
        filter.after = last.id
        if found.count == batch { continue }
      }
      if case .end = await iterator.next() { return }
    }
  }

  /// A token that has ended, an account that was put on hold, a role that was taken away: each ends the stream.
  private static func stillMay(_ call: Call, _ services: Services) async throws -> Principal {
    let caller = try await services.authenticator.principal(call.headers[.authorization], from: call.remoteAddress)
    guard caller.mayCome(from: call.remoteAddress) else { throw APIError(.unauthenticated, "not from this address any more") }
    try Authorizer.checkScope(.eventsRead, .anything, caller)
    return caller
  }

  static func text(_ event: NodeEvent) -> String {
    "id: \(event.id)\nevent: \(event.event.kind)\ndata: \(EventRoutes.json(event).text)\n\n"
  }

  private static func send(_ text: String, _ writer: inout any ResponseBodyWriter) async throws {
    try await writer.write(ByteBuffer(string: text))
  }

  /// News, or the time of a heartbeat where there were none for a while.
  private struct Ticks {
    private var iterator: AsyncStream<Wake>.Iterator
    private let tasks: TaskHolder

    init(_ news: AsyncStream<Void>) {
      let (merged, continuation) = AsyncStream<Wake>.makeStream(bufferingPolicy: .bufferingNewest(2))
      iterator = merged.makeAsyncIterator()
      tasks = TaskHolder([
        Task {
          for await _ in news { continuation.yield(.tick) }
          continuation.finish()
        },
        Task {
          while !Task.isCancelled {
            try? await Task.sleep(for: heartbeat)
            continuation.yield(.tick)
          }
        },
      ])
    }

    mutating func next() async -> Wake { await iterator.next() ?? .end }
  }

  /// Ends its tasks with itself.
  private final class TaskHolder: Sendable {
    private let tasks: [Task<Void, Never>]
    init(_ tasks: [Task<Void, Never>]) { self.tasks = tasks }
    deinit { for task in tasks { task.cancel() } }
  }
}

import ControlProtocol
import Foundation
import Logging
import ServiceLifecycle
import Storage
import Synchronization

/// Reads the events of every node's daemon into the database, and tells streams that there are new ones, whichever copy
/// of the API stored them.
///
/// Each copy of the API reads all daemons; the store keeps one of each event. Run it as a service that ends before the HTTP
/// server does: its end is what ends the streams.
public final class EventFeed: Service {
  /// Streams of one copy of the API at a time.
  static let streamsMax = 64
  /// How often the store is asked for events that another copy of the API has stored, while somebody streams: where it
  /// tells of them itself only in case a word was lost, and else.
  private static let lookPeriods = (told: Duration.seconds(5), untold: Duration.milliseconds(500))
  private static let nodesPeriod = Duration.seconds(5)
  private static let retry: ClosedRange<Double> = 0.5...30

  private struct State {
    var next = 0
    var listeners: [Int: AsyncStream<Void>.Continuation] = [:]
    var look: Task<Void, Never>?
    var isEnding = false
  }
  private let state = Mutex(State())
  private let store: any Store
  private let nodes: NodeClients
  private let metrics: APIMetrics
  private let logger: Logger

  init(store: any Store, nodes: NodeClients, metrics: APIMetrics, logger: Logger) {
    self.store = store
    self.nodes = nodes
    self.metrics = metrics
    self.logger = logger
  }

  public func run() async throws {
    await cancelWhenGracefulShutdown { await self.readAll() }
    close()
  }

  /// Ends all streams; no new one begins.
  public func close() {
    let listeners = state.withLock { state in
      state.isEnding = true
      state.look?.cancel()
      return Array(state.listeners.values)
    }
    for listener in listeners { listener.finish() }
  }

  // MARK: Streams

  var streamCount: Int { state.withLock { $0.listeners.count } }

  /// An element whenever there may be new events, until the API ends; nil where ``streamsMax`` listen already.
  func subscribe() -> AsyncStream<Void>? {
    let (stream, continuation) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
    let number = state.withLock { state -> Int? in
      guard !state.isEnding, state.listeners.count < Self.streamsMax else { return nil }
      state.next += 1
      state.listeners[state.next] = continuation
      if state.look == nil { state.look = Task { [weak self] in await self?.look() } }
      return state.next
    }
    guard let number else { return nil }
    continuation.onTermination = { [weak self] _ in self?.leave(number) }
    return stream
  }

  private func leave(_ number: Int) {
    state.withLock { state in
      state.listeners[number] = nil
      guard state.listeners.isEmpty else { return }
      state.look?.cancel()
      state.look = nil
    }
  }

  private func tell() {
    for listener in state.withLock({ Array($0.listeners.values) }) { listener.yield() }
  }

  /// While somebody streams.
  private func look() async {
    // Before the first look: nothing is stored in between.
    let wakes = store.wakes(.events)
    await withTaskGroup(of: Void.self) { group in
      group.addTask { for await _ in wakes { self.tell() } }
      group.addTask { await self.lookAgain() }
    }
  }

  private func lookAgain() async {
    let period = store.hearsCopies ? Self.lookPeriods.told : Self.lookPeriods.untold
    var newest: UInt64?
    while !Task.isCancelled {
      // A database that is away for a while: the streams wait for it.
      if let found = try? await store.eventRange()?.upperBound, found != newest {
        newest = found
        tell()
      }
      try? await Task.sleep(for: period)
    }
  }

  // MARK: Daemons

  /// One task for each node, as nodes come, go and move.
  private func readAll() async {
    var readers: [UUID: (address: String, task: Task<Void, Never>)] = [:]
    while !Task.isCancelled {
      if let nodes = try? await everything({ try await store.nodes($0) }) {
        let wanted = Dictionary(nodes.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
        for (id, reader) in readers where wanted[id]?.address != reader.address {
          reader.task.cancel()
          readers[id] = nil
        }
        for node in nodes where readers[node.id] == nil {
          readers[node.id] = (node.address, Task { await read(node) })
        }
      }
      try? await Task.sleep(for: Self.nodesPeriod)
    }
    for reader in readers.values { reader.task.cancel() }
    for reader in readers.values { await reader.task.value }
  }

  /// From where the store stands, again and again, until the task is cancelled.
  private func read(_ node: Node) async {
    var wait = Self.retry.lowerBound
    while !Task.isCancelled {
      let told = Kept(false)
      do {
        let position = try await store.eventPosition(ofNode: node.id)
        let last = Kept(position)
        try await nodes.events(node, after: position ?? EventPosition(epoch: 0, sequence: 0)) { [self] event in
          try await recordWaiting(event, of: node, behind: last.value)
          last.value = EventPosition(epoch: event.epoch, sequence: event.sequence)
          told.value = true
        }
      } catch {
        logger.debug("events of a node end", metadata: ["node": "\(node.name)", "reason": "\(error)"])
      }
      // A daemon that spoke is one that was restarted, not one that isn't there.
      if told.value { wait = Self.retry.lowerBound }
      // The copies of the API don't all come back at once.
      try? await Task.sleep(for: .seconds(Double.random(in: wait / 2...wait)))
      wait = min(wait * 2, Self.retry.upperBound)
    }
  }

  /// The node's stream stands still while the database is away: the daemon keeps what follows.
  private func recordWaiting(
    _ event: Sluice_Control_V1_Event, of node: Node, behind last: EventPosition?
  ) async throws {
    var wait = Self.retry.lowerBound
    while true {
      do {
        return try await record(event, of: node, behind: last)
      } catch let error as StorageError {
        if wait == Self.retry.lowerBound {
          logger.warning("events of a node can't be stored", metadata: ["node": "\(node.name)", "error": "\(error)"])
        }
        guard case .unavailable = error else { throw error }
      }
      try await Task.sleep(for: .seconds(wait))
      wait = min(wait * 2, Self.retry.upperBound)
    }
  }

  private func record(
    _ event: Sluice_Control_V1_Event, of node: Node, behind last: EventPosition?
  ) async throws {
    var events = [NewNodeEvent(event)]
    if let last, last.epoch == event.epoch, event.sequence > last.sequence + 1 {
      let lost = event.sequence - last.sequence - 1
      events.insert(
        NewNodeEvent(
          position: EventPosition(epoch: event.epoch, sequence: last.sequence + 1), kind: Self.lostKind, interface: "",
          message: "\(lost) events were lost: the daemon kept no more of them", fields: ["count": "\(lost)"],
          happenedAt: events[0].happenedAt), at: 0)
    }
    metrics.eventsStored(try await store.recordEvents(events, ofNode: node.id))
  }

  /// What the API itself says in place of events that it could not read.
  static let lostKind = "events_lost"
}

/// What one stream of a daemon has come to.
private final class Kept<Value: Sendable>: Sendable {
  private let stored: Mutex<Value>
  init(_ value: Value) { stored = Mutex(value) }

  var value: Value {
    get { stored.withLock { $0 } }
    set { stored.withLock { $0 = newValue } }
  }
}

extension NewNodeEvent {
  private static let textMax = 1024
  private static let fieldsMax = 32

  /// What a daemon tells, cut to what is stored; a NUL, which no database takes, is left out.
  init(_ event: Sluice_Control_V1_Event) {
    func text(_ text: String, _ max: Int = Self.textMax) -> String { String(text.filter { $0 != "\0" }.prefix(max)) }
    let fields = event.fields.sorted { $0.key < $1.key }.prefix(Self.fieldsMax)
    self.init(
      position: EventPosition(epoch: event.epoch, sequence: event.sequence), kind: text(event.kind, 64),
      interface: text(event.interface, 256), message: text(event.message),
      fields: Dictionary(fields.map { (text($0.key, 64), text($0.value)) }, uniquingKeysWith: { first, _ in first }),
      happenedAt: Date(timeIntervalSince1970: Double(event.timeUnixNanos) / 1e9))
  }
}

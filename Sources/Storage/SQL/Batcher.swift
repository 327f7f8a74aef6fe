import Synchronization

/// Lets calls that wait at the same moment go together: the first starts a lane, which takes all that wait, again and
/// again until nobody does. The busier the database, the larger the batches; a lonely call goes at once.
final class Batcher<Work: Sendable>: Sendable {
  /// More waiting calls than this are turned away at once.
  static var waitingMax: Int { 1024 }

  private struct Waiter {
    let id: UInt64
    let since: ContinuousClock.Instant
    let work: Work
    let continuation: CheckedContinuation<Void, any Error>
  }

  private struct State {
    var waiters: [Waiter] = []
    var nextID: UInt64 = 0
    var lanes = 0
    var timeouts: UInt64 = 0
    /// Whether a task turns away who waits for too long.
    var isWatched = false
  }

  private let batchMax: Int
  private let lanesMax: Int
  private let timeout: Duration
  private let perform: @Sendable ([Work]) async -> [Result<Void, any Error>]
  private let state = Mutex(State())

  /// - Parameters:
  ///   - lanesMax: batches that are under way at once.
  ///   - timeout: a call whose batch has not begun by then is turned away.
  ///   - perform: one result for each.
  init(
    batchMax: Int, lanesMax: Int, timeout: Duration,
    perform: @escaping @Sendable ([Work]) async -> [Result<Void, any Error>]
  ) {
    precondition(batchMax > 0 && lanesMax > 0, "something goes at a time")
    self.batchMax = batchMax
    self.lanesMax = lanesMax
    self.timeout = timeout
    self.perform = perform
  }

  /// Calls that wait, and those that were turned away since the start.
  var counts: (waiting: Int, timeouts: UInt64) { state.withLock { ($0.waiters.count, $0.timeouts) } }

  /// Returns once the batch with this is done. Throws what became of it, `StorageError.unavailable` where its turn did
  /// not come, and `CancellationError` where the task was cancelled before it came.
  func run(_ work: Work) async throws {
    let id = state.withLock { state in
      state.nextID += 1
      return state.nextID
    }
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        enqueue(Waiter(id: id, since: .now, work: work, continuation: continuation))
        if Task.isCancelled { cancel(id) }
      }
    } onCancel: {
      cancel(id)
    }
  }

  private enum Entry { case refused, startsLane, waits(startsWatch: Bool) }

  private func enqueue(_ waiter: Waiter) {
    let entry = state.withLock { state -> Entry in
      if state.waiters.count >= Self.waitingMax {
        state.timeouts += 1
        return .refused
      }
      state.waiters.append(waiter)
      if state.lanes < lanesMax {
        state.lanes += 1
        return .startsLane
      }
      defer { state.isWatched = true }
      return .waits(startsWatch: !state.isWatched)
    }
    // Detached: a batch is nobody's own, and must not end or be named with the task that happened to begin it.
    switch entry {
    case .refused: waiter.continuation.resume(throwing: Self.late("\(Self.waitingMax) calls wait already"))
    case .startsLane: Task.detached { await self.runLane() }
    case .waits(startsWatch: true): Task.detached { await self.watch() }
    case .waits(startsWatch: false): break
    }
  }

  private func cancel(_ id: UInt64) {
    let waiter = state.withLock { state in
      state.waiters.firstIndex { $0.id == id }.map { state.waiters.remove(at: $0) }
    }
    waiter?.continuation.resume(throwing: CancellationError())
  }

  private func runLane() async {
    while let batch = take() {
      let results = await perform(batch.map(\.work))
      for (waiter, result) in zip(batch, results) { waiter.continuation.resume(with: result) }
    }
  }

  /// The next batch; nil, and a lane less, where nobody waits.
  private func take() -> [Waiter]? {
    state.withLock { state in
      let batch = Array(state.waiters.prefix(batchMax))
      state.waiters.removeFirst(batch.count)
      if batch.isEmpty { state.lanes -= 1 }
      return batch.isEmpty ? nil : batch
    }
  }

  /// As long as somebody waits: batches that hang, on a disk say, keep nobody longer than the timeout.
  private func watch() async {
    while let wait = turnAway() { try? await Task.sleep(for: wait) }
  }

  /// Those whose time is over. How long the next one has; nil, and no watch, where nobody waits.
  private func turnAway() -> Duration? {
    let now = ContinuousClock.now
    let (late, wait) = state.withLock { state -> ([Waiter], Duration?) in
      let late = Array(state.waiters.prefix { $0.since + timeout <= now })
      state.timeouts += UInt64(late.count)
      state.waiters.removeFirst(late.count)
      state.isWatched = !state.waiters.isEmpty
      return (late, state.waiters.first.map { $0.since + timeout - now })
    }
    for waiter in late { waiter.continuation.resume(throwing: Self.late("a call waited for \(timeout)")) }
    return wait
  }

  private static func late(_ reason: String) -> StorageError {
    .unavailable(reason: "the database does not keep up; \(reason)", remedy: "lower the load or look at its disk")
  }
}

import Synchronization

/// Lets a bounded number of tasks in at once; others wait in order, for a bounded time, in a bounded queue.
final class AdmissionGate: Sendable {
  /// More waiters than this are turned away at once.
  static let waitingMax = 1024

  private struct Waiter {
    let id: UInt64
    let continuation: CheckedContinuation<Void, any Error>
    var timer: Task<Void, Never>?
  }

  private struct State {
    var inUse = 0
    var waiters: [Waiter] = []
    var nextID: UInt64 = 0
    var timeouts: UInt64 = 0
    var isClosed = false
    /// Who waits in ``close()``.
    var closers: [CheckedContinuation<Void, Never>] = []
  }

  let size: Int
  private let timeout: Duration
  private let state = Mutex(State())

  init(size: Int, timeout: Duration) {
    precondition(size > 0, "a gate lets somebody in")
    self.size = size
    self.timeout = timeout
  }

  var poolState: PoolState {
    state.withLock {
      PoolState(size: size, inUse: $0.inUse, waiting: $0.waiters.count, timeouts: $0.timeouts)
    }
  }

  /// Runs the body once there is room. Throws `StorageError.unavailable` when the wait is over or the gate closed, and
  /// `CancellationError` when the task was cancelled while it waited.
  func admit<T: Sendable>(_ body: () async throws -> T) async throws -> T {
    try await enter()
    defer { leave() }
    return try await body()
  }

  /// Turns everybody away and returns once the last one inside has left.
  func close() async {
    await withCheckedContinuation { continuation in
      let (waiters, isEmpty) = state.withLock { state -> ([Waiter], Bool) in
        state.isClosed = true
        if state.inUse > 0 { state.closers.append(continuation) }
        defer { state.waiters = [] }
        return (state.waiters, state.inUse == 0)
      }
      for waiter in waiters { finish(waiter, .failure(Self.closed)) }
      if isEmpty { continuation.resume() }
    }
  }

  private static let closed = StorageError.unavailable(
    reason: "the store is closed", remedy: "the program is shutting down")

  private enum Entry { case entered, refused(StorageError), wait(UInt64) }

  private func enter() async throws {
    let entry = state.withLock { state -> Entry in
      if state.isClosed { return .refused(Self.closed) }
      if state.inUse < size && state.waiters.isEmpty {
        state.inUse += 1
        return .entered
      }
      if state.waiters.count >= Self.waitingMax {
        state.timeouts += 1
        return .refused(exhausted("\(Self.waitingMax) calls wait already"))
      }
      state.nextID += 1
      return .wait(state.nextID)
    }
    switch entry {
    case .entered: return
    case .refused(let error): throw error
    case .wait(let id): try await wait(id)
    }
  }

  private func wait(_ id: UInt64) async throws {
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        guard enqueue(Waiter(id: id, continuation: continuation)) else { return }
        // Only now can the timer or a cancellation find the waiter; both may have come before.
        let timer = Task {
          do { try await Task.sleep(for: timeout) } catch { return }
          expire(id)
        }
        let isWaiting = state.withLock { state in
          guard let index = state.waiters.firstIndex(where: { $0.id == id }) else { return false }
          state.waiters[index].timer = timer
          return true
        }
        if !isWaiting { timer.cancel() }
        if Task.isCancelled { cancel(id) }
      }
    } onCancel: {
      cancel(id)
    }
  }

  /// False if there was room (or the gate closed) in the meantime, so that nobody waits.
  private func enqueue(_ waiter: Waiter) -> Bool {
    let result = state.withLock { state -> Result<Void, any Error>? in
      if state.isClosed { return .failure(Self.closed) }
      if state.inUse < size && state.waiters.isEmpty {
        state.inUse += 1
        return .success(())
      }
      state.waiters.append(waiter)
      return nil
    }
    guard let result else { return true }
    waiter.continuation.resume(with: result)
    return false
  }

  private func leave() {
    let (next, closers) = state.withLock { state -> (Waiter?, [CheckedContinuation<Void, Never>]) in
      if !state.waiters.isEmpty { return (state.waiters.removeFirst(), []) }  // the place goes on to the next
      state.inUse -= 1
      guard state.inUse == 0 else { return (nil, []) }
      defer { state.closers = [] }
      return (nil, state.closers)
    }
    if let next { finish(next, .success(())) }
    for closer in closers { closer.resume() }
  }

  private func expire(_ id: UInt64) {
    guard let waiter = remove(id, countsAsTimeout: true) else { return }
    finish(waiter, .failure(exhausted("no connection became free in \(timeout)")))
  }

  private func cancel(_ id: UInt64) {
    guard let waiter = remove(id, countsAsTimeout: false) else { return }
    finish(waiter, .failure(CancellationError()))
  }

  private func remove(_ id: UInt64, countsAsTimeout: Bool) -> Waiter? {
    state.withLock { state in
      guard let index = state.waiters.firstIndex(where: { $0.id == id }) else { return nil }
      if countsAsTimeout { state.timeouts += 1 }
      return state.waiters.remove(at: index)
    }
  }

  private func finish(_ waiter: Waiter, _ result: Result<Void, any Error>) {
    waiter.timer?.cancel()
    waiter.continuation.resume(with: result)
  }

  private func exhausted(_ reason: String) -> StorageError {
    .unavailable(reason: "all \(size) connections are busy; \(reason)", remedy: "raise DB_POOL_SIZE or lower the load")
  }
}

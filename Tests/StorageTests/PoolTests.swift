import DatabaseSupport
import Foundation
import Synchronization
import Testing

@testable import Storage

@Suite(.serialized) struct PoolTests {
  @Test("A gate never lets more in than it has room", arguments: [1, 2, 7])
  func bound(_ size: Int) async throws {
    let gate = AdmissionGate(size: size, timeout: .seconds(60))
    let high = try await withThrowingTaskGroup(of: Int.self) { group in
      for _ in 0..<200 {
        group.addTask {
          try await gate.admit {
            await Task.yield()
            return gate.poolState.inUse
          }
        }
      }
      return try await group.reduce(into: 0) { $0 = max($0, $1) }
    }
    #expect(high <= size)
    #expect(gate.poolState == PoolState(size: size, inUse: 0, waiting: 0, timeouts: 0))
    await gate.close()
  }

  @Test("Who waits too long is turned away, in bounded time")
  func timeout() async throws {
    let gate = AdmissionGate(size: 1, timeout: .milliseconds(50))
    try await gate.admit {
      let start = ContinuousClock.now
      await #expect(throws: StorageError.self) { try await gate.admit {} }
      #expect(ContinuousClock.now - start >= .milliseconds(50))
      #expect(gate.poolState == PoolState(size: 1, inUse: 1, waiting: 0, timeouts: 1))
    }
    try await gate.admit {}
  }

  @Test("A cancelled waiter leaves the queue and takes no place")
  func cancellation() async throws {
    let gate = AdmissionGate(size: 1, timeout: .seconds(60))
    try await gate.admit {
      let waiter = Task { try await gate.admit {} }
      try await eventually("nobody waits") { gate.poolState.waiting == 1 }
      waiter.cancel()
      await #expect(throws: CancellationError.self) { try await waiter.value }
      #expect(gate.poolState == PoolState(size: 1, inUse: 1, waiting: 0, timeouts: 0))
    }
    #expect(gate.poolState.inUse == 0)
  }

  @Test("Closing turns waiters away and waits for who is inside")
  func close() async throws {
    let gate = AdmissionGate(size: 1, timeout: .seconds(60))
    let (inside, enter) = AsyncStream<Void>.makeStream()
    let (released, release) = AsyncStream<Void>.makeStream()
    let holder = Task {
      try await gate.admit {
        enter.finish()
        for await _ in released {}
      }
    }
    for await _ in inside {}
    let waiter = Task { try await gate.admit {} }
    try await eventually("nobody waits") { gate.poolState.waiting == 1 }
    async let closed: Void = gate.close()
    #expect(await storageError { try await waiter.value } != nil)
    #expect(gate.poolState.inUse == 1)
    async let closedToo: Void = gate.close()
    release.finish()
    await closed
    await closedToo
    try await holder.value
    #expect(await storageError { try await gate.admit {} } != nil)
  }

  @Test("An exhausted pool makes calls wait, for a bounded time", arguments: TestBackend.allCases)
  func exhaustion(_ backend: TestBackend) async throws {
    let test = try backend.make()
    defer { test.remove() }
    let database = try open(test, poolSize: 1, poolTimeout: .milliseconds(200))
    let store = SQLStore(database)
    let free = Latch(), holding = Latch()
    let holder = Task {
      try await database.read { session in
        holding.open()
        free.wait()  // a thread of the pool, or of SQLite's queue, not a cooperative one
        return try session.count("SELECT 1", [])
      }
    }
    try await eventually("the pool is not held") { holding.isOpen }
    #expect(store.poolState.inUse == 1)
    let start = ContinuousClock.now
    let error = await storageError { try await store.settings() }
    #expect(error.map(isUnavailable) == true)
    #expect("\(error!)".contains("DB_POOL_SIZE"))
    #expect(ContinuousClock.now - start < .seconds(5))
    #expect(store.poolState.timeouts == 1)
    await #expect(throws: StorageError.self) { try await store.ping(timeout: .milliseconds(50)) }
    free.open()
    #expect(try await holder.value == 1)
    try await store.ping(timeout: .seconds(10))
    await store.close()
    #expect(await storageError { try await store.ping(timeout: .seconds(1)) }.map(isUnavailable) == true)
  }

  @Test("Many calls through few connections all succeed", arguments: TestBackend.allCases)
  func load(_ backend: TestBackend) async throws {
    try await withStore(backend, { $0.poolTimeout = .seconds(60); $0.poolSize = 3 }) { store in
      try await withThrowingTaskGroup(of: Void.self) { group in
        for index in 0..<100 {
          group.addTask {
            try await store.setSetting("k\(index)", to: "v\(index)")
            #expect(try await store.setting("k\(index)") == "v\(index)")
          }
        }
        try await group.waitForAll()
      }
      #expect(try await store.settings().count == 100)
      #expect(store.poolState.inUse == 0)
    }
  }

  @Test("However many calls wait for a lock, one of them asks the database for it", arguments: [TestBackend.postgres, .mysql])
  func waitingForALock(_ backend: TestBackend) async throws {
    try await withDatabase(backend) { database in
      let count = backend == .postgres
        ? "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database()"
        : "SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE()"
      let inside = Inside()
      try await withThrowingTaskGroup(of: Int.self) { group in
        for _ in 0..<30 {
          group.addTask {
            try await database.holding("node a") {
              #expect(inside.enter() == 1)
              defer { inside.leave() }
              return try await database.read { try $0.count(count, []) }
            }
          }
        }
        // Four of the pool, and one that has the lock.
        for try await connections in group { #expect(connections <= 6) }
      }
    }
  }
}

/// How many are somewhere.
private final class Inside: Sendable {
  private let count = Mutex(0)

  func enter() -> Int {
    count.withLock { count in
      count += 1
      return count
    }
  }

  func leave() { count.withLock { $0 -= 1 } }
}

/// Opened once, waited for by a thread of its own.
final class Latch: Sendable {
  private let state = Mutex(false)
  private let semaphore = DispatchSemaphore(value: 0)

  var isOpen: Bool { state.withLock { $0 } }

  func open() {
    state.withLock { $0 = true }
    semaphore.signal()
  }

  func wait() { semaphore.wait() }
}

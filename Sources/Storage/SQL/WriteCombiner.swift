import Audit
import Foundation
import Synchronization

/// Puts writes that wait at the same moment into one transaction, each behind a savepoint of its own: one commit, and so
/// one wait for the disk, for all of them. What one of them throws undoes that one alone; each is answered after the
/// commit that holds it.
///
/// One transaction of a store's runs at a time. SQLite has one writer anyway, and in PostgreSQL the head of the audit
/// chain lets one after the other commit: the records of a group are chained at its end, so that nobody who holds the
/// head waits for another lock.
final class WriteCombiner: Sendable {
  /// Writes of one transaction at most.
  static let groupMax = 64

  /// What a write records, and when it happened.
  struct Records: Sendable {
    var at = Date.distantPast
    var list: [AuditRecord] = []
    /// What other copies of the API are to hear of the commit.
    var wakes: Set<WakeTopic> = []
  }

  private typealias Work = @Sendable (any SQLSession) throws -> Records
  private let batcher: Batcher<Work>
  /// What is told within this process, where the database tells nobody.
  let hub: WakeHub

  /// - Parameter timeout: a write that has not begun by then is turned away.
  init(_ database: any Database, timeout: Duration) {
    let hub = WakeHub()
    self.hub = hub
    batcher = Batcher(batchMax: Self.groupMax, lanesMax: 1, timeout: timeout) { group in
      do {
        let (results, topics) = try await database.write { try Self.perform(group, $0) }
        hub.tell(topics)
        return results
      } catch {
        return group.map { _ in .failure(error) }
      }
    }
  }

  /// Writes that wait for a transaction, and those that were turned away since the start.
  var counts: (waiting: Int, timeouts: UInt64) { batcher.counts }

  /// Runs the body in a transaction and returns once that is committed; the body may run again after a deadlock. Throws
  /// what the body throws, and as ``Batcher/run(_:)``.
  func write<T: Sendable>(_ body: @escaping @Sendable (any SQLSession) throws -> (T, Records)) async throws -> T {
    let value = Made<T>()
    try await batcher.run { session in
      let (made, records) = try body(session)
      value.set(made)
      return records
    }
    return value.get()
  }

  /// One transaction's inside; what is to be told after the commit.
  private static func perform(
    _ group: [Work], _ session: any SQLSession
  ) throws -> (results: [Result<Void, any Error>], topics: Set<WakeTopic>) {
    if group.count == 1 {
      let made = try group[0](session)
      try AuditTable.append([made], session)
      return ([.success(())], try wake([made], session))
    }
    var results: [Result<Void, any Error>] = []
    var records: [Records] = []
    for work in group {
      try session.beginPart()
      do {
        let made = try work(session)
        try session.endPart()
        records.append(made)
        results.append(.success(()))
      } catch {
        // A deadlock is everybody's: the whole group runs again. And where the transaction is gone, so are all.
        if session.mustRepeat { throw error }
        do throws(StorageError) { try session.undoPart() } catch let lost { throw error is StorageError ? error : lost }
        results.append(.failure(error))
      }
    }
    try AuditTable.append(records, session)
    return (results, try wake(records, session))
  }

  /// PostgreSQL tells at the commit, once, however often it is asked to, this process too; for the others it is returned.
  private static func wake(_ records: [Records], _ session: any SQLSession) throws(StorageError) -> Set<WakeTopic> {
    let topics = records.reduce(into: Set<WakeTopic>()) { $0.formUnion($1.wakes) }
    guard session.dialect == .postgres else { return topics }
    for topic in topics { try session.executeLater("NOTIFY \(PostgresListener.channel(topic))", []) }
    return []
  }
}

/// What a call made, the last time that it ran.
final class Made<T: Sendable>: Sendable {
  private let value = Mutex<T?>(nil)

  func set(_ new: T) { value.withLock { $0 = new } }

  func get() -> T {
    guard let made = value.withLock({ $0 }) else { preconditionFailure("a call that succeeded has made its value") }
    return made
  }
}

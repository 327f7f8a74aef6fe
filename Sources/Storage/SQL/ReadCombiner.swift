/// Sends single statements that only read and that wait at the same moment to the database together: one connection and
/// one trip for all of them. For what finds rows by a key; a statement that takes long holds up its neighbours.
final class ReadCombiner: Sendable {
  /// Statements of one trip at most.
  static let batchMax = 32
  /// Trips at once: where one meets something slow, there is another way.
  static let lanesMax = 2

  private struct Work: Sendable {
    let query: SQLQuery
    let rows: Made<[[SQLValue]]>
  }
  private let batcher: Batcher<Work>

  /// - Parameter timeout: a statement that was not sent by then is turned away.
  init(_ database: any Database, timeout: Duration) {
    batcher = Batcher(batchMax: Self.batchMax, lanesMax: Self.lanesMax, timeout: timeout) { batch in
      do {
        let answers = try await database.query(batch.map(\.query))
        return zip(batch, answers).map { work, answer in answer.map(work.rows.set).mapError { $0 } }
      } catch {
        return batch.map { _ in .failure(error) }
      }
    }
  }

  /// Statements that wait, and those that were turned away since the start.
  var counts: (waiting: Int, timeouts: UInt64) { batcher.counts }

  /// The first row, read by `read`; nil if there is none. Sees everything that was committed before the call.
  func first<T>(
    _ sql: String, _ arguments: [SQLValue], _ read: (inout RowReader) throws(StorageError) -> T
  ) async throws -> T? {
    let rows = Made<[[SQLValue]]>()
    try await batcher.run(Work(query: SQLQuery(sql: sql, arguments: arguments), rows: rows))
    guard let row = rows.get().first else { return nil }
    var reader = RowReader(row)
    return try read(&reader)
  }
}

import CPostgres

extension PostgresConnection {
  /// Sends all queries before it reads the first answer: one trip instead of one each. Outside a transaction.
  ///
  /// An error ends what was sent behind it: that is run again by itself.
  func pipeline(_ queries: [SQLQuery]) -> [Result<[[SQLValue]], StorageError>] {
    var answers: [Result<[[SQLValue]], StorageError>?] = Array(repeating: nil, count: queries.count)
    if queries.count > 1 { sendTogether(queries, &answers) }
    return zip(queries, answers).map { query, answer in
      answer ?? Result { () throws(StorageError) in try rows(query.sql, query.arguments) }
    }
  }

  /// What remains nil has no answer yet.
  private func sendTogether(_ queries: [SQLQuery], _ answers: inout [Result<[[SQLValue]], StorageError>?]) {
    // Preparing is a trip of its own, the first time only. Where it made room, the names before it are gone.
    let names = queries.map { query in try? prepare(query.sql) }
    guard !names.contains(nil), queries.allSatisfy({ prepared[$0.sql] != nil }) else { return }
    guard PQenterPipelineMode(connection) == 1 else { return }
    var sent: [Int] = []
    for (index, query) in queries.enumerated() {
      do throws(StorageError) {
        let isSent = withCStrings(try Self.texts(query.arguments)) { values in
          PQsendQueryPrepared(connection, names[index], Int32(query.arguments.count), values, nil, nil, 0)
        }
        guard isSent == 1 else {
          isLost = true
          break
        }
        sent.append(index)
      } catch { answers[index] = .failure(error) }
    }
    if PQpipelineSync(connection) != 1 { isLost = true }
    for index in sent { answers[index] = receive() }
    if let end = PQgetResult(connection) { PQclear(end) }
    if PQexitPipelineMode(connection) != 1 { isLost = true }
  }

  /// The next answer; nil: it was not run, because one before it failed.
  private func receive() -> Result<[[SQLValue]], StorageError>? {
    guard let result = PQgetResult(connection) else {
      isLost = true
      return nil
    }
    defer {
      PQclear(result)
      // Behind each answer stands an empty one.
      while let rest = PQgetResult(connection) { PQclear(rest) }
    }
    if PQresultStatus(result) == PGRES_PIPELINE_ABORTED { return nil }
    return Result { () throws(StorageError) in
      try check(result)
      return try Self.decode(result)
    }
  }
}

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
    guard let names = try? prepare(queries) else { return }
    let texts = queries.map { query in Result { () throws(StorageError) in try Self.texts(query.arguments) } }
    for (index, text) in texts.enumerated() {
      if case .failure(let error) = text { answers[index] = .failure(error) }
    }
    let sent = texts.indices.compactMap { index in
      (try? texts[index].get()).map { (index: index, name: names[index], texts: $0) }
    }
    inPipeline(sent.map { ($0.name, $0.texts) }) { position, result in
      defer { PQclear(result) }
      // It was not run, because one before it failed.
      if PQresultStatus(result) == PGRES_PIPELINE_ABORTED { return }
      answers[sent[position].index] = Result { () throws(StorageError) in
        try check(result)
        return try Self.decode(result)
      }
    }
  }

  /// Statements of a transaction in one trip; the first failure ends them. The last one's result, which the caller clears.
  func runTogether(_ queries: [SQLQuery]) throws(StorageError) -> OpaquePointer? {
    let names = try prepare(queries)
    var sent: [(String, [String?])] = []
    for (name, query) in zip(names, queries) { sent.append((name, try Self.texts(query.arguments))) }
    var last: OpaquePointer?
    var failure: StorageError?
    var count = 0
    inPipeline(sent) { position, result in
      count += 1
      if failure == nil {
        do throws(StorageError) { try check(result) } catch { failure = error }
      }
      if position == queries.count - 1 { last = result } else { PQclear(result) }
    }
    if failure == nil, count < queries.count {
      failure = PostgresFailure(
        state: "", constraint: "", message: String(cString: PQerrorMessage(connection)), isConnected: false
      ).storageError
    }
    if let failure {
      PQclear(last)
      throw failure
    }
    return last
  }

  /// Preparing is a trip of its own, the first time only. Where it made room, the names before it are gone: then again.
  private func prepare(_ queries: [SQLQuery]) throws(StorageError) -> [String] {
    var names: [String] = []
    repeat {
      names = []
      for query in queries { names.append(try prepare(query.sql)) }
    } while !queries.allSatisfy { prepared[$0.sql] != nil }
    return names
  }

  /// Sends prepared statements with their parameters, and gives each one's result, in order, to the body, which clears
  /// it; fewer where the connection was lost.
  private func inPipeline(_ statements: [(name: String, texts: [String?])], _ body: (Int, OpaquePointer) -> Void) {
    guard PQenterPipelineMode(connection) == 1 else {
      isLost = true
      return
    }
    var count = 0
    for statement in statements {
      let isSent = withCStrings(statement.texts) { values in
        PQsendQueryPrepared(connection, statement.name, Int32(statement.texts.count), values, nil, nil, 0)
      }
      guard isSent == 1 else {
        isLost = true
        break
      }
      count += 1
    }
    if PQpipelineSync(connection) != 1 { isLost = true }
    for position in 0..<count {
      guard let result = PQgetResult(connection) else {
        isLost = true
        break
      }
      body(position, result)
      // Behind each answer stands an empty one.
      while let rest = PQgetResult(connection) { PQclear(rest) }
    }
    if let end = PQgetResult(connection) { PQclear(end) }
    if PQexitPipelineMode(connection) != 1 { isLost = true }
  }
}

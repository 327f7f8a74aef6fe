import CPostgres

/// A statement with its parameters as libpq takes them.
struct PostgresStatement {
  let sql: String
  let texts: [String?]
}

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
    var sent: [(index: Int, statement: PostgresStatement)] = []
    for (index, query) in queries.enumerated() {
      do throws(StorageError) {
        sent.append((index, PostgresStatement(sql: query.sql, texts: try Self.texts(query.arguments))))
      } catch { answers[index] = .failure(error) }
    }
    guard let names = try? prepare(sent.map(\.statement)) else { return }
    inPipeline(sent.map(\.statement), names) { position, result in
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
  func runTogether(_ statements: [PostgresStatement]) throws(StorageError) -> OpaquePointer? {
    let names = try prepare(statements)
    var last: OpaquePointer?
    var failure: StorageError?
    var count = 0
    inPipeline(statements, names) { position, result in
      count += 1
      if failure == nil {
        do throws(StorageError) { try check(result) } catch { failure = error }
      }
      if position == statements.count - 1 { last = result } else { PQclear(result) }
    }
    if failure == nil, count < statements.count {
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
  private func prepare(_ statements: [PostgresStatement]) throws(StorageError) -> [String] {
    var names: [String] = []
    repeat {
      names = []
      for statement in statements { names.append(try prepare(statement.sql)) }
    } while !statements.allSatisfy { prepared[$0.sql] != nil }
    return names
  }

  /// Sends prepared statements with their parameters, and gives each one's result, in order, to the body, which clears
  /// it; fewer where the connection was lost.
  private func inPipeline(
    _ statements: [PostgresStatement], _ names: [String], _ body: (Int, OpaquePointer) -> Void
  ) {
    guard PQenterPipelineMode(connection) == 1 else {
      isLost = true
      return
    }
    var count = 0
    for (name, statement) in zip(names, statements) {
      let isSent = withCStrings(statement.texts) { values in
        PQsendQueryPrepared(connection, name, Int32(statement.texts.count), values, nil, nil, 0)
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

/// Many rows by few statements.
enum SQLInsert {
  /// Rows of one INSERT at most, which halve for the rest: so many statements for a table and no more are kept prepared.
  static let rowsMax = 16

  /// Names of columns, of which MariaDB knows some as words of its own.
  static func quoted(_ columns: [String]) -> String { columns.map { "\"\($0)\"" }.joined(separator: ", ") }
}

/// One of some values, of which there is at least one: `IN ($1, $2, …)` with the parameters from the first. As many as the next
/// power of two, the last value again and again: few texts, since statements are kept prepared.
struct SQLChoice {
  let sql: String
  let arguments: [SQLValue]

  init(_ values: [SQLValue]) {
    precondition(!values.isEmpty, "a choice has something to choose from")
    var count = 1
    while count < values.count { count *= 2 }
    arguments = values + Array(repeating: values[values.count - 1], count: count - values.count)
    sql = "IN (\((1...count).map { "$\($0)" }.joined(separator: ", ")))"
  }
}

extension SQLSession {
  /// As ``SQLSession/executeLater(_:_:)``.
  func insert(into table: String, _ columns: [String], _ rows: [[SQLValue]]) throws(StorageError) {
    var rest = rows[...]
    var size = SQLInsert.rowsMax
    while !rest.isEmpty {
      while size > rest.count { size /= 2 }
      let part = rest.prefix(size)
      var parameter = 0
      let values = part.map { row in
        "(" + row.map { _ in
          parameter += 1
          return "$\(parameter)"
        }.joined(separator: ", ") + ")"
      }
      try executeLater(
        "INSERT INTO \(table) (\(SQLInsert.quoted(columns))) VALUES \(values.joined(separator: ", "))",
        part.flatMap { $0 })
      rest = rest.dropFirst(size)
    }
  }

  /// Of the schema that unqualified names are in.
  func tableNames() throws(StorageError) -> [String] {
    let sql =
      switch dialect {
      case .sqlite: "SELECT name FROM sqlite_master WHERE type = 'table'"
      case .postgres: "SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema()"
      case .mysql: "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"
      }
    return try all(sql, []) { row throws(StorageError) in try row.text() }
  }
}

/// What the databases say each in its own way.
extension SQLSession {
  /// False where there is a row of that key already. Of two at once, the second waits for the first one's commit.
  func insertNew(
    into table: String, _ columns: [String], _ values: [SQLValue], key: [String]
  ) throws(StorageError) -> Bool {
    let parameters = values.indices.map { "$\($0 + 1)" }.joined(separator: ", ")
    let insert = "INSERT INTO \(table) (\(SQLInsert.quoted(columns))) VALUES (\(parameters))"
    guard dialect == .mysql else {
      return try execute("\(insert) ON CONFLICT (\(SQLInsert.quoted(key))) DO NOTHING", values) == 1
    }
    // INSERT IGNORE would ignore more than this.
    do throws(StorageError) { return try execute(insert, values) == 1 } catch {
      guard case .conflict = error else { throw error }
      return false
    }
  }

  /// Inserts the row, or gives the one of its key these values.
  func upsert(
    into table: String, _ columns: [String], _ values: [SQLValue], key: [String]
  ) throws(StorageError) {
    let parameters = values.indices.map { "$\($0 + 1)" }.joined(separator: ", ")
    let others = columns.filter { !key.contains($0) }
    let clause =
      dialect == .mysql
      ? "ON DUPLICATE KEY UPDATE " + others.map { "\"\($0)\" = VALUES(\"\($0)\")" }.joined(separator: ", ")
      : "ON CONFLICT (\(SQLInsert.quoted(key))) DO UPDATE SET "
        + others.map { "\"\($0)\" = excluded.\"\($0)\"" }.joined(separator: ", ")
    try execute("INSERT INTO \(table) (\(SQLInsert.quoted(columns))) VALUES (\(parameters)) \(clause)", values)
  }

  /// Nobody else changes the row that the condition names, or locks it, from its turn to the end of the transaction; as
  /// ``SQLSession/executeLater(_:_:)``. SQLite has one writer.
  func lockLater(_ table: String, where condition: String, _ arguments: [SQLValue]) throws(StorageError) {
    let strength: String
    switch dialect {
    case .sqlite: return
    // Of the key nothing changes: rows that refer to this one can be made meanwhile.
    case .postgres: strength = "NO KEY UPDATE"
    case .mysql: strength = "UPDATE"
    }
    try executeLater("SELECT 1 FROM \(table) WHERE \(condition) FOR \(strength)", arguments)
  }

  /// Updates the row that the condition names, and which it still names afterwards; returns it as it is then, nil if
  /// there is none.
  func update<T>(
    _ table: String, set: String, where condition: String, _ arguments: [SQLValue], returning columns: String,
    _ read: (inout RowReader) throws(StorageError) -> T
  ) throws(StorageError) -> T? {
    let update = "UPDATE \(table) SET \(set) WHERE \(condition)"
    guard dialect == .mysql else { return try first("\(update) RETURNING \(columns)", arguments, read) }
    // The row is locked: what is read is what was written.
    guard try execute(update, arguments) > 0 else { return nil }
    return try first("SELECT \(columns) FROM \(table) WHERE \(condition)", arguments, read)
  }
}

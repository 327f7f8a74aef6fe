/// Many rows by few statements.
enum SQLInsert {
  /// Rows of one INSERT at most, which halve for the rest: so many statements for a table and no more are kept prepared.
  static let rowsMax = 16
}

extension SQLSession {
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
      try execute(
        "INSERT INTO \(table) (\(columns.joined(separator: ", "))) VALUES \(values.joined(separator: ", "))",
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
      }
    return try all(sql, []) { row throws(StorageError) in try row.text() }
  }
}

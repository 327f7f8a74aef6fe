import GRDB

/// A table as a backup has it.
struct TableShape: Sendable {
  let name: String
  let columns: [String]
  /// Its primary key: the order in which rows are read, page by page.
  let key: [String]
  /// Tables that its rows refer to.
  let references: Set<String>
}

/// The tables that migrations make, those that others refer to first. Every database has the same: SQLite, in memory,
/// is asked for all.
enum SchemaShape {
  static func tables(after migrations: [Migration]) throws(StorageError) -> [TableShape] {
    do {
      let queue = try DatabaseQueue()
      return try queue.write { database in
        for migration in migrations {
          for statement in migration.statements(for: .sqlite) { try database.execute(sql: statement) }
        }
        let names = try String.fetchAll(
          database, sql: "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name")
        return try sorted(names.map { try shape(of: $0, database) })
      }
    } catch { throw SQLiteFailure.storageError(error) }
  }

  private static func shape(of table: String, _ database: GRDB.Database) throws -> TableShape {
    let columns = try Row.fetchAll(database, sql: "SELECT name, pk FROM pragma_table_info(?) ORDER BY cid", arguments: [table])
    let key = columns.filter { ($0["pk"] as Int) > 0 }.sorted { ($0["pk"] as Int) < ($1["pk"] as Int) }
    let references = try String.fetchAll(
      database, sql: "SELECT DISTINCT \"table\" FROM pragma_foreign_key_list(?)", arguments: [table])
    return TableShape(
      name: table, columns: columns.map { $0["name"] }, key: key.map { $0["name"] }, references: Set(references))
  }

  private static func sorted(_ tables: [TableShape]) -> [TableShape] {
    var rest = tables
    var result: [TableShape] = []
    while !rest.isEmpty {
      let known = Set(result.map(\.name))
      let ready = rest.filter { $0.references.subtracting([$0.name]).isSubset(of: known) }
      precondition(!ready.isEmpty, "tables refer to each other in a ring")
      result += ready
      rest.removeAll { table in ready.contains { $0.name == table.name } }
    }
    return result
  }
}

import Audit
import Foundation
import JSONValues

extension Backup {
  /// Puts a backup into the database, which is empty unless `overwrites` says that everything in it may go. The file is
  /// read through first; then one transaction makes the schema of then, fills it and brings it up to date: the database
  /// is as before, or as the backup. MariaDB cannot undo definitions: there, a restore that fails in the middle leaves a
  /// database that is refused until one has succeeded.
  ///
  /// - Throws: ``BackupError``, ``StorageError``.
  public static func restore(
    from path: String, into settings: DatabaseSettings, overwrites: Bool = false
  ) async throws -> Report {
    let contents = try survey(path)
    let database = try Stores.connect(settings)
    do {
      let report = try await restore(contents, path, database, overwrites: overwrites)
      await database.close()
      return report
    } catch {
      await database.close()
      throw error
    }
  }

  /// What a whole file says of itself.
  struct Contents: Sendable {
    var migrations: [Migration]
    var report: Report
    /// SHA-256 of all before the last line.
    var digest = ""
  }

  /// Reads all of it: a file that is not whole changes nothing.
  static func survey(_ path: String) throws -> Contents {
    var reader = try BackupReader(path)
    guard let header = try reader.next()?.line, header["format"]?.string == format else {
      throw BackupError.damaged(path: path, reason: "it does not begin as one")
    }
    guard header["version"]?.integer == version else {
      throw BackupError.fromLater(path: path, reason: "its format is not \(version)")
    }
    var contents = Contents(migrations: try migrations(header, path), report: Report())
    contents.report.createdAt = header["created_at"]?.string ?? ""
    let tables = try SchemaShape.tables(after: contents.migrations)
    var rest = tables[...]
    var table: TableShape?
    var audit = AuditCheck()
    while let (line, digestBefore) = try reader.next() {
      if let row = line.array {
        guard let table, row.count == table.columns.count, let values = values(row) else {
          throw BackupError.damaged(path: path, reason: "row \(contents.report.rows + 1) is not of its table")
        }
        contents.report.rows += 1
        contents.report.tables[table.name, default: 0] += 1
        audit.take(values, of: table)
      } else if let name = line["table"]?.string {
        guard let next = rest.popFirst(), next.name == name, line["columns"] == .strings(next.columns) else {
          throw BackupError.damaged(path: path, reason: "table \(name) is not that of its schema")
        }
        table = next
        contents.report.tables[name] = 0
      } else {
        guard rest.isEmpty, line["rows"] == .count(contents.report.rows), line["sha256"]?.string == digestBefore() else {
          throw BackupError.damaged(path: path, reason: "its checksum is not that of its content")
        }
        contents.digest = digestBefore()
        guard try reader.next() == nil else { throw BackupError.damaged(path: path, reason: "something follows its end") }
        audit.finish(&contents.report)
        return contents
      }
    }
    throw BackupError.damaged(path: path, reason: "it was cut off")
  }

  /// This program's own, as many as the file names.
  private static func migrations(_ header: JSONValue, _ path: String) throws -> [Migration] {
    let named = header["migrations"]?.array ?? []
    guard !named.isEmpty else { throw BackupError.damaged(path: path, reason: "it names no schema") }
    guard named.count <= Schema.migrations.count else {
      throw BackupError.fromLater(path: path, reason: "its schema has \(named.count) migrations")
    }
    for (own, other) in zip(Schema.migrations, named) where other["checksum"]?.string != own.checksum {
      throw BackupError.fromLater(path: path, reason: "migration \(own.number) (\(own.name)) is another there")
    }
    return Array(Schema.migrations.prefix(named.count))
  }

  private static func values(_ row: [JSONValue]) -> [SQLValue]? {
    let values = row.compactMap(SQLValue.init)
    return values.count == row.count ? values : nil
  }

  static func restore(
    _ contents: Contents, _ path: String, _ database: any Database, overwrites: Bool
  ) async throws -> Report {
    guard !database.dialect.definesInTransactions else {
      return try await database.write { try fill($0, contents, path, overwrites: overwrites) }
    }
    return try await database.holding(Migrator.lockName) {
      try await database.write { session in
        let report = try fill(session, contents, path, overwrites: overwrites)
        try session.define("DROP TABLE \(MySQLDefinition.restorePending)")
        return report
      }
    }
  }

  /// In one transaction where definitions are part of it.
  private static func fill(
    _ session: any SQLSession, _ contents: Contents, _ path: String, overwrites: Bool
  ) throws -> Report {
    let migrator = Migrator(Schema.migrations)
    try migrator.lock(session)
    try clear(session, overwrites: overwrites)
    try migrator.prepare(session)
    for migration in contents.migrations { try migrator.apply(migration, session) }
    let tables = try SchemaShape.tables(after: contents.migrations)
    // What the migrations themselves put in is in the file, too.
    for table in tables.reversed() where table.name != AuditTable.name {
      try session.execute("DELETE FROM \(table.name)", [])
    }
    if tables.contains(where: { $0.name == AuditTable.name }) {
      try AuditSchema.withoutCheckOfCheckpoints(session) { try fill(tables, contents, path, session) }
    } else {
      try fill(tables, contents, path, session)
    }
    for migration in Schema.migrations.dropFirst(contents.migrations.count) { try migrator.apply(migration, session) }
    return contents.report
  }

  /// Throws where there is something that may not go.
  private static func clear(_ session: any SQLSession, overwrites: Bool) throws {
    // Those first that refer to others: SQLite empties a table before it goes, and then looks for what its rows refer to.
    let all =
      try SchemaShape.tables(after: Schema.migrations).reversed().map(\.name) + [Migrator.table]
      + MySQLDefinition.tables
    let names = Set(try session.tableNames())
    let there = all.filter(names.contains)
    let isUnfinished = names.contains(MySQLDefinition.restorePending)
    guard there.isEmpty || overwrites || isUnfinished else { throw BackupError.databaseInUse }
    if !session.dialect.definesInTransactions, !isUnfinished {
      try session.define("CREATE TABLE \(MySQLDefinition.restorePending) (since BIGINT PRIMARY KEY) ENGINE=InnoDB")
    }
    guard !there.isEmpty else { return }
    switch session.dialect {
    case .sqlite:
      try session.define("PRAGMA defer_foreign_keys = ON")
      for name in there { try session.define("DROP TABLE \(name)") }
    case .postgres:
      try session.define("DROP TABLE \(there.joined(separator: ", ")) CASCADE")
      for function in AuditSchema.functions { try session.define("DROP FUNCTION IF EXISTS \(function)") }
    case .mysql:
      try session.define("SET SESSION foreign_key_checks = 0")
      for name in there { try session.define("DROP TABLE \(name)") }
      try session.define("SET SESSION foreign_key_checks = 1")
    }
  }

  /// - Throws: Where the file is not what was surveyed any more; nothing of it may stay.
  private static func fill(
    _ tables: [TableShape], _ contents: Contents, _ path: String, _ session: any SQLSession
  ) throws {
    let changed = BackupError.damaged(path: path, reason: "it changed meanwhile")
    var reader = try BackupReader(path)
    _ = try reader.next()
    var rest = tables[...]
    var table: TableShape?
    var rows: [[SQLValue]] = []
    var length = 0
    func flush() throws {
      if let table { try session.insert(into: table.name, table.columns, rows) }
      rows = []
      length = 0
    }
    var isWhole = false
    while let (line, digestBefore) = try reader.next() {
      if let row = line.array {
        guard let values = values(row) else { throw changed }
        rows.append(values)
        length += values.reduce(0) { $0 + $1.plainText.utf8.count }
        if rows.count == SQLInsert.rowsMax || length > 1 << 20 { try flush() }
      } else {
        try flush()
        if line["table"] == nil { isWhole = rest.isEmpty && digestBefore() == contents.digest }
        table = rest.popFirst()
      }
    }
    guard isWhole else { throw changed }
  }
}

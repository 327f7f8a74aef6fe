import Audit
import Foundation
import JSONValues

/// The whole database as one file, and back: one snapshot while programs go on writing, the same file for every kind of
/// database.
///
/// Lines of JSON: a header with the format and the migrations that made the schema; for each table its name and columns,
/// then its rows; at the end the number of rows and the SHA-256 of all lines before. The file holds what the database
/// holds, hashes of passwords and keys among it, and the keys that sign tokens are not in it.
public enum Backup {
  static let format = "sluice-backup"
  static let version: Int64 = 1
  /// Rows read at once; some are a whole rule set.
  private static let pageRows = 32

  /// What a file has, or what came back from it.
  public struct Report: Hashable, Sendable {
    public var rows = 0
    public var tables: [String: Int] = [:]
    /// Of the database that was written.
    public var createdAt = ""
    /// The last record of the audit log.
    public var auditHead = AuditAnchor(sequence: 0, hash: AuditChain.start)
    /// Where the audit log does not hold together; nil: it does.
    public var auditFault: AuditFault?
    public var byteCount = 0
  }

  /// Writes a file of mode 0600, which appears whole or not at all.
  ///
  /// - Throws: ``BackupError``, ``StorageError``.
  public static func write(
    _ settings: DatabaseSettings, to path: String, overwrites: Bool = false, now: Date = Date()
  ) async throws -> Report {
    let database = try Stores.connect(settings)
    do {
      let report = try await write(database, to: path, overwrites: overwrites, now: now)
      await database.close()
      return report
    } catch {
      await database.close()
      throw error
    }
  }

  static func write(
    _ database: any Database, to path: String, overwrites: Bool, now: Date
  ) async throws -> Report {
    try await database.read { session in
      guard try session.tableNames().contains(Migrator.table) else { throw BackupError.databaseEmpty }
      try Migrator(Schema.migrations).checkWhole(session)
      let file = try BackupWriter(path, overwrites: overwrites)
      let migrations = try applied(session)
      var report = Report()
      report.createdAt = now.wholeMilliseconds.rfc3339
      try file.write([
        "format": .string(format), "version": .integer(version), "created_at": .string(report.createdAt),
        "migrations": .array(
          migrations.map {
            ["number": .count($0.number), "name": .string($0.name), "checksum": .string($0.checksum)]
          }),
      ])
      var audit = AuditCheck()
      for table in try SchemaShape.tables(after: migrations) {
        let count = try write(table, session, file, &audit)
        report.tables[table.name] = count
        report.rows += count
      }
      audit.finish(&report)
      try file.write(["rows": .count(report.rows), "sha256": .string(file.digest)])
      try file.finish(overwrites: overwrites)
      report.byteCount = file.byteCount
      return report
    }
  }

  /// The migrations of the database; throws where this program doesn't know them.
  private static func applied(_ session: any SQLSession) throws -> [Migration] {
    let migrator = Migrator(Schema.migrations)
    let pending = try migrator.firstPending(session)
    return Array(Schema.migrations.prefix(pending.map { $0.number - 1 } ?? Schema.migrations.count))
  }

  private static func write(
    _ table: TableShape, _ session: any SQLSession, _ file: BackupWriter, _ audit: inout AuditCheck
  ) throws -> Int {
    try file.write(["table": .string(table.name), "columns": .strings(table.columns)])
    let columns = SQLInsert.quoted(table.columns)
    let key = SQLInsert.quoted(table.key)
    let keyIndices = table.key.compactMap { table.columns.firstIndex(of: $0) }
    let bounds = table.key.indices.map { "$\($0 + 1)" }.joined(separator: ", ")
    var last: [SQLValue]?
    var count = 0
    while true {
      let rows = try session.rows(
        "SELECT \(columns) FROM \(table.name)\(last == nil ? "" : " WHERE (\(key)) > (\(bounds))") ORDER BY \(key) "
          + "LIMIT \(pageRows)", last ?? [])
      for row in rows {
        try file.write(.array(row.map(\.json)))
        audit.take(row, of: table)
      }
      count += rows.count
      guard rows.count == pageRows, let final = rows.last else { return count }
      last = keyIndices.map { final[$0] }
    }
  }
}

/// Whether the audit log in a backup holds together, and goes as far as the head of its chain says.
struct AuditCheck {
  private var verifier = AuditVerifier()
  /// The first; it stays.
  private var fault: AuditFault?
  private var head: AuditAnchor?

  /// A row of any table.
  mutating func take(_ row: [SQLValue], of table: TableShape) {
    func value(_ column: String) -> SQLValue { table.columns.firstIndex(of: column).map { row[$0] } ?? .null }
    switch table.name {
    case AuditTable.chain:
      guard case .integer(let sequence) = value("sequence"), case .text(let hash) = value("hash") else { return }
      head = AuditAnchor(sequence: UInt64(clamping: sequence), hash: hash)
    case AuditTable.name where fault == nil:
      do throws(AuditFault) {
        var reader = RowReader([value("sequence"), value("record"), value("hash")])
        guard let record = try? AuditTable.read(&reader) else { throw AuditFault(sequence: 0, reason: .malformed) }
        try verifier.check(record)
      } catch { fault = error }
    default: break
    }
  }

  /// After the last row.
  func finish(_ report: inout Backup.Report) {
    if let head = verifier.head { report.auditHead = head }
    report.auditFault = fault
    guard fault == nil else { return }
    do throws(AuditFault) { try verifier.finish(end: head) } catch { report.auditFault = error }
  }
}

extension SQLValue {
  var json: JSONValue {
    switch self {
    case .null: .null
    case .integer(let integer): .integer(integer)
    case .text(let text): .string(text)
    }
  }

  /// Nil for what no column holds.
  init?(_ json: JSONValue) {
    switch json {
    case .null: self = .null
    case .integer(let integer): self = .integer(integer)
    case .string(let text): self = .text(text)
    case .bool, .number, .array, .object: return nil
    }
  }
}

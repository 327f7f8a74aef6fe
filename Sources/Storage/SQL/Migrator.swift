import Crypto
import Foundation
import Identity

/// One step of the schema, for every kind of database. Immutable once released.
struct Migration: Sendable {
  let number: Int
  let name: String
  /// Run one at a time, in order.
  let statements: [String]
  /// What the databases say each in its own way, such as triggers; run after the others.
  let own: [SQLDialect: [String]]

  init(
    number: Int, name: String, statements: [String], sqlite: [String] = [], postgres: [String] = [], mysql: [String] = []
  ) {
    self.number = number
    self.name = name
    self.statements = statements
    own = [.sqlite: sqlite, .postgres: postgres, .mysql: mysql]
  }

  func statements(for dialect: SQLDialect) -> [String] {
    (dialect == .mysql ? MySQLDefinition.translate(statements) : statements) + (own[dialect] ?? [])
  }

  /// SHA-256 of the statements, lower-case hexadecimal: the same in each database. MariaDB came later and has its
  /// statements from the same ones: what it says in its own way is not in the sum.
  var checksum: String {
    let all = statements + (own[.sqlite] ?? []) + (own[.postgres] ?? [])
    return SHA256.hash(data: Data(all.joined(separator: ";\n").utf8)).hexadecimal
  }
}

/// Brings a schema up to date: each migration in a transaction of its own with the note that it ran, under a lock, so
/// that programs that start together apply each one once.
struct Migrator: Sendable {
  let migrations: [Migration]

  /// Any constant that no other use of advisory locks in the database has; "sluice" in ASCII.
  static let advisoryLockKey: Int64 = 0x73_6C75_6963_65

  init(_ migrations: [Migration]) {
    precondition(
      migrations.enumerated().allSatisfy { $0.element.number == $0.offset + 1 },
      "migrations are numbered from 1 without gaps")
    self.migrations = migrations
  }

  /// Returns the numbers of the migrations that this call applied.
  @discardableResult
  func run(on database: any Database) async throws -> [Int] {
    guard !database.dialect.definesInTransactions else { return try await runAll(on: database) }
    return try await database.holding(Self.lockName) { try await runAll(on: database) }
  }

  /// Of those who change definitions where no transaction holds them together.
  static let lockName = "migrations"

  private func runAll(on database: any Database) async throws -> [Int] {
    var applied: [Int] = []
    while let number = try await database.write({ session in try applyNext(session) }) { applied.append(number) }
    return applied
  }

  private func applyNext(_ session: any SQLSession) throws(StorageError) -> Int? {
    try lock(session)
    try checkWhole(session)
    try prepare(session)
    guard let migration = try firstPending(session) else { return nil }
    try apply(migration, session)
    return migration.number
  }

  /// Has the list of what was applied, in the database.
  static let table = "schema_migrations"

  func prepare(_ session: any SQLSession) throws(StorageError) {
    let definition =
      """
      CREATE TABLE IF NOT EXISTS \(Self.table) (
        number BIGINT PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at BIGINT NOT NULL)
      """
    for statement in session.dialect == .mysql ? MySQLDefinition.translate([definition]) : [definition] {
      try session.define(statement)
    }
  }

  /// Throws where a restore did not come to its end.
  func checkWhole(_ session: any SQLSession) throws(StorageError) {
    guard !session.dialect.definesInTransactions, try session.tableNames().contains(MySQLDefinition.restorePending)
    else { return }
    throw .misconfigured(
      reason: "a restore into the database did not come to its end", remedy: "run sluice-api restore again")
  }

  /// With the note that it ran.
  func apply(_ migration: Migration, _ session: any SQLSession) throws(StorageError) {
    for (index, statement) in migration.statements(for: session.dialect).enumerated() {
      do throws(StorageError) { try session.define(Self.patient(statement, session.dialect)) } catch {
        if error.canPass { throw error }
        throw .migration(
          .failed(number: migration.number, name: migration.name, statement: index + 1, reason: "\(error)"))
      }
    }
    try session.execute(
      "INSERT INTO schema_migrations (number, name, checksum, applied_at) VALUES ($1, $2, $3, $4)",
      [SQLValue(migration.number), .text(migration.name), .text(migration.checksum), SQLValue(Date())])
  }

  /// MariaDB's sessions end a statement after ten seconds; what copies or walks a large table takes longer.
  private static func patient(_ statement: String, _ dialect: SQLDialect) -> String {
    let isLong = ["ALTER TABLE", "CREATE INDEX", "CREATE UNIQUE INDEX", "UPDATE", "INSERT", "DELETE"].contains {
      statement.hasPrefix($0)
    }
    return dialect == .mysql && isLong ? "SET STATEMENT max_statement_time = 600 FOR \(statement)" : statement
  }

  /// SQLite's write transaction is the lock already, and on MariaDB the caller has it: see ``run(on:)``.
  func lock(_ session: any SQLSession) throws(StorageError) {
    guard session.dialect == .postgres else { return }
    try session.define("SET LOCAL lock_timeout = '60s'")
    try session.define("SET LOCAL statement_timeout = '10min'")
    try session.rows("SELECT pg_advisory_xact_lock($1)::text", [.integer(Self.advisoryLockKey)])
  }

  /// Throws where the database has others than these.
  func firstPending(_ session: any SQLSession) throws(StorageError) -> Migration? {
    let applied = try session.all("SELECT number, name, checksum FROM schema_migrations ORDER BY number", []) {
      row throws(StorageError) in
      (number: Int(try row.integer()), name: try row.text(), checksum: try row.text())
    }
    for (index, entry) in applied.enumerated() {
      guard index < migrations.count, entry.number == index + 1 else {
        throw .migration(.unknown(number: entry.number, name: entry.name))
      }
      guard migrations[index].checksum == entry.checksum else {
        throw .migration(.changed(number: entry.number, name: entry.name))
      }
    }
    return migrations.dropFirst(applied.count).first
  }
}

import ArgumentParser
import Foundation
import Settings
import Storage

/// The whole database into a file.
struct BackupCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "backup", abstract: "Write the whole database into one file.",
    discussion: """
      One snapshot, while the API runs on. The file (mode 0600, JSON lines with a checksum) can be restored into SQLite,
      PostgreSQL or MariaDB, by this version or a later one. It holds what the database holds, hashes of passwords and keys among it:
      keep it as safe. Two kinds of keys are files of their own, in the folder \(Setting.tokenKeysDirectory.key). Without data.key
      what is encrypted in the database is lost, second factors and the secrets of webhooks: copy it with each backup. Without
      those that sign access tokens everybody signs in anew.

      EXAMPLES
        sluice-api backup /var/backups/sluice-$(date +%F).jsonl
        DB_TYPE=postgresql DB_HOST=db DB_PASS=… sluice-api backup --json sluice.jsonl

      EXIT CODES: 0 written and whole; 1 not written; 2 written, and the audit log in it does not hold together.
      """)

  @Argument(help: "The file to make.")
  var file: String
  @Flag(help: "Replace a file that is there.")
  var force = false
  @OptionGroup var settings: SettingOptions
  @Flag(name: .shortAndLong, help: "Print JSON.")
  var json = false

  func run() async throws {
    try await Maintenance.run(try settings.load()) { database in
      let report = try await Backup.write(database, to: file, overwrites: force)
      try BackupReport.print(report, "\(file): \(report.byteCount) bytes", isJSON: json)
    }
  }
}

/// A file into the database.
struct RestoreCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "restore", abstract: "Put a backup into the database.",
    discussion: """
      Into an empty database, or with --force in place of what is in it: then stop every sluice-api on it first. The file
      is checked as a whole before anything is changed, and everything happens in one transaction: the database is as
      before, or as the backup. (MariaDB cannot undo definitions: there, a restore that fails in the middle leaves a database
      that is refused until one has succeeded.) What was made for an older schema is brought up to date. Put the data.key of
      the backup's time into the folder \(Setting.tokenKeysDirectory.key) before the service starts.

      EXAMPLES
        sluice-api restore /var/backups/sluice-2026-01-31.jsonl
        systemctl stop sluice-api && sluice-api restore --force sluice.jsonl && systemctl start sluice-api
        DB_TYPE=postgresql DB_HOST=db DB_PASS=… sluice-api restore sluice.jsonl     # from SQLite to PostgreSQL

      EXIT CODES: 0 restored; 1 nothing was changed; 2 restored, and its audit log does not hold together.
      """)

  @Argument(help: "What `sluice-api backup` wrote.")
  var file: String
  @Flag(help: "Replace what is in the database.")
  var force = false
  @OptionGroup var settings: SettingOptions
  @Flag(name: .shortAndLong, help: "Print JSON.")
  var json = false

  func run() async throws {
    try await Maintenance.run(try settings.load(), makesDatabase: true) { database in
      let report = try await Backup.restore(from: file, into: database, overwrites: force)
      try BackupReport.print(report, "restored what was written \(report.createdAt)", isJSON: json)
    }
  }
}

/// What both print.
private enum BackupReport {
  private struct Fields: Encodable {
    let created_at: String
    let rows: Int
    let tables: [String: Int]
    let audit_head: String
    let audit_fault: String?
  }

  static func print(_ report: Backup.Report, _ title: String, isJSON: Bool) throws {
    if isJSON {
      let fields = Fields(
        created_at: report.createdAt, rows: report.rows, tables: report.tables, audit_head: "\(report.auditHead)",
        audit_fault: report.auditFault.map { "\($0)" })
      try Maintenance.printJSON(fields)
    } else {
      let filled = report.tables.filter { $0.value > 0 }.sorted { $0.key < $1.key }
      Swift.print("\(title); \(report.rows) rows: \(filled.map { "\($0.value) \($0.key)" }.joined(separator: ", "))")
      if report.auditFault == nil { Swift.print("the audit log holds together; its head: \(report.auditHead)") }
    }
    guard let fault = report.auditFault else { return }
    Maintenance.say("sluice-api: the audit log does not hold together: \(fault)")
    throw ExitCode(2)
  }
}

/// Everything that a ``Store`` throws (besides what a caller's own closure throws). Made in one place per database from
/// SQLSTATE or SQLite's result code; it never holds SQL, parameters or credentials.
public enum StorageError: Error, Hashable, Sendable {
  /// No such thing. `kind` is the noun of the API ("rule set"), `key` what was asked for.
  case notFound(kind: String, key: String)
  /// Another one has this value already. `field` is the name in the API ("name", "email", "interface").
  case conflict(field: String)
  /// Cannot be removed: it is referred to ("rule set" by "attachments").
  case inUse(kind: String, by: String)
  /// Somebody else changed it since the caller read it.
  case staleRevision(expected: UInt64, current: UInt64)
  /// The last active Admin can be neither deleted, demoted nor deactivated.
  case lastAdministrator
  /// Who has written a change cannot approve it.
  case ownChange
  /// A value that no database can hold (a NUL character), or that refers to nothing.
  case invalid(field: String, reason: String)
  /// The database cannot be reached or is too busy now; trying again can help.
  case unavailable(reason: String, remedy: String)
  /// A lock of ``Database/holding(_:_:)`` was not free in time; nothing was done.
  case busy(lock: String, seconds: Int)
  /// The database is reachable and refuses for a reason that trying again does not cure (password, permissions, a
  /// read-only file).
  case misconfigured(reason: String, remedy: String)
  /// The schema is not the one of this program: see ``MigrationError``.
  case migration(MigrationError)
  /// What is stored cannot be understood.
  case corrupt(String)
  /// Any other refusal of the database: its code and its message.
  case failed(code: String, message: String)
}

/// Why the schema cannot be brought up to date.
public enum MigrationError: Error, Hashable, Sendable {
  /// An applied migration has been edited since.
  case changed(number: Int, name: String)
  /// The database was migrated by a newer program.
  case unknown(number: Int, name: String)
  /// One of its statements failed; nothing of it remains.
  case failed(number: Int, name: String, statement: Int, reason: String)
}

extension StorageError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .notFound(let kind, let key): "no \(kind) '\(key)'"
    case .conflict(let field): "another one has this \(field) already"
    case .inUse(let kind, let by): "the \(kind) is in use by \(by)"
    case .staleRevision(let expected, let current): "revision \(expected) is not the newest: that is \(current)"
    case .lastAdministrator: "the last active Admin cannot be deleted, demoted or deactivated"
    case .ownChange: "you have written this revision, or one before it since the last approved one: somebody else decides"
    case .invalid(let field, let reason): "\(field): \(reason)"
    case .unavailable(let reason, let remedy): "the database is unavailable: \(reason); \(remedy)"
    case .busy(let lock, let seconds):
      "\(lock) has been held by another call for \(seconds) s: see whether what that waits for answers, and try again"
    case .misconfigured(let reason, let remedy): "the database refuses: \(reason); \(remedy)"
    case .migration(let error): error.description
    case .corrupt(let what): "the database holds something that cannot be understood: \(what)"
    case .failed(let code, let message): "the database failed [\(code)]: \(message)"
    }
  }
}

extension MigrationError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .changed(let number, let name):
      "migration \(number) (\(name)) was applied in another version than this program holds; "
        + "use the program that applied it, or restore the database from a backup"
    case .unknown(let number, let name):
      "the database has migration \(number) (\(name)), which this program doesn't know; use a newer program"
    case .failed(let number, let name, let statement, let reason):
      "migration \(number) (\(name)) failed at statement \(statement): \(reason)"
    }
  }
}

/// Why a backup was not made, or not taken back; nothing was changed.
public enum BackupError: Error, Hashable, Sendable, CustomStringConvertible {
  /// There is a file of that name.
  case fileExists(String)
  /// The database has something in it.
  case databaseInUse
  /// There is nothing to write.
  case databaseEmpty
  case file(operation: String, path: String, reason: String)
  /// The file is none, or was cut off or changed.
  case damaged(path: String, reason: String)
  /// Of a later format or schema than this program's.
  case fromLater(path: String, reason: String)

  public var description: String {
    switch self {
    case .fileExists(let path): "\(path) exists: name another file, or use --force to replace it"
    case .databaseInUse:
      "the database is not empty: everything in it would be replaced. Name an empty one, or use --force, with every "
        + "sluice-api on it stopped"
    case .databaseEmpty: "the database is empty: no sluice-api has used it; see whether the settings name the right one"
    case .file(let operation, let path, let reason): "cannot \(operation) \(path): \(reason)"
    case .damaged(let path, let reason): "\(path) is no whole backup: \(reason); nothing was changed"
    case .fromLater(let path, let reason): "\(path) is of a newer program: \(reason); use that one to restore it"
    }
  }
}

import Foundation
import Glibc

/// The database file and its directory: made with modes 0600 and 0700, checked before SQLite sees them, because
/// SQLite's own errors don't say which part of the path is wrong.
enum SQLiteFile {
  static let directoryMode: mode_t = 0o700
  static let fileMode: mode_t = 0o600
  static let remedy =
    "make the file and its directory writable for this program's user, or name another file in DB_PATH"

  static func prepare(_ path: String) throws(StorageError) {
    guard !path.isEmpty, !path.utf8.contains(0) else {
      throw .misconfigured(reason: "the path of the database is empty or has a NUL character", remedy: "set DB_PATH")
    }
    try makeDirectory((path as NSString).deletingLastPathComponent)
    // O_EXCL: a file that exists is never opened here, since closing any descriptor of it would drop the POSIX locks
    // that SQLite may hold in this process.
    let descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, fileMode)
    if descriptor >= 0 {
      giveToDirectoryOwner(descriptor, path)
      close(descriptor)
      return
    }
    guard errno == EEXIST else { throw failure("create", path) }
    guard access(path, R_OK | W_OK) == 0 else { throw failure("write", path) }
  }

  /// A restore by root into the service's folder makes a file that the service must be able to write.
  private static func giveToDirectoryOwner(_ descriptor: CInt, _ path: String) {
    let directory = (path as NSString).deletingLastPathComponent
    var owner = stat()
    guard geteuid() == 0, stat(directory.isEmpty ? "." : directory, &owner) == 0 else { return }
    _ = fchown(descriptor, owner.st_uid, owner.st_gid)
  }

  private static func makeDirectory(_ path: String) throws(StorageError) {
    guard !path.isEmpty, access(path, F_OK) != 0 else { return }
    guard errno == ENOENT else { throw failure("reach", path) }
    try makeDirectory((path as NSString).deletingLastPathComponent)
    // EEXIST: another process made it just now.
    guard mkdir(path, directoryMode) == 0 || errno == EEXIST else { throw failure("make the directory", path) }
  }

  private static func failure(_ verb: String, _ path: String) -> StorageError {
    let code = errno
    let reason = "cannot \(verb) \(path): \(String(cString: strerror(code)))"
    return code == ENOSPC || code == EDQUOT
      ? .unavailable(reason: reason, remedy: "free disk space") : .misconfigured(reason: reason, remedy: remedy)
  }
}

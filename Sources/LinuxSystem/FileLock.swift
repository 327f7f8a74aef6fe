import Glibc

/// An exclusive flock(2) on a file, for "one daemon per state directory". Released when the owner goes or the process
/// ends.
public struct FileLock: ~Copyable, Sendable {
  private let file: OwnedDescriptor

  /// Takes the lock or throws EWOULDBLOCK at once, naming the process that holds it. Creates the file; never removes
  /// it.
  public init(path: String) throws(SystemError) {
    let file = try OwnedDescriptor.open(path, flags: O_RDWR | O_CREAT | O_NOFOLLOW, mode: 0o600)
    let raw = file.rawValue
    do throws(SystemError) {
      try check("lock", path) { flock(raw, LOCK_EX | LOCK_NB) }
    } catch {
      guard error.code == EWOULDBLOCK else { throw error }
      let holder = (try? SmallFile.readText(path, byteCountMax: 32)).flatMap { Int($0) }
      throw error.withRemedy("held by " + (holder.map { "process \($0)" } ?? "another process"))
    }
    SmallFile.giveToDirectoryOwner(raw, path)
    let text = Array("\(getpid())\n".utf8)
    try check("write", path) { ftruncate(raw, 0) }
    try check("write", path) { text.withUnsafeBytes { pwrite(raw, $0.baseAddress, $0.count, 0) } }
    self.file = file
  }

  /// The same on a directory that is there, which says nothing of its holder. ENOENT where it was removed meanwhile.
  public init(directory path: String) throws(SystemError) {
    let file = try OwnedDescriptor.open(path, flags: O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
    let raw = file.rawValue
    try check("lock", path) { flock(raw, LOCK_EX | LOCK_NB) }
    var (locked, named) = (stat(), stat())
    try check("lock", path) { fstat(raw, &locked) }
    try check("lock", path) { stat(path, &named) }
    guard locked.st_ino == named.st_ino else { throw SystemError(operation: "lock", code: ENOENT, subject: path) }
    self.file = file
  }

  // Closing alone leaves the lock to a child that is just being spawned and has not closed its copies yet.
  deinit { _ = flock(file.rawValue, LOCK_UN) }
}

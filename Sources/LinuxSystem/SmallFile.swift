import Glibc

/// Whole small files: settings, state, what the kernel shows in /proc and /sys. Blocking.
public enum SmallFile {
  /// Reads a file of at most `byteCountMax` bytes; EFBIG if it is larger.
  public static func read(_ path: String, byteCountMax: Int = 16 << 20) throws(SystemError) -> [UInt8] {
    let file = try OwnedDescriptor.open(path, flags: O_RDONLY)
    let raw = file.rawValue
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 64 << 10)
    while true {
      let count = try check("read", path) {
        chunk.withUnsafeMutableBytes { Glibc.read(raw, $0.baseAddress, $0.count) }
      }
      if count == 0 { return bytes }
      bytes += chunk[..<count]
      if bytes.count > byteCountMax { throw SystemError(operation: "read", code: EFBIG, subject: path) }
    }
  }

  /// Text without surrounding white space, as /sys and /proc have it.
  public static func readText(_ path: String, byteCountMax: Int = 64 << 10) throws(SystemError) -> String {
    let bytes = try read(path, byteCountMax: byteCountMax)
    let isSpace: (UInt8) -> Bool = { $0 == 0x20 || (9...13).contains($0) }
    let trimmed = bytes.drop(while: isSpace).reversed().drop(while: isSpace).reversed()
    return String(decoding: trimmed, as: UTF8.self)
  }

  /// Replaces a file so that at every moment, also after a crash, either the old or the new contents are there whole.
  ///
  /// Writes beside it, syncs, renames, syncs the directory. Two writers at once: the last one wins.
  public static func replace(_ path: String, with bytes: [UInt8], mode: mode_t = 0o600) throws(SystemError) {
    let temporary = "\(path).\(getpid()).tmp"
    unlink(temporary)
    do throws(SystemError) {
      let file = try OwnedDescriptor.open(temporary, flags: O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode: mode)
      let raw = file.rawValue
      giveToDirectoryOwner(raw, path)
      try write(bytes, to: raw, path: temporary)
      try check("sync", temporary) { fsync(raw) }
      try check("rename", path) { rename(temporary, path) }
    } catch {
      unlink(temporary)
      throw error
    }
    let directory = try OwnedDescriptor.open(directoryName(path), flags: O_RDONLY | O_DIRECTORY)
    let raw = directory.rawValue
    try check("sync directory of", path) { fsync(raw) }
  }

  /// What root makes in a service's own folder is the service's: run once by hand, it must not keep the service from its
  /// files.
  static func giveToDirectoryOwner(_ descriptor: CInt, _ path: String) {
    var owner = stat()
    guard geteuid() == 0, stat(directoryName(path), &owner) == 0 else { return }
    _ = fchown(descriptor, owner.st_uid, owner.st_gid)
  }

  /// Writes into a file that is there, as the kernel's settings in /sys and /proc want it: in one call.
  public static func overwrite(_ path: String, with text: String) throws(SystemError) {
    let file = try OwnedDescriptor.open(path, flags: O_WRONLY, needs: .netAdmin)
    try write(Array(text.utf8), to: file.rawValue, path: path)
  }

  static func write(_ bytes: [UInt8], to descriptor: CInt, path: String) throws(SystemError) {
    var done = 0
    while done < bytes.count {
      done += try check("write", path) {
        bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress.map { $0 + done }, $0.count - done) }
      }
    }
  }

  private static func directoryName(_ path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
  }
}

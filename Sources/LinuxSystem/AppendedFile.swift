import Glibc

/// A file of records that are added at its end. Blocking.
public enum AppendedFile {
  /// Adds bytes at the end of a file, which is made if it isn't there. Returns how many it has, once they are on the disk;
  /// where that fails the file is as it was, as far as the system lets it be.
  public static func append(_ path: String, _ bytes: [UInt8], mode: mode_t = 0o600) throws(SystemError) -> Int {
    let file = try OwnedDescriptor.open(path, flags: O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, mode: mode)
    let raw = file.rawValue
    let before = try check("seek", path) { lseek(raw, 0, SEEK_END) }
    do throws(SystemError) {
      try SmallFile.write(bytes, to: raw, path: path)
      try check("sync", path) { fdatasync(raw) }
    } catch {
      _ = ftruncate(raw, before)
      throw error
    }
    return Int(before) + bytes.count
  }

  /// Nothing is in it from now on. None is there: nothing is to do.
  public static func empty(_ path: String) throws(SystemError) {
    do throws(SystemError) {
      let file = try OwnedDescriptor.open(path, flags: O_WRONLY | O_NOFOLLOW)
      let raw = file.rawValue
      try check("truncate", path) { ftruncate(raw, 0) }
    } catch {
      if error.codeName != "ENOENT" { throw error }
    }
  }
}

import Glibc

/// A file of records that are added at its end. Blocking.
public enum AppendedFile {
  /// Adds bytes at the end of a file, which is made if it isn't there; EFBIG if it had more than `byteCountMax` then. Returns
  /// once they are on the disk; where that fails the file is as it was, as far as the system lets it be.
  public static func append(
    _ path: String, _ bytes: [UInt8], byteCountMax: Int, mode: mode_t = 0o600
  ) throws(SystemError) {
    let file = try OwnedDescriptor.open(path, flags: O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, mode: mode)
    let raw = file.rawValue
    let before = try check("seek", path) { lseek(raw, 0, SEEK_END) }
    if before == 0 { SmallFile.giveToDirectoryOwner(raw, path) }
    guard Int(before) + bytes.count <= byteCountMax else { throw SystemError(operation: "append", code: EFBIG, subject: path) }
    do throws(SystemError) {
      try SmallFile.write(bytes, to: raw, path: path)
      try check("sync", path) { fdatasync(raw) }
    } catch {
      _ = ftruncate(raw, before)
      throw error
    }
  }

  /// How many bytes a file has; 0 where none is there.
  public static func byteCount(_ path: String) throws(SystemError) -> Int {
    do throws(SystemError) {
      let file = try OwnedDescriptor.open(path, flags: O_RDONLY | O_NOFOLLOW)
      let raw = file.rawValue
      return Int(try check("seek", path) { lseek(raw, 0, SEEK_END) })
    } catch {
      if error.codeName != "ENOENT" { throw error }
      return 0
    }
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

import Glibc

/// A new file that grows by whole writes: one that fails halfway leaves no trace in it. One thread.
public struct OutputFile: ~Copyable, Sendable {
  public let path: String
  /// Bytes written whole.
  public private(set) var byteCount: UInt64
  private let descriptor: OwnedDescriptor

  /// Creates the file; EEXIST if there is something of that name already, a dangling link too. Its mode is this one whatever the
  /// umask, where the file system has modes.
  public init(creating path: String, mode: mode_t = 0o640) throws(SystemError) {
    do throws(SystemError) {
      let file = try OwnedDescriptor.open(path, flags: O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode: mode)
      _ = fchmod(file.rawValue, mode)
      descriptor = file
    } catch { throw error.withRemedy(OutputFile.remedy(for: error.code)) }
    self.path = path
    byteCount = 0
  }

  /// Writes all the bytes, or none: after an error the file ends where it ended before.
  public mutating func append(_ bytes: [UInt8]) throws(SystemError) {
    try bytes.span.bytes.withUnsafeBytes { raw throws(SystemError) in
      var pieces = GatherList()
      if let start = raw.baseAddress { pieces.append(start, byteCount: raw.count) }
      try append(pieces) { _ in 0 }
    }
  }

  /// Writes all the bytes, or a beginning that is worth keeping: after an error the file ends there, and so does
  /// ``byteCount``.
  ///
  /// - Parameter boundary: How much to keep where only so many bytes could be written; at most that.
  public mutating func append(
    _ pieces: borrowing GatherList, keeping boundary: (Int) -> Int
  ) throws(SystemError) {
    let raw = descriptor.rawValue
    var done = 0
    do throws(SystemError) {
      while done < pieces.byteCount { done += try check("write", path) { pieces.write(to: raw, from: done) } }
    } catch {
      byteCount += UInt64(min(boundary(done), done))
      ftruncate(raw, off_t(byteCount))
      lseek(raw, off_t(byteCount), SEEK_SET)
      throw error.withRemedy(OutputFile.remedy(for: error.code))
    }
    byteCount += UInt64(pieces.byteCount)
  }

  private static func remedy(for code: CInt) -> String? {
    switch code {
    case EEXIST: "choose another name, or remove the file"
    case ENOENT: "create the directory first"
    case EACCES, EPERM, EROFS: "the daemon's user must be able to write there"
    case ENOSPC, EDQUOT: "free some space"
    default: nil
    }
  }
}

/// Standard output, for bytes that are no text. EPIPE where nobody reads any more; the caller ignores SIGPIPE.
public enum StandardOutput {
  /// Writes all the bytes. Blocks while a pipe is full.
  public static func write(_ bytes: [UInt8]) throws(SystemError) {
    var done = 0
    while done < bytes.count {
      done += try check("write", "standard output") {
        bytes.withUnsafeBytes { Glibc.write(STDOUT_FILENO, $0.baseAddress.map { $0 + done }, $0.count - done) }
      }
    }
  }
}

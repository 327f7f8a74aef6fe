import Crypto
import Foundation
import Glibc
import Identity
import JSONValues

/// Lines of JSON on their way to a file that appears whole, under its name, or not at all; mode 0600.
final class BackupWriter {
  private static let bufferByteCount = 1 << 20
  private let path: String
  private let partial: String
  private let handle: FileHandle
  private var buffer: [UInt8] = []
  private var hash = SHA256()
  private(set) var byteCount = 0
  private var isFinished = false

  init(_ path: String, overwrites: Bool) throws(BackupError) {
    if !overwrites, access(path, F_OK) == 0 { throw .fileExists(path) }
    self.path = path
    partial = "\(path).\(getpid()).partial"
    let descriptor = open(partial, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard descriptor >= 0 else { throw Self.failure("make", partial) }
    handle = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
  }

  deinit { if !isFinished { unlink(partial) } }

  func write(_ line: JSONValue) throws(BackupError) {
    let bytes = line.bytes() + [UInt8(ascii: "\n")]
    hash.update(data: bytes)
    buffer += bytes
    if buffer.count >= Self.bufferByteCount { try flush() }
  }

  /// The digest of all lines so far, lower-case hexadecimal.
  var digest: String { hash.finalize().hexadecimal }

  /// The file is there, and on the disk, when this returns.
  func finish(overwrites: Bool) throws(BackupError) {
    try flush()
    do { try handle.synchronize() } catch { throw .file(operation: "write", path: partial, reason: "\(error)") }
    // Between the check at the start and now somebody may have made the file: link, unlike rename, refuses.
    guard overwrites ? rename(partial, path) == 0 : link(partial, path) == 0 else {
      throw errno == EEXIST ? .fileExists(path) : Self.failure("name", path)
    }
    if !overwrites { unlink(partial) }
    isFinished = true
    let directory = open((path as NSString).deletingLastPathComponent.nonEmpty ?? ".", O_RDONLY | O_CLOEXEC)
    if directory >= 0 {
      fsync(directory)
      close(directory)
    }
  }

  private func flush() throws(BackupError) {
    do { try handle.write(contentsOf: buffer) } catch {
      throw .file(operation: "write", path: partial, reason: "\(error); is the disk full?")
    }
    byteCount += buffer.count
    buffer.removeAll(keepingCapacity: true)
  }

  private static func failure(_ operation: String, _ path: String) -> BackupError {
    .file(operation: operation, path: path, reason: String(cString: strerror(errno)))
  }
}

/// The lines of a backup, one after the other, in bounded memory.
struct BackupReader {
  /// The largest content of a revision takes a fraction of this.
  static let lineByteCountMax = 256 << 20
  private static let chunkByteCount = 1 << 20
  private let path: String
  private let handle: FileHandle
  private var buffer: [UInt8] = []
  private var start = 0
  private var hash = SHA256()

  init(_ path: String) throws(BackupError) {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw .file(operation: "read", path: path, reason: String(cString: strerror(errno))) }
    self.path = path
    handle = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      throw .file(operation: "read", path: path, reason: "it is no regular file, and is read twice: save it to one first")
    }
  }

  /// The next line and the digest of those before it; nil after the last one.
  mutating func next() throws(BackupError) -> (line: JSONValue, digestBefore: () -> String)? {
    var searched = start
    while true {
      if let end = buffer[searched...].firstIndex(of: UInt8(ascii: "\n")) {
        let line = Array(buffer[start..<end])
        let before = hash
        hash.update(data: buffer[start...end])
        start = end + 1
        do throws(JSONSyntaxError) { return (try JSONValue(parsing: line), { before.finalize().hexadecimal }) } catch {
          throw .damaged(path: path, reason: "a line is not JSON (\(error.reason))")
        }
      }
      buffer.removeFirst(start)
      start = 0
      searched = buffer.count
      guard buffer.count <= Self.lineByteCountMax else { throw .damaged(path: path, reason: "a line has no end") }
      let chunk: Data?
      do { chunk = try handle.read(upToCount: Self.chunkByteCount) } catch {
        throw .file(operation: "read", path: path, reason: "\(error)")
      }
      guard let chunk, !chunk.isEmpty else {
        guard buffer.isEmpty else { throw .damaged(path: path, reason: "it was cut off in a line") }
        return nil
      }
      buffer += chunk
    }
  }
}

extension String {
  fileprivate var nonEmpty: String? { isEmpty ? nil : self }
}

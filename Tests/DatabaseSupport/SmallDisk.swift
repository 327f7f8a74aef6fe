import Foundation

/// A disk that is soon full: a small tmpfs, which can be made larger. For root.
public struct SmallDisk: Sendable {
  static let name = "small"
  public let path: String

  /// Runs the body with a disk of so many KiB below the directory, which is one of ``TestDatabase/directory()``.
  public static func with(kibibytes: Int, in directory: String, _ body: (SmallDisk) async throws -> Void) async throws {
    let disk = SmallDisk(path: "\(directory)/\(name)")
    try FileManager.default.createDirectory(atPath: disk.path, withIntermediateDirectories: false)
    defer { remove(in: directory) }
    try Command.run("/usr/bin/mount", ["-t", "tmpfs", "-o", "size=\(kibibytes)k,mode=0755", "tmpfs", disk.path])
    try await body(disk)
  }

  /// Leaves so little room, or less where others write meanwhile.
  public func fill(leavingKibibytes rest: Int) throws {
    let ballast = "\(path)/ballast"
    guard FileManager.default.createFile(atPath: ballast, contents: nil), let file = FileHandle(forWritingAtPath: ballast)
    else { throw DatabaseSupportError(description: "cannot make \(ballast)") }
    defer { try? file.close() }
    let piece = Data(count: 64 << 10)
    while try freeByteCount > rest << 10 {
      do { try file.write(contentsOf: piece) } catch {
        guard try freeByteCount < piece.count else { throw error }
        return
      }
    }
  }

  private var freeByteCount: Int {
    get throws {
      var state = statvfs()
      guard statvfs(path, &state) == 0 else { throw DatabaseSupportError(description: "cannot measure \(path)") }
      return Int(clamping: state.f_bavail) * Int(clamping: state.f_frsize)
    }
  }

  /// What a disk has after somebody made room.
  public func grow(toKibibytes size: Int) throws {
    try Command.run("/usr/bin/mount", ["-o", "remount,size=\(size)k", path])
  }

  /// Best effort: there may be none.
  static func remove(in directory: String) {
    let path = "\(directory)/\(name)"
    guard FileManager.default.fileExists(atPath: path) else { return }
    _ = try? Command.run("/usr/bin/umount", ["--lazy", path])
  }
}

import Foundation

/// A directory that nobody can write to, not even root: a tmpfs that is mounted read-only once it is filled; for
/// other users, modes without the write bits.
public enum ReadOnlyDirectory {
  static let name = "readonly"

  /// Runs `fill` with the path while it is writable and `body` when it isn't any more.
  public static func with(
    in directory: String, fill: (String) async throws -> Void, body: (String) async throws -> Void
  ) async throws {
    let path = "\(directory)/\(name)"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
    defer { remove(in: directory) }
    if geteuid() == 0 {
      try Command.run("/usr/bin/mount", ["-t", "tmpfs", "-o", "size=8m,mode=0755", "tmpfs", path])
    }
    try await fill(path)
    if geteuid() == 0 {
      try Command.run("/usr/bin/mount", ["-o", "remount,ro", path])
    } else {
      for name in try FileManager.default.contentsOfDirectory(atPath: path) { chmod("\(path)/\(name)", 0o444) }
      chmod(path, 0o555)
    }
    try await body(path)
  }

  /// Best effort: there may be none.
  static func remove(in directory: String) {
    let path = "\(directory)/\(name)"
    guard FileManager.default.fileExists(atPath: path) else { return }
    if geteuid() == 0 { _ = try? Command.run("/usr/bin/umount", [path]) }
    chmod(path, 0o755)
  }
}

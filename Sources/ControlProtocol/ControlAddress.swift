import Glibc

/// Where a daemon listens: the path of its unix socket.
public struct ControlAddress: Hashable, Sendable, CustomStringConvertible {
  /// Absolute.
  public let socketPath: String

  /// Bytes of a socket's path: sun_path without its final zero.
  public static let pathByteCountMax = 107

  public static let standard = ControlAddress(uncheckedPath: "/run/sluice/sluiced.sock")

  private init(uncheckedPath path: String) { socketPath = path }

  /// `unix:/path`, `unix:///path` or an absolute path.
  public init(parsing text: String) throws(ControlError) {
    var path = Substring(text)
    if path.hasPrefix("unix:") { path = path.dropFirst(5) }
    if path.hasPrefix("///") { path = path.dropFirst(2) }
    guard path.hasPrefix("/"), !path.hasPrefix("//"), path.utf8.count > 1 else {
      throw ControlError(.invalidArgument, "\"\(text)\" is no address of a daemon: write unix:/run/sluice/sluiced.sock")
    }
    guard path.utf8.count <= Self.pathByteCountMax, !path.utf8.contains(0) else {
      throw ControlError(
        .invalidArgument, "the path of a unix socket has at most \(Self.pathByteCountMax) bytes: \(text)")
    }
    self.init(uncheckedPath: String(path))
  }

  public var description: String { "unix:\(socketPath)" }

  /// Why nobody answers at this address, and what to do; asks the file system, as the process's real user.
  func diagnosis() -> String {
    if access(socketPath, R_OK | W_OK) == 0 {
      return "nobody answers at \(socketPath): sluiced is not running, or is just starting (systemctl status sluiced)"
    }
    switch errno {
    case ENOENT, ENOTDIR:
      return "there is no socket \(socketPath): sluiced is not running (systemctl start sluiced), or it listens "
        + "elsewhere (its setting control.socket)"
    case EACCES:
      var status = stat()
      let owner = stat(socketPath, &status) == 0
        ? " (mode 0\(String(status.st_mode & 0o777, radix: 8)), group \(status.st_gid))" : ""
      return "permission denied on \(socketPath)\(owner): run as root or as a member of the socket's group"
    case let code:
      return "cannot use \(socketPath): \(String(cString: strerror(code)))"
    }
  }
}

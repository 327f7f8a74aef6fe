import Foundation

/// Why a helper of the tests could not do its work; says what to install or change.
public struct DatabaseSupportError: Error, CustomStringConvertible {
  public let description: String
}

/// One run of an outside program.
enum Command {
  /// Runs the program as `user` (if given and this process is root), waits for it and returns what it printed.
  ///
  /// By posix_spawn, since Foundation's Process waits until every descendant has ended, and a server is one. For the
  /// same reason the output goes through a file: the server would keep a pipe open.
  @discardableResult
  static func run(
    _ program: String, _ arguments: [String], as user: String? = nil, environment: [String: String] = [:]
  ) throws -> String {
    let file = "/tmp/sluice-output-\(getpid())-\(UInt64.random(in: .min ... .max))"
    defer { unlink(file) }
    var words = [program] + arguments
    if let user, geteuid() == 0 { words = ["/usr/sbin/runuser", "-u", user, "--"] + words }
    let variables = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    let pid = try spawn(words, variables.map { "\($0.key)=\($0.value)" }, output: file)
    var status: Int32 = 0
    while waitpid(pid, &status, 0) < 0 {
      guard errno == EINTR else { throw DatabaseSupportError(description: "cannot wait for \(program)") }
    }
    let text = (try? String(contentsOfFile: file, encoding: .utf8)) ?? ""
    guard status == 0 else {
      throw DatabaseSupportError(description: "\(words.joined(separator: " ")): wait status \(status)\n\(text)")
    }
    return text
  }

  private static func spawn(_ words: [String], _ variables: [String], output: String) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_EXCL, 0o600)
    posix_spawn_file_actions_adddup2(&actions, 1, 2)
    var arguments = words.map { strdup($0) } + [nil]
    var environment = variables.map { strdup($0) } + [nil]
    defer { for pointer in arguments + environment { free(pointer) } }
    var pid: pid_t = 0
    let code = posix_spawn(&pid, words[0], &actions, nil, &arguments, &environment)
    guard code == 0 else {
      throw DatabaseSupportError(description: "cannot run \(words[0]): \(String(cString: strerror(code)))")
    }
    return pid
  }
}

/// Directories in /tmp that carry the pid of their process in the name, so that a later run can remove what a killed
/// one left.
enum OwnedDirectory {
  /// `/tmp/PREFIX-PID-NUMBER`, mode 0755, or below another folder.
  static func make(_ prefix: String, in parent: String = "/tmp") throws -> String {
    let path = "\(parent)/\(prefix)-\(getpid())-\(UInt32.random(in: .min ... .max))"
    try FileManager.default.createDirectory(
      atPath: path, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o755])
    return path
  }

  /// Those whose process is dead.
  static func stale(_ prefix: String, in parent: String = "/tmp") -> [String] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: parent)) ?? []
    return names.compactMap { name in
      guard name.hasPrefix(prefix + "-"),
        let pid = name.dropFirst(prefix.count + 1).split(separator: "-").first.flatMap({ pid_t($0) }),
        kill(pid, 0) != 0, errno == ESRCH
      else { return nil }
      return "\(parent)/\(name)"
    }
  }
}

@preconcurrency import Glibc  // environ is a variable there

/// A program that this process started. It inherits environment, namespaces and folder; its standard input is empty.
///
/// One thread uses the value: the one whose namespaces the child is to have. The `deinit` kills what still runs.
public final class ChildProcess {
  /// Where the child writes.
  public enum Output: Hashable, Sendable {
    case inherited
    /// A file, made or emptied.
    case file(String)
  }

  public let identifier: pid_t
  /// Exit status, or 128 and the number of the signal that ended it; nil while it runs.
  private var status: CInt?

  /// Starts `arguments[0]`, looked for in PATH. ENOENT where there is none.
  public init(_ arguments: [String], output: Output = .inherited, errors: Output = .inherited) throws(SystemError) {
    precondition(!arguments.isEmpty, "a program has a name")
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
    for (descriptor, target) in [(STDOUT_FILENO, output), (STDERR_FILENO, errors)] {
      guard case .file(let path) = target else { continue }
      posix_spawn_file_actions_addopen(&actions, descriptor, path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    }
    // Signals as a shell would give them, whatever this thread blocks or ignores.
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    var all = sigset_t()
    sigemptyset(&none)
    sigfillset(&all)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setsigdefault(&attributes, &all)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
    var words = arguments.map { strdup($0) } + [nil]
    defer { for word in words { free(word) } }
    var child: pid_t = 0
    let code = posix_spawnp(&child, arguments[0], &actions, &attributes, &words, environ)
    if code != 0 { throw SystemError(operation: "start", code: code, subject: arguments[0]) }
    identifier = child
  }

  deinit {
    if status == nil {
      signal(SIGKILL)
      wait()
    }
  }

  public var isRunning: Bool {
    if status == nil { collect(options: WNOHANG) }
    return status == nil
  }

  /// Nothing where it has ended.
  public func signal(_ number: CInt) {
    if isRunning { kill(identifier, number) }
  }

  /// Waits until it ends. Gives its exit status, or 128 and the number of the signal that ended it.
  @discardableResult
  public func wait() -> CInt {
    while true {
      if let status { return status }
      collect(options: 0)
    }
  }

  private func collect(options: CInt) {
    var raw: CInt = 0
    let result = waitpid(identifier, &raw, options)
    if result == -1 && errno != EINTR { status = 255 }  // somebody else collected it
    guard result == identifier else { return }
    let signal = raw & 0x7f
    status = signal == 0 ? raw >> 8 & 0xff : 128 + signal
  }
}

import Glibc
import LinuxSystem

/// What a shell command printed, and how it ended.
public struct ShellResult: Sendable {
  public let output: String
  public let status: Int32
}

/// Runs a command in the calling thread's network namespace, standard error included.
public func shell(_ command: String) -> ShellResult {
  guard let stream = popen("exec 2>&1; \(command)", "re") else {
    return ShellResult(output: "popen failed", status: -1)
  }
  var bytes: [UInt8] = []
  var chunk = [UInt8](repeating: 0, count: 4096)
  while true {
    let count = fread(&chunk, 1, chunk.count, stream)
    if count == 0 { break }
    bytes += chunk[..<count]
  }
  return ShellResult(output: String(decoding: bytes, as: UTF8.self), status: pclose(stream))
}

public struct ShellFailure: Error, CustomStringConvertible {
  public let description: String

  public init(description: String) { self.description = description }
}

/// As ``shell(_:)``; throws unless the command succeeds.
@discardableResult
public func run(_ command: String) throws -> String {
  let result = shell(command)
  if result.status != 0 { throw ShellFailure(description: "\(command): \(result.output)") }
  return result.output
}

/// Waits until the condition holds. False: it still doesn't after the deadline.
public func eventually(seconds: Double = 10, _ condition: () -> Bool) -> Bool {
  let deadline = SystemClock.monotonicNanoseconds() + UInt64(seconds * 1e9)
  while !condition() {
    if SystemClock.monotonicNanoseconds() > deadline { return false }
    usleep(500)
  }
  return true
}

/// Runs `body` with a fresh directory that is removed afterwards, or, if this process is killed, by the next one.
public func withTemporaryDirectory<R>(_ body: (String) throws -> R) throws -> R {
  removeStaleDirectories
  var template = Array("/tmp/sluice-test-\(getpid())-XXXXXX".utf8CString)
  guard mkdtemp(&template) != nil else { throw ShellFailure(description: "mkdtemp: errno \(errno)") }
  let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  defer { _ = shell("rm -rf \(path)") }
  return try body(path)
}

/// Directories of processes that are gone, with what a test had mounted on them or in them. Once per process.
private let removeStaleDirectories: Void = {
  for path in shell("ls -d /tmp/sluice-test-*-* 2>/dev/null").output.split(separator: "\n") {
    let parts = path.split(separator: "-")
    guard parts.count == 4, let owner = pid_t(parts[2]), kill(owner, 0) != 0, errno == ESRCH else { continue }
    _ = shell("umount \(path) \(path)/bpf 2>/dev/null; rmdir \(path)/bpf 2>/dev/null; rm -rf --one-file-system \(path)")
  }
}()

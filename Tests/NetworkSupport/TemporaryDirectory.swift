import Glibc

/// Runs `body` with a fresh directory that is removed afterwards, or, if this process is killed, by the next one.
public func withTemporaryDirectory<R>(_ body: (String) throws -> R) throws -> R {
  removeStaleDirectories
  var template = Array("/tmp/sluice-test-\(getpid())-XXXXXX".utf8CString)
  guard mkdtemp(&template) != nil else {
    throw ShellError(command: "make a temporary directory", status: errno, output: "")
  }
  let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  defer { _ = try? Shell.run("rm -rf \(path)") }
  return try body(path)
}

/// Directories of processes that are gone, with what a test had mounted on them or in them. Once per process.
private let removeStaleDirectories: Void = {
  let paths = (try? Shell.run("ls -d /tmp/sluice-test-*-* 2>/dev/null")) ?? ""
  for path in paths.split(separator: "\n") {
    let parts = path.split(separator: "-")
    guard parts.count == 4, let owner = pid_t(parts[2]), kill(owner, 0) != 0, errno == ESRCH else { continue }
    _ = try? Shell.run(
      """
      umount \(path) \(path)/bpf 2>/dev/null || true
      rmdir \(path)/bpf 2>/dev/null || true
      rm -rf --one-file-system \(path)
      """)
  }
}()

import Glibc
import LinuxSystem
import NetworkSupport
import Testing

@Suite("Child processes")
struct ChildProcessTests {
  @Test("The status is that of exit, or 128 and the signal; 127's cause is an error at once")
  func status() throws {
    #expect(try ChildProcess(["sh", "-c", "exit 7"]).wait() == 7)
    let child = try ChildProcess(["sleep", "60"])
    #expect(child.isRunning)
    child.signal(SIGTERM)
    #expect(child.wait() == 128 + SIGTERM)
    #expect(!child.isRunning)
    child.signal(SIGTERM)  // nobody else's process gets it
    let error = #expect(throws: SystemError.self) { try ChildProcess(["/nowhere/at-all"]) }
    #expect(error?.code == ENOENT)
  }

  @Test("Output and errors go to files, and the input is empty")
  func streams() throws {
    try withTemporaryDirectory { directory in
      let child = try ChildProcess(
        ["sh", "-c", "cat; echo out; echo error >&2"], output: .file("\(directory)/out"),
        errors: .file("\(directory)/err"))
      #expect(child.wait() == 0)
      #expect(try SmallFile.readText("\(directory)/out") == "out")
      #expect(try SmallFile.readText("\(directory)/err") == "error")
    }
  }

  @Test("A child takes signals although its parent blocks one and ignores another")
  func signals() throws {
    var blocked = sigset_t()
    var before = sigset_t()
    sigemptyset(&blocked)
    sigaddset(&blocked, SIGUSR1)
    pthread_sigmask(SIG_BLOCK, &blocked, &before)
    let handler = Glibc.signal(SIGUSR2, SIG_IGN)
    defer {
      pthread_sigmask(SIG_SETMASK, &before, nil)
      _ = Glibc.signal(SIGUSR2, handler)
    }
    for number in [SIGUSR1, SIGUSR2] {
      let child = try ChildProcess(["sleep", "60"])
      child.signal(number)
      #expect(child.wait() == 128 + number)
    }
  }

  @Test("A child that nobody waits for goes with its value")
  func goesWithValue() throws {
    var child: ChildProcess? = try ChildProcess(["sleep", "60"])
    let identifier = try #require(child?.identifier)
    #expect(kill(identifier, 0) == 0)
    child = nil
    #expect(kill(identifier, 0) == -1)
  }
}

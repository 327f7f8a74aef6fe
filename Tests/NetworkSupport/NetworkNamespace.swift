import Foundation
import Glibc

/// A network namespace for one test, removed when the test is done with it; those of killed test processes are removed
/// when the next one starts.
public final class NetworkNamespace: Sendable {
  /// `slt-PID-N`: of this process.
  public let name: String

  private static let counter = Counter()
  private static let prefix = "slt"
  private static let removedStale: Void = {
    removeStale()
    // The runner may end before the last test's values go.
    atexit { NetworkNamespace.live.all().forEach(NetworkNamespace.remove) }
  }()
  private static let live = Names()

  public init() throws {
    _ = NetworkNamespace.removedStale
    name = "\(NetworkNamespace.prefix)-\(getpid())-\(NetworkNamespace.counter.next())"
    NetworkNamespace.live.insert(name)
    try Shell.run("ip netns add \(name)")
    try Shell.run("ip -n \(name) link set lo up")
  }

  deinit {
    NetworkNamespace.remove(name)
    NetworkNamespace.live.remove(name)
  }

  /// A folder of this namespace's test, removed with it. Not made yet.
  public var folder: String { "/tmp/\(name)" }

  /// Ends what runs inside, and removes the namespace and its folder with what is mounted there.
  private static func remove(_ name: String) {
    let folder = "/tmp/\(name)"
    _ = try? Shell.run(
      """
      ip netns pids \(name) | xargs -r kill -9 || true  # gone meanwhile
      ip netns del \(name)
      if [ -d \(folder) ]; then
        awk '{print $2}' /proc/mounts | grep "^\(folder)/" | xargs -r -n1 umount -l
        rm -rf \(folder)
      fi
      """)
  }

  private static func removeStale() {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: "/run/netns")) ?? []
    for name in names {
      let parts = name.split(separator: "-")
      guard parts.count == 3, parts[0] == prefix, let owner = Int32(parts[1]), kill(owner, 0) != 0, errno == ESRCH
      else { continue }
      remove(name)
    }
  }

  /// Runs a shell command inside; throws with its output if it fails.
  @discardableResult
  public func run(_ command: String) throws -> String { try Shell.run(command, inside: name) }

  /// Makes a pair of Ethernet devices, both ends here and up, without IPv6 chatter.
  public func makePair(_ first: String, _ second: String, options: String = "") throws {
    try run(
      """
      ip link add \(first) \(options) type veth peer name \(second) \(options)
      sysctl -qw net.ipv6.conf.\(first).disable_ipv6=1 net.ipv6.conf.\(second).disable_ipv6=1
      ip link set \(first) up && ip link set \(second) up
      """)
  }

  /// Runs `body` on a thread of its own inside the namespace and waits for it. Blocks the caller.
  public func perform<Value>(_ body: @escaping () throws -> Value) throws -> Value {
    // The closure and its result cross to the thread and back with a join between: no two threads touch them at once.
    nonisolated(unsafe) let body = body
    nonisolated(unsafe) var result: Result<Value, any Error>?
    let name = name
    let done = DispatchSemaphore(value: 0)
    let thread = Thread {
      result = Result {
        try NetworkNamespace.enter(name)
        return try body()
      }
      done.signal()
    }
    thread.stackSize = 8 << 20
    thread.start()
    done.wait()
    return try result!.get()
  }

  /// Puts the calling thread into a namespace, for good.
  static func enter(_ name: String) throws {
    let descriptor = open("/run/netns/\(name)", O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw ShellError(command: "open namespace \(name)", status: errno, output: "") }
    defer { close(descriptor) }
    // Glibc's module hides setns(2), which needs _GNU_SOURCE.
    typealias SetNamespace = @convention(c) (CInt, CInt) -> CInt
    guard let symbol = dlsym(nil, "setns") else {
      throw ShellError(command: "find setns", status: 0, output: "")
    }
    guard unsafeBitCast(symbol, to: SetNamespace.self)(descriptor, 0x4000_0000) == 0 else {
      throw ShellError(command: "setns \(name)", status: errno, output: "")
    }
  }
}

private final class Counter: @unchecked Sendable {
  private let lock = NSLock()
  private var value = 0

  func next() -> Int {
    lock.withLock {
      value += 1
      return value
    }
  }
}

private final class Names: @unchecked Sendable {
  private let lock = NSLock()
  private var names: Set<String> = []

  func insert(_ name: String) { _ = lock.withLock { names.insert(name) } }
  func remove(_ name: String) { _ = lock.withLock { names.remove(name) } }
  func all() -> Set<String> { lock.withLock { names } }
}

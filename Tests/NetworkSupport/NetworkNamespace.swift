import CLinuxShims
import Foundation
import Glibc
import LinuxSystem

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

  /// Mounts a BPF file system in ``folder``, gone with it, and returns where it is.
  public func mountBPFFileSystem() throws -> String {
    let path = "\(folder)/bpf"
    try Shell.run("mkdir -p \(path) && mount -t bpf bpf \(path)")
    return path
  }

  /// Makes a pair of Ethernet devices, both ends here and up, without IPv6 chatter.
  public func makePair(_ first: String, _ second: String, options: String = "") throws {
    try run(
      """
      ip link add \(first) \(options) type veth peer name \(second) \(options)
      sysctl -qw net.ipv6.conf.\(first).disable_ipv6=1 net.ipv6.conf.\(second).disable_ipv6=1
      ip link set \(first) up && ip link set \(second) up
      """)
  }

  /// Runs `body` on the calling thread, which is inside meanwhile; so are threads and processes that `body` starts.
  public func perform<Value>(_ body: () throws -> Value) throws -> Value {
    let home = try OwnedDescriptor.open("/proc/thread-self/ns/net", flags: O_RDONLY)
    let inside = try OwnedDescriptor.open("/run/netns/\(name)", flags: O_RDONLY)
    try check("enter network namespace", name, needs: .sysAdmin) { sluice_enter_network_namespace(inside.rawValue) }
    defer { precondition(sluice_enter_network_namespace(home.rawValue) == 0, "a thread gets back to where it was") }
    return try body()
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

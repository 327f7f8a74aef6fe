import CLinuxShims
import Glibc
import LinuxSystem
import Synchronization
import Testing

@Suite("Threads and places")
struct ThreadTests {
  @Test("A pinned thread runs on its CPU, under its name, with all signals blocked")
  func pinned() throws {
    for cpu in try Topology.allowedCPUs() {
      let result = Handoff<(cpus: [Int], cpu: CInt, name: String, isBlocked: Bool)>()
      let thread = try PinnedThread.spawn(name: "a-name-longer-than-15", cpu: cpu) {
        var set = sigset_t()
        pthread_sigmask(SIG_SETMASK, nil, &set)
        let name = (try? SmallFile.readText("/proc/thread-self/comm")) ?? ""
        let isBlocked = sigismember(&set, SIGTERM) == 1 && sigismember(&set, SIGUSR1) == 1
        result.put(((try? Topology.allowedCPUs()) ?? [], sluice_thread_cpu(), name, isBlocked))
      }
      let seen = result.take()
      thread.join()
      #expect(seen.cpus == [cpu] && seen.cpu == CInt(cpu) && seen.name == "a-name-longer-t" && seen.isBlocked)
    }
  }

  @Test("A CPU that isn't there is refused before the body runs", arguments: [-1, 1000, 100_000])
  func wrongCPU(cpu: Int) {
    let error = #expect(throws: SystemError.self) {
      _ = try PinnedThread.spawn(name: "never", cpu: cpu) { Issue.record("ran") }
    }
    #expect(error?.code == EINVAL && error?.remedy != nil)
  }

  @Test("A thread that is dropped is joined first")
  func dropped() throws {
    let isDone = Handoff<Bool>()
    let flag = Flag()
    do {
      let thread = try PinnedThread.spawn(name: "short") {
        _ = isDone.take()
        usleep(10_000)  // long enough for a drop that doesn't wait to be seen
        flag.set()
      }
      isDone.put(true)
      _ = consume thread
    }
    #expect(flag.isSet)
  }

  @Test(
    "CPU lists are read as the kernel writes them",
    arguments: [
      ("", []), ("0", [0]), ("0-3", [0, 1, 2, 3]), ("0-1,4,6-7", [0, 1, 4, 6, 7]), ("3-1", nil), ("a", nil),
      ("1-", nil),
      ("-1", nil), ("1,", nil), ("1-2-3", nil), ("0-65536", nil), ("65535", [65535]),
    ] as [(String, [Int]?)])
  func lists(text: String, expected: [Int]?) { #expect(Topology.parseList(text) == expected) }

  @Test("There is a CPU online, each node has CPUs, and a node that isn't there has none")
  func topology() throws {
    let online = try Topology.onlineCPUs()
    #expect(try !online.isEmpty && Set(Topology.allowedCPUs()).isSubset(of: online))
    #expect(try Set(Topology.nodes().flatMap { try Topology.cpus(ofNode: $0) }) == Set(online))
    #expect(try Topology.cpus(ofNode: 999).isEmpty)
  }

  @Test("Memory is where it was asked for, or the report says why not")
  func placement() throws {
    let region = try MappedRegion(anonymous: 1 << 20, subject: "test")
    let placement = try NUMA.place(region, onNode: 0)
    #expect(Topology.nodes().count == 1 ? placement == .singleNode : placement == .verified(node: 0))
    #expect(sluice_node_of(region.base) >= 0)
  }

  @Test("Memory that cannot be had is an error before it is touched, which would end the process")
  func population() throws {
    let file = OwnedDescriptor(owning: sluice_memory_file("test"))
    let region = try MappedRegion(sharing: file, byteCount: 8192, subject: "test")
    #expect(throws: SystemError.self) { try region.populate() }
    try MappedRegion(anonymous: 1 << 20, subject: "test").populate()
  }

  @Test("The kernel binds memory to a node that is there, and refuses one that isn't")
  func binding() throws {
    let region = try MappedRegion(anonymous: 1 << 20, subject: "test")
    #expect(sluice_bind_to_node(region.base, region.byteCount, 0, 1) == 0)
    region.base.storeBytes(of: 1, as: UInt8.self)
    #expect(sluice_node_of(region.base) == 0)
    for node in [-1, 700, 5000] as [CInt] { #expect(sluice_bind_to_node(region.base, region.byteCount, node, 0) == -1) }
  }

  @Test("Clocks go forward, and their offset is what lies between them")
  func clocks() {
    let first = SystemClock.monotonicNanoseconds()
    let wall = Int64(bitPattern: SystemClock.realtimeNanoseconds())
    let computed = Int64(bitPattern: SystemClock.monotonicNanoseconds()) + SystemClock.realtimeOffsetNanoseconds()
    #expect(SystemClock.monotonicNanoseconds() >= first && abs(computed - wall) < 1_000_000_000)
  }

  @Test("An event stays until it is cleared, and wakes a waiter")
  func event() throws {
    let event = try EventDescriptor()
    #expect(event.clear() == false)
    event.signal()
    event.signal()
    try event.wait(timeoutMilliseconds: -1)
    #expect(event.clear() == true)
    #expect(event.clear() == false)
    try event.wait(timeoutMilliseconds: 1)
  }
}

private final class Flag: Sendable {
  private let value = Atomic<Bool>(false)

  var isSet: Bool { value.load(ordering: .acquiring) }
  func set() { value.store(true, ordering: .releasing) }
}

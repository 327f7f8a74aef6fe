import CSluiceABI
import LinuxSystem
import Packets
import RuleCompiler
import Rules
import Testing

@testable import XDPPrograms

@Suite("Waiting for running programs", .serialized)
struct ProgramBarrierTests {
  @Test(
    "Returns when the program has that was running, however long that takes",
    .enabled(if: ((try? Topology.allowedCPUs()) ?? []).count > 1, "a CPU for the program, and one that waits"))
  func waits() throws {
    var ruleSet = RuleSet(name: "test", defaultAction: .pass)
    ruleSet.rules = [Rule(name: "udp", match: Match(protocols: [.udp]), action: .drop)]
    let generation = try compile(
      ruleSet, slots: { _ in 1 }, interfaceIndex: { _ in nil }, generation: 1, captureFallback: .pass)
    let probe = try generation.withUnsafeBytes { try ClassificationProbe($0) }
    let address = IPPrefix("192.0.2.1")!.address
    try #require(try probe.add(PacketBuilder(from: address, to: address, .udp(source: 1, destination: 2)).build()))
    let barrier = try ProgramBarrier()
    let cpus = try Topology.allowedCPUs()
    var left = 0
    // Once more where the other CPU had no time for who waits.
    for _ in 0..<10 where left < 20_000_000 {
      _ = try probe.run(period: 1, count: 1, isEmpty: true)
      let shared = UncheckedBox(Shared(probe, barrier))
      // Each on a CPU of its own: the one that runs the program runs nothing else meanwhile.
      let waiter = try PinnedThread.spawn(name: "waiter", cpu: cpus[1]) { shared.value.wait() }
      let runner = try PinnedThread.spawn(name: "long-run", cpu: cpus[0]) { shared.value.run() }
      waiter.join()
      runner.join()
      left = shared.value.runEnd - shared.value.waitBegin
      let waited = shared.value.waitEnd - shared.value.waitBegin
      #expect(waited > left * 3 / 4, "\(waited) of \(left) ns")
    }
    #expect(left >= 20_000_000, "a run that is far from its end: \(left) ns")
  }

  /// Each value one thread's until both have ended.
  private final class Shared {
    private let probe: ClassificationProbe
    private let barrier: ProgramBarrier
    private(set) var runEnd = 0
    private(set) var waitBegin = 0
    private(set) var waitEnd = 0

    init(_ probe: ClassificationProbe, _ barrier: ProgramBarrier) { (self.probe, self.barrier) = (probe, barrier) }

    /// One run of the program, as long as the kernel takes.
    func run() {
      _ = try? probe.run(period: 1, count: ClassificationProbe.runCountMax)
      runEnd = Int(SystemClock.monotonicNanoseconds())
    }

    func wait() {
      while probe.verdict(0).slot == 0 {}  // until the program is at its first packets
      waitBegin = Int(SystemClock.monotonicNanoseconds())
      barrier.wait()
      waitEnd = Int(SystemClock.monotonicNanoseconds())
    }
  }
}

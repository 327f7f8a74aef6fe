import DataPlane
import Glibc
import LinuxSystem
import NetworkSupport
import Testing
import XSK

@Suite("Queue worker on veth", .serialized)
struct QueueWorkerTests {
  @Test(
    "Receives every packet, counts exactly, conserves frames, and stops", arguments: [false, true], [false, true])
  func receives(withMetadata: Bool, byProgram: Bool) throws {
    try withTestNetwork { network in
      var bench = try Bench(network, withMetadata: withMetadata, byProgram: byProgram)
      let report = bench.workers[0].report
      #expect(report.copyReason?.contains("veth") == true && report.frameCount == 1024 && report.cpu == -1)
      #expect(report.copyReason?.contains("the XDP program copies") == byProgram)
      try bench.send(3000, byteCount: 100)
      let counters = bench.workers[0].counters()
      #expect(counters.receivedPackets == 3000 && counters.receivedBytes == 300_000)
      #expect(counters.statistics == XDPStatistics() && counters.failure == nil)
      #expect(counters.framesPool + counters.framesFill + counters.framesInFlight == 1024)
      bench.stop()
      bench.stop()
      #expect(bench.workers[0].counters().receivedPackets == 3000)
    }
  }

  @Test("Two queues feed two workers, pinned where they were told")
  func twoQueues() throws {
    try withTestNetwork(queues: 2) { network in
      let near = try network.near()
      #expect(try near.receiveQueueCount() == 2)
      let cpu = try Topology.allowedCPUs()[0]
      let worker = try QueueWorker.start(
        .init(interface: near, queue: 1, cpu: cpu, frameCount: 64, wantsHugePages: false))
      #expect(worker.report.cpu == cpu && worker.report.queue == 1)
      worker.stop()
      var bench = try Bench(network, queues: 2)
      try bench.send(1000)
      #expect(bench.received == 1000)
      bench.stop()
    }
  }

  @Test("Settling waits for every packet that was there, and not for a worker that ended", arguments: [false, true])
  func settles(byProgram: Bool) throws {
    try withTestNetwork { network in
      let bench = try Bench(network, byProgram: byProgram)
      var sender = try FrameSender(interface: try network.far())
      for round in 1...200 as ClosedRange<UInt64> {
        // A veth delivers in the sender's softirq: what was sent is in the ring.
        for number in 0..<3 as Range<UInt32> { try sender.send(testFrame(slot: 1, number: number)) }
        bench.workers[0].settle()
        #expect(bench.received == round * 3)
      }
      bench.stop()
      bench.workers[0].settle()
    }
  }

  @Test("An idle worker uses no CPU", arguments: [false, true])
  func idle(byProgram: Bool) throws {
    try withTestNetwork { network in
      var bench = try Bench(network, byProgram: byProgram)
      try bench.send(10)
      let before = try threadTime("xsk-0-near")
      usleep(300_000)  // the interval that is measured
      let after = try threadTime("xsk-0-near")
      #expect(after - before <= 1, "\(after - before) ticks of 10 ms")
      bench.stop()
    }
  }

  @Test("A queue that isn't there, a busy queue and a CPU that isn't there are refused with the remedy")
  func refusals() throws {
    try withTestNetwork { network in
      let near = try network.near()
      let start = { (configuration: QueueConfiguration) -> SystemError? in
        do throws(SystemError) {
          _ = try QueueWorker.start(configuration)
          return nil
        } catch { return error }
      }
      #expect(start(.init(interface: near, queue: 9))?.remedy == "near has 1 receive queues")
      #expect(start(.init(interface: near, queue: 0, zeroCopy: .required))?.code == EOPNOTSUPP)
      #expect(start(.init(interface: near, queue: 0, cpu: 4000))?.remedy?.contains("online CPU") == true)
      let bench = try Bench(network)
      #expect(start(.init(interface: near, queue: 0))?.code == EBUSY)
      bench.stop()
      #expect(start(.init(interface: near, queue: 0)) == nil)  // at once: the kernel's deferred teardown is waited for
    }
  }

  @Test(
    "When the interface goes, the worker says so and stops without hanging", arguments: WaitMode.allCases, [false, true])
  func interfaceGoes(wait: WaitMode, byProgram: Bool) throws {
    try withTestNetwork { network in
      var bench = try Bench(network, wait: wait, byProgram: byProgram)
      try bench.send(10)
      try Shell.run("ip link del near")
      #expect(eventually { bench.workers[0].counters().failure?.code == ENETDOWN })
      let start = SystemClock.monotonicNanoseconds()
      bench.stop()
      #expect(SystemClock.monotonicNanoseconds() - start < 3_000_000_000)
      #expect(bench.workers[0].counters().receivedPackets == 10)
    }
  }

  /// User and system time of the thread of that name, in clock ticks.
  private func threadTime(_ name: String) throws -> Int {
    let identifiers = try Shell.run("ls /proc/\(getpid())/task").split(separator: "\n")
    for identifier in identifiers {
      guard let stat = try? SmallFile.readText("/proc/self/task/\(identifier)/stat"), stat.contains("(\(name))") else {
        continue
      }
      let fields = stat[(stat.lastIndex(of: ")") ?? stat.startIndex)...].split(separator: " ")
      return (Int(fields[12]) ?? 0) + (Int(fields[13]) ?? 0)
    }
    throw TestFailure("no thread \(name)")
  }
}

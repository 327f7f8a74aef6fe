import Glibc
import LinuxSystem
import NetworkSupport
import Synchronization
import Testing
import XSK

@testable import DataPlane

/// A veth pair whose near end is received by one worker per queue, and a sender at the far end.
struct Bench: ~Copyable {
  let near: NetworkInterface
  let workers: [QueueWorker]
  private let program: RedirectProgram
  private var sender: FrameSender
  private(set) var sent: UInt64 = 0

  init(
    _ network: TestNetwork, queues: UInt32 = 1, frameCount: UInt32 = 1024, withMetadata: Bool = true,
    wait: WaitMode = .adaptive, takesFragments: Bool = false, byProgram: Bool = false
  ) throws {
    let near = try network.near()
    var workers: [QueueWorker] = []
    for queue in 0..<queues {
      var configuration = QueueConfiguration(
        interface: near, queue: queue, frameCount: frameCount, wantsHugePages: false, wait: wait)
      configuration.hasReceivers = byProgram
      workers.append(try QueueWorker.start(configuration))
    }
    // A receiver takes fragments; so must the program that calls it.
    let program = try RedirectProgram(
      interface: near, withMetadata: withMetadata, takesFragments: takesFragments || byProgram)
    for worker in workers {
      try #require((worker.receiver != nil) == byProgram)
      try program.insert(
        queue: worker.report.queue, socket: worker.socketDescriptor, receiver: worker.receiver?.programDescriptor)
    }
    sender = try FrameSender(interface: try network.far())
    self.near = near
    self.workers = workers
    self.program = program
  }

  var received: UInt64 { workers.reduce(0) { $0 + $1.counters().receivedPackets } }

  var receivedBytes: UInt64 { workers.reduce(0) { $0 + $1.counters().receivedBytes } }

  /// Sends so many packets and waits until the workers have them all. Not faster than they receive: nothing is lost.
  mutating func send(_ count: Int, byteCount: Int = 64, slot: (Int) -> UInt8 = { _ in 1 }) throws {
    for number in 0..<count {
      try sender.send(testFrame(slot: slot(number), number: UInt32(sent), byteCount: byteCount))
      sent += 1
      if sent % 32 == 0 || number == count - 1 {
        let target = sent
        guard eventually({ received >= target }) else {
          throw TestFailure("sent \(target), received \(received), \(workers.map { $0.counters() })")
        }
      }
    }
  }

  /// Sends bursts that the workers' few frames don't hold, until the kernel has lost packets, and waits until what it
  /// didn't lose has been received. Returns how many were sent.
  mutating func flood(byteCount: Int = 64) throws -> UInt64 {
    let before = sent
    // On one CPU with the sender, which is busy, and at its mercy: they don't keep up.
    let threads = "$(grep -l ^xsk- /proc/\(getpid())/task/*/comm | cut -d/ -f5)"
    let own = try SmallFile.read("/proc/thread-self/stat", byteCountMax: 4096).split(separator: 0x20)[0]
    let sender = String(decoding: own, as: UTF8.self)
    let cpus = try Shell.run("taskset -pc \(sender)").split { $0.isWhitespace }.last ?? "0"
    try Shell.run("for t in \(threads) \(sender); do taskset -pc 0 $t; done; for t in \(threads); do chrt -i -p 0 $t; done")
    for _ in 0..<200 where workers.allSatisfy({ $0.lossCount == 0 }) {
      for _ in 0..<500 {
        try self.sender.send(testFrame(slot: 1, number: UInt32(sent), byteCount: byteCount))
        sent += 1
      }
      usleep(5000)  // the workers go to sleep
    }
    try Shell.run("for t in \(threads); do chrt -o -p 0 $t; done; for t in \(threads) \(sender); do taskset -pc \(cpus) $t; done")
    let target = sent
    let isComplete = eventually { received + workers.reduce(0) { $0 + $1.lossCount } == target }
    guard isComplete else { throw TestFailure("sent \(target), \(workers.map { $0.counters() })") }
    return sent - before
  }

  /// Takes the sockets out of the map and ends the workers.
  func stop() {
    for worker in workers {
      program.remove(queue: worker.report.queue)
      worker.stop()
    }
  }
}

/// What onFinish was called with.
final class Outcome: Sendable {
  private let summaries = Mutex<[CaptureSummary]>([])

  var callback: @Sendable (CaptureSummary) -> Void {
    { summary in self.summaries.withLock { $0.append(summary) } }
  }
  var all: [CaptureSummary] { summaries.withLock { $0 } }
}

extension Bench {
  /// A capture of all queues; the rule of slot 1 is `rule-1`, and so on.
  func capture(_ request: CaptureRequest, onFinish: @escaping @Sendable (CaptureSummary) -> Void = { _ in }) throws
    -> CaptureSession
  {
    try CaptureSession.start(
      request, interface: near.name, workers: workers, names: Bench.names, onFinish: onFinish)
  }

  private static let names: SlotNames = {
    let names = SlotNames()
    names.set(Dictionary(uniqueKeysWithValues: (0..<128).map { ("rule-\($0)", $0) }))
    return names
  }()

  /// A capture whose writer hangs from the first packet on, until the gate is opened.
  func captureWithHangingWriter(_ request: CaptureRequest) throws -> (session: CaptureSession, gate: Gate) {
    let gate = Gate()
    let session = try CaptureSession.start(
      request, interface: near.name, workers: workers, names: SlotNames(),
      openSink: { (request, interface, startedAt, wake) throws(SystemError) in
        try openCaptureSink(request, interface, startedAt, wake).map { HangingSink($0, gate) }
      }, onFinish: { _ in })
    return (session, gate)
  }
}

/// Files on a disk that stands still.
private final class HangingSink: CaptureSink {
  private let files: any CaptureSink
  private let gate: Gate

  init(_ files: any CaptureSink, _ gate: Gate) { (self.files, self.gate) = (files, gate) }

  var written: UInt64 { files.written }
  var byteCount: UInt64 { files.byteCount }
  var paths: [String] { files.paths }
  var room: UInt64 { files.room }
  var idleTimeoutMilliseconds: CInt { files.idleTimeoutMilliseconds }
  var isAbandoned: Bool { files.isAbandoned }

  func makeRoom(for byteCount: Int, _ statistics: () -> CaptureStatistics) throws(SystemError) -> CaptureRoom {
    try files.makeRoom(for: byteCount, statistics)
  }

  func write(_ blocks: borrowing GatherList, packets: UInt64) throws(SystemError) {
    gate.wait()
    try files.write(blocks, packets: packets)
  }

  func idle(_ statistics: () -> CaptureStatistics) throws(SystemError) { try files.idle(statistics) }
  func finish(_ statistics: CaptureStatistics) throws(SystemError) { try files.finish(statistics) }
  func abandon() { files.abandon() }
}

/// Fields of every packet of a capture file, as tshark reads them.
func tshark(_ path: String, _ fields: [String]) throws -> [[String]] {
  let options = fields.map { "-e \($0)" }.joined(separator: " ")
  return try Shell.run("tshark -n -r \(path) -T fields \(options) 2>/dev/null").split(
    separator: "\n", omittingEmptySubsequences: true
  )
  .map { $0.split(separator: "\t", omittingEmptySubsequences: false).map(String.init) }
}

extension CaptureSummary {
  var isAccountedFor: Bool { received == written + sampledOut + filteredOut + dropped }
}

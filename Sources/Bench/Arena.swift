import Foundation
import LinuxSystem

/// Runs one program at one work and measures what arrives. One thread uses it, inside the ``Enclosure``.
struct Arena {
  let work: Work
  let peers: Peers
  let seconds: Double
  /// This program.
  let ownPath: String

  /// For what moves at first only: pages touched, caches filled, clocks up.
  static let warmUpMicroseconds: UInt32 = 300_000

  func measure(_ name: String) throws -> Sample {
    let first = try Cable(0, queues: work == .transmitOnTwoCores ? 2 : 1)
    let second = work.usesTwoCables ? try Cable(1) : nil
    defer { withExtendedLifetime((first, second)) {} }
    let contestant = try contestant(name, farMAC: try Cable.mac(first.far))
    switch work {
    case .receive: return try rate(contestant, sinkAt: nil, loadAt: first.far) { try Arena.received(first) }
    case .transmit, .transmitApart, .transmitOnTwoCores, .transmitWithoutLiveFrames, .generate, .generateApart:
      return try rate(contestant, sinkAt: first.far, loadAt: nil) { try Cable.statistics(first.far).rxPackets }
    case .forward, .forwardInKernel, .latency:
      return try rate(contestant, sinkAt: "far1", loadAt: first.far) { try Cable.statistics("far1").rxPackets }
    case .reflect:
      return try rate(contestant, sinkAt: first.far, loadAt: first.far) { try Cable.statistics(first.far).rxPackets }
    case .capture, .captureLarge: throw BenchError("captures are searched, not measured once")
    case .idle: return try idle(contestant)
    case .filter10, .filter100, .filter1000, .filter10000, .filter100000: throw BenchError("filters have a measurement of their own")
    }
  }

  func contestant(_ name: String, farMAC: String = "") throws(BenchError) -> Contestant {
    guard let contestant = work.contestants(farMAC: farMAC).first(where: { $0.name == name }) else {
      throw BenchError("\(work.rawValue) has no \(name)")
    }
    return contestant
  }

  func start(_ contestant: Contestant) throws(BenchError) -> Child {
    let child: Child
    switch contestant.executable {
    case .own:
      child = try Child(
        contestant.name, [ownPath] + contestant.arguments, cpu: contestant.cpu, folder: Enclosure.folder,
        isRealTime: work.isRealTime)
    case .peer(let tool):
      guard let path = peers.paths[tool] else { throw BenchError("\(tool.rawValue) is missing") }
      child = try Child(
        contestant.name, [path] + contestant.arguments, cpu: contestant.cpu, folder: Enclosure.folder,
        isRealTime: work.isRealTime, preload: peers.preload)
    }
    if let text = contestant.readyText {
      try child.wait(for: "it was ready") { child.output.contains(text) || child.errors.contains(text) }
    }
    if !contestant.attachesTo.isEmpty {
      try child.wait(for: "it attached its program") { Cable.havePrograms(contestant.attachesTo) }
    }
    return child
  }

  func startLoad(_ interface: String, _ options: [String]) throws(BenchError) -> Child {
    let child = try Child(
      "load", [ownPath, "bench", "subject", "load", interface, "--size", "\(work.frameByteCount)"] + options,
      cpu: Contestant.generatorCPU, folder: Enclosure.folder, isRealTime: work.isRealTime)
    try child.wait(for: "it was ready") { child.output.contains(Subject.readyText) }
    return child
  }

  /// Packets a second by `count`, over the seconds after the first packets and a while to warm up.
  private func rate(
    _ contestant: Contestant, sinkAt: String?, loadAt: String?, count: () throws -> UInt64
  ) throws -> Sample {
    let sink = try sinkAt.map { try Sink($0) }
    defer { withExtendedLifetime(sink) {} }
    if work.receiverHasOwnCPU, let sinkAt { try ReceiverThread.start(for: sinkAt, cpu: contestant.otherCPU) }
    let before = try count()
    let child = try start(contestant)
    let load = try loadAt.map { try startLoad($0, []) }
    try child.wait(for: "packets arrived") { ((try? count()) ?? before) > before }
    var sample = Sample(["rate": try packetsPerSecond(count)])
    guard child.isRunning else { throw BenchError("\(child.name) ended:\n\(child.lastWords)") }
    load?.stop()
    usleep(100_000)  // what is on its way arrives
    child.stop()
    guard let load else { return sample }
    guard let sent = Subject.Account(output: load.output) else {
      throw BenchError("the load did not tell what it sent:\n\(load.lastWords)")
    }
    let told = Subject.Account(output: child.output)
    let inside = told?.dropped ?? 0
    var delivered = try count() - before
    if work == .receive, let told, inside > 0 {
      // Dropped by our program, which the device takes for received.
      delivered -= inside
      sample.values["rate"]! *= Double(told.packets) / Double(told.packets + inside)
    }
    let account = try Arena.account(sent.packets, droppedInside: inside, delivered: delivered)
    (sample.lost, sample.unexplained) = (account.lost, account.unexplained)
    return sample
  }

  /// Of a counter, after a while to warm up.
  func packetsPerSecond(_ count: () throws -> UInt64) throws -> Double {
    usleep(Arena.warmUpMicroseconds)
    let start = (time: SystemClock.monotonicNanoseconds(), count: try count())
    usleep(UInt32(seconds * 1e6))
    let end = (time: SystemClock.monotonicNanoseconds(), count: try count())
    return Double(end.count - start.count) / Double(end.time - start.time) * 1e9
  }

  /// Packets that the near device's program redirected with success.
  private static func received(_ cable: Cable) throws(BenchError) -> UInt64 {
    // Refused ones first: fewer, if time passes between, are then taken off.
    let refused = try Cable.statistics(cable.far).txDropped
    let near = try Cable.statistics(cable.near)
    return near.rxPackets &- (near.rxDropped &- refused)
  }

  private static func account(
    _ attempted: UInt64, droppedInside: UInt64, delivered: UInt64
  ) throws(BenchError) -> PacketAccount {
    let refused = try Cable.statistics("far0").txDropped
    let notTaken = try Cable.statistics("near0").rxDropped &- refused
    // The way out is the way in where there is one cable.
    let out = (try? Cable.statistics("near1")) ?? LinkStatistics()
    return PacketAccount(
      attempted: attempted, refused: refused, notTaken: notTaken, droppedInside: droppedInside,
      refusedBehind: out.txDropped, delivered: delivered)
  }

  private func idle(_ contestant: Contestant) throws -> Sample {
    let child = try start(contestant)
    usleep(1_000_000)
    let start = (time: SystemClock.monotonicNanoseconds(), cpu: try child.cpuNanoseconds())
    usleep(UInt32(max(seconds, 10) * 1e6))
    let end = (time: SystemClock.monotonicNanoseconds(), cpu: try child.cpuNanoseconds())
    child.stop()
    return Sample(["cpu": Double(end.cpu - start.cpu) / Double(end.time - start.time)])
  }
}

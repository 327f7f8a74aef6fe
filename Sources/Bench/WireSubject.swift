import DataPlane
import LinuxSystem
import XDPPrograms

extension Subject {
  /// Two interfaces joined in user space by the daemon's worker; one, given twice: everything goes back where it came
  /// from.
  ///
  /// - Parameters:
  ///   - wait: Name of a ``WaitMode``.
  ///   - classifies: Packets come by Sluice's program, after its rules; else by a bare one.
  public static func wire(_ first: String, _ second: String, wait: String, cpu: Int, classifies: Bool) throws {
    guard let wait = WaitMode(rawValue: wait) else { throw BenchError("no wait mode is \(wait)") }
    StopFlag.install()
    let names = first == second ? [first] : [first, second]
    let sides = try names.map { try NetworkInterface.named($0) }
    var configuration = WireConfiguration(sides: sides, cpu: cpu, wait: wait)
    configuration.hasReceivers = true
    let worker = try WireWorker.start(configuration)
    let programs = try sides.indices.map {
      try LeadingProgram.toSocket(
        worker.socketDescriptor(side: $0), worker.receiver(side: $0), from: sides[$0], classifies: classifies)
    }
    for side in sides.indices { worker.setLiveAble(try sides[side].redirectRefusal() == nil, side: side) }
    tell(readyText)
    StopFlag.wait()
    worker.settle()
    let counted = worker.counters().sides
    // What the kernel drops for the sockets, the devices count.
    let lost = sides.indices.reduce(0) { $0 + (worker.receiver(side: $1) == nil ? 0 : counted[$1].statistics.lost) }
    tell(
      Account(
        packets: counted.reduce(0) { $0 + $1.receivedPackets }, dropped: counted.reduce(lost) { $0 + $1.dropped }
      ).line)
    withExtendedLifetime(programs) {}
  }
}

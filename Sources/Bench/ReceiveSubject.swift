import DataPlane
import LinuxSystem
import XDPPrograms
import XSK

extension Subject {
  /// Receives queue 0 and drops, by the rings alone: no daemon around them, never asleep.
  ///
  /// Few frames: those that come back soon are still in the cache of the CPU that fills them (1024 instead of 4096: 4 %
  /// more packets).
  ///
  /// - Parameter batch: Packets taken at a time, at most.
  public static func receive(_ name: String, batch: UInt32) throws {
    StopFlag.install()
    let interface = try NetworkInterface.named(name)
    let memory = try UMEM(
      geometry: UMEM.Geometry(frameCount: 1024), numaNode: interface.numaNode(), subject: "UMEM of \(name)")
    var pool = memory.makePool()
    var socket = try XDPSocket(memory: memory, pool: &pool, interface: interface, queue: 0)
    let program = try LeadingProgram.toSocket(socket.descriptor.rawValue, from: interface, classifies: false)
    tell(readyText)
    let packets = receive(&socket, &pool, batch: batch)
    tell(Account(packets: packets).line)
    withExtendedLifetime(program) {}
  }

  private static func receive(_ socket: inout XDPSocket, _ pool: inout FramePool, batch: UInt32) -> UInt64 {
    var count = PacketTally()
    while !StopFlag.isSet {
      if socket.receive(limit: batch, pool: &pool, into: &count) == 0 { continue }
      socket.refill(from: &pool)
      if socket.needsWakeup { socket.wake() }
    }
    return count.packets
  }

  /// The same by a worker of the daemon, after the rules of its XDP program.
  public static func receiveAsDaemon(_ interface: String, cpu: Int) throws {
    StopFlag.install()
    let interface = try NetworkInterface.named(interface)
    let worker = try QueueWorker.start(
      QueueConfiguration(interface: interface, queue: 0, cpu: cpu, frameCount: 4096, wait: .spin))
    let program = try LeadingProgram.toSocket(worker.socketDescriptor, from: interface, classifies: true)
    tell(readyText)
    StopFlag.wait()
    worker.settle()
    tell(Account(packets: worker.counters().receivedPackets).line)
    withExtendedLifetime(program) {}
  }
}

/// Counts packets and looks at none.
private struct PacketTally: FrameHandler, ~Copyable {
  var packets: UInt64 = 0

  mutating func handle(_ packet: inout MutableRawSpan, in frame: ReceivedFrame) { packets &+= 1 }
}

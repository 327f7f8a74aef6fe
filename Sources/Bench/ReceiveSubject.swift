import DataPlane
import LinuxSystem
import XDPPrograms
import XSK

extension Subject {
  /// Receives queue 0 and drops, by the rings alone: no daemon around them, never asleep.
  ///
  /// - Parameter batch: Packets taken at a time, at most.
  public static func receive(_ name: String, batch: UInt32) throws {
    StopFlag.install()
    let interface = try NetworkInterface.named(name)
    let memory = try UMEM(
      geometry: UMEM.Geometry(frameCount: 4096), numaNode: interface.numaNode(), subject: "UMEM of \(name)")
    var pool = memory.makePool()
    var socket = try XDPSocket(
      memory: memory, pool: &pool, interface: interface, queue: 0,
      options: XDPSocket.Options(fillEntryCount: 4096, receiveEntryCount: 2048))
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

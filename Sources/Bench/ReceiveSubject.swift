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
  /// - Parameters:
  ///   - batch: Packets taken at a time, at most.
  ///   - bySocket: The kernel receives, and no XDP program of ours in its place.
  public static func receive(_ name: String, batch: UInt32, bySocket: Bool) throws {
    StopFlag.install()
    let interface = try NetworkInterface.named(name)
    let geometry = UMEM.Geometry(frameCount: 1024)
    let memory: UMEM
    var receiver: ReceiverProgram?
    if bySocket {
      memory = try UMEM(geometry: geometry, numaNode: interface.numaNode(), subject: "UMEM of \(name)")
    } else {
      let program = try ReceiverProgram(geometry, entryCount: geometry.frameCount, takesFragments: false)
      memory = try UMEM(geometry: geometry, over: try program.mapFrames(), subject: "UMEM of \(name)")
      receiver = program
    }
    var pool = memory.makePool()
    var socket = try XDPSocket(
      memory: memory, pool: &pool, interface: interface, queue: 0,
      options: XDPSocket.Options(zeroCopy: bySocket ? .auto : .off), receivingBy: try receiver?.makeRings())
    let program = try LeadingProgram.toSocket(socket.descriptor.rawValue, receiver, from: interface, classifies: false)
    tell(readyText)
    let packets = receive(&socket, &pool, batch: batch)
    tell(Account(packets: packets, dropped: receiver == nil ? 0 : try socket.statistics().lost).line)
    withExtendedLifetime(program) {}
  }

  private static func receive(_ socket: inout XDPSocket, _ pool: inout FramePool, batch: UInt32) -> UInt64 {
    var count = PacketTally()
    var wait = SpinWait()
    while !StopFlag.isSet {
      let received = socket.receive(limit: batch, pool: &pool, into: &count)
      wait.pause(foundSomething: received > 0)
      if received == 0 { continue }
      socket.refill(from: &pool)
      if socket.needsWakeup { socket.wake() }
    }
    return count.packets
  }

  /// The same by a worker of the daemon, after the rules of its XDP program.
  public static func receiveAsDaemon(_ interface: String, cpu: Int) throws {
    StopFlag.install()
    let interface = try NetworkInterface.named(interface)
    var configuration = QueueConfiguration(interface: interface, queue: 0, cpu: cpu, frameCount: 4096, wait: .spin)
    configuration.hasReceivers = true
    let worker = try QueueWorker.start(configuration)
    let program = try LeadingProgram.toSocket(
      worker.socketDescriptor, worker.receiver, from: interface, classifies: true)
    tell(readyText)
    StopFlag.wait()
    worker.settle()
    let counters = worker.counters()
    tell(
      Account(
        packets: counters.receivedPackets, dropped: worker.receiver == nil ? 0 : counters.statistics.lost
      ).line)
    withExtendedLifetime(program) {}
  }
}

/// Counts packets and looks at none.
private struct PacketTally: FrameHandler, ~Copyable {
  var packets: UInt64 = 0

  mutating func handle(_ packet: inout MutableRawSpan, in frame: ReceivedFrame) { packets &+= 1 }
}

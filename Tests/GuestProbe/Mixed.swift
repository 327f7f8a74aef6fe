import DataPlane
import Glibc
import LinuxSystem
import XSK

/// A wire between a NIC that does zero-copy and a veth that doesn't.
enum Mixed {
  /// Frames from `sender` arrive at `nic`, go by the wire to `near`, and come out at `far`, its peer.
  static func run(_ sender: String, _ nic: String, _ near: String, _ far: String) throws {
    let sides = [try Port(nic), try Port(near)]
    let worker = try WireWorker.start(
      WireConfiguration(sides: sides.map(\.interface), ringEntryCount: 1024, transmitEntryCount: 1024, live: .off))
    defer { worker.stop() }
    for side in sides.indices { try sides[side].program.setSocket(worker.socketDescriptor(side: side), queue: 0) }
    let reasons = worker.report.sides.map { $0.copyReason ?? "no reason" }
    claim(
      "\(nic) and \(near): no side of a wire is zero-copy where one can't be (\(reasons[0]))",
      worker.report.sides.allSatisfy { !$0.isZeroCopy } && reasons.allSatisfy { $0.contains("one refused it") })

    let (source, sink) = (try Port(sender), try Port(far))
    let geometry = UMEM.Geometry(frameCount: 4096, frameByteCount: 4096)
    let options = XDPSocket.Options(fillEntryCount: 1024, receiveEntryCount: 1024, transmitEntryCount: 1024)
    let (memory, otherMemory) = (try UMEM(geometry: geometry), try UMEM(geometry: geometry))
    var pool = memory.makePool()
    var otherPool = otherMemory.makePool()
    var first = try XDPSocket(memory: memory, pool: &pool, interface: source.interface, queue: 0, options: options)
    var last = try XDPSocket(
      memory: otherMemory, pool: &otherPool, interface: sink.interface, queue: 0, options: options)
    try source.deliver(to: first)
    try sink.deliver(to: last)
    try awaitCarrier(of: [sender, nic])
    var flight = Flight(length: 333)
    while try flight.isGoing() {
      try flight.transmit(&first, &pool, count: 1000)
      flight.receive(&last, &otherPool)
    }
    withExtendedLifetime((sides, source, sink)) {}
    claim(
      "\(flight.sent) frames went into the wire, \(flight.arrived) came out whole, \(flight.wrong) wrong",
      flight.sent == 1000 && flight.arrived == 1000 && flight.wrong == 0)
  }

  /// To enter and to leave zero-copy resets a NIC: what is sent before its carrier has been back for two seconds may be lost.
  private static func awaitCarrier(of names: [String]) throws {
    var steady = 0
    for _ in 0..<300 where steady < 20 {
      usleep(100_000)
      steady = try names.allSatisfy { try NetworkInterface.named($0).hasCarrier } ? steady + 1 : 0
    }
  }
}

import LinuxSystem
import Testing
import XSK

@testable import DataPlane

@Suite("A wire's engine over rings in memory")
struct WireEngineTests {
  @Test("A drain carries what came before it, also behind packets that were known already")
  func drains() throws {
    let loopback = try NetworkInterface.named("lo")
    let configuration = WireConfiguration(
      sides: [loopback, loopback], batchLimit: 32, ringEntryCount: 256, transmitEntryCount: 256)
    let shared = try WireShared(configuration, exporter: nil)
    let memory = try UMEM(
      geometry: UMEM.Geometry(frameCount: configuration.frameCount, frameByteCount: configuration.frameByteCount),
      wantsHugePages: false)
    var pool = memory.makePool()
    let options = XDPSocket.Options(fillEntryCount: 256, receiveEntryCount: 256, transmitEntryCount: 256)
    let first = try XDPSocket(inMemory: memory, pool: &pool, options: options)
    let second = try XDPSocket(inMemory: memory, pool: &pool, options: options)
    var near = first.kernelSide()
    var far = second.kernelSide()
    var engine = WireEngine(
      first: first, second: second,
      core: WireCore(
        pool: pool, transmitter: Transmitter(live: nil, mirror: nil), descriptors: [], programRings: [],
        shared: shared, configuration: configuration))
    var meter = LoopMeter.Writer(shared.control.meter, now: 0)
    // A batch leaves 8 packets of each side, of which the engine knows.
    #expect(near.deliver(40, byteCount: 64) == 40)
    #expect(far.deliver(40, byteCount: 64) == 40)
    #expect(engine.hasWork() == true)
    engine.step(now: 0, meter: &meter)
    #expect(shared.counters().sides.map(\.receivedPackets) == [32, 32])
    #expect(near.deliver(150, byteCount: 64) == 150)
    #expect(far.deliver(150, byteCount: 64) == 150)
    engine.drain(meter: &meter)
    #expect(shared.counters().sides.map(\.receivedPackets) == [190, 190])
    #expect(near.transmitAll() == 190)
    #expect(far.transmitAll() == 190)
  }
}

import LinuxSystem
import XDPPrograms
import XSK

/// What the thread reports once it runs.
struct WireStart: Sendable {
  var report: WireReport
  var descriptors: [CInt]
}

/// The body of a wire's packet thread.
enum WireThread {
  /// Builds everything on this thread, reports, runs until told to stop, drains.
  static func run(
    _ configuration: WireConfiguration, _ shared: WireShared, _ started: Handoff<Result<WireStart, SystemError>>
  ) {
    do throws(SystemError) {
      var memory = try makeMemory(configuration)
      let umem = memory.umem
      let liveReason = memory.reason
      let sockets = try WireSockets.open(configuration, umem)
      let outcome = WireReport(
        sides: sockets.reports, isLiveOpen: liveReason == nil, liveReason: liveReason,
        mirrorCopyReason: sockets.mirrorCopyReason)
      let descriptors = sockets.descriptors
      var engine = WireEngine(
        first: sockets.first, second: sockets.second,
        core: WireCore(
          pool: sockets.pool, transmitter: Transmitter(live: memory.live.take(), mirror: sockets.mirror),
          descriptors: descriptors, shared: shared, configuration: configuration))
      shared.open(descriptors)
      engine.publish()
      started.put(.success(WireStart(report: outcome, descriptors: descriptors)))
      let failure = PacketLoop.run(&engine, shared.control, wait: configuration.wait)
      engine.close()
      shared.control.settle(isOver: true) {}
      shared.close(failure: failure)
    } catch {
      started.put(.failure(error))
    }
  }

  /// Memory that live frames are copied from by the kernel's program, too; where that cannot be, of the wire's own, and
  /// why.
  private static func makeMemory(
    _ configuration: WireConfiguration
  ) throws(SystemError) -> Memory {
    let geometry = UMEM.Geometry(
      frameCount: configuration.frameCount, frameByteCount: configuration.frameByteCount)
    let subject = "UMEM of wire \(configuration.sides.map(\.name).joined(separator: "-"))"
    var reason = "live frames are off"
    if configuration.live != .off {
      do throws(ProgramError) {
        let ports = configuration.sides + (configuration.mirror.map { [$0] } ?? [])
        let live = try LiveTransmitter(
          frameCount: Int(geometry.frameCount), frameByteCount: Int(geometry.frameByteCount),
          ports: ports.map(\.index), checksPorts: false)
        if let cause = live.slowReason {
          throw .system(
            SystemError(
              operation: "send live frames", code: 95, subject: "",  // EOPNOTSUPP
              remedy: "each call would take tens of milliseconds without a tap device: \(cause)"))
        }
        let region = try live.mapFrames()
        do throws(SystemError) {
          return Memory(umem: try UMEM(geometry: geometry, over: region, subject: subject), live: live, reason: nil)
        } catch { throw .system(error) }
      } catch {
        reason = error.description
        if configuration.live == .required {
          throw SystemError(operation: "set up live frames", code: 95, subject: subject, remedy: reason)  // EOPNOTSUPP
        }
      }
    }
    let umem = try UMEM(
      geometry: geometry, numaNode: configuration.numaNode, wantsHugePages: configuration.wantsHugePages,
      subject: subject)
    return Memory(umem: umem, live: nil, reason: reason)
  }

  private struct Memory: ~Copyable {
    let umem: UMEM
    var live: LiveTransmitter?
    let reason: String?
  }
}

import LinuxSystem
import XDPPrograms
import XSK

/// What the thread reports once it runs.
struct WireStart: Sendable {
  var report: WireReport
  var descriptors: [CInt]
  /// Of the sides; none: the kernel receives.
  var receivers: [ReceiverProgram]
}

/// Programs that receive in the kernel's place, one for each side.
struct WireReception {
  let receivers: [ReceiverProgram]
  let rings: [ProgramRings]
  let copyReason: String

  init(
    _ configuration: WireConfiguration, _ geometry: UMEM.Geometry, sharing live: borrowing LiveTransmitter, copyReason: String
  ) throws(ProgramError) {
    var receivers: [ReceiverProgram] = []
    var rings: [ProgramRings] = []
    for _ in configuration.sides {
      let receiver = try ReceiverProgram(
        geometry, entryCount: configuration.ringEntryCount, takesFragments: configuration.usesFragments, sharing: live)
      rings.append(try receiver.makeRings())
      receivers.append(receiver)
    }
    self.receivers = receivers
    self.rings = rings
    self.copyReason = copyReason
  }
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
      let reception = memory.reception
      let sockets = try WireSockets.open(configuration, umem, reception)
      var reports = sockets.reports
      let copier = reception == nil ? memory.refusal.map { "; not by the XDP program: \($0)" } : "; the XDP program copies"
      for side in reports.indices { reports[side].copyReason?.append(copier ?? "") }
      let outcome = WireReport(
        sides: reports, isLiveOpen: liveReason == nil, liveReason: liveReason,
        mirrorCopyReason: sockets.mirrorCopyReason)
      let descriptors = sockets.descriptors
      var engine = WireEngine(
        first: sockets.first, second: sockets.second,
        core: WireCore(
          pool: sockets.pool, transmitter: Transmitter(live: memory.live.take(), mirror: sockets.mirror),
          descriptors: descriptors, programRings: reception?.rings ?? [], shared: shared,
          configuration: configuration))
      shared.open(
        descriptors.indices.map { OpenSocket(descriptor: descriptors[$0], rings: reception?.rings[$0]) })
      engine.publish()
      started.put(
        .success(WireStart(report: outcome, descriptors: descriptors, receivers: reception?.receivers ?? [])))
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
        let umem: UMEM
        do throws(SystemError) { umem = try UMEM(geometry: geometry, over: region, subject: subject) } catch { throw .system(error) }
        let reception = makeReception(configuration, geometry, live)
        return Memory(umem: umem, live: live, reason: nil, reception: reception.value, refusal: reception.refusal)
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
    return Memory(umem: umem, live: nil, reason: reason, reception: nil, refusal: nil)
  }

  /// Programs that receive into the memory of live frames, where nothing speaks against it.
  private static func makeReception(
    _ configuration: WireConfiguration, _ geometry: UMEM.Geometry, _ live: borrowing LiveTransmitter
  ) -> (value: WireReception?, refusal: String?) {
    guard configuration.hasReceivers, configuration.isProgramNative else { return (value: nil, refusal: nil) }
    let choice = ProgramReception.choose(
      configuration.sides + (configuration.mirror.map { [$0] } ?? []), receiving: configuration.sides,
      zeroCopy: configuration.zeroCopy)
    guard let reason = choice.copyReason, choice.refusal == nil else { return (value: nil, refusal: choice.refusal) }
    do throws(ProgramError) {
      return (value: try WireReception(configuration, geometry, sharing: live, copyReason: reason), refusal: nil)
    } catch { return (value: nil, refusal: error.description) }
  }

  private struct Memory: ~Copyable {
    let umem: UMEM
    var live: LiveTransmitter?
    let reason: String?
    /// Nil: the kernel receives.
    let reception: WireReception?
    /// Why, where programs were wanted.
    let refusal: String?
  }
}

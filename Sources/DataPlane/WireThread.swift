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
      var pool = umem.makePool()
      let first = try socket(0, configuration, umem, &pool, sharing: nil)
      let sharing = first.descriptor.rawValue
      var reports = [report(0, configuration, first)]
      var descriptors = [sharing]
      var second: XDPSocket?
      if configuration.sides.count > 1 {
        let other = try socket(1, configuration, umem, &pool, sharing: sharing)
        reports.append(report(1, configuration, other))
        descriptors.append(other.descriptor.rawValue)
        second = consume other
      }
      var mirror: XDPSocket?
      var mirrorReason: String?
      if let interface = configuration.mirror {
        let socket = try mirrorSocket(interface, configuration, umem, &pool, sharing: sharing)
        mirrorReason = socket.copyReason
        mirror = consume socket
      }
      let outcome = WireReport(
        sides: reports, isLiveOpen: liveReason == nil, liveReason: liveReason, mirrorCopyReason: mirrorReason)
      var engine = WireEngine(
        first: first, second: second,
        core: WireCore(
          pool: pool, transmitter: Transmitter(live: memory.live.take(), mirror: mirror), descriptors: descriptors, shared: shared,
          configuration: configuration))
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

  private static func socket(
    _ side: Int, _ configuration: WireConfiguration, _ memory: UMEM, _ pool: inout FramePool, sharing: CInt?
  ) throws(SystemError) -> XDPSocket {
    try XDPSocket(
      memory: memory, pool: &pool, interface: configuration.sides[side], queue: configuration.queue,
      options: XDPSocket.Options(
        zeroCopy: configuration.zeroCopy, fillEntryCount: configuration.ringEntryCount,
        receiveEntryCount: configuration.ringEntryCount, transmitEntryCount: configuration.transmitEntryCount,
        usesFragments: configuration.usesFragments, transmitBudget: configuration.batchLimit,
        isProgramNative: configuration.isProgramNative),
      sharing: sharing)
  }

  private static func mirrorSocket(
    _ interface: NetworkInterface, _ configuration: WireConfiguration, _ memory: UMEM, _ pool: inout FramePool,
    sharing: CInt
  ) throws(SystemError) -> XDPSocket {
    try XDPSocket(
      memory: memory, pool: &pool, interface: interface, queue: 0,
      options: XDPSocket.Options(
        zeroCopy: configuration.zeroCopy, receiveEntryCount: 0, transmitEntryCount: configuration.transmitEntryCount,
        usesFragments: configuration.usesFragments, transmitBudget: configuration.batchLimit),
      sharing: sharing)
  }

  private static func report(
    _ side: Int, _ configuration: WireConfiguration, _ socket: borrowing XDPSocket
  ) -> QueueReport {
    QueueReport(
      interface: configuration.sides[side].name, queue: configuration.queue, isZeroCopy: socket.isZeroCopy,
      copyReason: socket.copyReason, cpu: configuration.cpu ?? -1, placement: socket.memory.placement,
      hasHugePages: socket.memory.hasHugePages, hugePageReason: socket.memory.hugePageRefusal.map { $0.description },
      frameCount: configuration.frameCount, frameByteCount: configuration.frameByteCount,
      usesFragments: socket.usesFragments, bindRetries: socket.bindRetries)
  }
}

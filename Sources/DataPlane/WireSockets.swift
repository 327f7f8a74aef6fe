import Glibc
import LinuxSystem
import XSK

/// The sockets of a wire's packet thread, and the frames that are in none of their rings.
///
/// Sockets of one memory are all of one mode, that of the first (net/xdp/xsk_buff_pool.c, xp_assign_dev_shared).
struct WireSockets: ~Copyable {
  let pool: FramePool
  let first: XDPSocket
  let second: XDPSocket?
  let mirror: XDPSocket?
  /// Of the sides.
  let descriptors: [CInt]
  /// Of the sides.
  let reports: [QueueReport]
  let mirrorCopyReason: String?

  /// Zero-copy on all devices or, where the choice is left to us and one of them refuses it, on none.
  ///
  /// - Parameter reception: Programs receive on the sides, which copies.
  static func open(
    _ configuration: WireConfiguration, _ memory: UMEM, _ reception: WireReception?
  ) throws(SystemError) -> WireSockets {
    if let reception {
      return try WireSockets(
        configuration, memory, zeroCopy: .off, copyReason: reception.copyReason, reception.rings)
    }
    do throws(SystemError) {
      return try WireSockets(configuration, memory, zeroCopy: configuration.zeroCopy, copyReason: nil)
    } catch {
      // The other codes are not about the mode: they come again.
      let isRefusal = error.code == EOPNOTSUPP || error.code == EINVAL
      guard isRefusal, configuration.zeroCopy == .auto else { throw error }
      return try WireSockets(
        configuration, memory, zeroCopy: .off,
        copyReason: "zero-copy needs all of the wire's devices, and one refused it: \(error)")
    }
  }

  /// - Parameter copyReason: Why no socket is zero-copy although a device might be.
  private init(
    _ configuration: WireConfiguration, _ memory: UMEM, zeroCopy: XDPSocket.ZeroCopyMode, copyReason: String?,
    _ rings: [ProgramRings] = []
  ) throws(SystemError) {
    var pool = memory.makePool()
    var options = XDPSocket.Options(
      zeroCopy: zeroCopy, fillEntryCount: configuration.ringEntryCount,
      receiveEntryCount: configuration.ringEntryCount, transmitEntryCount: configuration.transmitEntryCount,
      usesFragments: configuration.usesFragments, transmitBudget: configuration.batchLimit,
      isProgramNative: configuration.isProgramNative)
    let first = try XDPSocket(
      memory: memory, pool: &pool, interface: configuration.sides[0], queue: configuration.queue, options: options,
      receivingBy: rings.first)
    let sharing = first.descriptor.rawValue
    var descriptors = [sharing]
    var reports = [WireSockets.report(0, configuration, first, copyReason)]
    var second: XDPSocket?
    if configuration.sides.count > 1 {
      let socket = try XDPSocket(
        memory: memory, pool: &pool, interface: configuration.sides[1], queue: configuration.queue, options: options,
        sharing: sharing, receivingBy: rings.last)
      descriptors.append(socket.descriptor.rawValue)
      reports.append(WireSockets.report(1, configuration, socket, copyReason))
      second = consume socket
    }
    var mirror: XDPSocket?
    var mirrorCopyReason: String?
    if let interface = configuration.mirror {
      (options.fillEntryCount, options.receiveEntryCount, options.isProgramNative) = (nil, 0, true)
      let socket = try XDPSocket(
        memory: memory, pool: &pool, interface: interface, queue: 0, options: options, sharing: sharing)
      mirrorCopyReason = socket.copyReason.map { copyReason ?? $0 }
      mirror = consume socket
    }
    self.pool = pool
    self.first = first
    self.second = second
    self.mirror = mirror
    self.descriptors = descriptors
    self.reports = reports
    self.mirrorCopyReason = mirrorCopyReason
  }

  private static func report(
    _ side: Int, _ configuration: WireConfiguration, _ socket: borrowing XDPSocket, _ copyReason: String?
  ) -> QueueReport {
    QueueReport(
      interface: configuration.sides[side].name, queue: configuration.queue, isZeroCopy: socket.isZeroCopy,
      copyReason: socket.copyReason.map { copyReason ?? $0 }, cpu: configuration.cpu ?? -1,
      placement: socket.memory.placement, hasHugePages: socket.memory.hasHugePages,
      hugePageReason: socket.memory.hugePageRefusal.map { $0.description }, frameCount: configuration.frameCount,
      frameByteCount: configuration.frameByteCount, usesFragments: socket.usesFragments,
      bindRetries: socket.bindRetries)
  }
}

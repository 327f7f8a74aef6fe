import LinuxSystem
import XDPPrograms
import XSK

/// Sends batches out of the interfaces of a wire, the way that is best for each, in order.
///
/// One thread owns it, and the sockets and the pool that it is lent. A frame that it gets goes back to the pool exactly
/// once: at once after live frames, by the completion ring after AF_XDP, at once where it cannot be sent.
struct Transmitter: ~Copyable {
  private var live: LiveTransmitter?
  private var mirror: XDPSocket?
  private let isLiveOpen: Bool
  private let hasMirror: Bool

  /// - Parameters:
  ///   - live: Its ports are the wire's sides and, last, the mirror.
  ///   - mirror: Transmits only.
  init(live: consuming LiveTransmitter?, mirror: consuming XDPSocket?) {
    isLiveOpen = live != nil
    hasMirror = mirror != nil
    self.live = live
    self.mirror = mirror
  }

  /// Where a batch goes.
  struct Target {
    /// Of the live transmitter.
    var port: UInt16
    var mirrorPort: UInt16
    /// The interface takes live frames now.
    var isDeviceAble: Bool
    var isMirrorAble: Bool
    /// The interface sends nothing now: what is given to it would leave when it is up again, or nobody would count it.
    var isDeviceDown: Bool
    var isMirrorDown: Bool
    /// Of the side that the batch came from.
    var counters: WireLane
  }

  /// Sends everything in `batch` and leaves it empty.
  mutating func send(
    _ batch: inout WireBatch, through socket: inout XDPSocket, pool: inout FramePool, to target: Target
  ) {
    socket.reclaim(into: &pool)
    let path = choosePath(batch, socket, target)
    var liveCount = path == .live ? batch.outgoing.count : 0
    if hasMirror, !batch.mirrored.isEmpty {
      if target.isMirrorDown {
        target.counters.add(UInt64(batch.mirroredPackets), .mirrorDropped)
        batch.mirrored.removeAll()
      } else if mirrorGoesLive(with: path, batch, &pool, target) {
        liveCount &+= batch.mirrored.count
      } else {
        Transmitter.copyToMirror(&mirror!, batch, &pool, target)
        batch.mirrored.removeAll()
      }
    }
    if liveCount > 0 { Transmitter.sendLive(&live!, batch, sendsOutgoing: path == .live, target) }
    switch path {
    case .live: batch.outgoing.giveBack(to: &pool)
    case .socket(let reason): Transmitter.submit(&batch, &socket, &pool, reason, target)
    case .down:
      target.counters.add(UInt64(batch.outgoingPackets), .outputDown)
      batch.outgoing.giveBack(to: &pool)
    }
    batch.mirrored.removeAll()
    batch.ended.giveBack(to: &pool)
  }

  private func choosePath(
    _ batch: borrowing WireBatch, _ socket: borrowing XDPSocket, _ target: Target
  ) -> TransmitPath {
    TransmitChoice(
      packetCount: batch.outgoingPackets, byteCountMax: batch.byteCountMax, hasSeveralFrames: batch.hasSeveralFrames,
      isDown: target.isDeviceDown, isZeroCopy: socket.isZeroCopy, isLiveOpen: isLiveOpen, isDeviceAble: target.isDeviceAble,
      isDrained: socket.inTransmit == 0, liveByteCountMax: UInt32(LiveTransmitter.byteCountMax)
    ).path
  }

  /// Copies for the mirror share the call of live frames, or are worth one of their own.
  private mutating func mirrorGoesLive(
    with path: TransmitPath, _ batch: borrowing WireBatch, _ pool: inout FramePool, _ target: Target
  ) -> Bool {
    let isDrained = Transmitter.isDrained(&mirror!, &pool)
    let isShared = path == .live
    let choice = TransmitChoice(
      packetCount: isShared ? TransmitChoice.packetsForLive : batch.mirroredPackets, byteCountMax: batch.byteCountMax,
      hasSeveralFrames: batch.hasSeveralFrames, isLiveOpen: isLiveOpen, isDeviceAble: target.isMirrorAble,
      isDrained: isDrained, liveByteCountMax: UInt32(LiveTransmitter.byteCountMax))
    return choice.path == .live
  }

  /// Outgoing packets, if they go this way, and the mirror's in one call. The frames stay with the batch.
  private static func sendLive(
    _ live: inout LiveTransmitter, _ batch: borrowing WireBatch, sendsOutgoing: Bool, _ target: Target
  ) {
    assert(live.room >= batch.outgoing.count &+ batch.mirrored.count, "the queue holds two batches")
    let outgoing = sendsOutgoing ? UInt64(batch.outgoing.count) : 0
    if sendsOutgoing { enqueueLive(&live, batch.outgoing, port: target.port) }
    enqueueLive(&live, batch.mirrored, port: target.mirrorPort)
    let before = live.counters.failed
    // What it did not come to is counted as failed, too.
    do throws(ProgramError) { try live.flush() } catch { target.counters.add(1, .transmitErrors) }
    let failed = live.counters.failed &- before
    // The program doesn't say which: the packets themselves before their copies.
    let refused = min(failed, outgoing)
    let mirrorRefused = failed &- refused
    target.counters.add(outgoing &- refused, .forwardedLive)
    target.counters.add(refused, .liveRefused)
    target.counters.add(UInt64(batch.mirrored.count) &- mirrorRefused, .mirrored)
    target.counters.add(mirrorRefused, .mirrorDropped)
  }

  /// Outgoing packets by AF_XDP: those that have room; the frames of others go back.
  private static func submit(
    _ batch: inout WireBatch, _ socket: inout XDPSocket, _ pool: inout FramePool, _ reason: TransmitReason,
    _ target: Target
  ) {
    if batch.outgoing.isEmpty { return }
    var room = socket.transmitRoom(limit: batch.outgoing.count)
    if room < batch.outgoing.count {
      Transmitter.push(&socket, target)
      socket.reclaim(into: &pool)
      room = socket.transmitRoom(limit: batch.outgoing.count)
    }
    let count = Transmitter.wholePackets(of: batch.outgoing, upTo: room)
    let left = Transmitter.packetCount(of: batch.outgoing, from: count)
    socket.submitTransmit(batch.outgoing, count: count)
    target.counters.add(UInt64(batch.outgoingPackets &- left), reason)
    target.counters.add(UInt64(left), .transmitRingFull)
    batch.outgoing.giveBack(to: &pool, from: count)
    Transmitter.push(&socket, target)
    socket.reclaim(into: &pool)
  }

  /// Copies for the mirror, each in a frame of its own, by AF_XDP.
  private static func copyToMirror(
    _ mirror: inout XDPSocket, _ batch: borrowing WireBatch, _ pool: inout FramePool, _ target: Target
  ) {
    let room = mirror.transmitRoom(limit: min(batch.mirrored.count, pool.count))
    let count = Transmitter.wholePackets(of: batch.mirrored, upTo: room)
    let left = Transmitter.packetCount(of: batch.mirrored, from: count)
    var index: UInt32 = 0
    while index < count {
      mirror.setTransmit(index, mirror.copy(batch.mirrored[index], from: &pool))
      index &+= 1
    }
    mirror.submitTransmit(count)
    target.counters.add(UInt64(batch.mirroredPackets &- left), .mirrored)
    target.counters.add(UInt64(left), .mirrorDropped)
    Transmitter.push(&mirror, target)
    mirror.reclaim(into: &pool)
  }

  /// Makes the kernel send what is submitted, while it makes progress.
  private static func push(_ socket: inout XDPSocket, _ target: Target) {
    var pending = socket.transmitPending
    do throws(SystemError) {
      while pending > 0, socket.transmitNeedsWakeup {
        try socket.kick()
        let now = socket.transmitPending
        if now >= pending { return }
        pending = now
      }
    } catch { target.counters.add(1, .transmitErrors) }
  }

  private static func isDrained(_ socket: inout XDPSocket, _ pool: inout FramePool) -> Bool {
    socket.reclaim(into: &pool)
    return socket.inTransmit == 0
  }

  /// Sends on what the kernel left in the rings, and takes frames back. True: something is still there.
  static func settle(_ socket: inout XDPSocket, _ pool: inout FramePool, _ target: Target) -> Bool {
    if socket.inTransmit > 0 {
      push(&socket, target)
      socket.reclaim(into: &pool)
    }
    return socket.transmitPending > 0
  }

  /// The same for the mirror.
  mutating func settleMirror(_ pool: inout FramePool, _ target: Target) -> Bool {
    hasMirror ? Transmitter.settle(&mirror!, &pool, target) : false
  }

  /// Adds the mirror's rings.
  mutating func count(into frames: inout FrameCounts) {
    if hasMirror { Transmitter.add(&mirror!, to: &frames) }
  }

  /// An optional's socket can be lent for change, and not otherwise.
  static func add(_ socket: inout XDPSocket, to frames: inout FrameCounts) { frames.add(socket) }

  /// The first descriptors of the list that are whole packets, at most `limit`.
  private static func wholePackets(of list: borrowing PacketList, upTo limit: UInt32) -> UInt32 {
    var count = min(limit, list.count)
    while count > 0, count < list.count, list[count &- 1].isContinued { count &-= 1 }
    return count
  }

  private static func packetCount(of list: borrowing PacketList, from first: UInt32) -> UInt32 {
    var count: UInt32 = 0
    var index = first
    while index < list.count {
      if !list[index].isContinued { count &+= 1 }
      index &+= 1
    }
    return count
  }
}

/// Queues all of the list for one port, in order. There must be room.
@_noAllocation @_noLocks @inline(never)
func enqueueLive(_ live: inout LiveTransmitter, _ list: borrowing PacketList, port: UInt16) {
  var index: UInt32 = 0
  while index < list.count {
    live.enqueue(address: list[index].address, byteCount: list[index].byteCount, port: port)
    index &+= 1
  }
}

/// Where the frames of a UMEM are.
///
/// Every frame is in exactly one place. Counts of several sockets that share the memory add up: start with one socket's
/// ``XDPSocket/frames(pool:)`` and ``add(_:)`` the others'.
public struct FrameCounts: Hashable, Sendable {
  public var total: UInt32
  /// Free, ours.
  public var pool: UInt32
  /// In the fill ring, for the kernel to take.
  public var fill: UInt32
  /// In the receive ring, with packets for us.
  public var receive: UInt32
  /// With the kernel: taken from the fill ring and not delivered yet.
  public var inFlight: UInt32
  /// Submitted for transmission, not taken back from the completion ring yet.
  public var transmit: UInt32 = 0
  /// With the owner of pool and sockets, by its own count.
  public var held: UInt32 = 0

  /// From what each side's books say.
  ///
  /// The kernel publishes packets in the receive ring before it publishes that it took their frames from the fill ring:
  /// for a moment both rings show a frame. It is where it can be received, so the fill ring's number gives way.
  ///
  /// - Parameters:
  ///   - outstanding: Frames handed to the kernel and not received back, by our own count.
  ///   - fillSeen: Entries of the fill ring, by its indices, read after `receiveSeen`.
  ///   - receiveSeen: Entries of the receive ring, by its indices.
  public init(
    total: UInt32, pool: UInt32, outstanding: UInt32, fillSeen: UInt32, receiveSeen: UInt32, transmit: UInt32 = 0
  ) {
    self.total = total
    self.pool = pool
    self.transmit = transmit
    receive = receiveSeen
    // More in the receive ring than the kernel was given: nothing to make up for, the sum shall show it.
    let notReceived = outstanding >= receiveSeen ? outstanding - receiveSeen : 0
    fill = min(fillSeen, notReceived)
    inFlight = notReceived - fill
  }

  /// Adds the rings of another socket on the same memory.
  public mutating func add(_ socket: borrowing XDPSocket) {
    let other = socket.ringCounts()
    fill &+= other.fill
    receive &+= other.receive
    inFlight &+= other.inFlight
    transmit &+= other.transmit
  }

  /// Every frame is in exactly one place.
  public var areConserved: Bool { pool &+ fill &+ receive &+ inFlight &+ transmit &+ held == total }
}

extension XDPSocket {
  /// Where the frames are now, if this is the only socket of its memory and its owner holds none.
  public func frames(pool: borrowing FramePool) -> FrameCounts {
    var counts = ringCounts()
    counts.total = memory.geometry.frameCount
    counts.pool = pool.count
    return counts
  }

  /// The rings of this socket alone.
  func ringCounts() -> FrameCounts {
    let receiveSeen = receiveRing.occupancy  // before the fill ring: see FrameCounts
    return FrameCounts(
      total: 0, pool: 0, outstanding: outstanding, fillSeen: fillRing.occupancy, receiveSeen: receiveSeen,
      transmit: inTransmit)
  }
}

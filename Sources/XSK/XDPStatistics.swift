import CLinuxShims
import LinuxSystem

/// `struct xdp_statistics`: why packets to or from the socket were lost.
public struct XDPStatistics: Hashable, Sendable {
  /// Dropped for other reasons than ``rxRingFull``: longer than a frame, or, copying, no frame in the fill ring.
  public var rxDropped: UInt64 = 0
  public var rxInvalidDescriptors: UInt64 = 0
  /// Packets for which the receive ring had no room: we were too slow.
  public var rxRingFull: UInt64 = 0
  /// The kernel looked for a frame to put a packet into, and found none. No count of packets: copying, the packet is in
  /// ``rxDropped``; with zero-copy, the driver looks again.
  public var rxFillRingEmpty: UInt64 = 0
  /// Transmit descriptors that the kernel refused. Their frames come back through no ring.
  public var txInvalidDescriptors: UInt64 = 0
  /// The kernel looked for packets to transmit and found none: no loss.
  public var txRingEmpty: UInt64 = 0

  /// Packets for the socket that could not be delivered.
  public var lost: UInt64 { rxDropped + rxRingFull }

  public init() {}

  /// Of a socket that somebody else owns and keeps open during the call. Any thread.
  ///
  /// - Parameter rings: Where an XDP program receives for it: what that lost is told with the kernel's.
  public static func read(descriptor: CInt, with rings: ProgramRings? = nil) throws(SystemError) -> XDPStatistics {
    let raw: xdp_statistics = try SocketSetup.option(
      XDP_STATISTICS, of: descriptor, initial: xdp_statistics(), operation: "read XDP statistics", subject: "")
    var statistics = XDPStatistics()
    statistics.rxDropped = raw.rx_dropped
    statistics.rxInvalidDescriptors = raw.rx_invalid_descs
    statistics.rxRingFull = raw.rx_ring_full
    statistics.rxFillRingEmpty = raw.rx_fill_ring_empty_descs
    statistics.txInvalidDescriptors = raw.tx_invalid_descs
    statistics.txRingEmpty = raw.tx_ring_empty_descs
    if let losses = rings?.losses() {
      statistics.rxDropped += losses.noFrame + losses.tooLong
      statistics.rxRingFull += losses.ringFull
      statistics.rxFillRingEmpty += losses.noFrame
    }
    return statistics
  }
}

extension XDPSocket {
  /// The counters of this socket.
  public func statistics() throws(SystemError) -> XDPStatistics {
    try XDPStatistics.read(descriptor: descriptor.rawValue, with: programRings)
  }
}

/// What one run of one program gave.
public struct Sample: Hashable, Sendable {
  /// By the names of the work's metrics.
  public var values: [String: Double]
  /// Packets that were sent and not delivered; nil where that isn't measured.
  public var lost: UInt64?
  /// Packets that were lost and that no counter of the devices, or of ours the program, names.
  public var unexplained: Int64?

  public init(_ values: [String: Double], lost: UInt64? = nil, unexplained: Int64? = nil) {
    self.values = values
    self.lost = lost
    self.unexplained = unexplained
  }
}

/// Where the packets of a run went, from the sender through a program to the receiver: from counters of both cables.
///
/// A veth counts frames for which the receiving side's queue had no room as `tx_dropped` of the sending device and as
/// `rx_dropped` of the receiving one; the latter also holds those that its XDP program failed to redirect, which an
/// AF_XDP socket without room is (drivers/net/veth.c).
struct PacketAccount: Hashable {
  /// By the sender's own count.
  var attempted: UInt64
  /// For which the near device had no room.
  var refused: UInt64
  /// That the near device's program could not hand on.
  var notTaken: UInt64
  /// That the program counts as dropped.
  var droppedInside: UInt64
  /// For which the device behind the program had no room.
  var refusedBehind: UInt64
  var delivered: UInt64

  var lost: UInt64 { attempted &- delivered }
  var unexplained: Int64 {
    Int64(attempted) - Int64(refused + notTaken + droppedInside + refusedBehind + delivered)
  }
}

import LinuxSystem
import XSK

/// What became of the packets that came in by one side of a wire.
///
/// received = forwarded + captured + captureDropped + outputDown + liveRefused + transmitRingFull, to the packet, between
/// batches.
public struct WireSideCounters: Hashable, Sendable {
  public var receivedPackets: UInt64 = 0
  public var receivedBytes: UInt64 = 0
  /// Sent as live frames.
  public var forwardedLive: UInt64 = 0
  /// Handed to AF_XDP's transmit ring, by why not as live frames.
  public var forwardedSocket: [TransmitReason: UInt64] = [:]
  /// Kept for the captures that ran.
  public var captured: UInt64 = 0
  /// Captured by a rule while no capture ran: went on; among the forwarded ones.
  public var capturePassed: UInt64 = 0
  /// The same, dropped.
  public var captureDropped: UInt64 = 0
  /// Dropped: the output was down, or without a carrier. Packets that are not sent now are not sent later.
  public var outputDown: UInt64 = 0
  /// Dropped: the kernel had nowhere to send the live frame, as the interface is gone, or the system call failed.
  public var liveRefused: UInt64 = 0
  /// Dropped: the output's transmit ring was full and did not move.
  public var transmitRingFull: UInt64 = 0
  /// System calls for transmission that failed. The packets of AF_XDP stay in the ring.
  public var transmitErrors: UInt64 = 0
  /// Descriptors that the output's transmit ring still held when the thread ended; their packets are among the forwarded.
  public var transmitAbandoned: UInt64 = 0
  /// Copies that were sent to the mirror.
  public var mirrored: UInt64 = 0
  /// Copies that were not: no frame, no room, or refused.
  public var mirrorDropped: UInt64 = 0
  /// The kernel's, of the side's socket.
  public var statistics = XDPStatistics()

  public var forwarded: UInt64 { forwardedSocket.values.reduce(forwardedLive, +) }
  public var dropped: UInt64 { captureDropped + outputDown + liveRefused + transmitRingFull }

  public init() {}
}

/// A wire's counters at one moment.
public struct WireCounters: Hashable, Sendable {
  /// By the side that packets came in by: one of a reflector, else two.
  public var sides: [WireSideCounters] = []
  public var framesTotal: UInt32 = 0
  /// Free, ours. With the next three: framesTotal.
  public var framesPool: UInt32 = 0
  public var framesFill: UInt32 = 0
  /// With the kernel or in a receive ring.
  public var framesInFlight: UInt32 = 0
  public var framesTransmit: UInt32 = 0
  public var loop = LoopHistogram()
  /// Why the thread ended by itself; nil while it runs.
  public var failure: SystemError?

  public init() {}
}

/// Cells of one side's counters in the wire's block. The packet thread writes.
struct WireLane {
  enum Cell: Int, CaseIterable {
    case receivedPackets, receivedBytes, forwardedLive, captured, capturePassed, captureDropped, liveRefused
    case outputDown, transmitRingFull, transmitErrors, transmitAbandoned, mirrored, mirrorDropped
  }

  static var cellCount: Int { Cell.allCases.count + TransmitReason.allCases.count }

  let cells: CounterBlock
  let base: Int

  init(_ cells: CounterBlock, side: Int) {
    self.cells = cells
    base = side * WireLane.cellCount
  }

  func add(_ count: UInt64, _ cell: Cell) { if count > 0 { cells.add(count, at: base + cell.rawValue) } }

  func add(_ count: UInt64, _ reason: TransmitReason) {
    cells.add(count, at: base + Cell.allCases.count + reason.rawValue)
  }

  private func load(_ cell: Cell) -> UInt64 { cells.load(base + cell.rawValue) }

  /// Any thread.
  func counters() -> WireSideCounters {
    var counters = WireSideCounters()
    counters.receivedPackets = load(.receivedPackets)
    counters.receivedBytes = load(.receivedBytes)
    counters.forwardedLive = load(.forwardedLive)
    for reason in TransmitReason.allCases {
      let count = cells.load(base + Cell.allCases.count + reason.rawValue)
      if count > 0 { counters.forwardedSocket[reason] = count }
    }
    counters.captured = load(.captured)
    counters.capturePassed = load(.capturePassed)
    counters.captureDropped = load(.captureDropped)
    counters.outputDown = load(.outputDown)
    counters.liveRefused = load(.liveRefused)
    counters.transmitRingFull = load(.transmitRingFull)
    counters.transmitErrors = load(.transmitErrors)
    counters.transmitAbandoned = load(.transmitAbandoned)
    counters.mirrored = load(.mirrored)
    counters.mirrorDropped = load(.mirrorDropped)
    return counters
  }
}

import XSK

/// Where captures get packets from: a packet thread's board of taps, and how to reach the thread. Any thread may use it.
public protocol CaptureSource: AnyObject, Sendable {
  /// The receive queue that the packets come from, for their records.
  var captureQueue: UInt32 { get }

  /// Lends frames with large packets to a capture; nil: they are copied.
  var frameLender: FrameLender? { get }

  /// Hangs a capture's ring into the packet thread, which uses it from its next batch on.
  func attach(_ ring: RecordRing) -> TapBoard.Attachment

  /// Asks the packet thread to let go of the ring: it is retired soon after.
  func detach(_ ring: RecordRing)

  /// Packets for this queue that the kernel could not deliver so far: it had no frame, or no room in the receive ring.
  var lossCount: UInt64 { get }

  /// Waits until everything that was received before the call has been offered to the rings. At once when the thread has
  /// ended.
  func settle()
}

extension QueueWorker: CaptureSource {
  public var captureQueue: UInt32 { report.queue }

  public var lossCount: UInt64 {
    // A fill ring that is empty explains some of rxDropped in copy mode, and is counted per look, not per packet.
    counters().statistics.lost
  }

  public func attach(_ ring: RecordRing) -> TapBoard.Attachment { taps.attach(ring) }

  public func detach(_ ring: RecordRing) {
    taps.detach(ring)
    shared.control.wake.signal()
  }
}

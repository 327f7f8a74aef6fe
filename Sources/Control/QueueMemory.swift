import DataPlane

/// The memory of the capture sockets' frames.
enum QueueMemory {
  /// Of all interfaces together: a quarter of the machine's memory, as much again as captures have for what they write.
  static let byteCountMax = CaptureMemory.byteCountMax
  /// Fewer hold no batch's packets while a thread waits for its CPU.
  static let frameCountMin: UInt32 = 1024

  /// How many frames each queue of an interface gets: those that are standard, or half as many until all of them fit.
  ///
  /// - Parameters:
  ///   - asked: Of the worker's options; 0: nobody asked. These are given whole or refused.
  ///   - used: Bytes of the other interfaces' frames.
  static func frameCount(
    asked: UInt32, standard: UInt32, frameByteCount: UInt32, queueCount: Int, used: Int, limit: Int = byteCountMax
  ) throws(ControlError) -> UInt32 {
    func byteCount(_ frameCount: UInt32) -> Int { queueCount * Int(frameCount) * Int(frameByteCount) }
    var frameCount = asked > 0 ? asked : standard
    while asked == 0, frameCount > frameCountMin, byteCount(frameCount) > limit - used { frameCount /= 2 }
    if byteCount(frameCount) <= limit - used { return frameCount }
    throw ControlError(
      .resourceExhausted,
      "\(queueCount) queues with \(frameCount) frames of \(frameByteCount) bytes each take \(byteCount(frameCount) >> 20) MiB, "
        + "and captures have \(max(0, limit - used) >> 20) of \(limit >> 20) MiB for frames left: shorter rings "
        + "(ring_entries), fewer queues or interfaces without rules that capture take less")
  }
}

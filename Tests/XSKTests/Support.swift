import LinuxSystem
import Testing
import XSK

/// Keeps a copy of every packet.
struct Collector: FrameHandler, ~Copyable {
  var frames: [[UInt8]] = []
  var metadata: [FrameMetadata] = []
  var bufferCounts: [Int] = []

  mutating func handle(_ packet: inout MutableRawSpan, in frame: ReceivedFrame) {
    frames.append(packet.withUnsafeBytes { Array($0) })
    metadata.append(frame.takeMetadata())
    bufferCounts.append(1)
  }

  mutating func handle(_ packet: inout MutableRawSpan, in frame: ReceivedFrame, followedBy rest: FollowingBuffers) {
    handle(&packet, in: frame)
    for index in 0..<rest.count { frames[frames.count - 1] += Array(rest[index]) }
    bufferCounts[bufferCounts.count - 1] += Int(rest.count)
  }
}

extension XDPSocket {
  /// Receives until `collector` has so many packets. False: they did not come.
  mutating func receive(_ count: Int, pool: inout FramePool, into collector: inout Collector) -> Bool {
    let deadline = SystemClock.monotonicNanoseconds() + 10_000_000_000
    while collector.frames.count < count {
      if receive(limit: 64, pool: &pool, into: &collector) == 0 {
        if SystemClock.monotonicNanoseconds() > deadline { return false }
      }
      refill(from: &pool)
      if needsWakeup { wake() }
    }
    return true
  }

  /// Writes frames out of the pool and sends them, as many as find frames and room. Returns how many.
  mutating func transmit(_ frames: ArraySlice<[UInt8]>, offset: UInt64 = 0, pool: inout FramePool) throws -> Int {
    let count = min(transmitRoom(limit: UInt32(frames.count)), pool.count)
    for index in 0..<count {
      let frame = frames[frames.startIndex + Int(index)]
      let packet = PacketDescriptor(address: pool.take() + offset, byteCount: UInt32(frame.count))
      bytes(of: packet).copyBytes(from: frame)
      setTransmit(index, packet)
    }
    submitTransmit(count)
    while transmitPending > 0 { try kick() }
    return Int(count)
  }

  /// Reclaims until nothing is on its way any more. False: some frames did not come back.
  mutating func reclaimAll(into pool: inout FramePool) -> Bool {
    let deadline = SystemClock.monotonicNanoseconds() + 10_000_000_000
    while inTransmit > 0 {
      if reclaim(into: &pool) == 0, SystemClock.monotonicNanoseconds() > deadline { return false }
    }
    return true
  }
}

/// The typed error that `body` throws; records an issue if it throws none.
func expectError(
  sourceLocation: SourceLocation = #_sourceLocation, _ body: () throws -> Void
) -> SystemError? {
  do {
    try body()
  } catch let error as SystemError {
    return error
  } catch {
    Issue.record("\(error)", sourceLocation: sourceLocation)
    return nil
  }
  Issue.record("nothing was thrown", sourceLocation: sourceLocation)
  return nil
}

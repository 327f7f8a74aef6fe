/// How a batch of packets leaves.
enum TransmitPath: Hashable {
  /// Live frames: copied by an XDP program, one system call for all.
  case live
  /// The AF_XDP socket's transmit ring.
  case socket(TransmitReason)
  /// Not at all.
  case down
}

/// Why a batch leaves by AF_XDP and not as live frames.
public enum TransmitReason: Int, Hashable, Sendable, CaseIterable {
  /// The device reads the frames itself: nothing is faster.
  case zeroCopy
  /// Live frames are off, or could not be set up.
  case liveOff
  /// The device takes no live frames now (its XDP features say so).
  case deviceUnable
  /// A system call for live frames costs more than that of few packets by AF_XDP.
  case fewPackets
  /// A packet is longer than a live frame.
  case longPacket
  /// A packet lies in several frames.
  case severalFrames
  /// Earlier packets are still on their way by AF_XDP, and would be overtaken.
  case notDrained
}

/// What decides how a batch leaves.
struct TransmitChoice {
  var packetCount: UInt32
  /// Of the longest packet.
  var byteCountMax: UInt32 = 0
  var hasSeveralFrames = false
  /// The output device sends nothing now.
  var isDown = false
  /// Of the socket that would transmit.
  var isZeroCopy = false
  /// There is a live transmitter.
  var isLiveOpen = true
  /// The output device takes live frames.
  var isDeviceAble = true
  /// The socket has no packet under way.
  var isDrained = true
  /// Longest live frame.
  var liveByteCountMax: UInt32

  /// From here on live frames cost less: 12.4 µs a call and 0.15 µs a frame, against 0.8 to 1 µs a frame by AF_XDP
  /// (measured on veth).
  static var packetsForLive: UInt32 { 16 }

  var path: TransmitPath {
    if isDown { return .down }
    if isZeroCopy { return .socket(.zeroCopy) }
    if !isLiveOpen { return .socket(.liveOff) }
    if !isDeviceAble { return .socket(.deviceUnable) }
    if packetCount < TransmitChoice.packetsForLive { return .socket(.fewPackets) }
    if hasSeveralFrames { return .socket(.severalFrames) }
    if byteCountMax > liveByteCountMax { return .socket(.longPacket) }
    if !isDrained { return .socket(.notDrained) }
    return .live
  }
}

/// What `sluice bench` can measure.
public enum Work: String, CaseIterable, Hashable, Sendable {
  case receive = "rx-drop"
  case transmitWithoutLiveFrames = "tx-afxdp"
  case capture
  case captureLarge = "capture-1518"
  case generate

  public var summary: String {
    switch self {
    case .receive: "receive 64-byte frames by AF_XDP and drop them"
    case .transmitWithoutLiveFrames: "transmit 64-byte frames by AF_XDP, delivered at the peer"
    case .capture: "capture 64-byte frames to a file: highest rate without loss"
    case .captureLarge: "capture 1518-byte frames to a file: highest rate without loss"
    case .generate: "`sluice generate` at full speed, delivered at the peer"
    }
  }

  /// What it gives, and what that must be.
  public var metrics: [Metric] {
    switch self {
    case .receive:
      [rate([Goal(.ratio(to: "xdpsock"), limit: 1, aim: 1.05), Goal(.ratio(to: "testpmd"), limit: 1.3, aim: 1.5)])]
    case .transmitWithoutLiveFrames: [rate([Goal(.ratio(to: "xdpsock"), limit: 0.97, aim: 1.05)])]
    case .capture:
      [rate([Goal(.ratio(to: "tcpdump"), limit: 3, aim: 3.5), Goal(.ratio(to: "dumpcap"), limit: 3, aim: 3.5)])]
    case .captureLarge:
      [rate([Goal(.ratio(to: "tcpdump"), limit: 1, aim: 1.3), Goal(.ratio(to: "dumpcap"), limit: 1, aim: 1.3)])]
    case .generate: [rate([Goal(.ratio(to: "xdp-trafficgen"), limit: 1.5, aim: 2)])]
    }
  }

  private func rate(_ goals: [Goal]) -> Metric { Metric("rate", .packetsPerSecond, goals: goals) }

  /// Bytes of the frames, without check sequence.
  var frameByteCount: Int { self == .captureLarge ? 1518 : 64 }
}

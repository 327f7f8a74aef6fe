/// What `sluice bench` can measure.
public enum Work: String, CaseIterable, Hashable, Sendable {
  case receive = "rx-drop"
  case transmit = "tx"
  case transmitApart = "tx-apart"
  case transmitOnTwoCores = "tx-2cores"
  case transmitWithoutLiveFrames = "tx-afxdp"
  case forward
  case forwardInKernel = "forward-kernel"
  case reflect
  case capture
  case captureLarge = "capture-1518"
  case latency
  case idle
  case generate
  case generateApart = "generate-apart"
  case filter10 = "filter-10"
  case filter100 = "filter-100"
  case filter1000 = "filter-1000"
  case filter10000 = "filter-10000"
  case filter100000 = "filter-100000"

  public var summary: String {
    switch self {
    case .receive: "receive 64-byte frames in user space and drop them"
    case .transmit: "transmit 64-byte frames out of user space's memory, delivered at the peer on the same CPU"
    case .transmitApart: "the same, the peer's NAPI on the other CPU: the sender does a sender's work only"
    case .transmitOnTwoCores: "the same by two threads on two cores, each with its peer's NAPI"
    case .transmitWithoutLiveFrames: "the same by AF_XDP transmit, one core"
    case .forward: "forward 64-byte frames between two interfaces in user space, delivered behind the second"
    case .forwardInKernel: "the same in the kernel, after the rules; beside a bare redirect"
    case .reflect: "send 64-byte frames back where they came from, MAC addresses swapped, delivered at the sender"
    case .capture: "capture 64-byte frames to a file: highest rate without loss"
    case .captureLarge: "capture 1518-byte frames to a file: highest rate without loss"
    case .latency: "how long forwarding takes at a tenth of the rate that ours reaches, from sender to receiver"
    case .idle: "CPU of a wire in adaptive mode without packets"
    case .generate: "`sluice generate` at full speed, delivered at the peer on the same CPU"
    case .generateApart: "the same, the peer's NAPI on the other CPU"
    case .filter10, .filter100, .filter1000, .filter10000, .filter100000:
      "drop 64-byte frames by \(filterRuleCount ?? 0) rules and count each, on the sender's CPU; and apply the rules"
    }
  }

  /// What one measurement gives.
  public var metrics: [Metric] {
    switch self {
    case .receive: [rate([beside("xdpsock", 1, aim: 1.05), beside("testpmd", 1.3, aim: 1.5)])]
    case .transmit: [rate([beside("xdpsock", 5, aim: 6), beside("testpmd", 5, aim: 6)])]
    // On one CPU the kernel's receiver takes most of the time of both, and hides what sending costs.
    case .transmitApart, .generateApart: [rate([beside("xdp-trafficgen", 1.5, aim: 2)])]
    case .transmitOnTwoCores: [rate([Goal(.value, limit: 10e6, aim: 14e6)])]
    case .transmitWithoutLiveFrames: [rate([beside("xdpsock", 0.97, aim: 1.05)])]
    case .forward:
      [rate([beside("xsk_fwd", 4, aim: 5), beside("testpmd", 4, aim: 5), beside("devmap", 0.95, aim: 1)])]
    case .forwardInKernel: [rate([])]
    case .reflect: [rate([beside("xdpsock", 4, aim: 5), beside("testpmd", 4, aim: 5)])]
    case .capture: [rate([beside("tcpdump", 3, aim: 3.5), beside("dumpcap", 3, aim: 3.5)])]
    case .captureLarge: [rate([beside("tcpdump", 1, aim: 1.3), beside("dumpcap", 1, aim: 1.3)])]
    case .latency: ["p50", "p99"].map { Metric($0, .nanoseconds, goals: [beside("xsk_fwd", 1, aim: 0.8)]) }
    case .idle: [Metric("cpu", .share, goals: [Goal(.value, limit: 0.01, aim: 0.002)])]
    case .generate: [rate([])]
    case .filter10, .filter100, .filter1000, .filter10000:
      [rate([beside("drop-all", 0.7, aim: 0.85)]), Metric("apply", .nanoseconds)]
    case .filter100000: [rate([beside("drop-all", 0.55, aim: 0.7)]), Metric("apply", .nanoseconds)]
    }
  }

  private func rate(_ goals: [Goal]) -> Metric { Metric("rate", .packetsPerSecond, goals: goals) }

  private func beside(_ name: String, _ limit: Double, aim: Double) -> Goal {
    Goal(.ratio(to: name), limit: limit, aim: aim)
  }

  /// Searches the highest rate of which a file misses nothing.
  var isCapture: Bool { self == .capture || self == .captureLarge }

  /// How often it is measured. One round of a capture is a search of many measurements, and idleness varies little and
  /// takes long: half as often.
  func rounds(of asked: Int) -> Int {
    isCapture || self == .idle ? (asked + 1) / 2 : asked
  }

  /// Nothing else of the machine may take a CPU meanwhile. Not where the disk must keep up, or nothing happens.
  var isRealTime: Bool { !isCapture && self != .idle }

  /// Rules of a filter's contest; nil for other works.
  var filterRuleCount: Int? {
    switch self {
    case .filter10: 10
    case .filter100: 100
    case .filter1000: 1000
    case .filter10000: 10_000
    case .filter100000: 100_000
    default: nil
    }
  }

  /// Packets go through near0 and near1, not in and out by near0.
  var usesTwoCables: Bool { [.forward, .forwardInKernel, .latency, .idle].contains(self) }

  /// What is measured sends; who receives shall cost it no more than a wire's other end would.
  var receiverHasOwnCPU: Bool { self == .transmitApart || self == .generateApart }

  /// Bytes of the frames, without check sequence.
  var frameByteCount: Int { self == .captureLarge ? 1518 : 64 }
}

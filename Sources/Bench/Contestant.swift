/// A program that does a work, and how it is run.
public struct Contestant: Hashable, Sendable {
  enum Executable: Hashable, Sendable {
    /// This program, with another command.
    case own
    case peer(PeerTool)
  }

  /// Short; goals name it.
  public let name: String
  let executable: Executable
  let arguments: [String]
  /// What it is pinned to; nil: it does that itself.
  let cpu: Int?
  /// Where it goes whatever it is pinned to.
  private let pinsItselfTo: Int?
  /// Interfaces on which an XDP program tells that it is ready.
  let attachesTo: [String]
  /// What it prints when it is ready.
  let readyText: String?
  /// Where captures go.
  let capturePath: String?

  init(
    _ name: String, _ executable: Executable, _ arguments: [String], cpu: Int? = Contestant.subjectCPU,
    pinsItselfTo: Int? = nil, attachesTo: [String] = [], readyText: String? = nil, capturePath: String? = nil
  ) {
    self.pinsItselfTo = pinsItselfTo
    self.name = name
    self.executable = executable
    self.arguments = arguments
    self.cpu = cpu
    self.attachesTo = attachesTo
    self.readyText = readyText
    self.capturePath = capturePath
  }

  static let generatorCPU = 0
  static let subjectCPU = 1

  /// The CPU that it leaves to the other end.
  var otherCPU: Int {
    pinsItselfTo == Contestant.generatorCPU ? Contestant.subjectCPU : Contestant.generatorCPU
  }

  /// `sluice bench subject …`.
  fileprivate static func own(
    _ arguments: [String], name: String = "sluice", capturePath: String? = nil
  ) -> Contestant {
    Contestant(
      name, .own, ["bench", "subject"] + arguments, readyText: Subject.readyText, capturePath: capturePath)
  }

  /// Nil where ours is meant.
  public var tool: PeerTool? {
    if case .peer(let tool) = executable { return tool }
    return nil
  }

  /// DPDK's test program on AF_XDP: one port for each interface, main thread on the generator's CPU, where it sleeps.
  fileprivate static func testpmd(_ mode: String, _ interfaces: String...) -> Contestant {
    let devices = interfaces.enumerated().flatMap { number, interface in
      ["--vdev", "net_af_xdp\(number),iface=\(interface),start_queue=0,queue_count=1"]
    }
    let environment = [
      "--no-huge", "-m", "512", "--no-pci", "--no-telemetry", "--no-shconf", "-l", "\(generatorCPU),\(subjectCPU)",
    ]
    let options = [
      "--", "--forward-mode=\(mode)", "--nb-cores=1", "--total-num-mbufs=32768", "--auto-start", "--no-lsc-interrupt",
      "--stats-period", "1",
    ]
    return Contestant(
      "testpmd", .peer(.testpmd), environment + devices + options, cpu: nil,
      attachesTo: mode == "txonly" ? [] : interfaces)
  }
}

extension Contestant {
  fileprivate static func xskForward(_ first: String, _ second: String) -> Contestant {
    Contestant(
      "xsk_fwd", .peer(.xskForward), ["-c", "1", "-i", first, "-i", second], cpu: nil, attachesTo: [first, second])
  }

  fileprivate static func trafficGenerator(_ farMAC: String, _ interface: String) -> Contestant {
    Contestant("xdp-trafficgen", .peer(.trafficGenerator), ["udp", "-m", farMAC, interface], pinsItselfTo: 0)
  }

  /// They work in the kernel, and end when they have told it the rules.
  fileprivate static let otherFilters = [
    Contestant("nft", .peer(.nft), ["-f"]),
    Contestant("nft map", .peer(.nft), ["-f"]),
    Contestant("iptables", .peer(.iptablesRestore), []),
    Contestant("xdp-filter", .peer(.xdpFilter), ["ip", "--mode", "src"]),
  ]

  /// What the kernel can do without anybody's help: two bare programs.
  fileprivate static func devmap(_ first: String, _ second: String) -> Contestant {
    .own(["kernel-wire", first, second], name: "devmap")
  }
}

extension Work {
  /// Ours, first, then those it is compared with.
  ///
  /// - Parameter farMAC: Of the device behind near0, for who asks for a destination.
  func contestants(farMAC: String) -> [Contestant] {
    let (first, second) = ("near0", "near1")
    switch self {
    case .receive:
      return [
        .own(["receive", first]),
        .own(["receive", first, "--rules"], name: "sluice, rules"),
        .own(["receive", first, "--by-socket"], name: "sluice, AF_XDP"),
        Contestant("xdpsock", .peer(.xdpsock), ["-r", "-i", first, "-q", "0"], attachesTo: [first]),
        .testpmd("rxonly", first),
      ]
    case .transmit, .transmitApart:
      return [
        .own(["transmit", first, "--cpu", "1"]),
        Contestant("xdpsock", .peer(.xdpsock), ["-t", "-i", first, "-q", "0", "-s", "68"]),
        .testpmd("txonly", first),
        .trafficGenerator(farMAC, first),
      ]
    case .transmitOnTwoCores: return [.own(["transmit", first, "--cpu", "0", "--cpu", "1"])]
    case .transmitWithoutLiveFrames:
      return [
        .own(["transmit-afxdp", first]),
        Contestant("xdpsock", .peer(.xdpsock), ["-t", "-i", first, "-q", "0", "-s", "68"]),
      ]
    case .forward:
      return [
        .own(["wire", first, second]),
        .own(["wire", first, second, "--rules"], name: "sluice, rules"),
        .xskForward(first, second), .testpmd("io", first, second), .devmap(first, second),
      ]
    case .forwardInKernel:
      return [.own(["kernel-wire", first, second, "--rules"]), .devmap(first, second)]
    case .reflect:
      return [
        .own(["wire", first, first]),
        Contestant("xdpsock", .peer(.xdpsock), ["-l", "-i", first, "-q", "0"], attachesTo: [first]),
        .testpmd("macswap", first),
      ]
    case .capture, .captureLarge:
      let folder = Enclosure.folder
      let byRules = Contestant.own(
        ["capture", first, "--path", "\(folder)/rules.pcapng", "--rules"], name: "sluice, rules",
        capturePath: "\(folder)/rules.pcapng")
      return [
        .own(["capture", first, "--path", "\(folder)/sluice.pcapng"], capturePath: "\(folder)/sluice.pcapng")
      ] + (self == .capture ? [byRules] : []) + [
        // 128 MiB of kernel buffer each; ours has 96 in all.
        Contestant(
          "tcpdump", .peer(.tcpdump), ["-i", first, "-n", "-B", "131072", "-w", "\(folder)/tcpdump.pcap"],
          readyText: "listening on", capturePath: "\(folder)/tcpdump.pcap"),
        Contestant(
          "dumpcap", .peer(.dumpcap), ["-i", first, "-q", "-B", "128", "-w", "\(folder)/dumpcap.pcapng"],
          readyText: "File: ", capturePath: "\(folder)/dumpcap.pcapng"),
      ]
    case .latency:
      return [.own(["wire", first, second]), .xskForward(first, second), .devmap(first, second)]
    case .idle: return [.own(["wire", first, second, "--wait", "adaptive", "--rules"])]
    case .generate, .generateApart:
      return [
        Contestant("sluice", .own, ["generate", "--interface", first, "--size", "64"]),
        .trafficGenerator(farMAC, first),
      ]
    case .filter10, .filter100, .filter1000, .filter10000: return filters(first) + Contestant.otherFilters
    case .filter100000: return filters(first)
    }
  }

  private func filters(_ interface: String) -> [Contestant] {
    [
      .own(["filter", interface, "--rules", "\(filterRuleCount ?? 0)"]),
      .own(["drop", interface], name: "drop-all"),
    ]
  }
}

import Foundation

/// The programs that ours are measured beside.
public enum PeerTool: String, CaseIterable, Sendable {
  case xdpsock, xskForward = "xsk_fwd", testpmd = "dpdk-testpmd", trafficGenerator = "xdp-trafficgen", tcpdump, dumpcap,
    nft, iptablesRestore = "iptables-restore", xdpFilter = "xdp-filter"

  /// Where it comes from.
  public var origin: String {
    switch self {
    case .xdpsock, .xskForward: "github.com/xdp-project/bpf-examples"
    case .testpmd: "DPDK, app/test-pmd"
    case .trafficGenerator: "github.com/xdp-project/xdp-tools, 1.4 or newer"
    case .tcpdump: "Debian's tcpdump"
    case .dumpcap: "Debian's wireshark-common"
    case .nft: "Debian's nftables"
    case .iptablesRestore: "Debian's iptables"
    case .xdpFilter: "Debian's xdp-tools"
    }
  }
}

/// Which peers are here, and where.
public struct Peers: Sendable {
  public let paths: [PeerTool: String]
  /// A library that is loaded into the peers: `preload.so` of the peers' folder, for what a machine forbids them.
  public let preload: String?

  /// This process' PATH, and where Debian puts what is for root, which not every PATH of root's has.
  public static let searchPath = (ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin") + ":/usr/sbin:/sbin"

  /// - Parameters:
  ///   - folder: Looked at before `searchPath`, which is a PATH.
  public init(folder: String?, searchPath: String = Peers.searchPath) {
    let folders = (folder.map { [$0] } ?? []) + searchPath.split(separator: ":").map(String.init)
    var paths: [PeerTool: String] = [:]
    for tool in PeerTool.allCases {
      paths[tool] = folders.lazy.map { "\($0)/\(tool.rawValue)" }.first(where: FileManager.default.isExecutableFile)
    }
    self.paths = paths
    preload = folder.map { "\($0)/preload.so" }.flatMap { FileManager.default.fileExists(atPath: $0) ? $0 : nil }
  }
}

import Packets
import Rules

/// Rules that Sluice, nftables and iptables can all express, as each wants them, and packets that they match. Always the
/// same for one number of rules.
///
/// Servers of a data centre, four services each: who may not reach which. A rule is a prefix of sources, a server, a
/// protocol and a port or a range of them, and drops. No two match the same packet, so that they can be keys of a map.
struct FilterLoad {
  /// As many packets at least, so that no few of them stay in the caches alone.
  static let frameCountMin = 4096
  /// A whole number of rules a server.
  private static let servicesPerServer = 4
  /// Sources in 10.0.0.0/8; servers from 198.18.0.0 on, which is for benchmarks (RFC 2544, appendix C.2.2).
  private static let clients: UInt32 = 10 << 24
  private static let servers: UInt32 = 198 << 24 | 18 << 16
  /// Of all frames: the stack drops what is for another station before iptables sees it.
  static let destinationMAC = MACAddress(0x02, 0, 0, 0, 0, 0x02)

  fileprivate struct Service {
    var sources: IPPrefix
    var server: IPAddress
    var isTCP: Bool
    var ports: PortRange
    /// One of the sources: all packets of the rule come from there.
    var client: IPAddress
  }

  private let services: [Service]

  /// - Parameter ruleCount: 1 ... ``Rules/Limits/rulesMax``.
  init(ruleCount: Int) {
    var random = SplitMix(state: 1)
    services = (0..<ruleCount).map { number in
      let length = [12, 16, 20, 24, 28, 32].randomElement(using: &random) ?? 32
      let free: UInt32 = length == 32 ? 0 : .max >> UInt32(length)
      let client = FilterLoad.clients | UInt32.random(in: 0...0xff_ffff, using: &random)
      let base = UInt16(1024 + number % FilterLoad.servicesPerServer * 16)
      let width = number % FilterLoad.servicesPerServer == 0 ? UInt16.random(in: 1...15, using: &random) : 0
      return Service(
        sources: IPPrefix(FilterLoad.address(client & ~free), length: length),
        server: FilterLoad.address(FilterLoad.servers + UInt32(number / FilterLoad.servicesPerServer)),
        isTCP: Bool.random(using: &random), ports: PortRange(low: base, high: base + width),
        client: FilterLoad.address(client))
    }
  }

  private static func address(_ value: UInt32) -> IPAddress { IPAddress(family: .ipv4, value: UInt128(value)) }

  /// Of rules in an order by chance, each as often as any other, or once more.
  var frames: [[UInt8]] {
    var random = SplitMix(state: 2)
    let count = (max(FilterLoad.frameCountMin, services.count) + services.count - 1) / services.count * services.count
    return (0..<count).map { services[$0 % services.count] }.shuffled(using: &random).map { service in
      let source = UInt16.random(in: 1024 ... .max, using: &random)
      let destination = UInt16.random(in: service.ports.low...service.ports.high, using: &random)
      var packet = PacketBuilder(
        from: service.client, to: service.server,
        service.isTCP ? .tcp(source: source, destination: destination) : .udp(source: source, destination: destination))
      packet.destinationMAC = FilterLoad.destinationMAC
      packet.paddedByteCount = 64
      return packet.build()
    }
  }

  /// Sluice's rules, as text.
  var rulesText: String {
    let rules = services.enumerated().map { number, service in
      var match = Match()
      match.sources = [service.sources]
      match.destinations = [IPPrefix(host: service.server)]
      match.protocols = [service.isTCP ? .tcp : .udp]
      match.destinationPorts = [service.ports]
      return Rule(name: "r\(number + 1)", match: match, action: .drop)
    }
    return RuleSetText.print(RuleSet(name: "bench", defaultAction: .pass, rules: rules))
  }

  /// nft's, one behind the other, at the earliest hook there is.
  func nftRules(interface: String) -> String {
    let lines = services.map {
      "    ip saddr \($0.sources) ip daddr \($0.server) \($0.protocolName) dport \($0.portsText("-")) counter drop"
    }
    return FilterLoad.nftTable(interface: interface, map: "", lines.joined(separator: "\n"))
  }

  /// nft's as one map, which it looks a packet up in once.
  func nftMap(interface: String) -> String {
    let elements = services.map {
      "\($0.sources) . \($0.server) . \($0.protocolName) . \($0.portsText("-")) counter : drop"
    }
    let map = """
        map services {
          typeof ip saddr . ip daddr . meta l4proto . th dport : verdict
          flags interval
          counter
          elements = { \(elements.joined(separator: ",\n")) }
        }
      """
    let line = "    ip saddr . ip daddr . meta l4proto . th dport vmap @services"
    return FilterLoad.nftTable(interface: interface, map: map, line)
  }

  private static func nftTable(interface: String, map: String, _ lines: String) -> String {
    """
    table netdev bench {
    \(map)
      chain ingress {
        type filter hook ingress device "\(interface)" priority 0; policy accept;
    \(lines)
      }
    }

    """
  }

  /// For iptables-restore, in the table that comes first.
  var iptablesRules: String {
    let lines = services.map { service in
      let name = service.protocolName
      return "-A PREROUTING -s \(service.sources) -d \(service.server) -p \(name) -m \(name) "
        + "--dport \(service.portsText(":")) -j DROP"
    }
    return (["*raw", ":PREROUTING ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]"] + lines + ["COMMIT", ""]).joined(separator: "\n")
  }

  /// A line for sh(1) for each source, which is all that xdp-filter knows: it drops the same packets by it.
  func xdpFilterCommands(program: String, interface: String) -> String {
    let load = "'\(program)' load --mode native --policy allow --features ipv4 \(interface)"
    return ([load] + Set(services.map { "\($0.client)" }).sorted().map { "'\(program)' ip --mode src \($0)" })
      .joined(separator: "\n")
  }
}

extension FilterLoad.Service {
  var protocolName: String { isTCP ? "tcp" : "udp" }

  func portsText(_ separator: String) -> String {
    ports.low == ports.high ? "\(ports.low)" : "\(ports.low)\(separator)\(ports.high)"
  }
}

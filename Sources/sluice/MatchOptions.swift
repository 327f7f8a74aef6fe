import ArgumentParser
import Rules

/// What a rule matches, as options.
struct MatchOptions: ParsableArguments {
  @Option(name: [.long, .customLong("iif")], help: "Interface that the packet came in by; lists with commas.")
  var interface: [String] = []
  @Option(help: "Receive queue: 0, 4-7.")
  var queue: [String] = []
  @Option(help: "Source MAC address, or address/mask.")
  var sourceMac: [String] = []
  @Option(help: "Destination MAC address, or address/mask.")
  var destinationMac: [String] = []
  @Option(help: "Ethertype behind the VLAN tags: 0x0806.")
  var etherType: [String] = []
  @Option(help: "VLAN id of the outer tag: 7, 100-199.")
  var vlan: [String] = []
  @Option(help: "Priority (PCP) of the outer tag.")
  var vlanPriority: [String] = []
  @Option(help: "VLAN id of the inner tag.")
  var innerVlan: [String] = []
  @Option(help: "Priority (PCP) of the inner tag.")
  var innerVlanPriority: [String] = []
  @Option(name: [.long, .customLong("from")], help: "Source address or prefix.")
  var source: [String] = []
  @Option(name: [.long, .customLong("to")], help: "Destination address or prefix.")
  var destination: [String] = []
  @Option(help: "tcp, udp, icmp, icmpv6, … or a number.")
  var `protocol`: [String] = []
  @Option(name: [.long, .customLong("sport")], help: "Source port or range: 443, 8000-8080.")
  var sourcePort: [String] = []
  @Option(name: [.long, .customLong("dport")], help: "Destination port or range.")
  var destinationPort: [String] = []
  @Option(help: "syn, 'syn/syn|ack' (SYN without ACK), none/rst (without RST).")
  var tcpFlags: [String] = []
  @Option(help: "Type of ICMP or ICMPv6.")
  var icmpType: [String] = []
  @Option(help: "Code of ICMP or ICMPv6.")
  var icmpCode: [String] = []
  @Option(help: "0 to 63.")
  var dscp: [String] = []
  @Option(help: "0 to 3.")
  var ecn: [String] = []
  @Option(name: [.long, .customLong("hop-limit")], help: "Time to live, or hop limit.")
  var ttl: [String] = []
  @Option(help: "IPv6's.")
  var flowLabel: [String] = []
  @Option(help: "Bytes of the IP datagram with its header: 0-99.")
  var length: [String] = []
  @Option(help: "not, first, later or any.")
  var fragment: [String] = []
  @Option(name: .customLong("header-options"), help: "present or absent: IPv4 options, IPv6 extension headers.")
  var headerOptions: [String] = []

  private var lists: [(field: String, texts: [String])] {
    [
      ("interfaces", interface), ("queues", queue), ("source_macs", sourceMac), ("destination_macs", destinationMac),
      ("ether_types", etherType), ("vlan_ids", vlan), ("vlan_priorities", vlanPriority), ("inner_vlan_ids", innerVlan),
      ("inner_vlan_priorities", innerVlanPriority), ("sources", source), ("destinations", destination),
      ("protocols", `protocol`), ("source_ports", sourcePort), ("destination_ports", destinationPort),
      ("tcp_flags", tcpFlags), ("icmp_types", icmpType), ("icmp_codes", icmpCode), ("dscp", dscp), ("ecn", ecn),
      ("hop_limits", ttl), ("flow_labels", flowLabel), ("lengths", length), ("fragments", fragment),
      ("options", headerOptions),
    ]
  }

  var isEmpty: Bool { lists.allSatisfy(\.texts.isEmpty) }

  /// The match in the JSON of the API; its elements are not checked.
  func json() throws(CommandError) -> JSON {
    var members: [String: JSON] = [:]
    for (field, texts) in lists where !texts.isEmpty {
      guard texts.count == 1 || !texts.contains(where: { Self.trimmed($0[...]).hasPrefix("!") }) else {
        throw .usage("! negates the whole list of \(field): write it in one option, with commas")
      }
      var elements = texts.flatMap { $0.split(separator: ",", omittingEmptySubsequences: false) }.map(Self.trimmed)
      let isNegated = elements[0].hasPrefix("!")
      if isNegated { elements[0] = Self.trimmed(elements[0].dropFirst()) }
      members[field] = isNegated ? ["not": .strings(elements)] : .strings(elements)
    }
    return .object(members)
  }

  private static func trimmed(_ text: Substring) -> String {
    String(text.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
  }
}

import Packets

/// What the fields of a match are called in the text form.
enum MatchWords {
  /// Fields with a word of their own.
  static let fields = [
    "iif": "interfaces", "queue": "queues", "saddr": "sources", "daddr": "destinations", "protocol": "protocols",
    "sport": "source_ports", "dport": "destination_ports", "flags": "tcp_flags", "type": "icmp_types",
    "code": "icmp_codes", "dscp": "dscp", "ecn": "ecn", "ttl": "hop_limits", "hoplimit": "hop_limits",
    "flowlabel": "flow_labels", "length": "lengths", "frag": "fragments", "options": "options",
  ]

  /// Fields with two, by the first.
  static let second: [String: [(word: String, field: String)]] = [
    "ip": addresses, "ip6": addresses,
    "ether": [("saddr", "source_macs"), ("daddr", "destination_macs"), ("type", "ether_types")],
    "vlan": [
      ("id", "vlan_ids"), ("pcp", "vlan_priorities"), ("inner-id", "inner_vlan_ids"),
      ("inner-pcp", "inner_vlan_priorities"),
    ],
  ]
  private static let addresses = [("saddr", "sources"), ("daddr", "destinations")]

  /// First words that say which family the addresses must be.
  static let families: [String: IPFamily] = ["ip": .ipv4, "ip6": .ipv6]

  /// Everything that a clause or an action can begin with.
  static let all = fields.keys.sorted() + second.keys.sorted() + ["tag", "owner", "expires"] + Action.names + IPProtocol.allNames

  /// The words of a field as they are written, without `ip` and `ip6`.
  static func words(of field: String) -> String {
    if field == "hop_limits" { return "ttl" }
    if let word = fields.first(where: { $0.value == field })?.key { return word }
    for first in ["ether", "vlan"] {
      if let word = second[first]?.first(where: { $0.field == field })?.word { return "\(first) \(word)" }
    }
    preconditionFailure("every field has its words")
  }

  /// What an element of the field is.
  static func element(of field: String) -> String {
    switch field {
    case "interfaces": "an interface"
    case "sources", "destinations": "a prefix"
    case "protocols": "a protocol"
    case "source_ports", "destination_ports": "a port"
    case "source_macs", "destination_macs": "a MAC address"
    case "tcp_flags": "a test of flags"
    case "fragments": "not, first, later or any"
    case "options": "present or absent"
    default: "a number"
    }
  }
}

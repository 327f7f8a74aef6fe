/// Why a packet is malformed. The raw values are the names in rules, in the API and in metrics.
public enum MalformedReason: String, Hashable, Sendable, Codable, CaseIterable, CodingKeyRepresentable {
  case truncatedEthernet = "truncated_ethernet"
  case truncatedVLAN = "truncated_vlan"
  case truncatedIPv4 = "truncated_ipv4"
  case badIPv4 = "bad_ipv4"
  case truncatedIPv6 = "truncated_ipv6"
  case badIPv6 = "bad_ipv6"
  case truncatedExtension = "truncated_extension"
  case tooManyExtensions = "too_many_extensions"
  case truncatedTransport = "truncated_transport"
  case badTCP = "bad_tcp"
  case badUDP = "bad_udp"

  /// The value of `enum sluice_malformed` (sluice_abi.h), 1 to 11.
  public var index: Int {
    switch self {
    case .truncatedEthernet: 1
    case .truncatedVLAN: 2
    case .truncatedIPv4: 3
    case .badIPv4: 4
    case .truncatedIPv6: 5
    case .badIPv6: 6
    case .truncatedExtension: 7
    case .tooManyExtensions: 8
    case .truncatedTransport: 9
    case .badTCP: 10
    case .badUDP: 11
    }
  }

  /// The reason of an `enum sluice_malformed`; nil for 0 (not malformed) and for what is not in it.
  public init?(index: Int) {
    guard (1...Self.allCases.count).contains(index) else { return nil }
    self = Self.allCases[index - 1]
  }
}

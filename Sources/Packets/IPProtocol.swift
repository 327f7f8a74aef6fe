/// The protocol inside an IP packet, by its IANA number; in IPv6 the one after all extension headers.
public struct IPProtocol: RawRepresentable, Hashable, Sendable, LosslessStringConvertible, Codable {
  public let rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  public static let icmp = IPProtocol(rawValue: 1)
  public static let igmp = IPProtocol(rawValue: 2)
  public static let ipip = IPProtocol(rawValue: 4)
  public static let tcp = IPProtocol(rawValue: 6)
  public static let udp = IPProtocol(rawValue: 17)
  public static let gre = IPProtocol(rawValue: 47)
  public static let esp = IPProtocol(rawValue: 50)
  public static let ah = IPProtocol(rawValue: 51)
  public static let icmpv6 = IPProtocol(rawValue: 58)
  public static let noNextHeader = IPProtocol(rawValue: 59)
  public static let ospf = IPProtocol(rawValue: 89)
  public static let vrrp = IPProtocol(rawValue: 112)
  public static let sctp = IPProtocol(rawValue: 132)

  public static let hopByHop = IPProtocol(rawValue: 0)
  public static let routing = IPProtocol(rawValue: 43)
  public static let fragment = IPProtocol(rawValue: 44)
  public static let destinationOptions = IPProtocol(rawValue: 60)
  public static let mobility = IPProtocol(rawValue: 135)
  public static let hip = IPProtocol(rawValue: 139)
  public static let shim6 = IPProtocol(rawValue: 140)

  /// Number and name, from IANA's registry, lower case; the first of a number is the one that is written.
  private static let names: [(UInt8, String)] = [
    (0, "hopopt"), (1, "icmp"), (2, "igmp"), (3, "ggp"), (4, "ipip"), (5, "st"), (6, "tcp"), (8, "egp"), (9, "igp"),
    (17, "udp"), (27, "rdp"), (33, "dccp"), (41, "ipv6"), (43, "ipv6-route"), (44, "ipv6-frag"), (46, "rsvp"),
    (47, "gre"), (50, "esp"), (51, "ah"), (58, "icmpv6"), (59, "ipv6-nonxt"), (60, "ipv6-opts"), (88, "eigrp"),
    (89, "ospf"), (97, "etherip"), (103, "pim"), (108, "ipcomp"), (112, "vrrp"), (115, "l2tp"), (124, "isis"),
    (132, "sctp"), (133, "fc"), (135, "mobility"), (136, "udplite"), (137, "mpls-in-ip"), (139, "hip"),
    (140, "shim6"), (141, "wesp"), (142, "rohc"), (143, "ethernet"), (4, "ipv4"), (58, "ipv6-icmp"),
    (58, "icmp6"), (89, "ospfigp"),
  ]
  private static let nameByNumber = Dictionary(
    names.map { ($0.0, $0.1) }, uniquingKeysWith: { first, _ in first })
  private static let numberByName = Dictionary(uniqueKeysWithValues: names.map { ($0.1, $0.0) })

  /// Every name that parses.
  public static var allNames: [String] { names.map(\.1) }

  /// The name, for a number that has one here.
  public var name: String? { Self.nameByNumber[rawValue] }

  /// Whether its header begins with a source and a destination port that rules can match: TCP and UDP.
  public var hasPorts: Bool { self == .tcp || self == .udp }

  /// Whether IPv6 walks on through this header: a packet never shows it as its protocol there.
  public var isIPv6Extension: Bool {
    switch rawValue {
    case 0, 43, 44, 51, 60, 135, 139, 140: true
    default: false
    }
  }

  /// A name in lower case, or a number from 0 to 255.
  public init(parsing text: String) throws(ValueTextError) {
    if let number = Self.numberByName[text] {
      rawValue = number
    } else if let number = parseDecimal(text.utf8, limit: 255) {
      rawValue = UInt8(number)
    } else {
      let lower = text.utf8.count < 16 ? text.lowercased() : ""
      throw ValueTextError(
        expected: "an IP protocol", text: text, reason: "it takes a name such as tcp or a number from 0 to 255",
        suggestion: Self.numberByName[lower] == nil ? nil : lower)
    }
  }

  public init?(_ description: String) {
    do { try self.init(parsing: description) } catch { return nil }
  }

  /// The name, or the number.
  public var description: String { name ?? String(rawValue) }

  /// From a string, or from a bare number.
  public init(from decoder: any Decoder) throws {
    if let number = try? decoder.singleValueContainer().decode(UInt8.self) {
      rawValue = number
    } else {
      self = try decodeText(from: decoder, Self.init(parsing:))
    }
  }
  public func encode(to encoder: any Encoder) throws { try encodeText(description, to: encoder) }
}

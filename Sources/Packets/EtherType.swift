/// What an Ethernet frame carries: the two bytes after the addresses or after a VLAN tag.
public struct EtherType: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
  public let rawValue: UInt16
  @inlinable public init(rawValue: UInt16) { self.rawValue = rawValue }

  public static let ipv4 = EtherType(rawValue: 0x0800)
  public static let arp = EtherType(rawValue: 0x0806)
  public static let ipv6 = EtherType(rawValue: 0x86dd)
  public static let lldp = EtherType(rawValue: 0x88cc)
  /// IEEE 802.1Q customer tag.
  public static let vlan = EtherType(rawValue: 0x8100)
  /// IEEE 802.1ad service tag.
  public static let serviceVLAN = EtherType(rawValue: 0x88a8)
  /// The service tag of equipment older than 802.1ad.
  public static let legacyServiceVLAN = EtherType(rawValue: 0x9100)

  /// Whether a VLAN tag follows.
  public var isVLAN: Bool { self == .vlan || self == .serviceVLAN || self == .legacyServiceVLAN }

  /// `0x` and four hexadecimal digits.
  public var description: String { "0x" + hexadecimal(rawValue, width: 4) }
}

/// A VLAN tag: which ethertype announced it, and its control information.
public struct VLANTag: Hashable, Sendable {
  public var etherType: EtherType
  /// Priority (3 bits), drop eligible (1 bit), VLAN id (12 bits).
  public var controlInformation: UInt16

  public init(etherType: EtherType = .vlan, controlInformation: UInt16) {
    self.etherType = etherType
    self.controlInformation = controlInformation
  }

  /// A tag from its parts; bits beyond 12 and 3 are cut off.
  public init(etherType: EtherType = .vlan, id: UInt16, priority: UInt8 = 0) {
    self.init(etherType: etherType, controlInformation: UInt16(priority & 7) << 13 | id & 0xfff)
  }

  public var id: UInt16 { controlInformation & 0xfff }
  public var priority: UInt8 { UInt8(controlInformation >> 13) }
}

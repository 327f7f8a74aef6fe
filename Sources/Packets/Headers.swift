// What stands in each header, read from a packet's bytes. Reading never fails for a reason but missing bytes: whether
// the numbers make sense is PacketParser's question.

/// Ethernet's header without tags, 14 bytes.
@frozen
public struct EthernetHeader: Hashable, Sendable {
  public static let byteCount = 14
  public var destination: MACAddress
  public var source: MACAddress
  public var etherType: EtherType

  /// Nil if fewer than ``byteCount`` bytes follow `offset`.
  public init?(_ packet: RawSpan, at offset: Int = 0) {
    guard packet.byteCount - offset >= Self.byteCount else { return nil }
    func address(at offset: Int) -> MACAddress {
      let high: UInt16 = packet.bigEndian(at: offset)
      let low: UInt32 = packet.bigEndian(at: offset + 2)
      return MACAddress(value: UInt64(high) << 32 | UInt64(low))
    }
    destination = address(at: offset)
    source = address(at: offset + 6)
    etherType = EtherType(rawValue: packet.bigEndian(at: offset + 12))
  }
}

/// IPv4's header without options, 20 bytes (RFC 791 section 3.1).
public struct IPv4Header: Hashable, Sendable {
  public static let byteCount = 20
  public var version: UInt8
  /// DSCP and ECN: what was the type of service.
  public var trafficClass: UInt8
  /// Header length in bytes, options included.
  public var headerByteCount: Int
  public var totalByteCount: Int
  public var moreFragments: Bool
  /// In units of 8 bytes.
  public var fragmentOffset: UInt16
  public var timeToLive: UInt8
  public var `protocol`: IPProtocol
  public var source: IPv4Address
  public var destination: IPv4Address

  /// Nil if fewer than ``byteCount`` bytes follow `offset`.
  public init?(_ packet: RawSpan, at offset: Int) {
    guard packet.byteCount - offset >= Self.byteCount else { return nil }
    let first = packet.byte(at: offset)
    version = first >> 4
    trafficClass = packet.byte(at: offset + 1)
    headerByteCount = Int(first & 0xf) * 4
    totalByteCount = Int(packet.bigEndian(at: offset + 2, as: UInt16.self))
    let fragment: UInt16 = packet.bigEndian(at: offset + 6)
    moreFragments = fragment & 0x2000 != 0
    fragmentOffset = fragment & 0x1fff
    timeToLive = packet.byte(at: offset + 8)
    self.protocol = IPProtocol(rawValue: packet.byte(at: offset + 9))
    source = IPv4Address(value: packet.bigEndian(at: offset + 12))
    destination = IPv4Address(value: packet.bigEndian(at: offset + 16))
  }
}

/// IPv6's header without extensions, 40 bytes (RFC 8200 section 3).
public struct IPv6Header: Hashable, Sendable {
  public static let byteCount = 40
  public var version: UInt8
  /// DSCP and ECN.
  public var trafficClass: UInt8
  /// 20 bits.
  public var flowLabel: UInt32
  public var payloadByteCount: Int
  public var nextHeader: IPProtocol
  public var hopLimit: UInt8
  public var source: IPv6Address
  public var destination: IPv6Address

  /// Nil if fewer than ``byteCount`` bytes follow `offset`.
  public init?(_ packet: RawSpan, at offset: Int) {
    guard packet.byteCount - offset >= Self.byteCount else { return nil }
    func address(at offset: Int) -> IPv6Address {
      let high: UInt64 = packet.bigEndian(at: offset)
      let low: UInt64 = packet.bigEndian(at: offset + 8)
      return IPv6Address(value: UInt128(high) << 64 | UInt128(low))
    }
    let first: UInt32 = packet.bigEndian(at: offset)
    version = UInt8(first >> 28)
    trafficClass = UInt8(truncatingIfNeeded: first >> 20)
    flowLabel = first & 0xf_ffff
    payloadByteCount = Int(packet.bigEndian(at: offset + 4, as: UInt16.self))
    nextHeader = IPProtocol(rawValue: packet.byte(at: offset + 6))
    hopLimit = packet.byte(at: offset + 7)
    source = address(at: offset + 8)
    destination = address(at: offset + 24)
  }
}

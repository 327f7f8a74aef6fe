public import Packets

/// What packets of one flow have in common: addresses, protocol, ports, outer VLAN and the port they came in by.
///
/// Five words, so that the packet thread compares and hashes words and nothing else.
@frozen
public struct FlowKey: Hashable, BitwiseCopyable, Sendable {
  /// IPv6: the addresses' halves, source first. IPv4: both addresses in the first word, source first; then zeros.
  @usableFromInline let first: UInt64
  @usableFromInline let second: UInt64
  @usableFromInline let third: UInt64
  @usableFromInline let fourth: UInt64
  /// From the lowest bit: destination port 16, source port 16, protocol 8, VLAN id 12, VLAN tag seen, IPv6, used
  /// (always set: a word of zeros is no key), ingress port 9.
  @usableFromInline let rest: UInt64

  /// Ports that a key can tell apart.
  @inlinable public static var ingressPortCount: UInt16 { 512 }

  @inlinable static var taggedBit: UInt64 { 1 << 52 }
  @inlinable static var ipv6Bit: UInt64 { 1 << 53 }
  @inlinable static var usedBit: UInt64 { 1 << 54 }

  @inlinable @inline(__always)
  init(first: UInt64, second: UInt64, third: UInt64, fourth: UInt64, rest: UInt64) {
    self.first = first
    self.second = second
    self.third = third
    self.fourth = fourth
    self.rest = rest
  }

  /// Written out to be inlinable. Without branches but one.
  @inlinable @inline(__always)
  public static func == (left: Self, right: Self) -> Bool {
    let ends = (left.first ^ right.first) | (left.rest ^ right.rest)
    return (ends | (left.second ^ right.second) | (left.third ^ right.third) | (left.fourth ^ right.fourth)) == 0
  }

  /// A key from its parts, for tests and reports. Traps if the addresses are of two families, or a number is beyond
  /// what a packet or ``ingressPortCount`` can say.
  public init(
    source: IPAddress, destination: IPAddress, protocol number: IPProtocol, sourcePort: UInt16 = 0,
    destinationPort: UInt16 = 0, vlanID: UInt16? = nil, ingressPort: UInt16 = 0
  ) {
    precondition(source.family == destination.family, "source and destination are of one family")
    precondition(ingressPort < FlowKey.ingressPortCount && vlanID ?? 0 < 4096, "no such port or VLAN")
    let from = source.value
    let to = destination.value
    let isIPv6 = source.family == .ipv6
    func high(_ value: UInt128) -> UInt64 { UInt64(truncatingIfNeeded: value >> 64) }
    func low(_ value: UInt128) -> UInt64 { UInt64(truncatingIfNeeded: value) }
    first = isIPv6 ? high(from) : low(from) << 32 | low(to)
    second = isIPv6 ? low(from) : 0
    third = isIPv6 ? high(to) : 0
    fourth = isIPv6 ? low(to) : 0
    let tag = vlanID.map { UInt64($0) << 40 | FlowKey.taggedBit } ?? 0
    let family = isIPv6 ? FlowKey.ipv6Bit : 0
    rest = FlowKey.usedBit | UInt64(destinationPort) | UInt64(sourcePort) << 16 | UInt64(number.rawValue) << 32
      | UInt64(ingressPort) << 55 | tag | family
  }

  @inlinable public var isIPv6: Bool { rest & FlowKey.ipv6Bit != 0 }

  public var source: IPAddress {
    isIPv6
      ? .v6(IPv6Address(value: UInt128(first) << 64 | UInt128(second)))
      : .v4(IPv4Address(value: UInt32(truncatingIfNeeded: first >> 32)))
  }

  public var destination: IPAddress {
    isIPv6
      ? .v6(IPv6Address(value: UInt128(third) << 64 | UInt128(fourth)))
      : .v4(IPv4Address(value: UInt32(truncatingIfNeeded: first)))
  }

  /// In IPv6 the header after the extensions.
  public var `protocol`: IPProtocol { IPProtocol(rawValue: protocolNumber) }
  @inlinable var protocolNumber: UInt8 { UInt8(truncatingIfNeeded: rest >> 32) }

  /// 0 where the packets show none.
  @inlinable public var sourcePort: UInt16 { UInt16(truncatingIfNeeded: rest >> 16) }

  /// Of ICMP and ICMPv6: type × 256 + code, as NetFlow has it. 0 where the packets show neither.
  @inlinable public var destinationPort: UInt16 { UInt16(truncatingIfNeeded: rest) }

  /// Of the outermost tag; nil without a tag.
  @inlinable public var vlanID: UInt16? {
    rest & FlowKey.taggedBit == 0 ? nil : UInt16(truncatingIfNeeded: rest >> 40 & 0xfff)
  }

  /// The number of the port that the packets came in by, as the reader of the packets counts ports.
  @inlinable public var ingressPort: UInt16 { UInt16(truncatingIfNeeded: rest >> 55) }

  /// Whether ``destinationPort`` is a type and a code.
  @inlinable public var isICMP: Bool { protocolNumber == (isIPv6 ? 58 : 1) }

  /// Type and code of ICMP and ICMPv6; nil: another protocol.
  public var icmp: (type: UInt8, code: UInt8)? {
    isICMP ? (UInt8(truncatingIfNeeded: destinationPort >> 8), UInt8(truncatingIfNeeded: destinationPort)) : nil
  }
}

extension FlowKey: CustomStringConvertible {
  /// `udp 192.0.2.1:53 > 198.51.100.7:4242 vlan 100`; an IPv6 address stands in brackets. `icmp type 8 code 0 192.0.2.1 >
  /// 198.51.100.7`.
  public var description: String {
    func end(_ address: IPAddress, _ port: UInt16) -> String {
      isIPv6 ? "[\(address)]:\(port)" : "\(address):\(port)"
    }
    let tag = vlanID.map { " vlan \($0)" } ?? ""
    if let icmp { return "\(`protocol`) type \(icmp.type) code \(icmp.code) \(source) > \(destination)\(tag)" }
    return "\(`protocol`) \(end(source, sourcePort)) > \(end(destination, destinationPort))\(tag)"
  }
}

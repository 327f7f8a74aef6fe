/// An information element of IANA's IPFIX registry, with the length it has here.
struct IPFIXField: Hashable, Sendable {
  let element: UInt16
  let byteCount: UInt16

  init(_ element: UInt16, _ byteCount: UInt16) {
    self.element = element
    self.byteCount = byteCount
  }
}

/// What the data records look like (RFC 7011 section 3.4).
enum IPFIXTemplates {
  static let ipv4ID: UInt16 = 256
  static let ipv6ID: UInt16 = 257
  static let samplingID: UInt16 = 258

  static let ipv4 = fields(addressByteCount: 4, source: 8, destination: 12, icmp: 32)
  static let ipv6 = fields(addressByteCount: 16, source: 27, destination: 28, icmp: 139)

  private static func fields(
    addressByteCount: UInt16, source: UInt16, destination: UInt16, icmp: UInt16
  ) -> [IPFIXField] {
    [
      IPFIXField(source, addressByteCount),
      IPFIXField(destination, addressByteCount),
      IPFIXField(7, 2),  // sourceTransportPort
      IPFIXField(11, 2),  // destinationTransportPort
      IPFIXField(icmp, 2),  // icmpTypeCodeIPv4, icmpTypeCodeIPv6
      IPFIXField(58, 2),  // vlanId
      IPFIXField(6, 2),  // tcpControlBits
      IPFIXField(4, 1),  // protocolIdentifier
      IPFIXField(136, 1),  // flowEndReason
      IPFIXField(10, 4),  // ingressInterface
      IPFIXField(14, 4),  // egressInterface
      IPFIXField(1, 8),  // octetDeltaCount
      IPFIXField(2, 8),  // packetDeltaCount
      IPFIXField(152, 8),  // flowStartMilliseconds
      IPFIXField(153, 8),  // flowEndMilliseconds
    ]
  }

  /// The Selector Report Interpretation of RFC 5476 section 6.5.2, for systematic count-based sampling: of every
  /// interval + space packets, interval are looked at. Its scope is the first field.
  static let sampling = [
    IPFIXField(302, 8),  // selectorId
    IPFIXField(304, 2),  // selectorAlgorithm
    IPFIXField(305, 4),  // samplingPacketInterval
    IPFIXField(306, 4),  // samplingPacketSpace
  ]

  static func byteCount(_ fields: [IPFIXField]) -> Int { fields.reduce(0) { $0 + Int($1.byteCount) } }
}

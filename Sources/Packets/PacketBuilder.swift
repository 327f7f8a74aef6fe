/// Builds Ethernet frames with right lengths and checksums, for tests, self-tests and the traffic generator.
///
/// A value: change a copy's fields and build again. Lengths and checksums follow from the fields; to make a wrong
/// packet, change the built bytes.
public struct PacketBuilder: Hashable, Sendable {
  public var destinationMAC = MACAddress(0x02, 0, 0, 0, 0, 0x02)
  public var sourceMAC = MACAddress(0x02, 0, 0, 0, 0, 0x01)
  /// Outermost first; any number.
  public var vlanTags: [VLANTag] = []
  public var network: Network
  public var transport: Transport
  /// Bytes behind the transport header.
  public var payload: [UInt8]
  /// Zeros behind the datagram until the frame has so many bytes. 60 is Ethernet's minimum without FCS.
  public var paddedByteCount = 0

  /// What stands behind Ethernet and the tags.
  public enum Network: Hashable, Sendable {
    case ipv4(IPv4)
    case ipv6(IPv6)
    /// Anything else: `transport` is ignored, `payload` follows directly.
    case other(EtherType)
  }

  public struct IPv4: Hashable, Sendable {
    public var source: IPv4Address
    public var destination: IPv4Address
    /// DSCP and ECN.
    public var trafficClass: UInt8 = 0
    public var timeToLive: UInt8 = 64
    public var identification: UInt16 = 0
    /// In units of 8 bytes, 13 bits.
    public var fragmentOffset: UInt16 = 0
    public var moreFragments = false
    /// Padded with zeros to a multiple of 4; at most 40 bytes.
    public var options: [UInt8] = []

    public init(source: IPv4Address, destination: IPv4Address) {
      self.source = source
      self.destination = destination
    }
  }

  public struct IPv6: Hashable, Sendable {
    public var source: IPv6Address
    public var destination: IPv6Address
    /// DSCP and ECN.
    public var trafficClass: UInt8 = 0
    /// 20 bits; bits beyond are cut off.
    public var flowLabel: UInt32 = 0
    public var hopLimit: UInt8 = 64
    public var extensions: [IPv6Extension] = []

    public init(source: IPv6Address, destination: IPv6Address) {
      self.source = source
      self.destination = destination
    }
  }

  public enum Transport: Hashable, Sendable {
    /// Flags: the low nine bits, FIN the lowest, AE the highest.
    case tcp(source: UInt16, destination: UInt16, flags: UInt16 = 0x02)
    case udp(source: UInt16, destination: UInt16)
    case icmp(type: UInt8 = 8, code: UInt8 = 0)
    case icmpv6(type: UInt8 = 128, code: UInt8 = 0)
    /// No header: the payload follows IP directly.
    case other(IPProtocol)

    public var `protocol`: IPProtocol {
      switch self {
      case .tcp: .tcp
      case .udp: .udp
      case .icmp: .icmp
      case .icmpv6: .icmpv6
      case .other(let number): number
      }
    }
  }

  public init(network: Network, transport: Transport, payload: [UInt8] = []) {
    self.network = network
    self.transport = transport
    self.payload = payload
  }

  /// A packet from one address to another; both of one family, else the program is wrong and traps.
  public init(from source: IPAddress, to destination: IPAddress, _ transport: Transport, payload: [UInt8] = []) {
    switch (source, destination) {
    case (.v4(let source), .v4(let destination)):
      self.init(network: .ipv4(.init(source: source, destination: destination)), transport: transport, payload: payload)
    case (.v6(let source), .v6(let destination)):
      self.init(network: .ipv6(.init(source: source, destination: destination)), transport: transport, payload: payload)
    default:
      preconditionFailure("source and destination are of one family")
    }
  }

  /// The frame, without frame check sequence. Traps if the datagram is beyond 65535 bytes.
  public func build() -> [UInt8] {
    switch network {
    case .ipv4(let header): frame(.ipv4, ipv4Header(header, payloadByteCount: segment.count) + segment)
    case .ipv6(let header): frame(.ipv6, ipv6Packet(header, segment: segment))
    case .other(let etherType): frame(etherType, payload)
    }
  }

  /// The datagram in fragments that carry at most `byteCount` bytes each (8 or more; rounded down to a multiple of 8).
  /// Lengths and checksums inside are the whole datagram's. IPv6 extensions up to the last hop-by-hop or routing header
  /// stand in every fragment, the others in the fragmented part (RFC 8200 section 4.5). The frame of ``build()``
  /// alone if all fits in it.
  public func buildFragments(byteCount: Int, identification: UInt32 = 0x51_0ce) -> [[UInt8]] {
    let step = byteCount / 8 * 8
    precondition(step >= 8, "a fragment carries at least 8 bytes")
    switch network {
    case .ipv4(var header):
      let segment = segment
      if segment.count <= step { return [build()] }
      return stride(from: 0, to: segment.count, by: step).map { start in
        let part = segment[start..<min(start + step, segment.count)]
        header.identification = UInt16(truncatingIfNeeded: identification)
        header.fragmentOffset = UInt16(start / 8)
        header.moreFragments = part.endIndex < segment.count
        return frame(.ipv4, ipv4Header(header, payloadByteCount: part.count) + part)
      }
    case .ipv6(var header):
      let extensions = header.extensions
      let kept = (extensions.lastIndex { [.hopByHop, .routing].contains($0.protocol) }).map { $0 + 1 } ?? 0
      let fragmentable = chain(extensions[kept...], then: transport.protocol) + segment
      if fragmentable.count <= step { return [build()] }
      let next = extensions[kept...].first?.protocol ?? transport.protocol
      return stride(from: 0, to: fragmentable.count, by: step).map { start in
        let part = Array(fragmentable[start..<min(start + step, fragmentable.count)])
        let fragment = IPv6Extension.fragment(
          offset: UInt16(start / 8), moreFragments: start + part.count < fragmentable.count,
          identification: identification)
        header.extensions = extensions[..<kept] + [fragment]
        return frame(.ipv6, ipv6Packet(header, segment: part, protocol: next))
      }
    case .other:
      return [build()]
    }
  }

  /// Sets the payload's length so that the frame has `byteCount` bytes, or has no payload where its headers alone take
  /// more. New bytes count up from 0.
  public mutating func fillPayload(toFrameByteCount byteCount: Int) {
    var empty = self
    empty.payload = []
    empty.paddedByteCount = 0
    let missing = max(0, byteCount - empty.build().count)
    payload = (0..<missing).map { UInt8(truncatingIfNeeded: $0) }
  }
}

extension PacketBuilder {
  private func frame(_ etherType: EtherType, _ content: [UInt8]) -> [UInt8] {
    var bytes = destinationMAC.bytes + sourceMAC.bytes
    for tag in vlanTags {
      bytes += networkOrder(tag.etherType.rawValue) + networkOrder(tag.controlInformation)
    }
    bytes += networkOrder(etherType.rawValue) + content
    if bytes.count < paddedByteCount { bytes += repeatElement(0, count: paddedByteCount - bytes.count) }
    return bytes
  }

  private func ipv4Header(_ header: IPv4, payloadByteCount: Int) -> [UInt8] {
    var options = header.options
    while options.count % 4 != 0 { options.append(0) }
    precondition(options.count <= 40, "IPv4 has room for 40 bytes of options")
    let headerByteCount = 20 + options.count
    var bytes: [UInt8] = [0x40 | UInt8(headerByteCount / 4), header.trafficClass]
    bytes += networkOrder(UInt16(headerByteCount + payloadByteCount))
    bytes += networkOrder(header.identification)
    bytes += networkOrder((header.moreFragments ? 0x2000 : 0) | header.fragmentOffset & 0x1fff)
    bytes += [header.timeToLive, transport.protocol.rawValue, 0, 0]
    bytes += header.source.bytes + header.destination.bytes + options
    var checksum = InternetChecksum()
    checksum.add(bytes)
    bytes.replaceSubrange(10..<12, with: networkOrder(checksum.value))
    return bytes
  }

  private func ipv6Packet(_ header: IPv6, segment: [UInt8], protocol: IPProtocol? = nil) -> [UInt8] {
    let final = `protocol` ?? transport.protocol
    let content = chain(header.extensions[...], then: final) + segment
    let next = header.extensions.first?.protocol ?? final
    let first = 0x6000_0000 | UInt32(header.trafficClass) << 20 | header.flowLabel & 0xf_ffff
    var bytes: [UInt8] = [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: first >> UInt32($0)) }
    bytes += networkOrder(UInt16(content.count))
    bytes += [next.rawValue, header.hopLimit]
    return bytes + header.source.bytes + header.destination.bytes + content
  }

  private func chain(_ extensions: ArraySlice<IPv6Extension>, then final: IPProtocol) -> [UInt8] {
    var bytes: [UInt8] = []
    for (index, header) in zip(extensions.indices, extensions) {
      let following = index + 1 < extensions.endIndex ? extensions[index + 1].protocol : final
      bytes += header.bytes(nextHeader: following)
    }
    return bytes
  }

  /// Transport header and payload of the whole datagram.
  private var segment: [UInt8] {
    switch transport {
    case .tcp(let source, let destination, let flags):
      let header =
        networkOrder(source) + networkOrder(destination) + [0, 0, 0, 1, 0, 0, 0, 0, 0x50 | UInt8(flags >> 8 & 1), UInt8(flags & 0xff)]
        + [0xff, 0xff, 0, 0, 0, 0]
      return withChecksum(header + payload, at: 16, pseudoHeader: true)
    case .udp(let source, let destination):
      let length = UInt16(8 + payload.count)
      let header = networkOrder(source) + networkOrder(destination) + networkOrder(length) + [0, 0]
      return withChecksum(header + payload, at: 6, pseudoHeader: true)
    case .icmp(let type, let code):
      return withChecksum([type, code, 0, 0, 0, 1, 0, 1] + payload, at: 2, pseudoHeader: false)
    case .icmpv6(let type, let code):
      return withChecksum([type, code, 0, 0, 0, 1, 0, 1] + payload, at: 2, pseudoHeader: true)
    case .other:
      return payload
    }
  }

  private func withChecksum(_ segment: [UInt8], at offset: Int, pseudoHeader: Bool) -> [UInt8] {
    var checksum = InternetChecksum()
    if pseudoHeader {
      switch network {
      case .ipv4(let header): checksum.add(header.source.bytes + header.destination.bytes)
      case .ipv6(let header): checksum.add(header.source.bytes + header.destination.bytes)
      case .other: break
      }
      checksum.add(UInt16(transport.protocol.rawValue))
      checksum.add(UInt16(segment.count))
    }
    checksum.add(segment)
    // RFC 768: a UDP checksum of 0 would say that there is none.
    let value = transport.protocol == .udp && checksum.value == 0 ? 0xffff : checksum.value
    var bytes = segment
    bytes.replaceSubrange(offset..<offset + 2, with: networkOrder(value))
    return bytes
  }
}

func networkOrder(_ value: UInt16) -> [UInt8] { [UInt8(value >> 8), UInt8(truncatingIfNeeded: value)] }

/// Packet bytes → what rules can see of them. The reference that the XDP program's parser (bpf/parse.h) must agree with
/// on any input. The checks, in this order; the first that fails names the reason and ends the parse:
///
/// 1. **Ethernet.** Fewer than 14 bytes: `truncated_ethernet`.
/// 2. **VLAN.** While the ethertype is 0x8100, 0x88a8 or 0x9100 and fewer than two tags were read: fewer than 4 bytes
///    left: `truncated_vlan`; the tag's last two bytes are the next ethertype. A third tag isn't looked into: the
///    ethertype then is still a VLAN's and the family is *other*.
/// 3. **Ethertype.** 0x0800 is IPv4, 0x86dd IPv6; anything else is family *other* and well-formed.
///
/// **IPv4** (RFC 791), on the bytes behind Ethernet and tags:
///
/// 4. Fewer than 20 bytes: `truncated_ipv4`.
/// 5. Version not 4, or header length below 5 words: `bad_ipv4`.
/// 6. Header length beyond the bytes present: `truncated_ipv4`.
/// 7. Total length below the header length, or beyond the bytes present: `bad_ipv4`. Bytes beyond the total length are
///    padding and don't belong to the datagram.
/// 8. Fragment offset not 0: a *later* fragment; the protocol is the header's, there are no ports, and the parse ends
///    well. Else, more-fragments set: a *first* fragment.
/// 9. Transport (below) on the bytes from the header's end to the total length.
///
/// **IPv6** (RFC 8200), on the bytes behind Ethernet and tags:
///
/// 4. Fewer than 40 bytes: `truncated_ipv6`.
/// 5. Version not 6: `bad_ipv6`.
/// 6. Payload length 0 and next header 0 (hop-by-hop): a jumbogram (RFC 2675); all bytes present belong to it. Else,
///    payload length beyond the bytes present: `bad_ipv6`; bytes beyond it are padding.
/// 7. While the next header is an extension: hop-by-hop 0, routing 43, fragment 44, AH 51, destination options 60,
///    mobility 135, HIP 139 or shim6 140, in any order and number up to eight:
///    - a. Eight were walked already: `too_many_extensions`.
///    - b. Fewer than 8 bytes left of the datagram: `truncated_extension`.
///    - c. A fragment header with an offset other than 0: a *later* fragment; the protocol is this header's next header
///      whatever it is, there are no ports, and the parse ends well. Offset 0 with more-fragments: a *first* fragment,
///      and the walk goes on. Both 0 (RFC 6946): the walk goes on.
///    - d. Length: a fragment header has 8 bytes, AH (second byte + 2) × 4, the others (second byte + 1) × 8. Beyond
///      the datagram: `truncated_extension`.
/// 8. The header that the walk ends at is the protocol, ESP 50 and no-next-header 59 included.
/// 9. Transport (below) on the datagram's bytes that are left.
///
/// **Transport**, by the protocol's number whichever family carries it:
///
/// 10. TCP 6: fewer than 20 bytes: `truncated_transport`. Data offset below 5 words or beyond the bytes left:
///     `bad_tcp`, in a first fragment too.
/// 11. UDP 17: fewer than 8 bytes: `truncated_transport`. Length 0 in a jumbogram is right. Else, length below 8, or
///     beyond the bytes left unless this is a first fragment: `bad_udp`.
/// 12. ICMP 1 and ICMPv6 58: fewer than 4 bytes: `truncated_transport`.
/// 13. Any other protocol: nothing is checked.
///
/// Only TCP and UDP show ports. Checksums aren't verified.
public enum PacketParser {
  public static let vlanTagsMax = 2
  public static let ipv6ExtensionsMax = 8

  /// `bytes` is an Ethernet frame without its frame check sequence. Never traps, whatever the bytes.
  public static func parse(_ bytes: [UInt8]) -> ParsedPacket { parse(bytes.span.bytes) }

  /// `frame` is an Ethernet frame without its frame check sequence. Never traps, whatever the bytes.
  public static func parse(_ frame: RawSpan) -> ParsedPacket {
    var packet = ParsedPacket()
    do throws(Malformed) {
      try parseEthernet(frame, into: &packet)
    } catch {
      packet.malformed = error.reason
    }
    return packet
  }

  private struct Malformed: Error {
    let reason: MalformedReason
    init(_ reason: MalformedReason) { self.reason = reason }
  }

  private static func parseEthernet(_ frame: RawSpan, into packet: inout ParsedPacket) throws(Malformed) {
    guard let ethernet = EthernetHeader(frame) else { throw Malformed(.truncatedEthernet) }
    packet.sourceMAC = ethernet.source
    packet.destinationMAC = ethernet.destination
    var etherType = ethernet.etherType
    var offset = EthernetHeader.byteCount
    while etherType.isVLAN && packet.vlanTags.count < vlanTagsMax {
      guard frame.byteCount - offset >= 4 else { throw Malformed(.truncatedVLAN) }
      packet.vlanTags.append(VLANTag(etherType: etherType, controlInformation: frame.bigEndian(at: offset)))
      etherType = EtherType(rawValue: frame.bigEndian(at: offset + 2))
      offset += 4
    }
    packet.etherType = etherType
    if etherType == .ipv4 {
      packet.family = .ipv4
      try parseIPv4(frame.extracting(droppingFirst: offset), into: &packet)
    } else if etherType == .ipv6 {
      packet.family = .ipv6
      try parseIPv6(frame.extracting(droppingFirst: offset), into: &packet)
    }
  }

  private static func parseIPv4(_ bytes: RawSpan, into packet: inout ParsedPacket) throws(Malformed) {
    guard let header = IPv4Header(bytes, at: 0) else { throw Malformed(.truncatedIPv4) }
    guard header.version == 4, header.headerByteCount >= IPv4Header.byteCount else { throw Malformed(.badIPv4) }
    guard header.headerByteCount <= bytes.byteCount else { throw Malformed(.truncatedIPv4) }
    guard header.totalByteCount >= header.headerByteCount, header.totalByteCount <= bytes.byteCount else {
      throw Malformed(.badIPv4)
    }
    packet.source = .v4(header.source)
    packet.destination = .v4(header.destination)
    packet.protocol = header.protocol
    packet.trafficClass = header.trafficClass
    packet.hopLimit = header.timeToLive
    packet.datagramByteCount = UInt16(header.totalByteCount)
    packet.hasOptions = header.headerByteCount > IPv4Header.byteCount
    if header.fragmentOffset != 0 {
      packet.fragment = .later
      return
    }
    if header.moreFragments { packet.fragment = .first }
    let datagram = bytes.extracting(first: header.totalByteCount)
    try parseTransport(
      datagram.extracting(droppingFirst: header.headerByteCount), of: header.protocol, isJumbogram: false,
      into: &packet)
  }

  private static func parseIPv6(_ bytes: RawSpan, into packet: inout ParsedPacket) throws(Malformed) {
    guard let header = IPv6Header(bytes, at: 0) else { throw Malformed(.truncatedIPv6) }
    guard header.version == 6 else { throw Malformed(.badIPv6) }
    let present = bytes.byteCount - IPv6Header.byteCount
    let isJumbogram = header.payloadByteCount == 0 && header.nextHeader == .hopByHop
    guard header.payloadByteCount <= present else { throw Malformed(.badIPv6) }
    packet.source = .v6(header.source)
    packet.destination = .v6(header.destination)
    packet.trafficClass = header.trafficClass
    packet.hopLimit = header.hopLimit
    packet.flowLabel = header.flowLabel
    packet.datagramByteCount = isJumbogram ? .max : UInt16(clamping: IPv6Header.byteCount + header.payloadByteCount)
    packet.hasOptions = false

    let end = IPv6Header.byteCount + (isJumbogram ? present : header.payloadByteCount)
    let datagram = bytes.extracting(first: end)
    var next = header.nextHeader
    var offset = IPv6Header.byteCount
    var walked = 0
    while next.isIPv6Extension {
      guard walked < ipv6ExtensionsMax else { throw Malformed(.tooManyExtensions) }
      guard end - offset >= 8 else { throw Malformed(.truncatedExtension) }
      let current = next
      if current != .fragment { packet.hasOptions = true }
      next = IPProtocol(rawValue: datagram.byte(at: offset))
      let length: Int
      switch current {
      case .fragment:
        let fragment: UInt16 = datagram.bigEndian(at: offset + 2)
        if fragment >> 3 != 0 {
          packet.fragment = .later
          packet.protocol = next
          return
        }
        if fragment & 1 != 0 { packet.fragment = .first }
        length = 8
      case .ah: length = (Int(datagram.byte(at: offset + 1)) + 2) * 4
      default: length = (Int(datagram.byte(at: offset + 1)) + 1) * 8
      }
      guard length <= end - offset else { throw Malformed(.truncatedExtension) }
      offset += length
      walked += 1
    }
    packet.protocol = next
    try parseTransport(datagram.extracting(droppingFirst: offset), of: next, isJumbogram: isJumbogram, into: &packet)
  }

  private static func parseTransport(
    _ bytes: RawSpan, of protocol: IPProtocol, isJumbogram: Bool, into packet: inout ParsedPacket
  ) throws(Malformed) {
    switch `protocol` {
    case .tcp:
      guard bytes.byteCount >= 20 else { throw Malformed(.truncatedTransport) }
      let dataOffset = Int(bytes.byte(at: 12) >> 4) * 4
      guard dataOffset >= 20, dataOffset <= bytes.byteCount else { throw Malformed(.badTCP) }
    case .udp:
      guard bytes.byteCount >= 8 else { throw Malformed(.truncatedTransport) }
      let length = Int(bytes.bigEndian(at: 4, as: UInt16.self))
      if length == 0 && isJumbogram { break }
      guard length >= 8, length <= bytes.byteCount || packet.fragment == .first else { throw Malformed(.badUDP) }
    case .icmp, .icmpv6:
      guard bytes.byteCount >= 4 else { throw Malformed(.truncatedTransport) }
      packet.icmp = .init(type: bytes.byte(at: 0), code: bytes.byte(at: 1))
      return
    default:
      return
    }
    if `protocol` == .tcp { packet.tcpFlags = bytes.bigEndian(at: 12, as: UInt16.self) & 0x1ff }
    packet.ports = .init(source: bytes.bigEndian(at: 0), destination: bytes.bigEndian(at: 2))
  }
}

import Packets

/// What is done to frames that will carry a stamp.
enum Stamp {
  /// A frame of IPv4 and UDP, saying that it has no checksum (RFC 768): the stamp would falsify it. Others as they are.
  static func withoutChecksum(_ frame: [UInt8]) -> [UInt8] {
    guard let layout = FrameLayout(frame), layout.isIPv4, layout.transport == .udp, let offset = layout.checksumOffset
    else { return frame }
    var frame = frame
    frame.replaceSubrange(offset..<offset + 2, with: [0, 0])
    return frame
  }
}

/// Where the headers of an IP frame lie. nil for anything else, and for what is cut before the addresses end.
struct FrameLayout {
  let isIPv4: Bool
  /// Of the IP header.
  let networkOffset: Int
  let transport: IPProtocol
  /// Of the transport's checksum where this frame has one that covers the addresses; nil else, and in later fragments.
  let checksumOffset: Int?

  init?(_ frame: [UInt8]) {
    guard let (etherType, offset) = FrameLayout.network(frame) else { return nil }
    networkOffset = offset
    let transportOffset: Int?
    switch etherType {
    case 0x0800:
      guard frame.count >= offset + 20, frame[offset] >> 4 == 4 else { return nil }
      isIPv4 = true
      transport = IPProtocol(rawValue: frame[offset + 9])
      let isLater = (UInt16(frame[offset + 6]) << 8 | UInt16(frame[offset + 7])) & 0x1fff != 0
      let headerLength = Int(frame[offset] & 15) * 4
      transportOffset = isLater || headerLength < 20 ? nil : offset + headerLength
    case 0x86dd:
      guard frame.count >= offset + 40, frame[offset] >> 4 == 6 else { return nil }
      isIPv4 = false
      (transport, transportOffset) = FrameLayout.walk(frame, IPProtocol(rawValue: frame[offset + 6]), offset + 40)
    default: return nil
    }
    let place: Int? =
      switch transport {
      case .tcp: 16
      case .udp, IPProtocol(rawValue: 136): 6  // and UDP-Lite
      case .icmpv6: 2
      default: nil
      }
    let checksum = transportOffset.flatMap { start in place.map { start + $0 } }
    checksumOffset = checksum.flatMap { $0 + 2 <= frame.count ? $0 : nil }
  }

  /// The ethertype behind any VLAN tags, and where its header begins.
  static func network(_ frame: [UInt8]) -> (etherType: UInt16, offset: Int)? {
    var offset = 12
    while frame.count >= offset + 2 {
      let type = UInt16(frame[offset]) << 8 | UInt16(frame[offset + 1])
      if !vlanTypes.contains(type) { return (type, offset + 2) }
      offset += 4
    }
    return nil
  }

  static let vlanTypes: Set<UInt16> = [0x8100, 0x88a8, 0x9100]

  private static func walk(_ frame: [UInt8], _ first: IPProtocol, _ start: Int) -> (IPProtocol, Int?) {
    var (header, offset) = (first, start)
    for _ in 0...PacketParser.ipv6ExtensionsMax {
      guard header.isIPv6Extension else { return (header, offset) }
      guard frame.count >= offset + 8 else { return (header, nil) }
      let next = IPProtocol(rawValue: frame[offset])
      switch header.rawValue {
      case 44:
        if frame[offset + 2] != 0 || frame[offset + 3] & 0xf8 != 0 { return (next, nil) }
        offset += 8
      case 51: offset += (Int(frame[offset + 1]) + 2) * 4
      default: offset += (Int(frame[offset + 1]) + 1) * 8
      }
      header = next
    }
    return (header, nil)
  }
}

import Packets

/// What is changed in the frames of a capture before they are sent.
///
/// Checksums follow by what changed (RFC 1624): a wrong one stays wrong, and what the capture cut is rewritten like the
/// whole.
public struct FrameRewrite: Hashable, Sendable {
  public enum VLAN: Hashable, Sendable {
    /// This identifier in the outermost tag; frames without a tag get one.
    case set(UInt16)
    /// All tags go.
    case strip
  }

  /// Addresses of one network are moved to another; what is behind the prefix stays.
  public struct AddressMap: Hashable, Sendable {
    public let from: IPPrefix
    public let to: IPPrefix

    /// `10.0.0.0/8=198.18.0.0/8`, `192.0.2.1=198.51.100.1`: two prefixes of one family and length.
    public init(parsing text: String) throws(TrafficError) {
      let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
      guard parts.count == 2 else {
        throw TrafficError("a map of addresses is FROM=TO, for example 10.0.0.0/8=198.18.0.0/8", in: text, at: .max)
      }
      from = try AddressMap.prefix(parts[0], in: text, at: 0)
      to = try AddressMap.prefix(parts[1], in: text, at: parts[0].unicodeScalars.count + 1)
      guard from.family == to.family, from.length == to.length else {
        throw TrafficError(
          "both sides of a map are of one family and length", in: text, at: parts[0].unicodeScalars.count + 1)
      }
    }

    private static func prefix(_ part: String, in text: String, at offset: Int) throws(TrafficError) -> IPPrefix {
      do {
        return try IPPrefix(parsing: part)
      } catch {
        throw TrafficError(error.description, in: text, at: offset)
      }
    }
  }

  public var destinationMAC: MACAddress?
  public var sourceMAC: MACAddress?
  public var vlan: VLAN?
  /// The first that an address is in moves it; sources, destinations, and those inside ARP.
  public var addresses: [AddressMap] = []

  public init() {}

  /// Changes a frame. Traps where it has no Ethernet header; whatever else is wrong with it stays so.
  public func apply(to frame: inout [UInt8]) {
    precondition(frame.count >= EthernetHeader.byteCount, "a frame has an Ethernet header")
    if let destinationMAC { frame.replaceSubrange(0..<6, with: destinationMAC.bytes) }
    if let sourceMAC { frame.replaceSubrange(6..<12, with: sourceMAC.bytes) }
    if let vlan { FrameRewrite.tag(&frame, vlan) }
    if !addresses.isEmpty { moveAddresses(&frame) }
  }

  private static func tag(_ frame: inout [UInt8], _ vlan: VLAN) {
    func hasTag() -> Bool {
      frame.count >= 18 && FrameLayout.vlanTypes.contains(UInt16(frame[12]) << 8 | UInt16(frame[13]))
    }
    switch vlan {
    case .strip: while hasTag() { frame.removeSubrange(12..<16) }
    case .set(let identifier):
      if !hasTag() { frame.insert(contentsOf: [0x81, 0, 0, 0], at: 12) }
      frame[14] = frame[14] & 0xf0 | UInt8(identifier >> 8 & 0x0f)
      frame[15] = UInt8(truncatingIfNeeded: identifier)
    }
  }

  private func moveAddresses(_ frame: inout [UInt8]) {
    guard let layout = FrameLayout(frame) else {
      moveARP(&frame)
      return
    }
    let (first, byteCount) = layout.isIPv4 ? (layout.networkOffset + 12, 4) : (layout.networkOffset + 8, 16)
    for offset in [first, first + byteCount] {
      guard let moved = moved(frame[offset..<offset + byteCount]) else { continue }
      let old = Array(frame[offset..<offset + byteCount])
      frame.replaceSubrange(offset..<offset + byteCount, with: moved)
      if layout.isIPv4 { FrameRewrite.fix(&frame, at: layout.networkOffset + 10, old: old, new: moved) }
      guard let checksum = layout.checksumOffset else { continue }
      let isUDP = layout.transport == .udp
      if isUDP, frame[checksum] == 0, frame[checksum + 1] == 0 { continue }  // there is none
      FrameRewrite.fix(&frame, at: checksum, old: old, new: moved)
      if isUDP, frame[checksum] == 0, frame[checksum + 1] == 0 { (frame[checksum], frame[checksum + 1]) = (255, 255) }
    }
  }

  /// Ethernet and IPv4: hardware type 1, protocol type 0x0800, lengths 6 and 4.
  private func moveARP(_ frame: inout [UInt8]) {
    guard let (etherType, start) = FrameLayout.network(frame), etherType == 0x0806, frame.count >= start + 28,
      Array(frame[start..<start + 6]) == [0, 1, 8, 0, 6, 4]
    else { return }
    for offset in [start + 14, start + 24] {
      if let moved = moved(frame[offset..<offset + 4]) { frame.replaceSubrange(offset..<offset + 4, with: moved) }
    }
  }

  private func moved(_ bytes: ArraySlice<UInt8>) -> [UInt8]? {
    let value = bytes.reduce(0 as UInt128) { $0 << 8 | UInt128($1) }
    let address = IPAddress(family: bytes.count == 4 ? .ipv4 : .ipv6, value: value)
    guard let map = addresses.first(where: { $0.from.contains(address) }) else { return nil }
    return IPAddress(family: address.family, value: map.to.address.value | value & ~map.from.mask).bytes
  }

  /// RFC 1624: HC' = ~(~HC + ~m + m'), over all words that changed.
  private static func fix(_ frame: inout [UInt8], at offset: Int, old: [UInt8], new: [UInt8]) {
    var sum = InternetChecksum()
    sum.add([~frame[offset], ~frame[offset + 1]])
    sum.add(old.map { ~$0 })
    sum.add(new)
    frame.replaceSubrange(offset..<offset + 2, with: [UInt8(sum.value >> 8), UInt8(truncatingIfNeeded: sum.value)])
  }
}

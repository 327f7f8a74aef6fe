/// An IPv6 extension header to build.
public enum IPv6Extension: Hashable, Sendable {
  /// Hop-by-hop, routing, destination options, mobility, HIP or shim6 with this content behind its two first bytes,
  /// padded with zeros to a multiple of 8 bytes with them.
  case options(IPProtocol, [UInt8] = [])
  /// `offset` in units of 8 bytes.
  case fragment(offset: UInt16, moreFragments: Bool, identification: UInt32 = 1)
  /// Authentication header (RFC 4302) with an integrity check value, padded to a multiple of 8 bytes in all.
  case authentication(check: [UInt8] = Array(repeating: 0xa5, count: 12))

  /// Its number in the header before it.
  public var `protocol`: IPProtocol {
    switch self {
    case .options(let number, _): number
    case .fragment: .fragment
    case .authentication: .ah
    }
  }

  /// The header's bytes. Traps if the content is longer than its length byte can say.
  func bytes(nextHeader: IPProtocol) -> [UInt8] {
    switch self {
    case .options(let number, let content):
      let byteCount = (2 + content.count + 7) / 8 * 8
      var bytes = [nextHeader.rawValue, UInt8(byteCount / 8 - 1)] + content
      if content.isEmpty && [.hopByHop, .destinationOptions].contains(number) {
        bytes += [1, 4]  // PadN (RFC 8200 section 4.2)
      }
      return bytes + Array(repeating: 0, count: byteCount - bytes.count)
    case .fragment(let offset, let moreFragments, let identification):
      return [nextHeader.rawValue, 0] + networkOrder(offset << 3 | (moreFragments ? 1 : 0))
        + networkOrder(UInt16(identification >> 16)) + networkOrder(UInt16(truncatingIfNeeded: identification))
    case .authentication(let check):
      let byteCount = (12 + check.count + 7) / 8 * 8
      let header: [UInt8] = [nextHeader.rawValue, UInt8(byteCount / 4 - 2), 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]
      return header + check + Array(repeating: 0, count: byteCount - 12 - check.count)
    }
  }
}

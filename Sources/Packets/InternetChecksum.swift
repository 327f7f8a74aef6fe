/// The Internet checksum (RFC 1071): the one's complement of the one's complement sum of 16-bit words.
///
/// Pieces are added in order; only the last one may have an odd number of bytes.
public struct InternetChecksum: Sendable {
  private var sum: UInt64 = 0

  public init() {}

  public mutating func add(_ word: UInt16) { sum &+= UInt64(word) }

  public mutating func add(_ bytes: RawSpan) {
    var offset = 0
    while bytes.byteCount - offset >= 2 {
      sum &+= UInt64(bytes.bigEndian(at: offset, as: UInt16.self))
      offset += 2
    }
    if offset < bytes.byteCount { sum &+= UInt64(bytes.byte(at: offset)) << 8 }
  }

  public mutating func add(_ bytes: [UInt8]) { add(bytes.span.bytes) }

  /// The checksum as it stands in a header, in host order. 0 over bytes that contain their own right checksum.
  public var value: UInt16 {
    var folded = sum
    while folded > 0xffff { folded = (folded & 0xffff) + (folded >> 16) }
    return ~UInt16(folded)
  }
}

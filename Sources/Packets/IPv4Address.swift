/// An IPv4 address.
public struct IPv4Address: Hashable, Sendable, Comparable, LosslessStringConvertible, Codable {
  /// The address as a number: 192.0.2.1 is 0xc0000201.
  public let value: UInt32

  public init(value: UInt32) { self.value = value }

  public init(_ a: UInt8, _ b: UInt8, _ c: UInt8, _ d: UInt8) {
    value = UInt32(a) << 24 | UInt32(b) << 16 | UInt32(c) << 8 | UInt32(d)
  }

  /// Four decimal numbers, 0 to 255, without leading zeros, separated by dots.
  public init(parsing text: String) throws(ValueTextError) {
    guard let address = Self(utf8: text.utf8) else {
      throw ValueTextError(
        expected: "an IPv4 address", text: text,
        reason: "it takes four numbers from 0 to 255, without leading zeros, separated by dots")
    }
    self = address
  }

  init?(utf8 text: some Collection<UInt8>) {
    guard text.count <= 15 else { return nil }
    let parts = text.split(separator: 0x2e, maxSplits: 4, omittingEmptySubsequences: false)
    guard parts.count == 4 else { return nil }
    var value: UInt32 = 0
    for part in parts {
      guard let byte = parseDecimal(part, limit: 255) else { return nil }
      value = value << 8 | UInt32(byte)
    }
    self.value = value
  }

  public init?(_ description: String) { self.init(utf8: description.utf8) }

  /// The four bytes in wire order.
  public var bytes: [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> UInt32(24 - 8 * $0)) } }

  public var description: String { bytes.map(String.init).joined(separator: ".") }

  public static func < (left: Self, right: Self) -> Bool { left.value < right.value }

  public init(from decoder: any Decoder) throws { self = try decodeText(from: decoder, Self.init(parsing:)) }
  public func encode(to encoder: any Encoder) throws { try encodeText(description, to: encoder) }
}

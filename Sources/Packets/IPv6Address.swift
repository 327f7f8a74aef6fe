/// An IPv6 address, without a zone.
public struct IPv6Address: Hashable, Sendable, Comparable, LosslessStringConvertible, Codable {
  /// The address as a number, first byte on the wire in the highest place.
  public let value: UInt128

  public init(value: UInt128) { self.value = value }

  /// Any form of RFC 4291 section 2.2: eight groups, `::` once, the last four bytes as an IPv4 address. No zone.
  public init(parsing text: String) throws(ValueTextError) {
    switch Self.parse(Array(text.utf8.prefix(Self.textByteCountMax + 1))) {
    case .success(let address): self = address
    case .failure(let fault): throw ValueTextError(expected: "an IPv6 address", text: text, reason: fault.rawValue)
    }
  }

  public init?(_ description: String) {
    do { try self.init(parsing: description) } catch { return nil }
  }

  /// "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255".
  private static let textByteCountMax = 45

  private enum Fault: String, Error {
    case tooLong = "it is longer than any address"
    case zone = "a zone (\"%\") has no meaning here"
    case colon = "a single colon stands at its start or its end"
    case twoGaps = "\"::\" stands in it twice"
    case group = "a group takes one to four hexadecimal digits"
    case embedded = "an IPv4 address can only be the last four bytes"
    case count = "it takes eight groups, or fewer with \"::\""
  }

  private static func parse(_ text: [UInt8]) -> Result<Self, Fault> {
    let colon: UInt8 = 0x3a
    guard text.count <= textByteCountMax else { return .failure(.tooLong) }
    if text.contains(0x25) { return .failure(.zone) }
    var groups: [UInt16] = []
    var gap: Int?
    var index = 0
    if text.starts(with: [colon, colon]) {
      gap = 0
      index = 2
    } else if text.first == colon {
      return .failure(.colon)
    }
    while index < text.count {
      let end = text[index...].firstIndex(of: colon) ?? text.count
      let word = text[index..<end]
      if word.contains(0x2e) {
        guard end == text.count, let address = IPv4Address(utf8: word) else { return .failure(.embedded) }
        groups += [UInt16(address.value >> 16), UInt16(truncatingIfNeeded: address.value)]
        break
      }
      guard (1...4).contains(word.count) else { return .failure(.group) }
      var group: UInt16 = 0
      for byte in word {
        guard let digit = hexadecimalDigit(byte) else { return .failure(.group) }
        group = group << 4 | UInt16(digit)
      }
      groups.append(group)
      if end == text.count { break }
      index = end + 1
      if index == text.count { return .failure(.colon) }
      if text[index] == colon {
        if gap != nil { return .failure(.twoGaps) }
        gap = groups.count
        index += 1
      }
    }
    if let gap {
      guard groups.count <= 7 else { return .failure(.count) }
      groups.insert(contentsOf: repeatElement(0, count: 8 - groups.count), at: gap)
    }
    guard groups.count == 8 else { return .failure(.count) }
    return .success(Self(value: groups.reduce(0) { $0 << 16 | UInt128($1) }))
  }

  /// The sixteen bytes in wire order.
  public var bytes: [UInt8] { (0..<16).map { UInt8(truncatingIfNeeded: value >> UInt128(120 - 8 * $0)) } }

  private var groups: [UInt16] { (0..<8).map { UInt16(truncatingIfNeeded: value >> UInt128(112 - 16 * $0)) } }

  /// The one text form of RFC 5952; IPv4-mapped addresses end in dotted decimal (its section 5).
  public var description: String {
    if value >> 32 == 0xffff {
      return "::ffff:\(IPv4Address(value: UInt32(truncatingIfNeeded: value)))"
    }
    let groups = groups
    var best = 0..<0
    var start = 0
    for index in 0...8 where index == 8 || groups[index] != 0 {
      if index - start > max(best.count, 1) { best = start..<index }
      start = index + 1
    }
    func text(_ part: ArraySlice<UInt16>) -> String { part.map { String($0, radix: 16) }.joined(separator: ":") }
    return best.isEmpty ? text(groups[...]) : "\(text(groups[..<best.lowerBound]))::\(text(groups[best.upperBound...]))"
  }

  public static func < (left: Self, right: Self) -> Bool { left.value < right.value }

  public init(from decoder: any Decoder) throws { self = try decodeText(from: decoder, Self.init(parsing:)) }
  public func encode(to encoder: any Encoder) throws { try encodeText(description, to: encoder) }
}

/// An address of either family.
public enum IPAddress: Hashable, Sendable, LosslessStringConvertible, Codable {
  case v4(IPv4Address)
  case v6(IPv6Address)

  /// An address of either family; a text with a colon is taken for IPv6.
  public init(parsing text: String) throws(ValueTextError) {
    self = text.utf8.contains(0x3a) ? .v6(try IPv6Address(parsing: text)) : .v4(try IPv4Address(parsing: text))
  }

  public init?(_ description: String) {
    do { try self.init(parsing: description) } catch { return nil }
  }

  public var family: IPFamily {
    switch self {
    case .v4: .ipv4
    case .v6: .ipv6
    }
  }

  /// The bytes in wire order, 4 or 16.
  public var bytes: [UInt8] {
    switch self {
    case .v4(let address): address.bytes
    case .v6(let address): address.bytes
    }
  }

  public var description: String {
    switch self {
    case .v4(let address): address.description
    case .v6(let address): address.description
    }
  }

  /// The address as a number of `family.bitCount` bits.
  public var value: UInt128 {
    switch self {
    case .v4(let address): UInt128(address.value)
    case .v6(let address): address.value
    }
  }

  /// The address of `family` whose number is the low bits of `value`.
  public init(family: IPFamily, value: UInt128) {
    self = family == .ipv4 ? .v4(.init(value: UInt32(truncatingIfNeeded: value))) : .v6(.init(value: value))
  }

  public init(from decoder: any Decoder) throws { self = try decodeText(from: decoder, Self.init(parsing:)) }
  public func encode(to encoder: any Encoder) throws { try encodeText(description, to: encoder) }
}

/// The two versions of IP.
public enum IPFamily: String, Hashable, Sendable, CaseIterable {
  case ipv4, ipv6

  /// Bits in an address: 32 or 128.
  public var bitCount: Int { self == .ipv4 ? 32 : 128 }
}

/// A network: an address and how many of its leading bits count. The other bits are zero.
public struct IPPrefix: Hashable, Sendable, LosslessStringConvertible, Codable {
  /// The first address of the network.
  public let address: IPAddress
  /// Leading bits that count: 0 to 32 or 0 to 128.
  public let length: Int

  /// The network of `length` bits that `address` lies in; bits beyond are cleared. Traps on a length out of range.
  public init(_ address: IPAddress, length: Int) {
    precondition((0...address.family.bitCount).contains(length), "a prefix is not longer than its address")
    self.length = length
    let mask = Self.mask(family: address.family, length: length)
    self.address = IPAddress(family: address.family, value: address.value & mask)
  }

  /// The network of one address.
  public init(host address: IPAddress) { self.init(address, length: address.family.bitCount) }

  /// `address/length`, or an address alone for a host. Bits beyond the length must be zero.
  public init(parsing text: String) throws(ValueTextError) {
    let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    let address: IPAddress
    do {
      address = try IPAddress(parsing: String(parts[0]))
    } catch {
      throw ValueTextError(expected: "a prefix", text: text, reason: error.description)
    }
    guard parts.count == 2 else {
      self.init(host: address)
      return
    }
    let bits = address.family.bitCount
    guard let length = parseDecimal(parts[1].utf8, limit: bits) else {
      throw ValueTextError(
        expected: "a prefix", text: text, reason: "after \"/\" comes a number from 0 to \(bits) without leading zeros")
    }
    self.init(address, length: length)
    if self.address != address {
      throw ValueTextError(
        expected: "a prefix", text: text, reason: "\(address) has bits set beyond the first \(length)",
        suggestion: "\(self) for the network or \(address) for the host")
    }
  }

  public init?(_ description: String) {
    do { try self.init(parsing: description) } catch { return nil }
  }

  public var family: IPFamily { address.family }

  /// The bits that count, as a number of `family.bitCount` bits.
  public var mask: UInt128 { Self.mask(family: family, length: length) }

  /// The last address of the network.
  public var lastAddress: IPAddress {
    let hostBits = (UInt128(1) << UInt128(family.bitCount - length)) &- 1
    return IPAddress(family: family, value: address.value | hostBits)
  }

  /// Whether `other` is of this family and in this network.
  public func contains(_ other: IPAddress) -> Bool {
    other.family == family && other.value & mask == address.value
  }

  /// Whether every address of `other` is in this network.
  public func contains(_ other: IPPrefix) -> Bool { other.length >= length && contains(other.address) }

  /// `address/length`, without the length for a host.
  public var description: String { length == family.bitCount ? "\(address)" : "\(address)/\(length)" }

  private static func mask(family: IPFamily, length: Int) -> UInt128 {
    let all = UInt128.max >> UInt128(128 - family.bitCount)
    return length == 0 ? 0 : all << UInt128(family.bitCount - length) & all
  }

  public init(from decoder: any Decoder) throws { self = try decodeText(from: decoder, Self.init(parsing:)) }
  public func encode(to encoder: any Encoder) throws { try encodeText(description, to: encoder) }
}

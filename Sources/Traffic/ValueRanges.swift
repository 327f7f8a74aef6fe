import Packets

/// Consecutive addresses of one family.
public struct AddressRange: Hashable, Sendable, CustomStringConvertible {
  public let first: IPAddress
  public let last: IPAddress

  /// The one address.
  public init(_ address: IPAddress) {
    first = address
    last = address
  }

  /// An address, `address/length`, or `first-last`.
  public init(parsing text: String) throws(TrafficError) {
    do {
      if let dash = text.utf8.firstIndex(of: 0x2d) {
        first = try IPAddress(parsing: String(text[..<dash]))
        last = try IPAddress(parsing: String(text[text.utf8.index(after: dash)...]))
      } else {
        let prefix = try IPPrefix(parsing: text)
        first = prefix.address
        last = prefix.lastAddress
      }
    } catch {
      throw TrafficError("\(error)")
    }
    guard first.family == last.family else { throw TrafficError("\(first)-\(last) mixes IPv4 and IPv6") }
    guard first.value <= last.value else {
      throw TrafficError("\(first)-\(last) ends before it begins; write \(last)-\(first)")
    }
  }

  public var family: IPFamily { first.family }

  /// How many addresses; `UInt64.max` also for more.
  public var count: UInt64 {
    let distance = UInt64(clamping: last.value - first.value)
    return distance == .max ? .max : distance + 1
  }

  /// The address at `index`, counted round and round.
  public subscript(index: UInt64) -> IPAddress {
    let offset = UInt128(index % count)
    return IPAddress(family: family, value: first.value + offset)
  }

  public var description: String { first == last ? "\(first)" : "\(first)-\(last)" }
}

/// Consecutive ports.
public struct PortRange: Hashable, Sendable, CustomStringConvertible {
  public let first: UInt16
  public let last: UInt16

  /// Traps where `last` is before `first`.
  public init(_ first: UInt16, through last: UInt16) {
    precondition(first <= last, "a range does not end before it begins")
    self.first = first
    self.last = last
  }

  /// A port, or `first-last`.
  public init(parsing text: String) throws(TrafficError) {
    let parts = text.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
    let numbers = parts.compactMap { decimal($0, in: 0...65535) }.map { UInt16($0) }
    guard numbers.count == parts.count, let first = numbers.first, let last = numbers.last else {
      throw TrafficError(
        "\"\(ValueTextError.excerpt(text))\" is no port or range of ports: write 53 or 1024-2047, at most 65535")
    }
    guard first <= last else { throw TrafficError("\(first)-\(last) ends before it begins; write \(last)-\(first)") }
    self.init(first, through: last)
  }

  public var count: UInt64 { UInt64(last - first) + 1 }

  /// The port at `index`, counted round and round.
  public subscript(index: Int) -> UInt16 { first + UInt16(UInt64(index) % count) }

  public var description: String { first == last ? "\(first)" : "\(first)-\(last)" }
}

/// The least common multiple of numbers from 1 on; `limit` where it is greater than that.
func leastCommonMultiple(_ numbers: [UInt64], limit: UInt64) -> UInt64 {
  var result: UInt64 = 1
  for number in numbers {
    let (product, overflow) = result.multipliedReportingOverflow(by: number / greatestCommonDivisor(result, number))
    if overflow || product > limit { return limit }
    result = product
  }
  return result
}

func greatestCommonDivisor<Number: UnsignedInteger>(_ a: Number, _ b: Number) -> Number {
  var (a, b) = (a, b)
  while b != 0 { (a, b) = (b, a % b) }
  return a
}

/// An Ethernet address.
public struct MACAddress: Hashable, Sendable, LosslessStringConvertible, Codable {
  /// The 48 bits, first byte on the wire in the highest place.
  public let value: UInt64

  /// The low 48 bits of `value`.
  public init(value: UInt64) { self.value = value & 0xffff_ffff_ffff }

  public init(_ a: UInt8, _ b: UInt8, _ c: UInt8, _ d: UInt8, _ e: UInt8, _ f: UInt8) {
    self.init(value: [a, b, c, d, e, f].reduce(0) { $0 << 8 | UInt64($1) })
  }

  /// Six pairs of hexadecimal digits separated by colons or by hyphens.
  public init(parsing text: String) throws(ValueTextError) {
    func failure(_ reason: String) -> ValueTextError {
      ValueTextError(
        expected: "a MAC address", text: text, reason: reason, suggestion: "six pairs such as 02:00:00:00:00:01")
    }
    guard text.utf8.count == 17 else { throw failure("it must have 17 characters") }
    var value: UInt64 = 0
    var separator: UInt8?
    for (index, byte) in text.utf8.enumerated() {
      if index % 3 == 2 {
        guard byte == 0x3a || byte == 0x2d, separator ?? byte == byte else {
          throw failure("pairs are separated by colons")
        }
        separator = byte
      } else {
        guard let digit = hexadecimalDigit(byte) else { throw failure("only hexadecimal digits make up a pair") }
        value = value << 4 | UInt64(digit)
      }
    }
    self.init(value: value)
  }

  public init?(_ description: String) {
    do { try self.init(parsing: description) } catch { return nil }
  }

  /// The six bytes in wire order.
  public var bytes: [UInt8] { (0..<6).map { UInt8(truncatingIfNeeded: value >> UInt64(40 - 8 * $0)) } }

  /// Lower-case pairs separated by colons.
  public var description: String { bytes.map { hexadecimal(UInt16($0), width: 2) }.joined(separator: ":") }

  public init(from decoder: any Decoder) throws { self = try decodeText(from: decoder, MACAddress.init(parsing:)) }
  public func encode(to encoder: any Encoder) throws { try encodeText(description, to: encoder) }
}

func hexadecimalDigit(_ byte: UInt8) -> UInt8? {
  switch byte {
  case 0x30...0x39: byte &- 0x30
  case 0x61...0x66: byte &- 0x61 &+ 10
  case 0x41...0x46: byte &- 0x41 &+ 10
  default: nil
  }
}

func hexadecimal(_ value: UInt16, width: Int) -> String {
  let digits = String(value, radix: 16)
  return String(repeating: "0", count: max(0, width - digits.count)) + digits
}

/// Decodes a string and parses it; a text that doesn't parse is a data-corrupted error with the parser's message.
package func decodeText<Value>(
  from decoder: any Decoder, _ parse: (String) throws(ValueTextError) -> Value
) throws -> Value {
  let text = try decoder.singleValueContainer().decode(String.self)
  do throws(ValueTextError) {
    return try parse(text)
  } catch {
    throw DecodingError.dataCorrupted(.init(codingPath: decoder.codingPath, debugDescription: error.description))
  }
}

package func encodeText(_ text: String, to encoder: any Encoder) throws {
  var container = encoder.singleValueContainer()
  try container.encode(text)
}

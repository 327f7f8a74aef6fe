import Packets

/// TCP or UDP ports from `low` to `high`, both included.
public struct PortRange: Hashable, Sendable, LosslessStringConvertible, Codable {
  public let low: UInt16
  public let high: UInt16

  /// Traps if `low` is above `high`.
  public init(low: UInt16, high: UInt16) {
    precondition(low <= high, "a port range runs upwards")
    self.low = low
    self.high = high
  }

  public init(_ port: UInt16) { self.init(low: port, high: port) }

  /// One port, `443`, or a range, `8000-8080`; 0 to 65535.
  public init(parsing text: String) throws(ValueTextError) {
    func failure(_ reason: String, _ suggestion: String? = nil) -> ValueTextError {
      ValueTextError(expected: "a port or a range of ports", text: text, reason: reason, suggestion: suggestion)
    }
    let parts = text.utf8.prefix(12).split(separator: 0x2d, maxSplits: 2, omittingEmptySubsequences: false)
    guard (1...2).contains(parts.count), text.utf8.count <= 11 else { throw failure("write 443 or 8000-8080") }
    var ports: [UInt16] = []
    for part in parts {
      guard let port = UInt16(Substring(part)), String(port).utf8.elementsEqual(part) else {
        throw failure("ports are numbers from 0 to 65535 without leading zeros")
      }
      ports.append(port)
    }
    let (low, high) = (ports[0], ports[ports.count - 1])
    guard low <= high else { throw failure("it runs downwards", "\(high)-\(low)") }
    self.init(low: low, high: high)
  }

  public init?(_ description: String) {
    do { try self.init(parsing: description) } catch { return nil }
  }

  public func contains(_ port: UInt16) -> Bool { low <= port && port <= high }

  public var description: String { low == high ? "\(low)" : "\(low)-\(high)" }

  public init(from decoder: any Decoder) throws { self = try decodeText(from: decoder, Self.init(parsing:)) }
  public func encode(to encoder: any Encoder) throws { try encodeText(description, to: encoder) }
}

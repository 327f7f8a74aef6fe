import Packets

/// Ethernet addresses that agree with one in the bits of a mask.
public struct MACPattern: Hashable, Sendable, LosslessStringConvertible {
  /// Bits outside of the mask are zero.
  public let address: MACAddress
  public let mask: MACAddress

  /// Bits of `address` outside of the mask are cleared.
  public init(_ address: MACAddress, mask: MACAddress = MACAddress(value: .max)) {
    self.address = MACAddress(value: address.value & mask.value)
    self.mask = mask
  }

  /// An address, or `address/mask`: `02:00:00:00:00:00/ff:ff:ff:00:00:00`. Bits outside of the mask must be zero.
  public init(parsing text: String) throws(ValueTextError) {
    let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    let address = try MACAddress(parsing: String(parts[0]))
    let mask = parts.count == 2 ? try MACAddress(parsing: String(parts[1])) : MACAddress(value: .max)
    self.init(address, mask: mask)
    if self.address != address {
      throw ValueTextError(
        expected: "a MAC address with a mask", text: text, reason: "it has bits set outside of the mask",
        suggestion: "\(self)")
    }
  }

  public init?(_ description: String) {
    do { try self.init(parsing: description) } catch { return nil }
  }

  public func contains(_ other: MACAddress) -> Bool { other.value & mask.value == address.value }

  public var description: String {
    mask == MACAddress(value: .max) ? "\(address)" : "\(address)/\(mask)"
  }
}

/// TCP flags that are set, of those that are looked at.
public struct TCPFlagTest: Hashable, Sendable, LosslessStringConvertible {
  /// Bits as in the header's bytes 12 and 13: FIN is 1, AE is 256.
  public let set: UInt16
  public let mask: UInt16

  /// By bit.
  public static let names = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ae"]

  /// Flags in `set` that the mask hasn't are cleared.
  public init(set: UInt16, mask: UInt16) {
    self.mask = mask & 0x1ff
    self.set = set & self.mask
  }

  /// `syn`: SYN is set, the others don't matter. `syn/syn|ack|rst`: of these three only SYN. `none/syn|ack`: neither.
  public init(parsing text: String) throws(ValueTextError) {
    let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    let set = try TCPFlagTest.flags(parts[0], of: text)
    let mask = parts.count == 2 ? try TCPFlagTest.flags(parts[1], of: text) : set
    guard mask != 0 else {
      throw ValueTextError(
        expected: "a test of TCP flags", text: text, reason: "it looks at no flag",
        suggestion: "syn, or syn/syn|ack for SYN without ACK, or none/syn for all without SYN")
    }
    guard set & ~mask == 0 else {
      throw ValueTextError(
        expected: "a test of TCP flags", text: text, reason: "a flag before \"/\" is not among those behind it")
    }
    self.init(set: set, mask: mask)
  }

  private static func flags(_ word: Substring, of text: String) throws(ValueTextError) -> UInt16 {
    if word == "none" { return 0 }
    var flags: UInt16 = 0
    for name in word.split(separator: "|", maxSplits: 16, omittingEmptySubsequences: false) {
      guard let bit = names.firstIndex(of: String(name)) else {
        throw ValueTextError(
          expected: "a test of TCP flags", text: text,
          reason: "flags are \(names.joined(separator: ", ")), with | between them")
      }
      flags |= 1 << UInt16(bit)
    }
    return flags
  }

  public init?(_ description: String) {
    do { try self.init(parsing: description) } catch { return nil }
  }

  public func contains(_ flags: UInt16) -> Bool { flags & mask == set }

  public var description: String {
    func text(_ flags: UInt16) -> String {
      let words = TCPFlagTest.names.enumerated().filter { flags >> UInt16($0.offset) & 1 != 0 }.map(\.element)
      return words.isEmpty ? "none" : words.joined(separator: "|")
    }
    return set == mask ? text(set) : "\(text(set))/\(text(mask))"
  }
}

/// What part of a datagram a packet is.
public enum FragmentTest: String, Hashable, Sendable, CaseIterable {
  /// The whole datagram.
  case not
  case first
  case later
  /// First or later.
  case any

  public func contains(_ fragment: ParsedPacket.Fragment) -> Bool {
    switch self {
    case .not: fragment == .none
    case .first: fragment == .first
    case .later: fragment == .later
    case .any: fragment != .none
    }
  }
}

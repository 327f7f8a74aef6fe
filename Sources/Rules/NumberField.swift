import Packets

/// A field of packets that rules match by numbers and ranges of numbers. The raw value is its name in JSON.
public enum NumberField: String, Hashable, Sendable, CaseIterable {
  /// The receive queue.
  case queues
  /// Behind the VLAN tags.
  case etherTypes = "ether_types"
  /// Of the outer tag.
  case vlanIDs = "vlan_ids"
  case vlanPriorities = "vlan_priorities"
  case innerVLANIDs = "inner_vlan_ids"
  case innerVLANPriorities = "inner_vlan_priorities"
  /// Type and code of ICMP and ICMPv6; need ``Match/protocols`` to be these.
  case icmpTypes = "icmp_types"
  case icmpCodes = "icmp_codes"
  /// The upper six bits of the traffic class, RFC 2474.
  case dscp
  /// The lower two, RFC 3168.
  case ecn
  /// Time to live, or hop limit.
  case hopLimits = "hop_limits"
  /// IPv6's.
  case flowLabels = "flow_labels"
  /// Bytes of the IP datagram with its header; of a jumbogram 65535.
  case lengths

  /// The greatest number that a packet can show.
  public var most: UInt32 {
    switch self {
    case .queues, .icmpTypes, .icmpCodes, .hopLimits: 0xff
    case .etherTypes, .lengths: 0xffff
    case .vlanIDs, .innerVLANIDs: 0xfff
    case .vlanPriorities, .innerVLANPriorities: 7
    case .dscp: 63
    case .ecn: 3
    case .flowLabels: 0xf_ffff
    }
  }

  /// Whether only packets of IP show it.
  public var isOfIP: Bool {
    switch self {
    case .queues, .etherTypes, .vlanIDs, .vlanPriorities, .innerVLANIDs, .innerVLANPriorities: false
    case .icmpTypes, .icmpCodes, .dscp, .ecn, .hopLimits, .flowLabels, .lengths: true
    }
  }

  /// What a packet shows; nil where it hasn't the field.
  func value(of packet: ParsedPacket, queue: UInt8) -> UInt32? {
    switch self {
    case .queues: UInt32(queue)
    case .etherTypes: packet.etherType.map { UInt32($0.rawValue) }
    case .vlanIDs: packet.vlanTags.first.map { UInt32($0.id) }
    case .vlanPriorities: packet.vlanTags.first.map { UInt32($0.priority) }
    case .innerVLANIDs: packet.vlanTags.dropFirst().first.map { UInt32($0.id) }
    case .innerVLANPriorities: packet.vlanTags.dropFirst().first.map { UInt32($0.priority) }
    case .icmpTypes: packet.icmp.map { UInt32($0.type) }
    case .icmpCodes: packet.icmp.map { UInt32($0.code) }
    case .dscp: packet.trafficClass.map { UInt32($0 >> 2) }
    case .ecn: packet.trafficClass.map { UInt32($0 & 3) }
    case .hopLimits: packet.hopLimit.map { UInt32($0) }
    case .flowLabels: packet.flowLabel
    case .lengths: packet.datagramByteCount.map { UInt32($0) }
    }
  }
}

/// Numbers from `low` to `high`, both included.
public struct NumberRange: Hashable, Sendable, CustomStringConvertible {
  public let low: UInt32
  public let high: UInt32

  /// Traps if `low` is above `high`.
  public init(low: UInt32, high: UInt32) {
    precondition(low <= high, "a range runs upwards")
    self.low = low
    self.high = high
  }

  public init(_ number: UInt32) { self.init(low: number, high: number) }

  /// One number, `7`, or a range, `5-9`; decimal, or hexadecimal after `0x`; at most `most`.
  public init(parsing text: String, most: UInt32) throws(ValueTextError) {
    func failure(_ reason: String, _ suggestion: String? = nil) -> ValueTextError {
      ValueTextError(expected: "a number or a range", text: text, reason: reason, suggestion: suggestion)
    }
    let parts = text.utf8.prefix(32).split(separator: 0x2d, maxSplits: 2, omittingEmptySubsequences: false)
    guard (1...2).contains(parts.count), text.utf8.count < 32 else { throw failure("write 7 or 5-9") }
    var numbers: [UInt32] = []
    for part in parts {
      guard let number = NumberRange.number(Substring(part)), number <= most else {
        throw failure("numbers here are from 0 to \(most), without leading zeros; hexadecimal ones begin with 0x")
      }
      numbers.append(number)
    }
    let (low, high) = (numbers[0], numbers[numbers.count - 1])
    guard low <= high else { throw failure("it runs downwards", "\(high)-\(low)") }
    self.init(low: low, high: high)
  }

  private static func number(_ text: Substring) -> UInt32? {
    if text.hasPrefix("0x") {
      let digits = text.dropFirst(2)
      return digits.first == "+" || digits.first == "-" ? nil : UInt32(digits, radix: 16)
    }
    guard let number = UInt32(text), String(number) == text else { return nil }
    return number
  }

  public func contains(_ number: UInt32) -> Bool { low <= number && number <= high }

  public var description: String { low == high ? "\(low)" : "\(low)-\(high)" }
}

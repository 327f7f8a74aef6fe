import Packets
import Rules

/// What a self-test packet shows beside addresses, protocol and ports. Nil: as the builder has it.
struct RareFields {
  var sourceMAC: MACAddress?
  var destinationMAC: MACAddress?
  /// By field, for those that need nothing else.
  private var numbers: [NumberField: UInt32] = [:]
  var tcpFlags: UInt16 = 2
  var fragment = ParsedPacket.Fragment.none
  var hasOptions = false

  var icmpType: UInt8 { UInt8(numbers[.icmpTypes] ?? 8) }
  var icmpCode: UInt8 { UInt8(numbers[.icmpCodes] ?? 0) }

  init() {}

  /// A packet that shows what the match asks for, as far as that is possible at all.
  init(satisfying match: Match) {
    for (field, condition) in match.numbers { numbers[field] = RareFields.number(field, in: condition) }
    sourceMAC = RareFields.address(in: match.sourceMACs)
    destinationMAC = RareFields.address(in: match.destinationMACs)
    if !match.tcpFlags.isEmpty {
      tcpFlags = (0...0x1ff).first { flags in match.tcpFlags.contains { $0.contains(flags) } != match.tcpFlags.isNegated } ?? 2
    }
    if !match.fragments.isEmpty {
      fragment =
        ParsedPacket.Fragment.allCases.first { fragment in
          match.fragments.contains { $0.contains(fragment) } != match.fragments.isNegated
        } ?? .none
    }
    hasOptions = match.hasOptions ?? false
  }

  /// Each field that the match asks about, in turn, at the edges of what it lists and beyond; and a later fragment.
  static func variations(of match: Match) -> [RareFields] {
    let base = RareFields(satisfying: match)
    var result: [RareFields] = []
    func add(_ change: (inout RareFields) -> Void) {
      var next = base
      change(&next)
      result.append(next)
    }
    add { $0.fragment = .later }
    for (field, condition) in match.numbers.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
      for range in condition {
        let edges = [range.low, range.high, range.low &- 1, range.high + 1]
        for number in Set(edges).sorted() where number <= field.most { add { $0.numbers[field] = number } }
      }
      add { $0.numbers[field] = nil }
    }
    for (path, condition) in [(\RareFields.sourceMAC, match.sourceMACs), (\RareFields.destinationMAC, match.destinationMACs)] {
      for pattern in condition {
        let free = ~pattern.mask.value & 0xffff_ffff_ffff
        for value in [pattern.address.value, pattern.address.value | free, pattern.address.value ^ (free &+ 1)] {
          add { $0[keyPath: path] = MACAddress(value: value) }
        }
      }
    }
    for test in match.tcpFlags {
      for flags in [test.set, test.set ^ 1, 0x1ff & ~(test.mask & ~test.set), test.set ^ (test.mask & (0 &- test.mask))] {
        add { $0.tcpFlags = flags }
      }
    }
    if !match.fragments.isEmpty {
      for fragment in ParsedPacket.Fragment.allCases { add { $0.fragment = fragment } }
    }
    if match.hasOptions != nil { add { $0.hasOptions.toggle() } }
    return result
  }

  private static func number(_ field: NumberField, in condition: Condition<NumberRange>) -> UInt32? {
    guard let first = condition.first else { return nil }
    if !condition.isNegated { return first.low }
    var candidates: [UInt32] = [0, field.most]
    for range in condition { candidates += [range.low &- 1, range.high + 1] }
    return candidates.first { number in number <= field.most && !condition.contains { $0.contains(number) } }
  }

  private static func address(in condition: Condition<MACPattern>) -> MACAddress? {
    guard let first = condition.first else { return nil }
    if !condition.isNegated { return first.address }
    let candidates = condition.map { MACAddress(value: $0.address.value ^ (($0.mask.value & (0 &- $0.mask.value)))) }
    return candidates.first { address in !condition.contains { $0.contains(address) } }
  }

  func apply(to packet: inout PacketBuilder) {
    if let sourceMAC { packet.sourceMAC = sourceMAC }
    if let destinationMAC { packet.destinationMAC = destinationMAC }
    let innerTag = tag(.innerVLANIDs, .innerVLANPriorities)
    if let outerTag = tag(.vlanIDs, .vlanPriorities) ?? innerTag.map({ _ in VLANTag(id: 1) }) {
      packet.vlanTags = [outerTag] + (innerTag.map { [$0] } ?? [])
    }
    if let length = numbers[.lengths] {
      // The payload makes up for it, up to what a test packet may have.
      let others = packet.build().count - 14 - 4 * packet.vlanTags.count - packet.payload.count
      packet.payload = Array(repeating: 0, count: max(0, min(Int(length), 3000) - others))
    }
    applyToNetwork(of: &packet)
    if let etherType = numbers[.etherTypes].map({ EtherType(rawValue: UInt16($0)) }), ![.ipv4, .ipv6].contains(etherType) {
      packet.network = .other(etherType)
    }
  }

  private func tag(_ id: NumberField, _ priority: NumberField) -> VLANTag? {
    if numbers[id] == nil, numbers[priority] == nil { return nil }
    return VLANTag(id: UInt16(numbers[id] ?? 1), priority: UInt8(numbers[priority] ?? 0))
  }

  private func applyToNetwork(of packet: inout PacketBuilder) {
    let trafficClass = UInt8((numbers[.dscp] ?? 0) << 2 | (numbers[.ecn] ?? 0))
    switch packet.network {
    case .ipv4(var header):
      header.trafficClass = trafficClass
      if let limit = numbers[.hopLimits] { header.timeToLive = UInt8(limit) }
      if hasOptions { header.options = [1, 1, 1, 1] }  // no operation
      header.moreFragments = fragment == .first
      header.fragmentOffset = fragment == .later ? 185 : 0
      packet.network = .ipv4(header)
    case .ipv6(var header):
      header.trafficClass = trafficClass
      header.flowLabel = numbers[.flowLabels] ?? 0
      if let limit = numbers[.hopLimits] { header.hopLimit = UInt8(limit) }
      if hasOptions { header.extensions.append(.options(.destinationOptions)) }
      if fragment != .none {
        header.extensions.append(.fragment(offset: fragment == .later ? 185 : 0, moreFragments: fragment == .first))
      }
      packet.network = .ipv6(header)
    case .other:
      break
    }
  }
}

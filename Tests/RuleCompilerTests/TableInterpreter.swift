import CSluiceABI
import Packets
import RuleCompiler
import Rules

/// Walks a compiled generation's words as bpf/walk.h and bpf/classify.h do.
struct TableInterpreter {
  let compiled: CompiledGeneration

  struct Outcome: Hashable {
    var action: UInt8
    /// Counter slot of the rule; nil for the default action and malformed packets.
    var slot: UInt32?
    var countedSlots: [UInt32] = []
  }

  /// What one walk took.
  struct Cost: Hashable {
    var steps = 0
    var pendingMax = 0
  }

  private(set) var cost = Cost()

  /// Of the half of the tables that the generation is in.
  private let words: [UInt64]
  private static let none = UInt64(SLUICE_LABEL_NONE)

  init(compiled: CompiledGeneration) {
    self.compiled = compiled
    words = Array(repeating: 0, count: Int(SLUICE_TABLES_HEADER_BYTES) / 8) + compiled.words
  }

  var header: sluice_generation {
    compiled.withUnsafeBytes { unsafe $0.loadUnaligned(as: sluice_generation.self) }
  }

  private func resume(_ index: Int) -> UInt32 {
    let place = MemoryLayout<sluice_generation>.offset(of: \.resumes) ?? 0
    return compiled.withUnsafeBytes { unsafe $0.loadUnaligned(fromByteOffset: place + 4 * index, as: UInt32.self) }
  }

  func malformedAction(_ index: Int) -> UInt8 {
    compiled.withUnsafeBytes { unsafe $0.loadUnaligned(fromByteOffset: 48 + index, as: UInt8.self) }
  }

  mutating func decide(_ packet: ParsedPacket) -> Outcome {
    if let reason = packet.malformed { return Outcome(action: malformedAction(reason.index)) }
    let noPort = UInt64(SLUICE_NO_PORT)
    let source = packet.ports.map { UInt64($0.source) } ?? packet.icmp.map { UInt64($0.type) } ?? noPort
    let destination = packet.ports.map { UInt64($0.destination) } ?? packet.icmp.map { UInt64($0.code) } ?? noPort
    let length = packet.datagramByteCount.map { UInt64($0) } ?? noPort
    let lanes = source | destination << 21 | length << 42
    let number = headerWord(of: packet)
    let link = linkWords(of: packet)
    let from = packet.source?.value ?? 0
    let to = packet.destination?.value ?? 0
    let header = self.header
    let isIPv6 = packet.family == .ipv6
    let key: [UInt64] =
      isIPv6
      ? [high(from), high(to), low(from), low(to), lanes, number, link.0, link.1]
      : [low(from) << 32 | low(to), lanes, number, 0, 0, 0, link.0, link.1]
    let root =
      switch packet.family {
      case .ipv4: header.roots.0
      case .ipv6: header.roots.1
      default: header.roots.2
      }
    var outcome = Outcome(action: header.default_action)
    var label: UInt64 = 0
    while true {
      label = find(key, root, after: label, isIPv6: isIPv6)
      if label == TableInterpreter.none { return outcome }
      let action = UInt8(label >> UInt64(SLUICE_LABEL_ACTION) & 7)
      let slot = UInt32(label & UInt64(SLUICE_SLOTS_MAX - 1))
      let resumes = UInt32(action) == SLUICE_ACTION_RESUME.rawValue
      if UInt32(action) != SLUICE_ACTION_COUNT.rawValue, !resumes {
        outcome.action = action
        outcome.slot = slot
        return outcome
      }
      if slot != 0 { outcome.countedSlots.append(slot) }
      if resumes { label = UInt64(resume(Int(label >> UInt64(SLUICE_LABEL_TARGET) & 0xff))) << 32 }
    }
  }

  /// What the program puts there where it has every feature.
  private func headerWord(of packet: ParsedPacket) -> UInt64 {
    func field(_ value: (some BinaryInteger)?, _ shift: Int32) -> UInt64 { UInt64(value ?? 0) << UInt64(shift) }
    let (outer, inner) = (packet.vlanTags.first, packet.vlanTags.dropFirst().first)
    return field(packet.protocol?.rawValue, SLUICE_HEADER_PROTOCOL)
      | field(packet.tcpFlags.map { $0 & 0xff }, SLUICE_HEADER_TCP_FLAGS)
      | field(packet.trafficClass, SLUICE_HEADER_TRAFFIC_CLASS) | field(packet.hopLimit, SLUICE_HEADER_HOP_LIMIT)
      | field(packet.fragment == .none ? 0 : 1, SLUICE_HEADER_FRAGMENT)
      | field(packet.fragment == .later ? 1 : 0, SLUICE_HEADER_LATER_FRAGMENT)
      | field(packet.hasOptions == true ? 1 : 0, SLUICE_HEADER_OPTIONS)
      | field(outer == nil ? 0 : 1, SLUICE_HEADER_VLAN) | field(inner == nil ? 0 : 1, SLUICE_HEADER_INNER_VLAN)
      | field(outer?.priority, SLUICE_HEADER_VLAN_PRIORITY) | field(outer?.id, SLUICE_HEADER_VLAN_ID)
      | field(inner?.id, SLUICE_HEADER_INNER_VLAN_ID)
  }

  private func linkWords(of packet: ParsedPacket) -> (UInt64, UInt64) {
    let type = packet.family == .other ? UInt64(packet.etherType?.rawValue ?? 0) : UInt64((packet.flowLabel ?? 0) & 0xffff)
    let destination = (packet.destinationMAC?.value ?? 0) << UInt64(SLUICE_LINK_DESTINATION) | type
    let source =
      (packet.sourceMAC?.value ?? 0) << UInt64(SLUICE_LINK_SOURCE)
      | UInt64(packet.vlanTags.dropFirst().first?.priority ?? 0) << UInt64(SLUICE_LINK_INNER_PRIORITY)
      | UInt64((packet.flowLabel ?? 0) >> 16) << UInt64(SLUICE_LINK_FLOW_LABEL)
      | UInt64((packet.tcpFlags ?? 0) >> 8) << UInt64(SLUICE_LINK_ACCURATE_ECN)
    return (destination, source)
  }

  private func high(_ value: UInt128) -> UInt64 { UInt64(truncatingIfNeeded: value >> 64) }
  private func low(_ value: UInt128) -> UInt64 { UInt64(truncatingIfNeeded: value) }

  private mutating func find(_ key: [UInt64], _ root: UInt64, after: UInt64, isIPv6: Bool) -> UInt64 {
    let words = self.words
    var best = TableInterpreter.none
    var pending: [UInt64] = [0]
    var current = root
    cost = Cost()
    while true {
      cost.steps += 1
      let type = current >> 42 & 7
      let index = Int(current & 0x7ff_ffff)
      var goesOn = false
      if type == UInt64(SLUICE_SLOT_CUT) {
        if current & UInt64(SLUICE_SLOT_RESIDUAL) != 0 { pending.append(words[index - 1]) }
        cost.pendingMax = max(cost.pendingMax, pending.count - 1)
        let bits = key[Int(current >> 27 & 7)] >> (current >> 30 & 63) & ((1 << (current >> 36 & 31)) - 1)
        current = words[index + Int(bits)]
        goesOn = current >> 48 <= best >> 48
      } else if type != 0 {
        let count = Int(current >> 27 & 0xff)
        let isShort = type == UInt64(SLUICE_SLOT_SHORT_LEAF)
        let size = isIPv6 ? 16 : isShort ? 4 : 8
        let found = (0..<min(count, 4)).lazy.map { index * 4 + $0 * size }
          .first { isShort ? matchesShort(key, $0, after) : matches(key, $0, after, isIPv6) }
        if let found {
          best = min(best, words[found + (isShort ? 3 : 6)])
        } else if count > 4 {
          current = (current & ~(0x7_ffff_ffff)) | UInt64(count - 4) << 27 | UInt64(index + size)
          goesOn = true
        }
      }
      if goesOn { continue }
      repeat {
        guard let next = pending.popLast(), next != 0 else { return best }
        current = next
      } while current >> 48 > best >> 48
    }
  }

  private func matches(_ key: [UInt64], _ record: Int, _ after: UInt64, _ isIPv6: Bool) -> Bool {
    matchesAlone(key, record, after, isIPv6) && matchesLink(key, record)
  }

  private func matchesLink(_ key: [UInt64], _ record: Int) -> Bool {
    guard header.features & UInt8(SLUICE_FEATURE_LINK.rawValue) != 0 else { return true }
    let link = Int(words[record + 7]) * 8
    return (key[6] ^ words[link]) & words[link + 1] == 0 && (key[7] ^ words[link + 2]) & words[link + 3] == 0
  }

  private func matchesShort(_ key: [UInt64], _ record: Int, _ after: UInt64) -> Bool {
    let addresses = key[0] ^ words[record]
    let asked = words[record + 2]
    let ports = (0..<2).map { words[record + 1] >> UInt64(32 * $0) & 0xffff_ffff }
    let shows = [key[1] & 0x1f_ffff, key[1] >> 21 & 0x1f_ffff]
    let header =
      key[2] & 0xffff | (key[2] >> UInt64(SLUICE_HEADER_FRAGMENT) & 31) << 16 | (shows[0] > 0xffff ? 1 << 21 : 0)
    return words[record + 3] >> 32 > after >> 32 && (addresses >> 32) >> (asked >> 48 & 63) == 0
      && (addresses & 0xffff_ffff) >> (asked >> 54 & 63) == 0 && (header ^ asked) & (asked >> 24) & 0xff_ffff == 0
      && (0..<2).allSatisfy { shows[$0] > 0xffff || (ports[$0] & 0xffff...ports[$0] >> 16).contains(shows[$0]) }
  }

  private func matchesAlone(_ key: [UInt64], _ record: Int, _ after: UInt64, _ isIPv6: Bool) -> Bool {
    func agrees(_ word: Int, _ offset: Int) -> Bool {
      (key[word] ^ words[record + offset]) & words[record + offset + 1] == 0
    }
    func inRanges(_ lanes: UInt64, _ offset: Int) -> Bool {
      (0..<3).allSatisfy { lane in
        let value = lanes >> (21 * UInt64(lane)) & 0x1f_ffff
        let low = words[record + offset] >> (21 * UInt64(lane)) & 0x1f_ffff
        let high = words[record + offset + 1] >> (21 * UInt64(lane)) & 0xf_ffff
        return low <= value && value <= high
      }
    }
    guard words[record + 6] >> 32 > after >> 32 else { return false }
    return isIPv6
      ? agrees(0, 0) && agrees(1, 2) && inRanges(key[4], 4) && agrees(2, 8) && agrees(3, 10) && agrees(5, 12)
      : agrees(0, 0) && inRanges(key[1], 2) && agrees(2, 4)
  }
}

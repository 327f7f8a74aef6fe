import CSluiceABI
import Packets
import RuleCompiler
import Rules

/// Walks a compiled generation's bytes as bpf/classify.h does, on words read from the addresses' bytes.
struct TableInterpreter {
  let compiled: CompiledGeneration

  struct Outcome: Hashable {
    var action: UInt8
    /// Nil for the default action and malformed packets.
    var entry: Int?
    var countedSlots: [UInt32] = []
  }

  func load<Value: BitwiseCopyable>(_ offset: Int, as type: Value.Type) -> Value {
    compiled.withUnsafeBytes { unsafe $0.loadUnaligned(fromByteOffset: offset, as: type) }
  }

  func entry(_ index: Int) -> sluice_entry { load(40 + 96 * index, as: sluice_entry.self) }

  func decide(_ packet: ParsedPacket) -> Outcome {
    if let reason = packet.malformed { return Outcome(action: load(24 + reason.index, as: UInt8.self)) }
    let source = words(packet.source)
    let destination = words(packet.destination)
    let noPort = UInt32(SLUICE_NO_PORT)
    let sourcePort = packet.ports.map { UInt32($0.source) } ?? noPort
    let destinationPort = packet.ports.map { UInt32($0.destination) } ?? noPort
    let number = packet.protocol?.rawValue ?? 0
    var outcome = Outcome(action: load(16, as: UInt8.self))
    var next = 0
    for index in 0..<compiled.entryCount where index >= next {
      let entry = entry(index)
      guard
        source.0 & entry.source_mask.0 == entry.source_value.0, source.1 & entry.source_mask.1 == entry.source_value.1,
        destination.0 & entry.destination_mask.0 == entry.destination_value.0,
        destination.1 & entry.destination_mask.1 == entry.destination_value.1,
        entry.families_excluded & packet.family.rawValue == 0, number & entry.protocol_mask == entry.protocol,
        entry.source_port_low <= sourcePort, sourcePort <= entry.source_port_high,
        entry.destination_port_low <= destinationPort, destinationPort <= entry.destination_port_high
      else { continue }
      if UInt32(entry.action) != SLUICE_ACTION_COUNT.rawValue {
        outcome.action = entry.action
        outcome.entry = index
        return outcome
      }
      outcome.countedSlots.append(entry.slot)
      next = Int(entry.next)
    }
    return outcome
  }

  private func words(_ address: IPAddress?) -> (UInt64, UInt64) {
    guard let address else { return (0, 0) }
    let bytes = address.bytes + Array(repeating: 0, count: 16 - address.bytes.count)
    return bytes.withUnsafeBytes {
      unsafe ($0.loadUnaligned(as: UInt64.self), $0.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
    }
  }
}

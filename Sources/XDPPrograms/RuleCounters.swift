import CSluiceABI
import CXDP

/// What the rules of one interface have counted, by slot: the map that the program adds to, and what smaller ones before it
/// had counted.
///
/// Not for sharing between threads. Reading and clearing a slot is two system calls.
struct RuleCounters: ~Copyable {
  static let names = ["rule_counters", "carried_counters"]

  /// One row per CPU; only the program adds.
  let counted: BPFMap
  /// Only we write.
  let carried: BPFMap
  let slotCount: UInt32

  init(counted: consuming BPFMap, carried: consuming BPFMap) throws(ProgramError) {
    slotCount = min(try counted.sizes().entryCount, try carried.sizes().entryCount)
    self.counted = counted
    self.carried = carried
  }

  /// - Parameter slot: Below ``slotCount``.
  func read(_ slot: UInt32, with reader: borrowing CounterReader) throws(ProgramError) -> PacketCount {
    let before: sluice_counter = try carried.value(slot)
    var count = try reader.read(counted, slot)
    count.packets &+= before.packets
    count.bytes &+= before.bytes
    return count
  }

  /// For a slot that no packet counts in. There is nothing to clear where there is no such slot yet.
  func clear(_ slot: UInt32, with reader: borrowing CounterReader) throws(ProgramError) {
    if slot >= slotCount { return }
    try reader.clear(counted, slot)
    try carried.update(slot, to: sluice_counter())
  }

  /// Takes over what `previous` has counted, which no program adds to any more.
  func carry(from previous: borrowing RuleCounters, with reader: borrowing CounterReader) throws(ProgramError) {
    for slot in 0..<previous.slotCount {
      let count = try previous.read(slot, with: reader)
      if count.packets == 0 { continue }
      try carried.update(slot, to: sluice_counter(packets: count.packets, bytes: count.bytes))
    }
  }
}

import CSluiceABI

/// Which counter slot belongs to which rule of an interface. A rule keeps its slot as long as rule sets with its name are
/// applied, through reorders and restarts: that is what makes counters belong to rules.
///
/// Freed slots are handed out again as late as possible.
struct SlotTable: Hashable, Sendable, Codable {
  private(set) var slots: [String: UInt32] = [:]
  private var cursor: UInt32 = 0

  static let slotMax = UInt32(SLUICE_SLOTS_MAX) - 1

  /// The table for these rules: known names keep their slots, others get free ones, missing ones lose theirs.
  ///
  /// - Parameter names: Unique; at most ``slotMax``.
  /// - Returns: The slots that were free before. Their counters hold what an earlier rule left.
  func assigning(_ names: [String]) -> (table: SlotTable, fresh: [UInt32]) {
    precondition(names.count <= Int(SlotTable.slotMax), "a rule set has fewer rules than there are slots")
    var table = SlotTable()
    table.cursor = cursor
    table.slots.reserveCapacity(names.count)
    for name in names {
      if let slot = slots[name] { table.slots[name] = slot }
    }
    // Slots of rules that go now are in use until the swap: they aren't free yet.
    var used = Set(slots.values)
    var fresh: [UInt32] = []
    for name in names where table.slots[name] == nil {
      if used.count == Int(SlotTable.slotMax) { used = Set(table.slots.values) }
      repeat { table.cursor = table.cursor % SlotTable.slotMax + 1 } while used.contains(table.cursor)
      used.insert(table.cursor)
      table.slots[name] = table.cursor
      fresh.append(table.cursor)
    }
    return (table, fresh)
  }

  /// A slot for a name that has none, which ``set(_:of:)`` gives it.
  ///
  /// - Parameter used: At least all slots of the table.
  /// - Returns: The slot; its counter holds what an earlier rule left. Nil: there is none left.
  func free(used: Set<UInt32>) -> UInt32? {
    guard used.count < Int(SlotTable.slotMax) else { return nil }
    var slot = cursor
    repeat { slot = slot % SlotTable.slotMax + 1 } while used.contains(slot)
    return slot
  }

  mutating func remove(_ name: String) { slots[name] = nil }

  /// The next one that is free is looked for behind it.
  mutating func set(_ slot: UInt32, of name: String) {
    slots[name] = slot
    cursor = slot
  }

  subscript(name: String) -> UInt32? { slots[name] }
}

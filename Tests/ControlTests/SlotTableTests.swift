import Rules
import TestSupport
import Testing

@testable import Control

@Suite("Counter slots belong to rule names")
struct SlotTableTests {
  @Test("A rule keeps its slot through reorders and while others come and go; no slot has two owners; fresh ones were free")
  func keepsSlots() {
    var random = SeededGenerator(announcing: "keepsSlots")
    var table = SlotTable()
    for _ in 0..<400 {
      let count = Int.random(in: 0...60, using: &random)
      let names = Array((0..<100).map { "rule-\($0)" }.shuffled(using: &random).prefix(count))
      let (next, fresh) = table.assigning(names)
      #expect(Set(next.slots.keys) == Set(names))
      #expect(Set(next.slots.values).count == names.count)
      #expect(next.slots.values.allSatisfy { (1...SlotTable.slotMax).contains($0) })
      for (name, slot) in table.slots where next[name] != nil { #expect(next[name] == slot) }
      #expect(Set(fresh) == Set(names.filter { table[$0] == nil }.map { next[$0]! }))
      #expect(Set(fresh).isDisjoint(with: table.slots.values), "a slot in use until the swap is not free yet")
      table = next
    }
  }

  @Test("More rules than a rule set may have, with those of chains, are refused by name before they get slots")
  func tooMany() throws {
    let rules = { (name: String, count: Int) in
      RuleList((0..<count).map { Rule(name: "\(name)\($0)", match: Match(), action: .drop) })
    }
    let big = RuleSet(
      name: "big", rules: rules("r", Limits.rulesMax), chains: [Chain(name: "c", rules: rules("c", 40_000))])
    let error = try #require(throws: ControlError.self) {
      try PreparedGeneration(
        big, interface: "lan0", generation: 1, previous: SlotTable(), options: AttachmentOptions(), interfaceIndices: [:])
    }
    #expect(error.kind == .invalidArgument && error.message.contains("140000 rules"), "\(error)")
  }

  @Test("Freed slots come back last: a full round passes before one is used again")
  func reusesLate() {
    var table = SlotTable()
    var used: Set<UInt32> = []
    for index in 0..<Int(SlotTable.slotMax) {
      table = table.assigning(["rule-\(index)"]).table
      #expect(used.insert(table["rule-\(index)"]!).inserted)
    }
    #expect(used.count == Int(SlotTable.slotMax))
    table = table.assigning(["one more"]).table
    #expect(used.contains(table["one more"]!))
  }

  @Test("As many rules as there are slots, all replaced at once")
  func survivesFullTable() {
    let first = SlotTable().assigning((0..<Int(SlotTable.slotMax)).map { "a\($0)" }).table
    let second = first.assigning((0..<1000).map { "b\($0)" }).table
    #expect(Set(second.slots.values).count == 1000)
  }
}

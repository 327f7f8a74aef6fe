import Rules
import TestSupport
import Testing

@testable import Control

@Suite("What a change of a set does, and what takes it back")
struct SetEffectTests {
  @Test("The opposite of an effect makes of the rule set what it was, ends and revision too")
  func opposite() throws {
    var random = SeededGenerator(announcing: "SetEffectTests.opposite")
    func member(isPort: Bool) throws -> SetMember {
      let number = Int.random(in: 1...40, using: &random)
      let end: Expiry? = random.chance(50) ? nil : .at(unixMilliseconds: Int64.random(in: 1...3, using: &random))
      return SetMember(try SetElement(parsing: isPort ? "\(number)" : "10.0.0.\(number)"), end)
    }
    for round in 0..<400 {
      let isPort = round % 2 == 1
      func members() throws -> [SetMember] {
        try (0..<Int.random(in: 0..<30, using: &random)).map { _ in try member(isPort: isPort) }
      }
      var set = isPort ? NamedSet(name: "some", kind: .ports) : NamedSet(name: "some", family: .ipv4)
      set.insert(try members())
      let before = RuleSet(name: "edge", revision: UInt64.random(in: 0...1, using: &random), sets: [set])
      let change = SetChange(
        ruleSet: "edge", set: "some", inserted: try members(), removed: try members().map(\.element), toRevision: 7)
      let effect = SetEffect(of: change, on: before)
      let opposite = effect.opposite(on: before)
      var after = before
      after.change("some", inserted: effect.inserted, removed: effect.removed, revision: effect.revision)
      let kept = opposite.inserted.map(\.element).filter { after.sets[0].contains($0) }
      #expect(Set(opposite.new) == Set(opposite.inserted.map(\.element)).subtracting(kept))
      #expect(opposite.removed.allSatisfy { after.sets[0].contains($0) })
      after.change("some", inserted: opposite.inserted, removed: opposite.removed, revision: opposite.revision)
      #expect(after.sets[0].members(0..<after.sets[0].count) == set.members(0..<set.count))
      #expect(after.revision == before.revision)
    }
  }
}

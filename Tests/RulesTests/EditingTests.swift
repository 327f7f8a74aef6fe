import Rules
import Testing

@Suite("Editing the list of rules")
struct EditingTests {
  private var set: RuleSet { RuleSet(name: "s", rules: ["a", "b", "c"].map { Rule(name: $0, action: .drop) }) }
  private func names(_ set: RuleSet) -> String { set.rules.map(\.name).joined() }

  @Test(
    "A rule goes where it is put",
    arguments: [
      (RulePlacement.last, "abcx"), (.at(0), "xabc"), (.at(3), "abcx"), (.at(1), "axbc"), (.before("a"), "xabc"),
      (.after("a"), "axbc"), (.after("c"), "abcx"), (.before("c"), "abxc"),
    ])
  func insert(_ placement: RulePlacement, _ expected: String) throws {
    var set = set
    try set.insert(Rule(name: "x", action: .pass), placement)
    #expect(names(set) == expected)
  }

  @Test(
    "A rule moves to where it is put, counted in the list as it is afterwards",
    arguments: [
      ("a", RulePlacement.last, "bca"), ("c", .at(0), "cab"), ("a", .at(2), "bca"), ("a", .at(1), "bac"),
      ("b", .at(1), "abc"), ("a", .before("c"), "bac"), ("a", .after("c"), "bca"), ("c", .before("a"), "cab"),
      ("b", .after("a"), "abc"),
    ])
  func move(_ name: String, _ placement: RulePlacement, _ expected: String) throws {
    var set = set
    try set.moveRule(name, placement)
    #expect(names(set) == expected)
  }

  @Test("What can't be done is refused and changes nothing")
  func refused() throws {
    var set = self.set
    let new = Rule(name: "x", action: .pass)
    #expect(throws: RuleEditError.duplicateName("b")) { try set.insert(Rule(name: "b", action: .pass)) }
    #expect(throws: RuleEditError.noSuchRule("z")) { try set.insert(new, .before("z")) }
    #expect(throws: RuleEditError.noSuchRule("x")) { try set.insert(new, .after("x")) }
    for position in [-1, 4, .max, .min] {
      #expect(throws: RuleEditError.positionOutOfRange(position, positions: 0..<4)) {
        try set.insert(new, .at(position))
      }
    }
    #expect(throws: RuleEditError.noSuchRule("z")) { try set.removeRule("z") }
    #expect(throws: RuleEditError.noSuchRule("z")) { try set.replaceRule("z", with: new) }
    #expect(throws: RuleEditError.duplicateName("b")) { try set.replaceRule("a", with: Rule(name: "b", action: .pass)) }
    #expect(throws: RuleEditError.noSuchRule("z")) { try set.moveRule("z", .last) }
    #expect(throws: RuleEditError.noSuchRule("z")) { try set.moveRule("a", .before("z")) }
    #expect(throws: RuleEditError.relativeToItself("a")) { try set.moveRule("a", .after("a")) }
    #expect(throws: RuleEditError.positionOutOfRange(3, positions: 0..<3)) { try set.moveRule("a", .at(3)) }
    #expect(set == self.set)
    var full = RuleSet(name: "s", rules: (0..<Limits.rulesMax).map { Rule(name: "r\($0)", action: .drop) })
    #expect(throws: RuleEditError.tooManyRules) { try full.insert(new) }
    #expect(RuleEditError.positionOutOfRange(9, positions: 0..<3).description.contains("0 to 2"))
  }

  @Test("Rules are replaced, renamed and removed by name")
  func replace() throws {
    var set = set
    try set.replaceRule("b", with: Rule(name: "b", action: .pass))
    #expect(set.rules[1].action == .pass)
    try set.replaceRule("b", with: Rule(name: "y", action: .pass))
    #expect(names(set) == "ayc")
    #expect(try set.removeRule("a").rule.name == "a")
    #expect(names(set) == "yc")
  }
}

import Rules
import TestSupport
import Testing

@Suite("One change of a list of rules")
struct RuleChangeTests {
  private func rule(_ name: String, _ comment: String = "") -> Rule { Rule(name: name, action: .drop, comment: comment) }

  @Test("The change between two lists, made in the first, makes the second")
  func roundTrip() throws {
    var random = SeededGenerator(announcing: "RuleChangeTests")
    for _ in 0..<2000 {
      var old = RuleSet(name: "edge", revision: 4)
      old.rules = RuleList((0..<Int.random(in: 0...6, using: &random)).map { rule("r\($0)") })
      var new = old
      new.revision = 5
      switch Int.random(in: 0..<4, using: &random) {
      case 0: try new.insert(rule("new"), .at(Int.random(in: 0...old.rules.count, using: &random)))
      case 1 where !old.rules.isEmpty: try new.removeRule(random.pick(old.rules).name)
      case 2 where !old.rules.isEmpty:
        try new.replaceRule(random.pick(old.rules).name, with: rule(random.pick(["new", "r9"]), "other"))
      case 3 where !old.rules.isEmpty:
        try new.moveRule(random.pick(old.rules).name, .at(Int.random(in: 0..<old.rules.count, using: &random)))
      default: break
      }
      let change = try #require(new.ruleChange(from: old))
      var made = old
      try made.make(change)
      #expect(made.rules == new.rules, "\(change)")
    }
  }

  @Test("Two changes, and changes of anything else, are no change of a rule")
  func others() {
    let old = RuleSet(name: "edge", rules: ["a", "b", "c", "d"].map { rule($0) })
    func isNone(_ change: (inout RuleSet) -> Void) -> Bool {
      var new = old
      change(&new)
      return new.ruleChange(from: old) == nil
    }
    #expect(isNone { $0.rules = RuleList(["x", "b", "c", "y"].map { rule($0) }) })
    #expect(isNone { $0.rules = RuleList(["d", "c", "b", "a"].map { rule($0) }) })
    #expect(isNone { $0.rules += [rule("e"), rule("f")] })
    #expect(isNone { $0.rules.removeFirst(2) })
    #expect(isNone { $0.defaultAction = .drop })
    #expect(isNone { $0.sets = [NamedSet(name: "bad", family: .ipv4)] })
    #expect(isNone { $0.name = "other" })
  }

  @Test("What can't be made changes nothing")
  func refused() {
    var list = RuleSet(name: "edge", rules: [rule("a"), rule("b")])
    let before = list
    for change in [
      RuleChange(removed: "c"), RuleChange(inserted: rule("a")), RuleChange(removed: "a", inserted: rule("b")),
      RuleChange(removed: "a", inserted: rule("a"), before: "a"), RuleChange(inserted: rule("x"), before: "y"),
    ] {
      #expect(throws: RuleEditError.self) { try list.make(change) }
      #expect(list == before)
    }
  }
}

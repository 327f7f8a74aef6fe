import Packets
import Rules
import Testing
import TestSupport

@Suite("Rule sets that are evidently valid after a change")
struct EvidentValidityTests {
  private func rule(_ name: String, _ action: Action = .drop, sets: [String] = []) -> Rule {
    Rule(name: name, match: Match(sources: Condition([], sets: sets)), action: action)
  }

  private var valid: RuleSet {
    RuleSet(
      name: "edge", rules: [rule("a"), rule("b", .pass, sets: ["bad"]), rule("c", .count)],
      sets: [NamedSet(name: "bad", family: .ipv4), NamedSet(name: "ports", ports: [PortRange(22)])])
  }

  @Test("One rule that decides by itself comes, goes, moves or is exchanged: one look is enough")
  func evident() throws {
    var set = valid
    try set.insert(rule("d", .capture, sets: ["bad"]))
    #expect(set.isEvidentlyValid(after: valid) && valid.isEvidentlyValid(after: set) && set.isEvidentlyValid(after: set))
    try set.replaceRule("d", with: rule("e", .pass))
    #expect(set.isEvidentlyValid(after: valid))
    try set.moveRule("e", .at(0))
    #expect(set.isEvidentlyValid(after: valid))
    set.revision += 1
    #expect(set.isEvidentlyValid(after: valid))
  }

  @Test("What one look doesn't show is left to the validation of the whole")
  func notEvident() throws {
    func isEvident(_ change: (inout RuleSet) throws -> Void) rethrows -> Bool {
      var set = valid
      try change(&set)
      return set.isEvidentlyValid(after: valid)
    }
    for bad in [
      rule("a"), rule("Not a name"), rule("default"), rule("d", sets: ["none"]), rule("d", sets: ["ports"]), rule("d", .leave),
      rule("d", .jump(chain: "none")), rule("d", .redirect(interface: "a/b")), rule("d", .redirect(interface: "eth0")), rule("d", .count),
      Rule(name: "d", match: Match(destinationPorts: [PortRange(1)]), action: .drop),
    ] {
      #expect(!isEvident { $0.rules.append(bad) }, "\(bad.name) \(bad.action)")
      #expect(!isEvident { $0.rules[1] = bad }, "\(bad.name) \(bad.action)")
    }
    #expect(!isEvident { $0.rules += [rule("d"), rule("e")] })
    #expect(!isEvident { $0.sets.removeLast() })
    #expect(!isEvident { $0.chains = [Chain(name: "c")] })
    #expect(!isEvident { $0.name = "other" })
    let most = RuleSet(name: "edge", rules: (0..<Limits.rulesMax).map { rule("r\($0)") })
    var more = most
    more.rules.append(rule("one-more"))
    #expect(!more.isEvidentlyValid(after: most) && most.isEvidentlyValid(after: most))
  }

  @Test("What is evident is so: the validation of the whole agrees")
  func agrees() throws {
    var random = SeededGenerator(announcing: "EvidentValidityTests")
    var evident = 0
    for _ in 0..<300 {
      let old = RandomCases.ruleSet(rulesUpTo: 8, using: &random)
      guard !old.validate().contains(where: { $0.severity == .error }) else { continue }
      var new = old
      var come = RandomCases.ruleSet(rulesUpTo: 2, using: &random).rules.first
      if random.chance(70) { come?.name = "new" }
      let place = Int.random(in: 0...new.rules.count, using: &random)
      if place < new.rules.count, random.chance(50) { new.rules.remove(at: place) }
      if let come { new.rules.insert(come, at: min(place, new.rules.count)) }
      guard new.isEvidentlyValid(after: old) else { continue }
      evident += 1
      #expect(!new.validate().contains { $0.severity == .error })
    }
    #expect(evident > 20)
  }
}

import Packets
import Testing

@testable import Rules

@Suite("What was delegated, and no more")
struct DelegationTests {
  private static func prefix(_ text: String) throws -> IPPrefix { try IPPrefix(parsing: text) }

  private static func rule(_ name: String, to destinations: [String], _ action: Action = .drop) throws -> Rule {
    Rule(name: name, match: Match(destinations: Condition(try destinations.map(prefix))), action: action)
  }

  /// A set with rules of two customers and of the operator.
  private static func set() throws -> RuleSet {
    RuleSet(
      name: "edge",
      rules: [
        Rule(name: "operator", match: Match(protocols: [.icmp]), action: .count),
        try rule("a1", to: ["198.51.100.7"]), try rule("b1", to: ["203.0.113.0/25"]),
        try rule("a2", to: ["198.51.100.0/25", "2001:db8:a::/64"], .pass), try rule("wide", to: ["0.0.0.0/0"]),
      ])
  }

  private static func limits() throws -> DelegationLimits {
    DelegationLimits(
      destinations: [try prefix("198.51.100.0/24"), try prefix("2001:db8:a::/48")], actions: ["drop", "pass"])
  }

  private func faults(_ change: (inout RuleSet) throws -> Void) throws -> [String]? {
    let old = try Self.set()
    var new = old
    try change(&new)
    do throws(DelegationError) {
      try new.checkDelegation(from: old, limits: [Self.limitsOrTrap()])
      return nil
    } catch { return error.faults.map(\.path) }
  }

  private static func limitsOrTrap() -> DelegationLimits {
    do { return try limits() } catch { preconditionFailure("the prefixes are valid") }
  }

  @Test("Own rules may be added, changed, moved, renamed, disabled and removed")
  func allowed() throws {
    #expect(try faults { _ in } == nil)
    #expect(try faults { $0.rules.append(try Self.rule("a3", to: ["198.51.100.200"])) } == nil)
    #expect(try faults { $0.rules.insert(try Self.rule("a3", to: ["2001:db8:a:1::/64"]), at: 0) } == nil)
    #expect(try faults { $0.rules[1].action = .pass } == nil)
    #expect(try faults { $0.rules[1].name = "other" } == nil)
    #expect(try faults { $0.rules[3].isEnabled = false } == nil)
    #expect(try faults { $0.rules.remove(at: 3) } == nil)
    #expect(try faults { $0.rules.swapAt(1, 3) } == nil)
    #expect(try faults { $0.rules.append($0.rules.remove(at: 1)) } == nil)
    #expect(try faults { $0.revision = 9 } == nil)
  }

  @Test("Anything else may not, and the place is named")
  func refused() throws {
    #expect(try faults { $0.defaultAction = .drop } == [""])
    #expect(try faults { $0.malformed.fate = .pass } == [""])
    #expect(try faults { $0.name = "mine" } == [""])
    #expect(try faults { $0.rules.remove(at: 0) } == ["rules"])
    #expect(try faults { $0.rules.remove(at: 2) } == ["rules"])
    #expect(try faults { $0.rules.swapAt(0, 2) } == ["rules"], "others keep their order")
    #expect(try faults { $0.rules[2].isEnabled = false } == ["rules[2].match.destinations[0]"])
    #expect(try faults { $0.rules[0].comment = "mine" }?.first == "rules[0].match.destinations")
    #expect(try faults { $0.rules[1].match.destinations = [] } == ["rules[1].match.destinations"])
    #expect(try faults { $0.rules[1].match.destinations.isNegated = true } == ["rules[1].match.destinations"])
    #expect(try faults { $0.rules[1].match.destinations = [try Self.prefix("198.51.0.0/16")] } != nil, "wider than his")
    #expect(try faults { $0.rules[1].action = .redirect(interface: "eth9") } == ["rules[1].action"])
    #expect(
      try faults { $0.rules.append(try Self.rule("x", to: ["198.51.100.1", "203.0.113.1"])) }
        == ["rules[5].match.destinations[1]"])
    #expect(try faults { $0.rules[2].match.destinations = [try Self.prefix("198.51.100.9")] } == ["rules"], "theft")
    #expect(try faults { $0.rules.append(try Self.rule("x", to: ["::/0"], .capture)) }?.count == 2)
  }

  @Test("Who is limited makes no rule set, and of several limits one must hold")
  func several() throws {
    #expect(throws: DelegationError.self) { try Self.set().checkDelegation(from: nil, limits: [Self.limitsOrTrap()]) }
    let old = try Self.set()
    var new = old
    new.rules.append(try Self.rule("b2", to: ["203.0.113.9"], .count))
    let other = DelegationLimits(destinations: [try Self.prefix("203.0.113.0/24")], actions: ["count"])
    try new.checkDelegation(from: old, limits: [Self.limitsOrTrap(), other])
    #expect(throws: DelegationError.self) { try new.checkDelegation(from: old, limits: []) }
    new.rules.append(try Self.rule("b3", to: ["203.0.113.9"], .pass))
    #expect(throws: DelegationError.self, "the action of one and the prefix of the other") {
      try new.checkDelegation(from: old, limits: [Self.limitsOrTrap(), other])
    }
  }

  @Test("Narrower limits are covered by wider ones, never the other way round")
  func covers() throws {
    let wide = Self.limitsOrTrap()
    let narrow = DelegationLimits(destinations: [try Self.prefix("198.51.100.0/28")], actions: ["drop"])
    let all = DelegationLimits()
    #expect(wide.covers(narrow) && !narrow.covers(wide))
    #expect(all.covers(wide) && !wide.covers(all) && all.covers(all) && wide.covers(wide))
    #expect(!wide.covers(DelegationLimits(destinations: narrow.destinations)), "any action is more than some")
    #expect(!wide.covers(DelegationLimits(actions: ["drop"])), "any destination is more than some")
  }
}

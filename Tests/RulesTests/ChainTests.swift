import Foundation
import Packets
import Rules
import TestSupport
import Testing

@Suite("Chains and sets")
struct ChainTests {
  static let example = """
    ruleset edge
    default drop
    malformed drop

    set blocked {  # the list of the day
      type ipv4_addr
      elements 192.0.2.0/24, 198.51.100.7
    }

    set services {
      type inet_service
      elements 22, 8000-8080
    }

    set six {
      type ipv6_addr
    }

    chain inbound {  # what comes in
      rule no-list: saddr @blocked drop  # blocked
      disabled rule six-too: saddr @six drop
      rule open: tcp dport @services, 443 tag web owner ops pass
      rule to-rest: udp goto rest
      rule back: icmp return
      rule others: count
    }

    chain rest {
      rule dns: udp dport 53 pass
    }

    rule in: ip daddr 203.0.113.0/24 jump inbound
    rule out: ip saddr 203.0.113.0/24 daddr != @blocked pass

    """

  @Test("The example is printed as it was read, and comes back from JSON")
  func example() throws {
    let set = try RuleSetText.parse(Self.example)
    #expect(set.validate().isEmpty)
    #expect(RuleSetText.print(set) == Self.example)
    #expect(try JSONDecoder().decode(RuleSet.self, from: JSONEncoder().encode(set)) == set)
    #expect(set.chains.map(\.comment) == ["what comes in", ""] && set.sets[0].comment == "the list of the day")
    #expect(set.rules[0].action == .jump(chain: "inbound") && set.chains[0].rules[4].action == .leave)
  }

  @Test(
    "A jump comes back, a goto doesn't, and return leaves the chain that was jumped to",
    arguments: [
      ("10.0.0.1", "203.0.113.1", 22, "open", []), ("192.0.2.9", "203.0.113.1", 22, "no-list", []),
      ("10.0.0.1", "203.0.113.1", 443, "open", []), ("10.0.0.1", "203.0.113.1", 25, nil, ["others"]),
      ("203.0.113.1", "203.0.113.1", 25, "out", ["others"]), ("203.0.113.1", "192.0.2.1", 25, nil, []),
    ] as [(String, String, UInt16, String?, [String])])
  func semantics(_ source: String, _ destination: String, _ port: UInt16, _ rule: String?, _ counted: [String]) throws {
    let set = try RuleSetText.parse(Self.example)
    let frame = PacketBuilder(
      from: try #require(IPAddress(source)), to: try #require(IPAddress(destination)),
      .tcp(source: 4000, destination: port)).build()
    let decision = ReferenceClassifier.decide(frame, by: set)
    #expect(decision.ruleName == rule && decision.counted == counted)
  }

  @Test("What a goto leads to ends where the jump before it came from")
  func goTo() throws {
    let text = """
      ruleset a
      default drop
      chain outer {
        rule g: goto inner
        rule never: drop
      }
      chain inner {
        rule r: protocol gre return
        rule c: tcp count
      }
      rule j: jump outer
      rule after: pass
      """
    let set = try RuleSetText.parse(text)
    let frame = PacketBuilder(
      from: try #require(IPAddress("10.0.0.1")), to: try #require(IPAddress("10.0.0.2")), .tcp(source: 1, destination: 2)
    ).build()
    #expect(ReferenceClassifier.decide(frame, by: set) == Decision(action: .pass, ruleName: "after", counted: ["c"]))
    var gone = set
    gone.rules[0].action = .goTo(chain: "outer")
    #expect(ReferenceClassifier.decide(frame, by: gone) == Decision(action: .drop, counted: ["c"]))
    #expect(set.flattened.map(\.rule.name) == ["r", "c", "g", "never", "after"])
    #expect(set.flattened.map(\.continuation) == [.rule(at: 4), nil, .rule(at: 4), nil, nil])
    #expect(gone.flattened.map(\.continuation) == [.defaultAction, nil, .defaultAction, nil, .defaultAction, nil])
  }

  @Test("Any rule set with chains and sets comes back from its text and from JSON as it was")
  func roundTrip() throws {
    var random = SeededGenerator(announcing: "ChainTests.roundTrip")
    for _ in 0..<500 {
      let set = RandomCases.chainedRuleSet(using: &random)
      let text = RuleSetText.print(set)
      #expect(try RuleSetText.parse(text) == set, "\(text)")
      #expect(try JSONDecoder().decode(RuleSet.self, from: JSONEncoder().encode(set)) == set)
    }
  }

  @Test(
    "Sets are read as nftables writes them, too",
    arguments: [
      "set a { type ipv4_addr; elements = { 10.0.0.1, 10.0.0.2 } }", "set a { type ipv4_addr; elements={10.0.0.2,10.0.0.1}}",
      "set a {\n type ipv4_addr\n elements 10.0.0.1,\n 10.0.0.2\n}", "set a { type ipv4_addr; elements 10.0.0.1, 10.0.0.2; }",
      "set a {\n type ipv4_addr\n elements = {\n  10.0.0.1, # one\n 10.0.0.2 }\n}",
      "set a { type ipv4_addr\n elements 10.0.0.1\n elements 10.0.0.2, 10.0.0.1 }",
    ])
  func forms(_ text: String) throws {
    let set = try RuleSetText.parse("ruleset x\n\(text)\nrule r: drop")
    #expect(set.sets.map(\.texts) == [["10.0.0.1", "10.0.0.2"]] && set.rules.count == 1)
  }

  @Test(
    "Errors in chains and sets name line, column and remedy",
    arguments: [
      ("chain c\n}", 2, 8, "{"), ("chain C {", 2, 7, "write c"), ("}", 2, 1, "no chain"), ("chain c {\ndefault drop", 3, 1, "rules"),
      ("chain c {", 2, 1, "not closed"), ("rule a: jump", 2, 13, "name of a chain"), ("set s {", 2, 1, "not closed"),
      ("set s { typ ipv4_addr }", 2, 9, "write type"), ("set s { type ipv4 }", 2, 14, "ipv4_addr"),
      ("set s { elements 1.2.3.4 }", 2, 18, "type"), ("set s { type ipv4_addr; elements ::1 }", 2, 34, "ipv6"),
      ("set s { type ipv4_addr; elements 1.2.3.4 5.6.7.8 }", 2, 42, "between elements come commas"), ("set s { }", 2, 9, "no type"),
      ("set s { type inet_service; elements 70000 }", 2, 37, "65535"), ("set s { type ipv4_addr } drop", 2, 26, "complete"),
      ("set s { type ipv4_addr; elements , }", 2, 34, "comma"), ("set s { type ipv4_addr {", 2, 24, "no {"),
      ("rule a: saddr @B drop", 2, 15, "name of a set"), ("rule a: tcp flags @b drop", 2, 19, "flags"),
      ("set s { type ipv4_addr }\nset s { type ipv4_addr }", 3, 5, "above"), ("chain c {\n}\nchain c {", 4, 7, "above"),
    ])
  func errors(_ text: String, _ line: Int, _ column: Int, _ message: String) throws {
    let error = try #require(throws: RuleTextError.self) { try RuleSetText.parse("ruleset x\n\(text)") }
    #expect(error.column == column || error.excerpt.isEmpty, "\(error)")
    #expect(error.line == line || error.excerpt.isEmpty, "\(error)")
    #expect(error.description.contains(message), "\(error)")
  }

  @Test(
    "What is wrong with chains and sets is found, with its place",
    arguments: [
      ("rule a: jump c", "unknown_chain", "rules[0].chain"),
      ("chain c {\nrule a: goto c\n}\nrule b: jump c", "chain_cycle", "chains[0]"),
      ("chain c {\nrule a: goto d\n}\nchain d {\nrule e: jump c\n}\nrule b: jump c", "chain_cycle", "chains[0]"),
      ("chain c {\nrule a: drop\n}", "unreachable_chain", "chains[0]"),
      ("chain c {\nrule a: drop\nrule b: drop\n}\nrule d: jump c", "unreachable_rule", "chains[0].rules[1]"),
      ("rule a: return\nrule b: drop", "unreachable_rule", "rules[1]"),
      ("chain c {\nrule a: drop\n}\nrule a: jump c", "duplicate_name", "chains[0].rules[0].name"),
      ("rule a: saddr @s drop", "unknown_set", "rules[0].match.sources"),
      ("set s { type inet_service }\nrule a: saddr @s drop", "wrong_set_type", "rules[0].match.sources"),
      ("set s { type ipv6_addr }\nrule a: tcp dport @s drop", "wrong_set_type", "rules[0].match.destination_ports"),
    ])
  func faults(_ text: String, _ code: String, _ path: String) throws {
    let issues = try RuleSetText.parse("ruleset x\n\(text)").validate()
    #expect(issues.map { "\($0.code.rawValue) \($0.path)" }.contains("\(code) \(path)"), "\(issues)")
  }

  @Test("Chains that multiply are refused with the chain named, not flattened")
  func explosion() throws {
    var set = RuleSet(name: "x", rules: [Rule(name: "r", action: .jump(chain: "c-0"))])
    for index in 0..<15 {
      let next = Action.jump(chain: "c-\(index + 1)")
      set.chains.append(
        Chain(name: "c-\(index)", rules: ["a", "b"].map { Rule(name: "\(index)-\($0)", action: next) }))
    }
    set.chains.append(Chain(name: "c-15", rules: (0..<8).map { Rule(name: "l-\($0)", match: Match(protocols: [.gre]), action: .drop) }))
    let error = try #require(throws: InvalidRuleSet.self) { try set.checkValid() }
    #expect(error.issues.map(\.code) == [.tooManyFlattenedRules])
    #expect(error.description.contains("c-15") && error.description.contains("flattened_rules_max"))
    set.chains.append(Chain(name: "c-16", rules: []))
    set.chains[15].rules = [Rule(name: "deep", action: .jump(chain: "c-16"))]
    #expect(set.validate().map(\.code).contains(.chainTooDeep))
  }

  @Test("Sets are without order and duplicates, and lose only what is there")
  func elements() throws {
    func elements(_ texts: [String]) throws -> [SetElement] { try texts.map { try SetElement(parsing: $0, for: .ipv4) } }
    var set = NamedSet(name: "s", kind: .ipv4)
    #expect(set.insert(try elements(["10.0.0.0/8", "9.0.0.1", "10.0.0.0/16", "9.0.0.1", "10.0.0.0/8"])) == 3)
    #expect(set.texts == ["9.0.0.1", "10.0.0.0/8", "10.0.0.0/16"])
    #expect(set.remove(try elements(["10.1.0.0/16", "10.0.0.0/16"])) == 1 && set.count == 2)
    #expect(set.insert(try elements(["9.0.0.1", "0.0.0.0/0"])) == 1 && set.texts[0] == "0.0.0.0/0")
  }
}

import Rules
import Testing

@Suite("Where in a text an issue stands")
struct IssuePlaceTests {
  private func places(_ text: String) throws -> [String] {
    let issues = try RuleSetText.parse(text).validate()
    return zip(issues, RuleSetText.located(issues, in: text)).map { issue, place in
      "\(issue.code.rawValue) " + (place.map { "\($0.line):\($0.column)" } ?? "-")
    }
  }

  @Test("Rules, those of chains, chains and sets, after a mark, blank lines, definitions and variables")
  func subjects() throws {
    let text = """
      \u{feff}ruleset edge

      define $lab = 10.0.0.0/8, 192.0.2.1
      set twice { type ipv4_addr
        elements 192.0.2.1 }
      set ports {
        type inet_service
        counters
        elements 80
      }
      rule first: ip saddr $lab sport 7 drop
      chain a {
        rule in-a: tcp goto b
        disabled rule unseen: dport 53 drop
      }
      chain b {
        rule back: jump a
      }
      rule second: ether saddr 02:00:00:00:00:01 tcp, icmp dport 22 jump nowhere
      rule second: ip saddr @none drop
      """
    let found = try places(text)
    #expect(
      Set(found) == [
        "counters_of_ports 6:5", "ports_without_protocol 11:27", "ports_without_protocol 14:25",
        "chain_cycle 12:7", "unknown_chain 19:6", "ports_of_portless_protocol 19:44", "duplicate_name 20:6", "unknown_set 20:14",
      ])
  }

  @Test("What is about the rule set as a whole has no place")
  func whole() throws {
    let issue = ValidationIssue(code: .tooManyRules, path: "rules", message: "too many")
    #expect(RuleSetText.located([issue], in: "ruleset a\nrule b: drop\n") == [nil])
    #expect(IssueSubject(path: "name") == nil && IssueSubject(path: "") == nil && IssueSubject(path: "rules[x].name") == nil)
  }

  @Test("A path that leads nowhere, and a text that is none, have no places")
  func hostile() {
    let issues = ["rules[7].name", "chains[9].rules[0]", "rules[99999999999999999999].name", "sets[-1]"].map {
      ValidationIssue(code: .invalidName, path: $0, message: "no")
    }
    #expect(RuleSetText.located(issues, in: "ruleset a\nrule b: drop\n") == [nil, nil, nil, nil])
    #expect(RuleSetText.located(issues, in: "{\u{0}").allSatisfy { $0 == nil })
    let set = RuleSet(name: "a")
    #expect(issues.allSatisfy { IssueSubject(path: $0.path)?.ruleName(in: set) == nil })
  }
}

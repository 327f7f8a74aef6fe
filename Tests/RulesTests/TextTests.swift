import Packets
import Rules
import TestSupport
import Testing

@Suite("Rule sets as text")
struct TextTests {
  static let example = """
    # The edge of the lab.
    ruleset edge
    revision 7
    default pass
    malformed drop except truncated_ipv6 pass, bad_udp pass

    rule drop-telnet: ip saddr 10.0.0.0/8, 192.0.2.1 tcp dport 23, 2323 drop   # comment
    rule web: ip6 daddr 2001:db8::/32 tcp, udp sport 1024-65535 dport 443 pass
    disabled rule tunnels: protocol gre, 200 redirect eth1 #
    rule both: saddr ::1, 127.0.0.1 capture#tight
    rule odd : redirect "a#b,\\"c\\\\"
    rule rest: count
    """

  @Test("The example says what it seems to say")
  func example() throws {
    let set = try RuleSetText.parse(Self.example)
    let expected = RuleSet(
      name: "edge", revision: 7, defaultAction: .pass,
      malformed: .init(fate: .drop, exceptions: [.truncatedIPv6: .pass, .badUDP: .pass]),
      rules: [
        Rule(
          name: "drop-telnet",
          match: Match(
            sources: [IPPrefix("10.0.0.0/8")!, IPPrefix("192.0.2.1")!], protocols: [.tcp],
            destinationPorts: [PortRange(23), PortRange(2323)]),
          action: .drop, comment: "comment"),
        Rule(
          name: "web",
          match: Match(
            destinations: [IPPrefix("2001:db8::/32")!], protocols: [.tcp, .udp],
            sourcePorts: [PortRange(low: 1024, high: 65535)], destinationPorts: [PortRange(443)]),
          action: .pass),
        Rule(
          name: "tunnels", match: Match(protocols: [.gre, .init(rawValue: 200)]), action: .redirect(interface: "eth1"),
          isEnabled: false),
        Rule(
          name: "both", match: Match(sources: [IPPrefix("::1")!, IPPrefix("127.0.0.1")!]), action: .capture,
          comment: "tight"),
        Rule(name: "odd", action: .redirect(interface: "a#b,\"c\\")),
        Rule(name: "rest", action: .count),
      ])
    #expect(set == expected)
  }

  @Test("Printing is stable and reads well")
  func print() throws {
    let set = try RuleSetText.parse(Self.example)
    #expect(
      RuleSetText.print(set) == """
        ruleset edge
        revision 7
        default pass
        malformed drop except truncated_ipv6 pass, bad_udp pass

        rule drop-telnet: ip saddr 10.0.0.0/8, 192.0.2.1 tcp dport 23, 2323 drop  # comment
        rule web: ip6 daddr 2001:db8::/32 tcp, udp sport 1024-65535 dport 443 pass
        disabled rule tunnels: protocol gre, 200 redirect eth1
        rule both: saddr ::1, 127.0.0.1 capture  # tight
        rule odd: redirect "a#b,\\"c\\\\"
        rule rest: count

        """)
  }

  @Test("Any valid rule set comes back from its text as it was")
  func roundTrip() throws {
    var random = SeededGenerator(announcing: "TextTests.roundTrip")
    for _ in 0..<1000 {
      let set = RandomCases.ruleSet(using: &random)
      let text = RuleSetText.print(set)
      #expect(try RuleSetText.parse(text) == set, "seed \(random.seed):\n\(text)")
    }
  }

  @Test("Interfaces that are called as a sign is, or a word of the language", arguments: ["not", "!=", "drop", "iif", "tcp"])
  func interfaceNames(_ name: String) throws {
    for interfaces in [[name], [name, "eth0"], ["eth0", name]] as [[String]] {
      for isNegated in [false, true] {
        var match = Match(protocols: [.tcp])
        match.interfaces = Condition(interfaces, isNegated: isNegated)
        let set = RuleSet(name: "a", rules: [Rule(name: "x", match: match, action: .drop)])
        let text = RuleSetText.print(set)
        #expect(try RuleSetText.parse(text) == set, "\(text)")
      }
    }
  }

  @Test("Line feeds may be CRLF, blanks may be tabs, and the last line may lack its end")
  func whitespace() throws {
    let set = try RuleSetText.parse("\r\n\truleset\ta \r\n  rule\tx:\tdrop # c\r\nrule y:drop")
    #expect(set.rules.map(\.name) == ["x", "y"])
    #expect(set.rules[0].comment == "c")
  }

  @Test(
    "Errors name line, column and remedy",
    arguments: [
      ("rule x: tcp dport 70000 drop", 2, 19, "65535"),
      ("rule x: ip saddr 10.0.0.1/8 drop", 2, 18, "10.0.0.0/8"),
      ("rule x: ip saddr ::1 drop", 2, 18, "saddr alone"),
      ("rule x: ip6 daddr 10.0.0.0/8 drop", 2, 19, "daddr alone"),
      ("rule x: ip sadr 10.0.0.0/8 drop", 2, 12, "write saddr"),
      ("rule x: tcp dprot 23 drop", 2, 13, "write dport"),
      ("rule x: tpc dport 23 drop", 2, 9, "write tcp"),
      ("rule x: TCP drop", 2, 9, "write tcp"),
      ("rule x: tcp dport 23", 2, 21, "no action"),
      ("rule x: tcp dport 23 # drop", 2, 22, "no action"),
      ("rule x: drop pass", 2, 14, "complete"),
      ("rule x: tcp, drop", 2, 14, "IP protocol"),
      ("rule x: tcp dport 23, drop", 2, 23, "port"),
      ("rule x: tcp dport , 23 drop", 2, 19, "a port"),
      ("rule x: tcp dport { 23 } drop", 2, 19, "without braces"),
      ("rule x: tcp dport 23 dport 24 drop", 2, 22, "twice"),
      ("rule x: tcp udp drop", 2, 13, "twice"),
      ("rule x: ttl 1 hoplimit 64 drop", 2, 15, "twice"),
      ("define $up = eth1\nrule x: redirect $up", 3, 18, "in quotes"),
      ("rule x: owner $me drop", 2, 15, "in quotes"),
      ("rule x: ip saddr @v6 drop\nset v6 {\ntype ipv6_addr\n}", 2, 18, "saddr alone"),
      ("set v4 {\ntype ipv4_addr\n}\nrule x: ip6 daddr 2001:db8::1, @v4 drop", 5, 32, "daddr alone"),
      ("rule x: redirect", 2, 17, "redirect INTERFACE"),
      ("rule x: redirect \"eth0", 2, 18, "closed"),
      ("rule X: drop", 2, 6, "write x"),
      ("rule x drop", 2, 6, "colon"),
      ("rule x # y: drop", 2, 6, "colon"),
      ("rule : drop", 2, 6, "name"),
      ("rul x: drop", 2, 1, "write rule"),
      ("disabled x: drop", 2, 10, "after disabled"),
      ("default capture", 2, 9, "pass or drop"),
      ("default", 2, 8, "ends"),
      ("malformed drop except", 2, 22, "a reason"),
      ("malformed drop except bad_tpc pass", 2, 23, "write bad_tcp"),
      ("malformed drop except bad_tcp pass, bad_tcp drop", 2, 37, "twice"),
      ("malformed drop bad_tcp pass", 2, 16, "except"),
      ("revision -1", 2, 10, "number"), ("revision 01", 2, 10, "number"),
      ("ruleset b", 2, 1, "twice"),
      ("rule x: saddr $lab drop", 2, 15, "defined above"),
      ("define $lab = 10.0.0.0/8\nrule x: saddr $lba drop", 3, 15, "write $lab"),
      ("define $lab = 10.0.0.1/8\nrule x: saddr 10.9.9.9, $lab drop", 3, 25, "10.0.0.0/8"),
      ("define $lab = 1\ndefine $lab = 2", 3, 8, "defined above"),
      ("define lab = 1", 2, 8, "$ and a name"), ("define $LAB = 1", 2, 8, "$ and a name"), ("define $ = 1", 2, 8, "$ and"),
      ("define $lab 1", 2, 13, "here comes ="), ("define $lab =", 2, 14, "element"), ("define $lab = 1,", 2, 17, "element"),
      ("define $a = 1, 2 3", 2, 18, "complete"), ("define $a = $a", 2, 13, "defined above"),
      ("rule x: vlan idd 7 drop", 2, 14, "write id"), ("rule x: vlan id 4096 drop", 2, 17, "4095"),
      ("rule x: tcp flags syn/ack drop", 2, 19, "before"), ("rule x: tcp flags sin drop", 2, 19, "flags are"),
      ("rule x: dport != drop", 2, 18, "port"), ("rule x: frag never drop", 2, 14, "later"),
      ("rule x: tag X drop", 2, 13, "a-z"), ("rule x: tag a, a drop", 2, 16, "once"), ("rule x: owner", 2, 14, "owner NAME"),
      ("rule x: owner a owner b drop", 2, 17, "twice"),
      ("rule é: drop", 2, 6, "name"),
      ("set s { type ipv4_addr; elements 192.0.2.1 }}drop", 2, 45, "ends before"),
      ("rule x: ip saddr 10.0.0.0/8,10.0.0.0/é drop", 2, 29, "number from 0 to 32"),
      ("rule x: \u{1b}[31m drop", 2, 9, "not known"),
    ])
  func errors(_ statement: String, _ line: Int, _ column: Int, _ part: String) throws {
    let error = try #require(throws: RuleTextError.self) { try RuleSetText.parse("ruleset a\n" + statement) }
    #expect(error.line == line)
    #expect(error.column == column)
    #expect(error.description.contains(part), "\(error)")
    let lines = error.description.split(separator: "\n", omittingEmptySubsequences: false)
    #expect(lines.count == 3 && lines[2].count == column + 2 && lines[2].hasSuffix("^"))
    #expect(!error.description.unicodeScalars.contains { $0.value < 0x20 && $0 != "\n" })
  }

  @Test("A rule is read from a line of its own, with and without the word for it")
  func oneRule() throws {
    let rule = Rule(name: "x", match: Match(protocols: [.tcp]), action: .drop, comment: "why")
    for line in ["x: tcp drop # why", "  rule x: tcp drop # why", "rule x : tcp drop # why"] {
      #expect(try RuleSetText.parseRule(line) == rule)
    }
    #expect(try !RuleSetText.parseRule("disabled rule x: drop").isEnabled)
    #expect(try RuleSetText.parseRule("rule: drop").name == "rule")
    for line in ["", "drop", "x: tcp", "x: drop pass", "x: drop\ny: drop", "default drop", "# x: drop", "rule", "disabled"] {
      #expect(throws: RuleTextError.self) { try RuleSetText.parseRule(line) }
    }
    var random = SeededGenerator(announcing: "TextTests.oneRule")
    for _ in 0..<200 {
      let rule = RandomCases.rule(named: "r", using: &random)
      #expect(try RuleSetText.parseRule(RuleSetText.print(rule)) == rule, "seed \(random.seed)")
    }
  }

  @Test("Variables stand for their elements, in other definitions, too, and for no quoted word")
  func variables() throws {
    let set = try RuleSetText.parse(
      """
      ruleset a
      define $lab = 10.0.0.0/8, 192.0.2.1   # not kept
      define $all = $lab, 2001:db8::/32
      define $services = tcp, udp
      define $web = 80, 8000-8080
      rule x: saddr != $all, ::1 protocol $services dport $web, 443 iif "$lab" drop
      """)
    let same = try RuleSetText.parse(
      """
      ruleset a
      rule x: iif "$lab" saddr != 10.0.0.0/8, 192.0.2.1, 2001:db8::/32, ::1 tcp, udp dport 80, 8000-8080, 443 drop
      """)
    #expect(set == same)
    #expect(try RuleSetText.parse(RuleSetText.print(set)) == set)
    let many = "ruleset a\n" + (0...Limits.variablesMax).map { "define $v\($0) = 1\n" }.joined()
    #expect(throws: RuleTextError.self) { try RuleSetText.parse(many) }
    // Each doubles the one above: the sixth is too long.
    let growing = "ruleset a\ndefine $v0 = 1, 2\n" + (1...9).map { "define $v\($0) = $v\($0 - 1), $v\($0 - 1)\n" }.joined()
    #expect(try #require(throws: RuleTextError.self) { try RuleSetText.parse(growing) }.line == 8)
  }

  @Test("Tags and owners are kept")
  func labels() throws {
    let rule = try RuleSetText.parseRule("x: tcp tag lab, q3.review dport 80 owner \"the net ops\" drop # why")
    #expect(rule.tags == ["lab", "q3.review"] && rule.owner == "the net ops" && rule.comment == "why")
    let line = RuleSetText.print(rule)
    #expect(line == "rule x: tcp dport 80 tag lab, q3.review owner \"the net ops\" drop  # why")
  }

  @Test("A text without a name is refused", arguments: ["", "\n\n", "# only this", "rule x: drop"])
  func nameless(_ text: String) {
    #expect(throws: RuleTextError.self) { try RuleSetText.parse(text) }
  }

  @Test("Limits hold while reading")
  func limits() throws {
    let many = "ruleset a\n" + (0...Limits.rulesMax).map { "rule r\($0): drop\n" }.joined()
    #expect(try #require(throws: RuleTextError.self) { try RuleSetText.parse(many) }.line == Limits.rulesMax + 2)
    let long = "ruleset a\nrule x: tcp dport " + (0...64).map(String.init).joined(separator: ", ") + " drop"
    #expect(throws: RuleTextError.self) { try RuleSetText.parse(long) }
    #expect(throws: RuleTextError.self) { try RuleSetText.parse(String(repeating: "#", count: (1 << 20) + 1)) }
  }

  @Test(
    "Texts of a mebibyte are read in a moment, whatever they hold",
    arguments: [
      "#", "\n", " ", ",", "a", "\"", "rule x: drop\n", "é", "ruleset a ", "\\\"", "rule ", "rule x: tcp, ", "\0", "define $x = ", "$", "define $x = $x, $x, $x\n", "owner \"", "rule x: tag a, ", "!=",
    ])
  func mebibyte(_ unit: String) {
    let text = String(repeating: unit, count: (1 << 20) / unit.utf8.count)
    let clock = ContinuousClock()
    let elapsed = clock.measure { _ = try? RuleSetText.parse("ruleset a\n" + text.dropLast(10)) }
    #expect(elapsed < .seconds(20))
  }

  @Test("No text crashes the reader, and errors point into it")
  func fuzz() {
    var random = SeededGenerator(announcing: "TextTests.fuzz")
    let words = [
      "ruleset", "rule", "disabled", "default", "malformed", "except", "ip", "ip6", "saddr", "daddr", "sport", "dport",
      "tcp", "udp", "protocol", "47", "drop", "pass", "redirect", "eth0", "\"", "\\", "#", ",", ":", "\n", "\r\n", "\t",
      "define", "$x", "$y", "=", "!=", "tag", "owner", "vlan", "id", "ether", "flags", "syn/syn|ack", "frag", "not", "ttl",
      "iif", "options", "present", "02:00:00:00:00:01", "10.0.0.0/8", "::/0", "1-2", "é", "\u{0}", "\u{1F600}", "x:", "bad_tcp",
    ]
    for round in 0..<20_000 {
      var text: String
      if round % 2 == 0 {
        text = "ruleset a\n" + random.some(words, upTo: 30).joined(separator: random.chance(80) ? " " : "")
      } else {
        var bytes = Array(TextTests.example.utf8)
        for _ in 0..<Int.random(in: 1...4, using: &random) {
          let offset = Int.random(in: 0..<bytes.count, using: &random)
          switch Int.random(in: 0..<3, using: &random) {
          case 0: bytes[offset] = UInt8.random(in: .min ... .max, using: &random)
          case 1: bytes.remove(at: offset)
          default: bytes.insert(contentsOf: Array(random.pick(words).utf8), at: offset)
          }
        }
        text = String(decoding: bytes, as: UTF8.self)
      }
      do throws(RuleTextError) {
        let set = try RuleSetText.parse(text)
        let errors = set.validate().filter { $0.severity == .error }
        if errors.isEmpty, (try? RuleSetText.parse(RuleSetText.print(set))) != set {
          Issue.record("seed \(random.seed): not the same again: \(text)")
          return
        }
      } catch {
        let lines = text.utf8.split(separator: 0x0a, omittingEmptySubsequences: false)
        let line = error.line <= lines.count ? String(Substring(lines[error.line - 1])) : nil
        guard let line, (1...line.unicodeScalars.count + 1).contains(error.column) else {
          Issue.record("seed \(random.seed): \(error) points outside of \(text.debugDescription)")
          return
        }
      }
    }
  }
}

import ArgumentParser
import Foundation
import Rules
import Testing

@testable import sluice

@Suite("Tables and JSON")
struct FormatTests {
  @Test("Columns are aligned, numbers to the right, lines without spaces at their end")
  func table() {
    var table = Table("RULE", ">PACKETS", "NOTE")
    table.add("drop-telnet", "7", "")
    table.add("a", "12345678901", "x")
    #expect(
      table.text == """
        RULE             PACKETS  NOTE
        drop-telnet            7
        a            12345678901  x
        """)
  }

  @Test(
    "A cell cannot command the terminal or begin a line",
    arguments: ["a\nb", "\u{1b}[31m", "\u{9b}31m", "\u{202e}x", "\u{7f}", "\r"])
  func hostile(_ text: String) {
    var table = Table("A")
    table.add(text)
    #expect(table.text.split(separator: "\n", omittingEmptySubsequences: false).count == 2)
    #expect(table.text.unicodeScalars.allSatisfy { $0 == "\n" || $0.value >= 0x20 && $0.value < 0x7f })
  }

  @Test("JSON comes back as it was; integers stay integers up to the last bit")
  func json() throws {
    let value: JSON = [
      "a": [1, .number(2.5), .null, true, "x\n\"\u{1F980}"], "b": .integer(.max), "c": .integer(.min), "d": [:],
    ]
    #expect(JSON.parse(value.text().utf8) == value)
    #expect(JSON.parse(value.text(pretty: false).utf8) == value)
    #expect(!value.text(pretty: false).contains("\n"))
    #expect(JSON.parse("9007199254740993".utf8) == .integer(9_007_199_254_740_993))
    #expect(JSON.parse("{".utf8) == nil)
    #expect(JSON.parse("".utf8) == nil)
  }

  @Test(
    "Short numbers",
    arguments: [
      (0.0, "0"), (999, "999"), (999.6, "1.00k"), (1500, "1.50k"), (12_345, "12.3k"), (5_700_000, "5.70M"),
      (999_999, "1.00M"), (1e18, "1000P"),
    ])
  func short(_ value: Double, _ text: String) { #expect(Quantity.short(value) == text) }

  @Test("Times", arguments: [("500ms", 500), ("30s", 30_000), ("5m", 300_000), ("1h", 3_600_000), ("2", 2000)])
  func times(_ text: String, _ milliseconds: Int64) throws { #expect(try Quantity.milliseconds(text) == milliseconds) }

  @Test("What is no time is refused", arguments: ["", "s", "-1s", "0", "nan", "inf", "1d", "40000h", "1e99", "0.1ms"])
  func badTimes(_ text: String) { #expect(throws: CommandError.self) { try Quantity.milliseconds(text) } }

  @Test("Counters show rates between two readings, and none across a restart")
  func counters() {
    func reading(_ packets: Int64) -> [JSON] {
      [
        [
          "interface": "eth0", "rule_set": "edge", "revision": 3, "generation": 9,
          "rules": [
            ["rule": "no-telnet", "action": "drop", "packets": .integer(packets), "bytes": .integer(packets * 64)]
          ],
          "actions": ["drop": ["packets": .integer(packets), "bytes": .integer(packets * 64)]],
          "events": ["redirect_failed": ["packets": 0, "bytes": 0]],
          "malformed": ["bad_tcp": ["packets": 2, "bytes": 9]],
        ]
      ]
    }
    let text = Counters.text(reading(3000), before: reading(1000), seconds: 2)
    #expect(text.hasPrefix("eth0: edge revision 3, generation 9\n"))
    #expect(text.contains("no-telnet  drop     3000  192000      1.00k    512k"))
    #expect(text.contains("bad_tcp") && !text.contains("redirect_failed"))
    #expect(!Counters.text(reading(10), before: reading(1000), seconds: 2).contains("k"))
    #expect(Counters.text([], before: nil, seconds: nil) == "no interface is attached")
  }
}

@Suite("Errors and exit statuses")
struct ErrorTests {
  @Test(
    "The API's answers",
    arguments: [
      (400, "invalid_json", 2), (401, "unauthenticated", 3), (401, "token_expired", 3), (403, "missing_scope", 4),
      (403, "password_change_required", 4), (404, "not_found", 5), (405, "method_not_allowed", 2), (409, "conflict", 6),
      (412, "stale_revision", 6), (413, "payload_too_large", 2), (415, "unsupported_media_type", 2),
      (422, "validation_failed", 2), (422, "node_refused", 1), (429, "too_many_requests", 7), (500, "internal", 1),
      (502, "node_unavailable", 7), (503, "database_unavailable", 7), (418, "teapot", 1),
    ])
  func statuses(_ http: Int, _ code: String, _ status: Int32) {
    let body: JSON = ["status": "error", "error": ["code": .string(code), "message": "why"]]
    let error = CommandError(httpStatus: http, body: body, apiURL: "u")
    #expect(error.status.rawValue == status)
    #expect(error.code == code)
    #expect(error.message.hasPrefix("why"))
    #expect(error.json["error"]["code"].string == code)
  }

  @Test("Faults of fields are listed below the message")
  func fields() {
    let body: JSON = [
      "error": [
        "code": "validation_failed", "message": "the body is wrong",
        "details": [["path": "match.sources[0]", "message": "is no prefix"], ["path": "", "message": "too much"]],
      ]
    ]
    let error = CommandError(httpStatus: 422, body: body, apiURL: "u")
    #expect(error.text == "error: the body is wrong\n  match.sources[0]: is no prefix\n  too much")
  }

  @Test("An answer that isn't the API's says so")
  func stranger() {
    #expect(CommandError(httpStatus: 500, body: .null, apiURL: "http://x").message.contains("really the API"))
  }

  @Test("A missing scope is named, and what to do")
  func remedies() {
    let scope: JSON = ["error": ["code": "missing_scope", "message": "no", "details": ["required": "rules:write"]]]
    #expect(CommandError(httpStatus: 403, body: scope, apiURL: "u").message.contains("rules:write"))
    let change: JSON = ["error": ["code": "password_change_required", "message": "no"]]
    #expect(CommandError(httpStatus: 403, body: change, apiURL: "u").message.contains("sluice password change"))
  }
}

@Suite("Rules on the command line and in files")
struct RuleTests {
  private func rule(_ arguments: String...) throws -> Rule {
    try RuleCommand.Add.parse(["edge"] + arguments).rule()
  }

  @Test("Options make the rule; lists by commas and by repetition")
  func options() throws {
    let made = try rule(
      "dns", "--protocol", "udp, tcp", "--dport", "53,853", "--destination-port", "5300-5400", "--source", "10.0.0.0/8",
      "--to", "192.0.2.1", "--action", "redirect", "--redirect-to", "eth1", "--comment", "c d", "--disabled")
    let text = """
      ruleset x
      disabled rule dns: saddr 10.0.0.0/8 daddr 192.0.2.1 udp, tcp dport 53, 853, 5300-5400 redirect eth1  # c d
      """
    #expect(made == (try RuleSetText.parse(text).rules.first))
  }

  @Test("Every field has its option; a list that begins with ! is negated")
  func everyField() throws {
    let made = try rule(
      "all", "--iif", "eth0", "--queue", "!0,4-7", "--source-mac", "02:00:00:00:00:01", "--destination-mac",
      "!02:00:00:00:00:00/ff:00:00:00:00:00", "--ether-type", "0x0800", "--vlan", "7", "--vlan-priority", "5",
      "--inner-vlan", "!8", "--inner-vlan-priority", "0", "--from", "! 10.0.0.0/8, 192.0.2.1", "--to", "::/0",
      "--protocol", "tcp", "--sport", "1", "--dport", "!22", "--tcp-flags", "syn/syn|ack", "--dscp", "46", "--ecn", "1",
      "--ttl", "1", "--flow-label", "9", "--length", "0-99", "--fragment", "!any", "--header-options", "absent",
      "--action", "drop")
    let text = """
      ruleset x
      rule all: iif eth0 queue != 0, 4-7 ether saddr 02:00:00:00:00:01 ether daddr != 02:00:00:00:00:00/ff:00:00:00:00:00 \
      ether type 0x0800 vlan id 7 vlan pcp 5 vlan inner-id != 8 vlan inner-pcp 0 saddr != 10.0.0.0/8, 192.0.2.1 \
      daddr ::/0 tcp sport 1 dport != 22 flags syn/syn|ack dscp 46 ecn 1 ttl 1 flowlabel 9 length 0-99 frag != any \
      options absent drop
      """
    #expect(made == (try RuleSetText.parse(text).rules.first))
    let icmp = try rule("i", "--protocol", "icmp", "--icmp-type", "3", "--icmp-code", "!4", "--action", "drop")
    #expect(icmp.match[.icmpTypes] == [NumberRange(3)] && icmp.match[.icmpCodes].isNegated)
    #expect(made.match.conditions.count + 2 == Match.fieldNames.count)
  }

  @Test("A whole rule as text")
  func text() throws {
    let made = try rule("--text", "rule web: tcp dport 80, 443 pass  # proxies")
    #expect(made.name == "web")
    #expect(made.comment == "proxies")
  }

  @Test(
    "A bad rule is refused before anything is sent, and the message says what is wrong",
    arguments: [
      (["r", "--action", "explode"], "explode"), (["r"], "--action"), (["--action", "drop"], "name"),
      (["r", "--source", "10.0.0.1/8", "--action", "drop"], "10.0.0.0/8"),
      (["r", "--dport", "70000", "--protocol", "tcp", "--action", "drop"], "65535"),
      (["r", "--dport", "80", "--action", "drop"], "protocol"), (["r", "--vlan", "7,!8", "--action", "drop"], "4095"),
      (["r", "--vlan", "!", "--action", "drop"], "number"), (["r", "--vlan", "7", "--text", "rule x: drop"], "--text"), (["R", "--action", "drop"], "name"),
      (["r", "--action", "redirect"], "redirect_to"), (["r", "--source", "", "--action", "drop"], "prefix"),
      (["r", "--text", "rule x: drop"], "--text"), (["--text", "rule x: drop\nrule y: drop"], "one rule"),
    ])
  func refusals(_ arguments: [String], _ mention: String) throws {
    let add = try RuleCommand.Add.parse(["edge"] + arguments)
    let error = try #require(throws: CommandError.self) { try add.rule() }
    #expect(error.status == .usage)
    #expect((error.text).contains(mention), "\(error.text)")
  }

  @Test("A place is one place")
  func placement() throws {
    #expect(throws: CommandError.self) {
      try RuleCommand.Placement.parse(["--at", "1", "--after", "x"]).fields(isRequired: false)
    }
    #expect(throws: CommandError.self) { try RuleCommand.Placement.parse([]).fields(isRequired: true) }
    #expect(try RuleCommand.Placement.parse(["--before", "x"]).fields(isRequired: true) == ["before": "x"])
  }

  @Test("Text, an object and a list of rules are the same rule set")
  func files() throws {
    let text = try RuleFile(text: "ruleset edge\nrule a: tcp dport 23 drop\n", source: "f").ruleSet
    let rule = #"{"name":"a","match":{"protocols":["tcp"],"destination_ports":["23"]},"action":"drop"}"#
    let object = try RuleFile(text: #"{"name":"edge","rules":[\#(rule)]}"#, source: "f").ruleSet
    let list = try RuleFile(text: "[\(rule)]", source: "f", name: "edge").ruleSet
    #expect(text == object)
    #expect(text == list)
    #expect(try RuleFile.text(JSON.encoding(text)) == RuleSetText.print(text).dropLast())
  }

  @Test("A file stands for the whole rule set: lists that it has not are empty, and what the API adds is passed over")
  func bodies() throws {
    let body = try RuleFile(text: "ruleset edge\nrule a: tcp dport 23 drop\n", source: "f").body()
    #expect(body["chains"] == [] && body["sets"] == [] && body["revision"] == nil)
    let answer = #"{"id":"x","name":"edge","revision":7,"description":"d","author":"me","reason":null,"created_at":"x","rules":[]}"#
    #expect(try RuleFile(text: answer, source: "f").ruleSet.name == "edge")
  }

  @Test("A byte order mark is not part of the text")
  func byteOrderMark() async throws {
    try await withFolder { folder in
      let file = folder.appending(path: "edge.rules")
      try Data("\u{feff}ruleset edge\nrule a: tcp drop\n".utf8).write(to: file)
      #expect(try RuleFile.read(file.path).ruleSet.name == "edge")
    }
  }

  @Test(
    "A bad file is refused with the place of the fault",
    arguments: [
      ("ruleset edge\nrule a: tcp dport x drop\n", "2"), (#"{"rules":[]}"#, "name"), ("{", "JSON"),
      (#"{"name":"e","rules":[{"name":"a","match":{"sourcs":[]},"action":"drop"}]}"#, "sourcs"),
      (#"{"name":"e","rules":[{"name":"a","action":"drop"},{"name":"a","action":"drop"}]}"#, "rules[1]"), ("", "f"),
      (#"{"name":"e","defaultaction":"drop"}"#, "no \"defaultaction\""), (#"{"name":"e","rule":[]}"#, "no \"rule\""),
      ("ruleset e\nrule first: tcp drop\nrule second: dport 22 drop", "rule second: "),
      ("ruleset e\nchain c {\nrule inner: dport 22 drop\n}\nrule x: tcp jump c", "rule inner: "),
      (
        "ruleset e\n\nrule x: ip saddr 10.0.0.1 dport 22 drop  # why\n",
        "rule x: ip saddr 10.0.0.1 dport 22 drop  # why\n    " + String(repeating: " ", count: 26) + "^"
      ),
      (#"[{"name":"a","action":"drop"}]"#, "does not name"),
      (#"{"name":"e","default_action":"maybe"}"#, #"default_action: "maybe" is none of pass, drop"#),
      (#"{"name":"e","sets":[{"name":"a","type":"ipv4"}]}"#, "sets[0].type: \"ipv4\" is none of ipv4_addr, "),
      (#"{"name":"e","sets":[{"name":"a"}]}"#, "a set has a type"),
      (
        #"{"name":"e","sets":[{"name":"a","type":"ipv4_addr","elements":["10.0.0.1","10.0.0.300"]}]}"#,
        "sets[0].elements[1]: "
      ),
      ("ruleset e\nset a {\n  type ipv4_addr\n  elements 10.0.0.1 10.0.0.2\n}", "between elements come commas"),
    ])
  func badFiles(_ text: String, _ mention: String) throws {
    let error = try #require(throws: CommandError.self) { try RuleFile(text: text, source: "f") }
    #expect(error.status == .usage)
    #expect(error.text.contains(mention), "\(error.text)")
  }
}

@Suite("Where a command talks to")
struct TargetTests {
  @Test(
    "A flag beats a variable, and the API's variable the socket's",
    arguments: [
      ([], [:], nil), (["--socket", "/s"], [:], "/s"), ([], ["SLUICE_SOCKET": "/e"], "/e"),
      (["--api", "http://a"], ["SLUICE_SOCKET": "/e"], nil),
      ([], ["SLUICE_SOCKET": "/e", "SLUICE_API": "http://a"], nil),
      (["--socket", "/s"], ["SLUICE_API": "http://a"], "/s"), ([], ["SLUICE_SOCKET": ""], nil),
      (["--node", "edge2"], ["SLUICE_SOCKET": "/e"], nil),
    ] as [([String], [String: String], String?)])
  func target(_ arguments: [String], _ environment: [String: String], _ path: String?) throws {
    #expect(try TargetOptions.parse(arguments).socketPath(environment) == path)
  }

  @Test("The daemon's flag excludes those of the API", arguments: [["--api", "http://a"], ["--node", "local"]])
  func both(_ other: [String]) throws {
    let options = try TargetOptions.parse(["--socket", "/s"] + other)
    #expect(throws: CommandError.self) { try options.socketPath([:]) }
  }

  @Test(
    "A URL of an API", arguments: ["http://127.0.0.1:8080", "http://localhost/", "http://[::1]:1", "https://x.example"])
  func urls(_ url: String) throws {
    #expect(try APIClient.checked(url: url, allowsClear: false) == (url.hasSuffix("/") ? String(url.dropLast()) : url))
  }

  @Test(
    "What is no URL of an API, or would show the password, is refused",
    arguments: [
      "", "x", "ftp://127.0.0.1", "http://", "http://10.0.0.1", "http://127.evil.example", "http://a@127.0.0.1",
      "http://127.0.0.1/path", "http://127.0.0.1?x=1", "http://localhost.evil.example",
    ])
  func badURLs(_ url: String) {
    #expect(throws: CommandError.self) { try APIClient.checked(url: url, allowsClear: false) }
  }

  @Test("--insecure allows it")
  func insecure() throws {
    #expect(try APIClient.checked(url: "http://10.0.0.1", allowsClear: true) == "http://10.0.0.1")
  }

  @Test("Path segments cannot leave their place")
  func segments() {
    #expect(APIClient.path("rule-sets", "a/../b?c#d%e", "rules") == "/rule-sets/a%2F..%2Fb%3Fc%23d%25e/rules")
  }
}

@Suite("sluice rules check")
struct RulesCheckTests {
  private func check(_ text: String) async throws {
    let file = FileManager.default.temporaryDirectory.appending(path: "\(UUID().uuidString).rules")
    try Data(text.utf8).write(to: file)
    defer { try? FileManager.default.removeItem(at: file) }
    try await RulesCommand.Check.parse([file.path, "--json"]).run()
  }

  @Test("Exit statuses: 0 nothing found, 1 something found, 2 not a rule set")
  func statuses() async throws {
    try await check("ruleset a\nrule x: tcp drop\n")
    let found = await #expect(throws: ExitCode.self) { try await check("ruleset a\nrule x: tcp drop\nrule y: tcp dport 1 pass") }
    #expect(found?.rawValue == 1)
    let wrong = await #expect(throws: CommandError.self) { try await check("ruleset a\nrule x: tcp dorp") }
    #expect(wrong?.status == .usage && wrong?.message.contains("drop") == true)
    for path in ["/no/such", "/tmp"] {
      let none = await #expect(throws: CommandError.self) { try await RulesCommand.Check.parse([path]).run() }
      #expect(none?.status == .usage && none?.message.contains(path == "/tmp" ? "EISDIR" : "ENOENT") == true, "\(none as Any)")
    }
    let comma = await #expect(throws: CommandError.self) { try await check("{\"name\": \"a\",\n \"rules\": [1,]}") }
    #expect(comma?.status == .usage && comma?.message.contains("line 2, column 14: ") == true, "\(comma as Any)")
  }

  @Test("What is found is told with the rules that say why and a packet")
  func text() throws {
    let set = try RuleSetText.parse("ruleset a\nrule x: tcp drop\nrule y: tcp dport 443 capture")
    let text = RulesCommand.Check.text(set.validate(), set.analysis())
    #expect(text.contains("shadowed: y: x above matches all that it matches"))
    #expect(text.contains("dport 443") && text.hasSuffix("2 rules: 1 shadowed"))
    let json = set.analysis().json["findings"].elements[0]
    #expect(json["kind"].string == "shadowed" && json["by"] == ["x"] && json["position"] == 1)
    #expect(json["packet"]["destination_ports"] == ["443"])
  }
}

import ControlProtocol
import DatabaseSupport
import Foundation
import Rules
import Testing

@testable import RESTAPI

@Suite("Rule sets and rules")
struct RuleSetTests {
  private static func rule(_ name: String, _ action: String = "drop") -> JSONValue {
    ["name": .string(name), "action": .string(action), "match": ["protocols": ["tcp"], "destination_ports": ["23"]]]
  }

  private static func names(_ answer: Answer) -> [String] { answer.items.compactMap { $0["name"]?.string } }

  @Test("Every change makes a revision with author and reason; old ones stay readable", arguments: TestBackend.allCases)
  func revisions(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let user = try await api.makeUser([.maintainer])
      let token = try await api.token(of: user)
      let made = try await api.post("/rule-sets", token, ["name": "edge", "description": "At the edge"])
      #expect(made.status == 201 && made.data["revision"] == 1 && made.headers[.eTag] == "\"1\"")
      let added = try await api.post("/rule-sets/edge/rules?reason=ticket%207", token, Self.rule("drop-telnet"))
      #expect(added.status == 201 && added.data["position"] == 0 && added.meta["revision"] == 2)
      #expect(added.headers[.location] == "/api/v1/rule-sets/edge/rules/drop-telnet")
      let patched = try await api.send(
        .patch, "/rule-sets/edge", token, ["default_action": "drop", "malformed_exceptions": ["bad_udp": "pass"]])
      #expect(patched.data["revision"] == 3 && patched.data["default_action"] == "drop")
      #expect(patched.data["rules"]?.array?.count == 1)
      let revisions = try await api.get("/rule-sets/edge/revisions", token)
      #expect(revisions.items.map { $0["revision"]?.integer } == [3, 2, 1])
      #expect(revisions.items[1]["reason"] == "ticket 7")
      #expect(revisions.items[1]["author"]?["email"]?.string == user.email.value)
      let second = try await api.get("/rule-sets/edge/revisions/2", token)
      #expect(second.data["default_action"] == "pass" && second.data["rules"]?.array?.count == 1)
      for bad in ["0", "9", "x", "-1", "99999999999999999999"] {
        #expect(try await api.get("/rule-sets/edge/revisions/\(bad)", token).code == "not_found")
      }
      let list = try await api.get("/rule-sets?search=edge", token)
      #expect(list.items[0]["rule_count"] == 1 && list.items[0]["revision"] == 3)
      #expect(try await api.send(.delete, "/rule-sets/edge", token).status == 200)
      #expect(try await api.get("/rule-sets/edge", token).code == "not_found")
    }
  }

  @Test("Sets and chains are made, changed and removed, and nothing is left hanging", arguments: TestBackend.allCases)
  func setsAndChains(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let token = try await api.token()
      _ = try await api.post("/rule-sets", token, ["name": "s"])
      let sets = "/rule-sets/s/sets"
      let made = try await api.post(
        sets, token, ["name": "blocked", "type": "ipv4_addr", "elements": ["10.0.0.0/8", "9.9.9.9", "10.0.0.0/8"]])
      #expect(made.status == 201 && made.data["element_count"] == 2 && made.meta["revision"] == 2)
      #expect(try await api.post(sets, token, ["name": "blocked", "type": "inet_service"]).code == "conflict")
      let wrong = try await api.post(sets, token, ["name": "w", "type": "ipv4_addr", "elements": ["::1", "x", "1.2.3.4"]])
      #expect(wrong.code == "validation_failed" && wrong.text.contains("elements[0]") && wrong.text.contains("elements[1]"))
      let added = try await api.post(sets + "/blocked/elements", token, ["elements": ["9.9.9.9", "8.8.8.8"]])
      #expect(added.data["changed"] == 1 && added.data["element_count"] == 3)
      let again = try await api.post(sets + "/blocked/elements", token, ["elements": ["8.8.8.8"]])
      #expect(again.data["changed"] == 0 && again.meta["revision"] == added.meta["revision"])
      let page = try await api.get(sets + "/blocked/elements?limit=2&offset=1", token)
      #expect(page.items == ["9.9.9.9", "10.0.0.0/8"] && page.meta["total"] == 3)
      #expect(try await api.get(sets + "/blocked/elements?offset=99", token).items.isEmpty)
      let removed = try await api.post(sets + "/blocked/elements/remove", token, ["elements": ["8.8.8.8", "7.7.7.7"]])
      #expect(removed.data["changed"] == 1)
      let replaced = try await api.send(.put, sets + "/blocked/elements", token, ["elements": ["9.9.9.9", "1.1.1.1"]])
      #expect(replaced.data["changed"] == 2 && replaced.data["element_count"] == 2)
      #expect(try await api.post(sets + "/none/elements", token, ["elements": ["8.8.8.8"]]).code == "not_found")

      let chain: JSONValue = [
        "rules": [
          ["name": "a", "action": "drop", "match": ["sources": ["@blocked"]]], ["name": "back", "action": "return"],
        ]
      ]
      let put = try await api.send(.put, "/rule-sets/s/chains/c", token, chain)
      #expect(put.status == 200 && put.data["rules"]?.array?.count == 2)
      let jump: JSONValue = ["name": "in", "action": "jump", "chain": "c"]
      #expect(try await api.post("/rule-sets/s/rules", token, jump).data["chain"] == "c")
      // What is named cannot go.
      #expect(try await api.send(.delete, sets + "/blocked", token).code == "validation_failed")
      #expect(try await api.send(.delete, "/rule-sets/s/chains/c", token).code == "validation_failed")
      for hostile: JSONValue in [
        ["name": "x", "action": "jump"], ["name": "x", "action": "jump", "chain": "nowhere"],
        ["name": "x", "action": "drop", "chain": "c"], ["name": "x", "action": "goto", "chain": "../c"],
        ["name": "x", "action": "drop", "match": ["sources": ["@missing"]]],
        ["name": "x", "action": "drop", "match": ["protocols": ["tcp"], "destination_ports": ["@blocked"]]],
        ["name": "x", "action": "drop", "match": ["sources": ["@"]]], ["name": "a", "action": "drop"],
      ] {
        let answer = try await api.post("/rule-sets/s/rules", token, hostile)
        #expect(answer.code == "validation_failed" || answer.code == "conflict", "\(answer.text)")
      }
      let whole = try await api.get("/rule-sets/s", token)
      #expect(whole.data["sets"]?.array?.count == 1 && whole.data["chains"]?.array?.count == 1)
      #expect(try await api.send(.delete, "/rule-sets/s/rules/in", token).status == 200)
      #expect(try await api.send(.delete, "/rule-sets/s/chains/c", token).status == 200)
      #expect(try await api.send(.delete, sets + "/blocked", token).status == 200)
      #expect(try await api.get(sets, token).items.isEmpty)
      #expect(try await api.send(.delete, sets + "/blocked", token, ifMatch: "\"1\"").code != nil)
    }
  }

  @Test("Rules are placed, replaced, moved and removed in order", arguments: TestBackend.allCases)
  func order(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let token = try await api.token()
      _ = try await api.post("/rule-sets", token, ["name": "s", "rules": [Self.rule("a"), Self.rule("c")]])
      func add(_ name: String, _ place: [String: JSONValue]) async throws -> Answer {
        guard case .object(var body) = Self.rule(name) else { throw Fault("a rule is an object") }
        body.merge(place) { $1 }
        return try await api.post("/rule-sets/s/rules", token, .object(body))
      }
      #expect(try await add("b", ["before": "c"]).data["position"] == 1)
      #expect(try await add("first", ["position": 0]).data["position"] == 0)
      #expect(try await add("after-a", ["after": "a"]).data["position"] == 2)
      #expect(try await add("last", [:]).data["position"] == 5)
      let list = try await api.get("/rule-sets/s/rules", token)
      #expect(Self.names(list) == ["first", "a", "after-a", "b", "c", "last"])
      #expect(try await api.get("/rule-sets/s/rules?limit=2&offset=1", token).items.count == 2)
      let moved = try await api.post("/rule-sets/s/rules/last/move", token, ["before": "a"])
      #expect(moved.data["position"] == 1)
      let replaced = try await api.send(
        .put, "/rule-sets/s/rules/b", token, ["action": "redirect", "redirect_to": "eth1", "comment": "there"])
      #expect(replaced.data["name"] == "b" && replaced.data["position"] == 4 && replaced.data["redirect_to"] == "eth1")
      #expect(try await api.get("/rule-sets/s/rules/b", token).data == replaced.data)
      #expect(try await api.send(.delete, "/rule-sets/s/rules/first", token).status == 200)
      let whole = try await api.send(.put, "/rule-sets/s/rules", token, ["rules": [Self.rule("z"), Self.rule("y")]])
      #expect(Self.names(whole) == ["z", "y"])
    }
  }

  private static let misplaced: [(String, Int, String)] = [
    (#"{"name":"n","action":"drop","before":"a","after":"a"}"#, 422, "after"),
    (#"{"name":"n","action":"drop","before":"nobody"}"#, 422, "before"),
    (#"{"name":"n","action":"drop","after":"nobody"}"#, 422, "after"),
    (#"{"name":"n","action":"drop","position":7}"#, 422, "position"),
    (#"{"name":"n","action":"drop","position":-1}"#, 422, "position"),
    (#"{"name":"a","action":"drop"}"#, 409, "name"),
  ]

  @Test("A place that does not exist is refused, and so is a name that does", arguments: misplaced)
  func badPlaces(_ body: String, _ status: Int, _ path: String) async throws {
    try await TestAPI.with { api in
      let token = try await api.token()
      _ = try await api.post("/rule-sets", token, ["name": "s", "rules": [Self.rule("a")]])
      let answer = try await api.post("/rule-sets/s/rules", token, try JSONValue(parsing: Array(body.utf8)))
      #expect(answer.status == status)
      #expect(answer.problemPaths == [path])
      #expect(try await api.get("/rule-sets/s", token).data["revision"] == 1)
    }
  }

  private static let wrongRules: [(String, [String])] = [
    (#"{"name":"r"}"#, ["action"]), (#"{"action":"drop"}"#, ["name"]), (#"{"name":"r","action":"burn"}"#, ["action"]),
    (#"{"name":"default","action":"drop"}"#, ["name"]), (#"{"name":"R","action":"drop"}"#, ["name"]),
    (#"{"name":"r","action":"drop","match":{"sources":["10.0.0.0/33"]}}"#, ["match.sources[0]"]),
    (#"{"name":"r","action":"drop","match":{"sources":["10.0.0.1/8"]}}"#, ["match.sources[0]"]),
    (
      #"{"name":"r","action":"drop","match":{"sources":["x","2001:db8::/129"]}}"#,
      ["match.sources[0]", "match.sources[1]"]
    ),
    (
      #"{"name":"r","action":"drop","match":{"protocols":["tcp"],"destination_ports":["70000"]}}"#,
      ["match.destination_ports[0]"]
    ),
    (
      #"{"name":"r","action":"drop","match":{"protocols":["tcp"],"destination_ports":["90-80"]}}"#,
      ["match.destination_ports[0]"]
    ),
    (
      #"{"name":"r","action":"drop","match":{"protocols":["tcp"],"destination_ports":[443]}}"#,
      ["match.destination_ports[0]"]
    ),
    (#"{"name":"r","action":"drop","match":{"protocols":["300"]}}"#, ["match.protocols[0]"]),
    (#"{"name":"r","action":"drop","match":{"destination_ports":["80"]}}"#, ["match.destination_ports"]),
    (#"{"name":"r","action":"drop","match":{"source":["10.0.0.0/8"]}}"#, ["match.source"]),
    (#"{"name":"r","action":"drop","matches":{}}"#, ["matches"]),
    (#"{"name":"r","action":"drop","match":{"vlan_ids":["4096"]}}"#, ["match.vlan_ids[0]"]),
    (#"{"name":"r","action":"drop","match":{"vlan_ids":{"not":["1","x"]}}}"#, ["match.vlan_ids.not[1]"]),
    (#"{"name":"r","action":"drop","match":{"vlan_ids":{"is":["1"]}}}"#, ["match.vlan_ids.not", "match.vlan_ids.is"]),
    (#"{"name":"r","action":"drop","match":{"vlan_ids":"7"}}"#, ["match.vlan_ids"]),
    (#"{"name":"r","action":"drop","match":{"vlan_ids":[7]}}"#, ["match.vlan_ids[0]"]),
    (#"{"name":"r","action":"drop","match":{"options":["present","absent"]}}"#, ["match.options"]),
    (#"{"name":"r","action":"drop","match":{"tcp_flags":["syn"]}}"#, ["match.tcp_flags"]),
    (#"{"name":"r","action":"drop","match":{"source_macs":["02:00:00:00:00:01/ff:00:00:00:00:00"]}}"#, ["match.source_macs[0]"]),
    (#"{"name":"r","action":"redirect"}"#, ["action"]),
    (#"{"name":"r","action":"drop","redirect_to":"eth1"}"#, ["action"]),
    (#"{"name":"r","action":"redirect","redirect_to":"a/b"}"#, ["redirect_to"]),
    (#"{"name":"r","action":"drop","comment":"a\nb"}"#, ["comment"]),
    (#"{"name":"r","action":"drop","tags":["X"],"owner":"a\nb"}"#, ["tags[0]", "owner"]),
  ]

  @Test("A wrong rule is refused with the path of what is wrong, and nothing changes", arguments: wrongRules)
  func badRules(_ body: String, _ paths: [String]) async throws {
    try await TestAPI.with { api in
      let token = try await api.token()
      let rule = try JSONValue(parsing: Array(body.utf8))
      _ = try await api.post("/rule-sets", token, ["name": "s"])
      let one = try await api.post("/rule-sets/s/rules", token, rule)
      #expect(one.code == "validation_failed")
      #expect(one.problemPaths == paths)
      let whole = try await api.send(.put, "/rule-sets/s/rules", token, ["rules": [Self.rule("ok"), rule]])
      #expect(whole.code == "validation_failed")
      #expect(whole.problemPaths == paths.map { "rules[1].\($0)" })
      #expect(try await api.get("/rule-sets/s", token).data["revision"] == 1)
    }
  }

  @Test("What is doubtful is stored with a warning")
  func doubtful() async throws {
    try await TestAPI.with { api in
      let token = try await api.token()
      let answer = try await api.post(
        "/rule-sets", token, ["name": "s", "rules": [["name": "all", "action": "drop"], Self.rule("never")]])
      #expect(answer.status == 201)
      #expect(answer.warnings.count == 1 && answer.warnings[0].contains("rules[1]"))
    }
  }

  @Test("Two editors: the second one learns that the ground has moved", arguments: TestBackend.allCases)
  func staleRevision(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let token = try await api.token()
      _ = try await api.post("/rule-sets", token, ["name": "s", "rules": [Self.rule("a")]])
      let first = try await api.post("/rule-sets/s/rules", token, Self.rule("b"), ifMatch: "\"1\"")
      #expect(first.status == 201 && first.headers[.eTag] == "\"2\"")
      let second = try await api.post("/rule-sets/s/rules", token, Self.rule("c"), ifMatch: "\"1\"")
      #expect(second.status == 412 && second.code == "stale_revision")
      #expect(second.details == ["expected": 1, "current": 2])
      #expect(try await api.post("/rule-sets/s/rules", token, Self.rule("c"), ifMatch: "W/\"2\"").status == 201)
      #expect(try await api.post("/rule-sets/s/rules", token, Self.rule("d"), ifMatch: "*").status == 201)
      #expect(
        try await api.post("/rule-sets/s/rules", token, Self.rule("e"), ifMatch: "\"x\"").code == "stale_revision")
    }
  }

  @Test("Editors at once lose nothing of each other", arguments: TestBackend.allCases)
  func editorsAtOnce(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let token = try await api.token()
      _ = try await api.post("/rule-sets", token, ["name": "s"])
      let statuses = try await withThrowingTaskGroup(of: Int.self) { group in
        for index in 0..<12 {
          group.addTask { try await api.post("/rule-sets/s/rules", token, Self.rule("r\(index)")).status }
        }
        return try await group.reduce(into: []) { $0.append($1) }
      }
      #expect(statuses.allSatisfy { $0 == 201 })
      let rules = try await api.get("/rule-sets/s/rules", token)
      #expect(Set(Self.names(rules)).count == 12)
      #expect(rules.meta["revision"] == 13)
    }
  }

  @Test("Names are unique", arguments: TestBackend.allCases)
  func duplicates(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let token = try await api.token()
      #expect(try await api.post("/rule-sets", token, ["name": "s"]).status == 201)
      let again = try await api.post("/rule-sets", token, ["name": "s"])
      #expect(again.code == "conflict" && again.problemPaths == ["name"])
      let twice = try await api.post("/rule-sets", token, ["name": "t", "rules": [Self.rule("a"), Self.rule("a")]])
      #expect(twice.code == "validation_failed" && twice.problemPaths == ["rules[1].name"])
    }
  }

  @Test("The JSON of the API is the Codable form of the rules, both ways")
  func codable() async throws {
    let set = RuleSet(
      name: "all", revision: 4, defaultAction: .drop,
      malformed: .init(fate: .pass, exceptions: [.badUDP: .drop]),
      rules: [
        Rule(
          name: "a",
          match: Match(
            sources: [.init("10.0.0.0/8")!, .init("2001:db8::/32")!], destinations: [.init("192.0.2.1")!],
            protocols: [.init("tcp")!, .init("udp")!], sourcePorts: [.init("1-2")!], destinationPorts: [.init("443")!]),
          action: .capture, comment: "é \"quoted\"", isEnabled: false, tags: ["lab", "dmz"], owner: "net ops"),
        Self.everyField, Rule(name: "b", action: .redirect(interface: "eth1")), Rule(name: "c", action: .count),
      ])
    let encoder = JSONEncoder()
    encoder.outputFormatting = .sortedKeys
    for rule in set.rules {
      let coded = try JSONValue(parsing: Array(try encoder.encode(rule)))
      #expect(coded == rule.json())
      let checked = RuleShapes.rule.check(coded)
      #expect(checked.problems == [])
      #expect(try Rule(checked: checked.value) == rule)
      #expect(try JSONDecoder().decode(Rule.self, from: Data(rule.json(position: 3).bytes())) == rule)
    }
    var read = RuleSet(name: "x")
    try read.apply(checked: try JSONValue(parsing: Array(try encoder.encode(set))))
    read.revision = set.revision
    #expect(read == set)
  }

  @Test("Rules that do nothing are told, of a stored set and of one that isn't")
  func analysis() async throws {
    try await TestAPI.with { api in
      let token = try await api.token()
      let rules: JSONValue = [
        Self.rule("a"), ["name": "b", "action": "capture", "match": ["protocols": ["tcp"], "destination_ports": ["23"]]],
      ]
      let body: JSONValue = ["name": "s", "rules": rules]
      let checked = try await api.post("/rules/check", token, body)
      #expect(checked.status == 200)
      #expect(checked.data["findings"]?.array?.first?["kind"] == "shadowed")
      #expect(try await api.get("/rule-sets/s", token).status == 404)
      _ = try await api.post("/rule-sets", token, body)
      let stored = try await api.get("/rule-sets/s/analysis", token)
      #expect(stored.data["findings"] == checked.data["findings"] && stored.data["complete"] == true)
      let wrong = try await api.post("/rules/check", token, ["name": "s", "rules": [Self.rule("a"), Self.rule("a")]])
      #expect(wrong.code == "validation_failed" && wrong.problemPaths == ["rules[1].name"])
    }
  }

  /// A rule with a condition on each field, every other one negated.
  private static var everyField: Rule {
    let elements = [
      "interfaces": ["eth0", "a#b"], "source_macs": ["02:00:00:00:00:01"],
      "destination_macs": ["02:00:00:00:00:00/ff:ff:ff:00:00:00"], "sources": ["10.0.0.0/8"],
      "destinations": ["::/0"], "protocols": ["tcp"], "source_ports": ["1-2"], "destination_ports": ["443"],
      "tcp_flags": ["syn/syn|ack", "none/fin"], "fragments": ["later"], "options": ["absent"],
    ]
    var rule = Rule(name: "every", action: .count)
    for (index, field) in Match.fieldNames.enumerated() {
      let isNegated = index % 2 == 1 && field != "protocols" && field != "options"
      // What is wrong shows in the count below.
      try? rule.match.set(ConditionForm(field: field, elements: elements[field] ?? ["1", "2-3"], isNegated: isNegated))
    }
    #expect(rule.match.conditions.count == Match.fieldNames.count)
    return rule
  }
}

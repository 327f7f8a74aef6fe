import Foundation
import NetworkSupport
import Testing

/// Single rules on a real interface.
@Suite("Rules that are changed where they are live", .serialized)
struct RuleChangeTests {
  private func rule(_ name: String, _ port: Int, _ action: String = "drop", more: String = "") -> String {
    #"{"name":"\#(name)","action":"\#(action)","match":{"protocols":["udp"],"destination_ports":["\#(port)"]}\#(more)}"#
  }

  private func apply(_ stack: Stack) throws -> JSON {
    let answer = try stack.post("/rule-sets/edge/apply")
    #expect(answer.status == 200, "\(answer.text)")
    return answer.body["data"]["results"][0]
  }

  private func packets(_ stack: Stack, _ name: String) throws -> Int {
    try stack.metric("sluice_rule_packets_total", "rule=\"\(name)\"")
  }

  @Test("What no rule decides is counted of the rule set and the default action that are live")
  func defaultCounter() throws {
    let stack = try Stack.signedIn()
    #expect(try stack.post("/rule-sets", #"{"name":"edge","rules":[\#(rule("nine", 9))]}"#).status == 201)
    #expect(try stack.post("/attachments", #"{"interface":"lan0"}"#).status == 201)
    try stack.send(30, ports: [10])
    #expect(try packets(stack, "default") == 30)
    let id = try #require(try stack.get("/attachments").body["data"][0]["id"].string)
    #expect(try stack.request("PATCH", "/attachments/\(id)", body: #"{"rule_set":"edge"}"#).status == 200)
    _ = try apply(stack)
    #expect(try packets(stack, "default") == 0, "those before were not decided by it")
    try stack.send(20, ports: [9, 10])
    #expect(try stack.post("/rule-sets/edge/rules", rule("ten", 11)).status == 201)
    _ = try apply(stack)
    #expect(try packets(stack, "default") == 10, "it goes on as it was")
    #expect(try stack.request("PATCH", "/rule-sets/edge", body: #"{"default_action":"drop"}"#).status == 200)
    _ = try apply(stack)
    try stack.send(5, ports: [10])
    #expect(try packets(stack, "default") == 5, "dropped, and none that passed")
  }

  @Test("A rule comes, changes, moves and goes without a new generation, counters stay, and the next daemon has it")
  func inPlace() throws {
    let stack = try Stack.signedIn()
    let others = (0..<200).map { rule("other-\($0)", 20_000 + $0) }.joined(separator: ",")
    #expect(try stack.post("/rule-sets", #"{"name":"edge","rules":[\#(others)]}"#).status == 201)
    #expect(try stack.post("/attachments", #"{"interface":"lan0","rule_set":"edge"}"#).status == 201)
    let rules = "/rule-sets/edge/rules"
    let generation = try stack.get("/attachments").body["data"][0]["observed"]["generation"].int
    func isInPlace() throws -> Bool {
      let result = try apply(stack)
      return result["in_place"].bool == true && result["generation"].int == generation
    }

    #expect(try stack.post(rules, rule("new", 9)).status == 201)
    let added = try apply(stack)
    #expect(added["in_place"].bool == true && added["generation"].int == generation, "\(added)")
    #expect(added["entries"].int == 201 && added["self_test_packets"].int ?? 0 > 0, "\(added)")
    try stack.send(100, ports: [9])
    #expect(try packets(stack, "new") == 100)

    #expect(try stack.request("PUT", "\(rules)/new", body: rule("new", 9, "pass")).status == 200)
    #expect(try isInPlace())
    try stack.send(50, ports: [9])
    #expect(try packets(stack, "new") == 150, "the same rule counts on")

    #expect(try stack.post(rules, rule("first", 9, more: #","position":0"#)).status == 201)
    #expect(try isInPlace())
    try stack.send(10, ports: [9])
    #expect(try packets(stack, "new") == 150 && packets(stack, "first") == 10)
    #expect(try stack.post("\(rules)/first/move", #"{"after":"new"}"#).status == 200)
    #expect(try isInPlace())
    try stack.send(10, ports: [9])
    #expect(try packets(stack, "new") == 160 && packets(stack, "first") == 10)

    // What was changed is kept beside the state file.
    stack.stopDaemon(SIGKILL)
    try stack.startDaemon()
    try stack.send(10, ports: [9])
    #expect(try packets(stack, "new") == 170 && packets(stack, "first") == 10)
    #expect(try stack.get("/attachments").body["data"][0]["in_sync"].bool == true)

    #expect(try stack.request("PUT", "\(rules)/new", body: rule("new", 10)).status == 200)
    #expect(try apply(stack)["in_place"].bool == true)
    try stack.send(10, ports: [9])
    #expect(try packets(stack, "first") == 20)
    #expect(try stack.request("DELETE", "\(rules)/first").status == 200)
    #expect(try apply(stack)["in_place"].bool == true)
    try stack.send(10, ports: [9])
    #expect(try packets(stack, "first") == 0 && packets(stack, "new") == 170)
  }

  @Test("Interfaces with one rule set change together; where the journal can't be written none does")
  func together() throws {
    let stack = try Stack.signedIn()
    #expect(try stack.post("/rule-sets", #"{"name":"edge","rules":[\#(rule("a", 1))]}"#).status == 201)
    for name in ["lan0", "lan1"] {
      #expect(try stack.post("/attachments", #"{"interface":"\#(name)","rule_set":"edge"}"#).status == 201)
    }
    let rules = "/rule-sets/edge/rules"
    #expect(try stack.post(rules, rule("b", 9)).status == 201)
    let both = try stack.post("/rule-sets/edge/apply").body["data"]["results"]
    #expect(both.array.count == 2 && both.array.allSatisfy { $0["in_place"].bool == true }, "\(both)")
    try stack.send(10, ports: [9])
    #expect(try packets(stack, "b") == 10)

    // Where the journal should be is a folder.
    let journal = "\(stack.folder)/state/sets.journal"
    _ = try stack.namespace.run("mv \(journal) \(journal).away; mkdir \(journal)")
    #expect(try stack.post(rules, rule("c", 9, more: #","position":0"#)).status == 201)
    let refused = try stack.post("/rule-sets/edge/apply")
    #expect(refused.status != 200 && refused.text.contains("sets.journal"), "\(refused.text)")
    try stack.send(10, ports: [9])
    #expect(try packets(stack, "b") == 20)
    _ = try stack.namespace.run("rmdir \(journal); mv \(journal).away \(journal)")
    #expect(try apply(stack)["in_place"].bool == true)
    try stack.send(10, ports: [9])
    #expect(try packets(stack, "b") == 20 && packets(stack, "c") == 10)
  }

  @Test("A journal that the state file has already, as a crash may leave it, changes nothing")
  func formerJournal() throws {
    let stack = try Stack.signedIn()
    let both = ["x", "y"].map { rule($0, 9) }.joined(separator: ",")
    #expect(try stack.post("/rule-sets", #"{"name":"edge","rules":[\#(both)]}"#).status == 201)
    #expect(try stack.post("/attachments", #"{"interface":"lan0","rule_set":"edge"}"#).status == 201)
    let rules = "/rule-sets/edge/rules"
    for change in [
      { try stack.request("DELETE", "\(rules)/x").status == 200 },
      { try stack.post(rules, rule("x", 9, more: #","position":0"#)).status == 201 },
      { try stack.request("DELETE", "\(rules)/y").status == 200 },
    ] {
      #expect(try change())
      #expect(try apply(stack)["in_place"].bool == true)
    }
    let journal = "\(stack.folder)/state/sets.journal"
    try stack.namespace.run("cp \(journal) \(journal).former")
    #expect(try stack.post("/attachments", #"{"interface":"lan1"}"#).status == 201)
    stack.stopDaemon(SIGKILL)
    try stack.namespace.run("mv \(journal).former \(journal)")
    try stack.startDaemon()
    #expect(try stack.metric("sluice_attachment_revision", "lan0") == 4)
    try stack.send(10, ports: [9])
    #expect(try packets(stack, "x") == 10)
    #expect(try stack.post(rules, rule("z", 9, more: #","position":0"#)).status == 201)
    try stack.wait("the API is connected again") { try stack.post("/rule-sets/edge/apply").status == 200 }
    stack.stopDaemon(SIGKILL)
    try stack.startDaemon()
    try stack.send(10, ports: [9])
    #expect(try packets(stack, "z") == 10, "what came behind it counts")
  }

  @Test("Beside a large set and chains, and where it names sets, counts or redirects, a rule comes and goes in place")
  func besideOthers() throws {
    let stack = try Stack.signedIn()
    let hosts = (0..<600).map { #""10.7.\#($0 / 200).\#($0 % 200 + 1)""# }.joined(separator: ",")
    let sets = #"""
      [{"name":"blocked","type":"ipv4_addr","elements":[\#(hosts)]},
       {"name":"few","type":"ipv4_addr","elements":["192.0.2.0/24","10.8.0.0/16"]},
       {"name":"empty","type":"ipv4_addr","elements":[]},
       {"name":"counted","type":"ipv4_addr","counters":true,"elements":["10.9.0.1"]}]
      """#
    let chains = #"[{"name":"services","rules":[\#(rule("in-chain", 21)),{"name":"back","action":"return"}]}]"#
    let others = [
      #"{"name":"from-blocked","action":"drop","match":{"sources":["@blocked"]}}"#,
      #"{"name":"from-counted","action":"drop","match":{"sources":["@counted"]}}"#,
      #"{"name":"from-none","action":"drop","match":{"sources":["@empty"]}}"#,
      #"{"name":"jump","action":"jump","chain":"services"}"#, rule("counts", 22, "count"),
      #"{"name":"out","action":"redirect","redirect_to":"lan1","match":{"protocols":["udp"],"destination_ports":["23"]}}"#,
    ].joined(separator: ",")
    let body = #"{"name":"edge","sets":\#(sets),"chains":\#(chains),"rules":[\#(others)]}"#
    let created = try stack.post("/rule-sets", body)
    #expect(created.status == 201, "\(created.text)")
    #expect(try stack.post("/attachments", #"{"interface":"lan0","rule_set":"edge"}"#).status == 201)
    let rules = "/rule-sets/edge/rules"
    func isInPlace(_ body: String) throws -> Bool {
      let answer = try stack.post(rules, body)
      #expect(answer.status == 201, "\(answer.text)")
      let result = try apply(stack)
      #expect(result["in_place"].bool != true || result["self_test_packets"].int ?? 0 > 0, "\(result)")
      return result["in_place"].bool == true
    }
    #expect(try isInPlace(rule("plain", 9)))
    #expect(try isInPlace(rule("counted-too", 9, "count", more: #","position":0"#)))
    try stack.send(10, ports: [9])
    #expect(try packets(stack, "plain") == 10 && packets(stack, "counted-too") == 10)
    #expect(try isInPlace(#"{"name":"not-blocked","action":"drop","position":0,"match":{"sources":["@blocked"],"destination_ports":["9"],"protocols":["udp"]}}"#))
    try stack.send(10, ports: [9])
    #expect(try packets(stack, "not-blocked") == 0 && packets(stack, "plain") == 20)
    #expect(try isInPlace(#"{"name":"few","action":"pass","match":{"sources":["@few"]}}"#))
    #expect(
      try isInPlace(#"{"name":"out-2","action":"redirect","redirect_to":"lan1","match":{"protocols":["udp"],"destination_ports":["24"]}}"#))
    #expect(try !isInPlace(#"{"name":"counts-hosts","action":"drop","match":{"destinations":["@counted"]}}"#), "elements count for it")
    // The set changes in the same tables, and who sends is in it now.
    #expect(
      try stack.post("/rule-sets/edge/sets/blocked/elements?apply=true", #"{"elements":["10.99.0.0/16"]}"#).status == 200)
    #expect(try isInPlace(rule("later", 11)))
    for name in ["plain", "counted-too", "not-blocked", "few", "out-2", "later"] {
      #expect(try stack.request("DELETE", "\(rules)/\(name)").status == 200)
      let result = try apply(stack)
      #expect(result["in_place"].bool == true, "\(name): \(result)")
    }
    try stack.send(10, ports: [21])
    #expect(try packets(stack, "in-chain") == 10)
    #expect(try stack.request("DELETE", "\(rules)/jump").status == 200)
    #expect(try apply(stack)["in_place"].bool != true, "what it leads to goes too")
    try stack.send(10, ports: [21])
    #expect(try packets(stack, "in-chain") == 10)
    stack.stopDaemon(SIGKILL)
    try stack.startDaemon()
    // Also where the API finds out only now that it must connect again.
    try stack.wait("the restarted daemon is in sync") {
      try stack.get("/attachments").body["data"][0]["in_sync"].bool == true
    }
  }

  @Test("A rule that came disabled begins at zero when it is enabled, in another's former slot too, and captures have its name")
  func enabledLater() throws {
    let stack = try Stack.signedIn()
    let both = "\(rule("old", 9)),\(rule("held", 4, "capture"))"
    #expect(try stack.post("/rule-sets", #"{"name":"edge","rules":[\#(both)]}"#).status == 201)
    #expect(try stack.post("/attachments", #"{"interface":"lan0","rule_set":"edge"}"#).status == 201)
    try stack.send(10, ports: [9])
    #expect(try packets(stack, "old") == 10)
    let rules = "/rule-sets/edge/rules"
    #expect(try stack.request("DELETE", "\(rules)/old").status == 200)
    #expect(try apply(stack)["in_place"].bool == true)
    // As if all slots had been given once since.
    stack.stopDaemon(SIGKILL)
    let path = "\(stack.folder)/state/state.json"
    let state = try String(contentsOfFile: path, encoding: .utf8)
    let slot = try #require(JSON(state)["attachments"][0]["slots"]["slots"]["old"].int)
    try state.replacing(/"cursor" *: *\d+/, with: #""cursor":\#(slot - 1)"#).write(toFile: path, atomically: false, encoding: .utf8)
    try stack.startDaemon()

    #expect(try stack.post(rules, rule("back", 9, "capture", more: #","enabled":false"#)).status == 201)
    try stack.wait("the API is connected again") { try stack.post("/rule-sets/edge/apply").status == 200 }
    #expect(try stack.request("PUT", "\(rules)/back", body: rule("back", 9, "capture")).status == 200)
    #expect(try apply(stack)["in_place"].bool == true)
    #expect(try packets(stack, "back") == 0)
    _ = try stack.sluice("capture start lan0 --path back.pcapng --packets 10 --socket \(stack.socket)")
    try stack.send(10, ports: [9])
    #expect(try packets(stack, "back") == 10)
    try stack.wait("the capture is over") { try stack.metric("sluice_captures_running") == 0 }
    let comments = try Shell.run("tshark -r \(stack.captures)/back.pcapng -T fields -e frame.comment 2>/dev/null")
    #expect(comments == String(repeating: "rule=back\n", count: 10), "\(comments)")
  }

  @Test("What takes more than tables is compiled anew, and rules with an end in place still end")
  func others() throws {
    let stack = try Stack.signedIn()
    #expect(try stack.post("/rule-sets", #"{"name":"edge","rules":[\#(rule("a", 1)),\#(rule("b", 2))]}"#).status == 201)
    #expect(try stack.post("/attachments", #"{"interface":"lan0","rule_set":"edge"}"#).status == 201)
    let rules = "/rule-sets/edge/rules"
    #expect(try stack.post(rules, rule("counted", 3, "count")).status == 201)
    #expect(try apply(stack)["in_place"].bool == false)
    #expect(try stack.post(rules, rule("held", 4, "capture")).status == 201)
    #expect(try apply(stack)["in_place"].bool == false, "sockets are opened")
    #expect(try stack.post(rules, rule("off", 5, more: #","enabled":false,"ttl_seconds":2"#)).status == 201)
    #expect(try apply(stack)["in_place"].bool == true)
    #expect(try stack.post(rules, rule("short", 9, more: #","ttl_seconds":2"#)).status == 201)
    #expect(try apply(stack)["in_place"].bool == true)
    try stack.send(10, ports: [9])
    #expect(try packets(stack, "short") == 10)
    Thread.sleep(forTimeInterval: 2.5)
    try stack.send(10, ports: [9])
    #expect(try packets(stack, "short") == 0)
    #expect(try stack.metric("sluice_rules_expired_total") == 2, "a disabled one ends, too")
    // The API's revision still has it: the next change is one of another rule all the same.
    #expect(try stack.request("DELETE", "\(rules)/a").status == 200)
    _ = try apply(stack)
    #expect(try stack.get("/attachments").body["data"][0]["in_sync"].bool == true)
  }
}

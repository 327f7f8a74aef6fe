import Foundation
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

  @Test("A rule comes, changes, moves and goes without a new generation, counters stay, and the next daemon has it")
  func inPlace() throws {
    let stack = try Stack()
    try stack.startDaemon()
    try stack.startAPI()
    try stack.signIn()
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
    let stack = try Stack()
    try stack.startDaemon()
    try stack.startAPI()
    try stack.signIn()
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

  @Test("What takes more than tables is compiled anew, and rules with an end in place still end")
  func others() throws {
    let stack = try Stack()
    try stack.startDaemon()
    try stack.startAPI()
    try stack.signIn()
    #expect(try stack.post("/rule-sets", #"{"name":"edge","rules":[\#(rule("a", 1)),\#(rule("b", 2))]}"#).status == 201)
    #expect(try stack.post("/attachments", #"{"interface":"lan0","rule_set":"edge"}"#).status == 201)
    let rules = "/rule-sets/edge/rules"
    #expect(try stack.post(rules, rule("counted", 3, "count")).status == 201)
    #expect(try apply(stack)["in_place"].bool == false)
    #expect(try stack.post(rules, rule("held", 4, "capture")).status == 201)
    #expect(try apply(stack)["in_place"].bool == false, "sockets are opened")
    #expect(try stack.post(rules, rule("off", 5, more: #","enabled":false"#)).status == 201)
    #expect(try apply(stack)["in_place"].bool == true)
    #expect(try stack.post(rules, rule("short", 9, more: #","ttl_seconds":2"#)).status == 201)
    #expect(try apply(stack)["in_place"].bool == true)
    try stack.send(10, ports: [9])
    #expect(try packets(stack, "short") == 10)
    Thread.sleep(forTimeInterval: 2.5)
    try stack.send(10, ports: [9])
    #expect(try packets(stack, "short") == 0)
    #expect(try stack.metric("sluice_rules_expired_total") == 1)
    // The API's revision still has it: the next change is one of another rule all the same.
    #expect(try stack.request("DELETE", "\(rules)/a").status == 200)
    _ = try apply(stack)
    #expect(try stack.get("/attachments").body["data"][0]["in_sync"].bool == true)
  }
}

import Foundation
import Testing

/// Rules that end, on a real interface.
@Suite("Rules that end", .serialized)
struct ExpiryTests {
  private func start() throws -> Stack {
    let stack = try Stack.signedIn()
    #expect(try stack.post("/rule-sets", #"{"name":"edge"}"#).status == 201)
    #expect(try stack.post("/attachments", #"{"interface":"lan0","rule_set":"edge"}"#).status == 201)
    let keep = #"{"name":"keep","action":"drop","match":{"protocols":["udp"],"destination_ports":["9"]}}"#
    #expect(try stack.post("/rule-sets/edge/rules", keep).status == 201)
    return stack
  }

  private func addBrief(_ stack: Stack, _ expiry: String) throws -> JSON {
    let rule = #"{"name":"brief","action":"drop","match":{"protocols":["udp"],"destination_ports":["10"]},\#(expiry)}"#
    let added = try stack.post("/rule-sets/edge/rules", rule)
    #expect(added.status == 201, "\(added.text)")
    return added.body["data"]
  }

  private func dropped(_ stack: Stack, _ rule: String) throws -> Int {
    try stack.metric("sluice_rule_packets_total", "rule=\"\(rule)\"")
  }

  @Test("API and database are gone: the daemon takes the rule out on time, the others keep their counters")
  func onTime() throws {
    let stack = try start()
    let brief = try addBrief(stack, #""ttl_seconds":4"#)
    #expect(brief["expires_at"].string != nil && brief["expired"].bool == false && brief["ttl_seconds"].isNull)
    #expect(try stack.post("/rule-sets/edge/apply").status == 200)
    stack.stopAPI(SIGKILL)
    try stack.send(200, ports: [9, 10])
    #expect(try dropped(stack, "keep") == 100)
    #expect(try dropped(stack, "brief") == 100)
    #expect(try stack.metric("sluice_attachment_expiring_rules") == 1)
    let status = JSON(try stack.sluice("status --json --socket \(stack.socket)"))
    #expect(status["attachments"][0]["expiring_rules"].int == 1 && status["attachments"][0]["next_expiry"].string != nil)

    try stack.wait("the rule ended") { try stack.metric("sluice_rules_expired_total") == 1 }
    let moment = try #require(brief["expires_at"].string)
    let style = Date.ISO8601FormatStyle(includingFractionalSeconds: true)
    let late = Date().timeIntervalSince(try Date(moment, strategy: style))
    #expect((0..<2).contains(late), "\(late) seconds after its moment")
    #expect(stack.log("sluiced.log").contains("rules ended"))
    try stack.send(200, ports: [9, 10])
    #expect(try dropped(stack, "keep") == 200, "its counter goes on")
    #expect(try !stack.metrics().contains("rule=\"brief\""))
    #expect(try stack.metric("sluice_interface_packets_total", #"action="pass""#) == 100)

    // The next daemon doesn't have it either, and the API says so.
    stack.stopDaemon(SIGKILL)
    try stack.startDaemon()
    #expect(try dropped(stack, "keep") == 200 && !stack.metrics().contains("rule=\"brief\""))
    try stack.startAPI()
    let rules = try stack.get("/rule-sets/edge/rules").body["data"]
    #expect(rules[1]["expired"].bool == true && rules[0]["expired"].isNull)
    #expect(try stack.get("/attachments").body["data"][0]["in_sync"].bool == true)
    let again = try stack.post("/rule-sets/edge/apply")
    #expect(again.body["data"]["warnings"].array.contains { $0.string?.contains("brief") == true }, "\(again.text)")
    #expect(try dropped(stack, "keep") == 200 && !stack.metrics().contains("rule=\"brief\""))
    let attachment = try stack.get("/attachments").body["data"][0]["observed"]
    #expect(attachment["expired_rules"].int == 1 && attachment["expiring_rules"].int == 0)
  }

  @Test("A daemon that was dead when the moment came leaves the rule out before anything else")
  func whileDead() throws {
    let stack = try start()
    _ = try addBrief(stack, #""ttl_seconds":2"#)
    #expect(try stack.post("/rule-sets/edge/apply").status == 200)
    stack.stopDaemon(SIGKILL)
    try stack.send(20, ports: [9, 10])
    let end = Date(timeIntervalSinceNow: 2.2)
    while Date() < end { usleep(50_000) }
    try stack.startDaemon()
    #expect(try stack.metric("sluice_rules_expired_total") == 1)
    #expect(try dropped(stack, "keep") == 10 && !stack.metrics().contains("rule=\"brief\""))
    let state = try String(contentsOfFile: "\(stack.folder)/state/state.json", encoding: .utf8)
    #expect(!state.contains("brief"))
  }

  @Test("The command applies a file whose rules end, and one that had ended is left out with a warning")
  func byCommand() throws {
    let stack = try Stack()
    try stack.startDaemon()
    _ = try stack.sluice("attach lan0 --socket \(stack.socket)")
    let file = "\(stack.folder)/edge.rules"
    try """
      ruleset edge
      rule gone: udp dport 8 expires 2020-01-01T00:00:00Z drop
      rule keep: udp dport 9 drop
      rule brief: udp dport 10 expires 1s drop
      """.write(toFile: file, atomically: true, encoding: .utf8)
    let output = try stack.sluice("apply --file \(file) --interface lan0 --socket \(stack.socket) 2>&1")
    #expect(output.contains("gone"), "\(output)")
    try stack.wait("the rule ended") { try stack.metric("sluice_rules_expired_total") == 1 }
    let counters = try stack.sluice("counters --json --socket \(stack.socket)")
    #expect(counters.contains("keep") && !counters.contains("brief") && !counters.contains("gone"))
  }
}

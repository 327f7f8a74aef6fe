import Foundation
import Testing

/// From the daemon through the database to whoever asks.
@Suite("Events", .serialized)
struct EventTests {
  /// Of the daemon's: the first password is changed before, which is an event of the API's own.
  private func types(_ stack: Stack, _ query: String = "") throws -> [String] {
    try stack.get("/events?after=0&node=local\(query)").body["data"].array.compactMap { $0["type"].string }
  }

  @Test("What happened while the API was dead is there once when it lives again, from one daemon's start to the next")
  func survivesAPI() throws {
    let stack = try Stack.signedIn()
    #expect(try stack.post("/rule-sets", #"{"name":"edge"}"#).status == 201)
    #expect(try stack.post("/attachments", #"{"interface":"lan0","rule_set":"edge"}"#).status == 201)
    try stack.wait("the first events") { try types(stack) == ["attached", "applied"] }
    stack.stopAPI(SIGKILL)
    let file = "\(stack.folder)/edge.rules"
    try "ruleset edge\nrule brief: udp dport 9 expires 1s drop\n".write(toFile: file, atomically: true, encoding: .utf8)
    _ = try stack.sluice("apply --file \(file) --interface lan0 --socket \(stack.socket)")
    try stack.wait("the rule ended") { try stack.metric("sluice_rules_expired_total") == 1 }
    let local = try stack.sluice("events --json --socket \(stack.socket) --type rule_expired,applied")
    #expect(local.split(separator: "\n").map { JSON(String($0))["type"].string } == ["applied", "applied", "rule_expired"])
    try stack.startAPI()
    let all = ["attached", "applied", "applied", "rule_expired"]
    try stack.wait("what happened meanwhile") { try types(stack) == all }
    let expired = try stack.get("/events?type=rule_expired").body["data"][0]
    #expect(expired["fields"]["rules"].string == "brief" && expired["rule_set"].string == "edge" && expired["node"].string == "local")
    // The next daemon numbers anew; the shutdown may or may not have come through.
    stack.stopDaemon()
    try stack.startDaemon()
    try stack.wait("the next daemon's") { try types(stack, "&type=attached").count == 2 }
    #expect(try types(stack).filter { $0 != "shutdown" && $0 != "detached" } == all + ["attached"])
  }

  @Test("The command lists and follows, and takes up a stream that an API's restart has cut")
  func command() throws {
    let stack = try Stack.signedIn()
    try stack.logIn()
    #expect(try stack.post("/attachments", #"{"interface":"lan0"}"#).status == 201)
    try stack.wait("the first event") { try types(stack) == ["attached"] }
    #expect(try stack.sluice("events").contains("attached  local lan0: attached"))
    let following = try stack.follow("events --follow --json", into: "events.log")
    defer { following.terminate() }
    let seen = { stack.log("events.log").split(separator: "\n").compactMap { JSON(String($0))["type"].string } }
    try stack.wait("it shows what was") { seen() == ["attached"] }
    _ = try stack.sluice("detach lan0 --socket \(stack.socket)")
    try stack.wait("it shows what happens") { seen() == ["attached", "detached"] }
    stack.stopAPI()
    _ = try stack.sluice("attach lan0 --socket \(stack.socket)")
    try stack.startAPI()
    try stack.wait("it shows what happened meanwhile, once") { seen() == ["attached", "detached", "attached"] }
  }
}

import Foundation
import NetworkSupport
import Testing

/// Commits that undo themselves, on a real interface.
@Suite("Trials", .serialized)
struct TrialTests {
  private func withTrial(seconds: Int, _ body: (Stack) throws -> Void) throws {
    let stack = try Stack.signedIn()
    #expect(try stack.post("/rule-sets", #"{"name":"edge"}"#).status == 201)
    #expect(try stack.post("/attachments", #"{"interface":"lan0","rule_set":"edge"}"#).status == 201)
    #expect(
      try stack.post("/rule-sets/edge/rules", #"{"name":"lockout","action":"drop","match":{}}"#).status == 201)
    let applied = try stack.post("/rule-sets/edge/apply", #"{"confirm_within_seconds":\#(seconds)}"#)
    #expect(applied.status == 200, "\(applied.text)")
    #expect(applied.body["data"]["confirm_by"].string != nil)
    #expect(try revision(stack) == 2)
    try body(stack)
  }

  private func revision(_ stack: Stack) throws -> Int { try stack.metric("sluice_attachment_revision", "lan0") }

  @Test("Nobody confirms, and API and database are gone: the daemon goes back by itself")
  func timeIsOver() throws {
    try withTrial(seconds: 5) { stack in
      let wanted = try stack.get("/attachments").body["data"][0]
      #expect(wanted["applied_revision"].int == 1, "what is on trial is not wanted yet")
      #expect(wanted["observed"]["revision"].int == 2 && wanted["observed"]["previous_revision"].int == 1)
      stack.stopAPI(SIGKILL)
      try stack.wait("the daemon went back") { try revision(stack) == 1 }
      #expect(try stack.metric("sluice_applies_total", "rolled_back") == 1)
      #expect(stack.log("sluiced.log").contains("rolled back"))
      try stack.startAPI()
      let after = try stack.get("/attachments").body["data"][0]
      #expect(after["in_sync"].bool == true && after["observed"]["confirm_by"].isNull)
      #expect(try stack.post("/rule-sets/edge/confirm").status == 409, "too late")
    }
  }

  @Test("On a full disk too; and changes wait until the state file has what is live")
  func fullDisk() throws {
    let stack = try Stack()
    let state = "\(stack.folder)/state"
    try Shell.run("mkdir -p \(state) && mount -t tmpfs -o size=64k tmpfs \(state)")
    try stack.startDaemon()
    let rules = "\(stack.folder)/edge.rules"
    func apply(_ rule: String, _ revision: Int, _ options: String) throws {
      try "ruleset edge\nrevision \(revision)\n\(rule)\n".write(toFile: rules, atomically: true, encoding: .utf8)
      _ = try stack.sluice("apply --file \(rules) --interface lan0 --socket \(stack.socket) \(options)")
    }
    _ = try stack.sluice("attach lan0 --socket \(stack.socket)")
    try apply("rule nine: udp dport 9 drop", 1, "")
    try apply("rule lockout: drop", 2, "--confirm-within 5")
    _ = try? Shell.run("dd if=/dev/zero of=\(state)/filler bs=1k count=100")
    try stack.wait("the daemon went back") { try revision(stack) == 1 }
    try stack.send(100, ports: [9, 10])
    #expect(try stack.metric("sluice_rule_packets_total", #"rule="nine""#) == 50)
    #expect(stack.log("sluiced.log").contains("the state file stays as it was"))
    // A daemon that comes next goes back as well: what the file has on trial is overdue.
    stack.stopDaemon(SIGKILL)
    try Shell.run("rm \(state)/filler")
    try stack.startDaemon()
    try stack.wait("the next daemon went back") { try revision(stack) == 1 }
  }

  @Test("What is confirmed stands, also over a restart")
  func confirmed() throws {
    try withTrial(seconds: 5) { stack in
      let confirmed = try stack.post("/rule-sets/edge/confirm")
      #expect(confirmed.status == 200, "\(confirmed.text)")
      let attachment = try stack.get("/attachments").body["data"][0]
      #expect(attachment["applied_revision"].int == 2 && attachment["in_sync"].bool == true)
      stack.stopDaemon(SIGKILL)
      try stack.startDaemon()
      let end = Date(timeIntervalSinceNow: 5.5)
      while Date() < end { usleep(100_000) }
      #expect(try revision(stack) == 2)
      #expect(try stack.metric("sluice_applies_total", "rolled_back") == 0)
    }
  }

  @Test("A daemon that is killed during the trial goes back when it is there again")
  func killed() throws {
    try withTrial(seconds: 5) { stack in
      stack.stopDaemon(SIGKILL)
      try stack.startDaemon()
      try stack.wait("the next daemon went back") { try revision(stack) == 1 }
      #expect(try stack.metric("sluice_applies_total", "rolled_back") == 1)
    }
  }

  @Test("Withdrawn by the command, without the API; a second trial keeps what was confirmed last")
  func withdrawn() throws {
    try withTrial(seconds: 600) { stack in
      #expect(
        try stack.post("/rule-sets/edge/rules", #"{"name":"more","action":"drop","match":{}}"#).status == 201)
      #expect(try stack.post("/rule-sets/edge/apply", #"{"confirm_within_seconds":600}"#).status == 200)
      #expect(try revision(stack) == 3)
      stack.stopAPI()
      let output = try stack.sluice("withdraw --socket \(stack.socket)")
      #expect(output.contains("edge revision 3 on lan0"))
      #expect(try revision(stack) == 1)
      #expect(throws: (any Error).self) { try stack.sluice("confirm --socket \(stack.socket)") }
    }
  }

  @Test("Elements that come and go meanwhile leave it on trial, in the live tables or compiled anew, and go with it")
  func elements() throws {
    let stack = try Stack.signedIn()
    let hosts = (0..<300).map { #""198.51.\#($0 / 250).\#($0 % 250)""# }.joined(separator: ",")
    let sets = #"""
      [{"name":"few","type":"ipv4_addr","elements":["10.0.0.1"]},{"name":"many","type":"ipv4_addr","elements":[\#(hosts)]}]
      """#
    let rules = ["few", "many"].map { #"{"name":"\#($0)","action":"drop","match":{"sources":["@\#($0)"]}}"# }
    let body = #"{"name":"edge","sets":\#(sets),"rules":[\#(rules.joined(separator: ","))]}"#
    #expect(try stack.post("/rule-sets", body).status == 201)
    #expect(try stack.post("/attachments", #"{"interface":"lan0","rule_set":"edge"}"#).status == 201)
    #expect(try stack.post("/rule-sets/edge/rules", #"{"name":"lockout","action":"drop","match":{}}"#).status == 201)
    let applied = try stack.post("/rule-sets/edge/apply", #"{"confirm_within_seconds":600}"#).body["data"]
    let deadline = try #require(applied["confirm_by"].string)
    for (set, isInPlace) in [("many", true), ("few", false)] {
      let answer = try stack.post("/rule-sets/edge/sets/\(set)/elements?apply=true", #"{"elements":["192.0.2.1"]}"#)
      let result = answer.body["data"]["applied"][0]
      #expect(result["in_place"].bool == isInPlace && result["confirm_by"].string == deadline, "\(answer.text)")
      let attachment = try stack.get("/attachments").body["data"][0]
      #expect(attachment["observed"]["confirm_by"].string == deadline, "\(attachment)")
      #expect(attachment["applied_revision"].int == 1, "what is on trial is not wanted yet")
    }
    #expect(try revision(stack) == 4)
    #expect(try stack.post("/rule-sets/edge/withdraw").status == 200)
    #expect(try revision(stack) == 1)
  }

  @Test("An apply of one rule ends it: what was on trial stands with it")
  func rule() throws {
    let stack = try Stack.signedIn()
    #expect(try stack.post("/rule-sets", #"{"name":"edge"}"#).status == 201)
    #expect(try stack.post("/attachments", #"{"interface":"lan0","rule_set":"edge"}"#).status == 201)
    // What is recorded as applied is what is on trial, so the daemon is told of the rule alone.
    #expect(try stack.post("/rule-sets/edge/apply", #"{"confirm_within_seconds":600}"#).status == 200)
    #expect(try stack.post("/rule-sets/edge/rules", #"{"name":"more","action":"drop","match":{}}"#).status == 201)
    let applied = try stack.post("/rule-sets/edge/apply", #"{"force":true}"#)
    #expect(applied.status == 200, "\(applied.text)")
    let attachment = try stack.get("/attachments").body["data"][0]
    #expect(attachment["applied_revision"].int == 2 && attachment["observed"]["confirm_by"].isNull, "\(attachment)")
  }

  @Test("What would drop the caller's own connection is refused, unless it undoes itself or is forced")
  func ownConnection() throws {
    let stack = try Stack.signedIn()
    stack.stopAPI()
    try stack.startAPI(["HTTP_HOST": "0.0.0.0"])
    try stack.namespace.run("ip address add 192.0.2.1/24 dev lan0")
    #expect(try stack.post("/rule-sets", #"{"name":"edge"}"#).status == 201)
    #expect(try stack.post("/attachments", #"{"interface":"lan0","rule_set":"edge"}"#).status == 201)
    #expect(
      try stack.post("/rule-sets/edge/rules", #"{"name":"lockout","action":"drop","match":{}}"#).status == 201)
    let apply = { (body: String) throws -> JSON in
      let text = try stack.namespace.run(
        "curl -s http://192.0.2.1:8080/api/v1/rule-sets/edge/apply -H 'Content-Type: application/json' "
          + "-H 'Authorization: Bearer \(stack.token ?? "")' -d '\(body)'")
      return JSON(text)
    }
    let refused = try apply("{}")
    #expect(refused["error"]["details"]["reason"].string == "own_connection")
    #expect(refused["error"]["details"]["rule"].string == "lockout")
    #expect(try revision(stack) == 1)
    let dry = try apply(#"{"dry_run":true}"#)
    #expect(dry["data"]["warnings"].array.contains { $0.string?.contains("your own connection") == true })
    #expect(try apply(#"{"confirm_within_seconds":600}"#)["data"]["revision"].int == 2)
    #expect(try stack.sluice("withdraw --socket \(stack.socket)").contains("edge revision 2"))
    #expect(try apply(#"{"force":true}"#)["data"]["revision"].int == 2)
    #expect(try revision(stack) == 2)
    // Another way to the same end: a rule set of the attachment's own choice, or with a new attachment.
    _ = try stack.post("/rule-sets", #"{"name":"open"}"#)
    _ = try stack.post("/rule-sets/open/apply", "{}")
    let id = try #require(try stack.get("/attachments").body["data"][0]["id"].string)
    let change = { (method: String, path: String, body: String) throws -> JSON in
      JSON(
        try stack.namespace.run(
          "curl -s -X \(method) http://192.0.2.1:8080/api/v1/attachments\(path) -H 'Content-Type: application/json' "
            + "-H 'Authorization: Bearer \(stack.token ?? "")' -d '\(body)'"))
    }
    #expect(try change("PATCH", "/\(id)", #"{"rule_set":"open"}"#)["data"]["rule_set"].string == "open")
    let wrong = try change("PATCH", "/\(id)", #"{"rule_set":"edge"}"#)
    #expect(wrong["error"]["details"]["reason"].string == "own_connection", "\(wrong)")
    #expect(try change("DELETE", "/\(id)", "")["data"]["deleted"].bool == true)
    let anew = try change("POST", "", #"{"interface":"lan0","rule_set":"edge"}"#)
    #expect(anew["error"]["details"]["reason"].string == "own_connection", "\(anew)")
    #expect(try stack.get("/attachments").body["data"].array.isEmpty, "nothing was attached")
    let forced = try change("POST", "", #"{"interface":"lan0","rule_set":"edge","force":true}"#)
    #expect(forced["data"]["rule_set"].string == "edge", "\(forced)")
  }
}
